import csv
import os

import numpy as np
import pytest
from PIL import Image

from amortized.errors import InputError
from amortized.report import check_suffix, image_grid, stacked, write_images, write_table
from amortized.report.grid import BACKGROUND, HOLE

RANDOM = np.random.default_rng(0)


def test_a_grid_shows_every_image_at_its_place():
    images = RANDOM.random((5, 3, 4))
    picture = image_grid(images, columns=2, pad=1, low=0, high=1)
    factor = picture.width // (2 * 4 + 1)
    small = np.asarray(picture)[::factor, ::factor]
    assert small.shape == (3 * 3 + 2, 9)
    for position, image in enumerate(images):
        top, left = position // 2 * 4, position % 2 * 5
        np.testing.assert_allclose(small[top : top + 3, left : left + 4] / 255, image, atol=0.5 / 255 + 1e-9)


def test_small_images_are_enlarged_without_smoothing():
    picture = np.asarray(image_grid(np.eye(8)[None]))
    assert picture.shape == (800, 800)
    assert set(np.unique(picture)) == {0, 255}


def test_values_beyond_the_range_are_clipped_and_constant_images_are_no_error():
    picture = np.asarray(image_grid(np.array([[[-3.0, 0.5, 9.0, np.inf]]]), low=0, high=1))
    assert list(np.unique(picture)) == [0, 128, 255]
    assert np.asarray(image_grid(np.zeros((1, 2, 2)))).max() == 0


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_channels_decide_the_kind_of_picture(channels, mode):
    assert image_grid(RANDOM.random((3, 4, 4, channels))).mode == mode


@pytest.mark.parametrize("shape", [(4, 7), (4, 8, 8, 2), (0, 8, 8), (3, 0, 8)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(InputError, match=r"the shape is \("):
        image_grid(np.zeros(shape))


def test_a_picture_too_large_to_look_at_is_refused():
    with pytest.raises(InputError, match="too many for one picture"):
        image_grid(np.broadcast_to(np.uint8(0), (100_000, 64, 64)))


def test_each_original_stands_above_its_reconstruction():
    above, below = np.arange(3.0).reshape(3, 1, 1), 10 + np.arange(3.0).reshape(3, 1, 1)
    np.testing.assert_array_equal(stacked([above, below], columns=2).ravel(), [0, 1, 10, 11, 2, np.nan, 12, np.nan])


def test_holes_have_a_color_of_their_own_and_a_place_without_an_image_stays_empty():
    images = np.zeros((3, 2, 2))
    images[0, 0, 1], images[2] = np.nan, np.nan
    picture = image_grid(images, columns=2, pad=1)
    factor = picture.width // 5
    small = np.asarray(picture)[::factor, ::factor]
    assert small.shape == (5, 5, 3)
    assert tuple(small[0, 1]) == HOLE
    assert not small[0, 0].any()
    assert (small[3:, :2] == BACKGROUND).all()
    assert image_grid(np.stack((np.zeros((2, 2)), np.full((2, 2), np.nan)))).mode == "L"


def test_a_written_picture_is_a_png(tmp_path):
    write_images(tmp_path / "grid.png", RANDOM.random((4, 8, 8)))
    with Image.open(tmp_path / "grid.png") as picture:
        assert picture.format == "PNG"


def test_arrays_come_back_from_each_format(tmp_path):
    x, z = RANDOM.standard_normal((3, 2, 2)).astype(np.float32), RANDOM.integers(0, 9, (3, 2))
    for suffix in ("npz", "npy", "csv"):
        write_table(tmp_path / f"out.{suffix}", {"x": x, "z": z})
    with np.load(tmp_path / "out.npz") as archive:
        assert {name: archive[name].dtype for name in archive.files} == {"x": x.dtype, "z": z.dtype}
        np.testing.assert_array_equal(archive["x"], x)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), x)
    with open(tmp_path / "out.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["x_0_0", "x_0_1", "x_1_0", "x_1_1", "z_0", "z_1"]
    np.testing.assert_array_equal(np.array(rows, dtype=np.float32)[:, :4], x.reshape(3, 4))


def test_a_table_bears_the_names_of_its_columns_whatever_is_in_them(tmp_path):
    names = ["age", 'height, "cm"', "größe"]
    write_table(tmp_path / "out.csv", {"x": np.arange(6).reshape(2, 3)}, names)
    with open(tmp_path / "out.csv", newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [names, ["0", "1", "2"], ["3", "4", "5"]]


def lines_of(path, arrays, columns=()):
    write_table(path, arrays, columns)
    return path.read_text(encoding="utf-8").splitlines()


def test_a_table_shows_each_number_as_short_as_its_own_type_reads_it_back(tmp_path):
    x = np.array([[0.126, 20_000_000, -1e-9], [np.nan, 1e30, 3]], np.float32)
    y, draw = np.array([0.1, 1 / 3]), np.array([0, 2**60 + 1])
    assert lines_of(tmp_path / "out.csv", {"x": x, "y": y, "draw": draw}, ("a", "b", "c")) == [
        "a,b,c,y,draw",
        "0.126,20000000,-1e-09,0.1,0",
        f"nan,1e+30,3,0.3333333333333333,{2**60 + 1}",
    ]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_number_of_a_table_reads_back_to_the_same_bits(tmp_path, dtype):
    x = (RANDOM.standard_normal((200, 3)) * 10.0 ** RANDOM.integers(-4, 4, (200, 3))).astype(dtype)
    _, *rows = lines_of(tmp_path / "out.csv", {"x": x})
    np.testing.assert_array_equal(np.array([row.split(",") for row in rows]).astype(dtype), x)


def test_the_names_of_columns_are_kept_where_they_are_clear(tmp_path):
    x, draw = np.zeros((1, 2)), np.zeros(1, int)
    for columns, arrays, header in (
        ("ab", {"x": x, "draw": draw}, "a,b,draw"),
        ("ab", {"reconstruction": x, "x": x}, "reconstruction_a,reconstruction_b,x_a,x_b"),
        (("a", "draw"), {"x": x, "draw": draw}, "x_a,x_draw,draw"),
    ):
        assert lines_of(tmp_path / "out.csv", arrays, tuple(columns))[0] == header


@pytest.mark.parametrize(
    ("name", "image", "message"),
    [
        ("out.png", False, "these are no images. Fits: .npz, .npy, .csv"),
        ("out.jpg", True, "Fits: .png, .npz, .npy, .csv"),
        ("out", True, "Fits: .png"),
        ("missing/out.png", True, "there is no folder"),
    ],
)
def test_an_output_that_does_not_fit_is_refused_before_the_work(tmp_path, name, image, message):
    with pytest.raises(InputError, match=message):
        check_suffix(tmp_path / name, image=image)


def test_a_folder_is_no_output(tmp_path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        check_suffix(tmp_path / "folder.npz", image=False)


def test_what_stood_there_stays_where_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "out.npy"
    write_table(path, {"x": np.ones(2)})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_table(path, {"x": np.zeros(2)})
    assert np.load(path).tolist() == [1.0, 1.0]
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.npy"]

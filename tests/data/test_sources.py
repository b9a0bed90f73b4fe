import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from amortized.data import Data, Split, load, sources
from amortized.errors import InputError

ROWS = np.arange(24.0).reshape(12, 2) / 7
LABELS = np.array(["b", "a", "c"] * 4)


def original_order(data: Data) -> np.ndarray:
    splits = [split for split in data.splits.values() if isinstance(split, Split)]
    rows = np.concatenate([split.x.numpy() for split in splits])
    index = np.concatenate([split.index.numpy() for split in splits])
    assert sorted(index) == list(range(len(rows)))
    return rows[np.argsort(index)]


def original_labels(data: Data) -> list[str]:
    splits = [split for split in data.splits.values() if isinstance(split, Split)]
    pairs = [(i, data.label_names[c]) for s in splits if s.labels is not None for i, c in zip(s.index, s.labels, strict=True)]
    return [name for _, name in sorted(pairs, key=lambda pair: int(pair[0]))]


def as_csv(folder: Path) -> Path:
    lines = ["height;weight;kind"] + [f"{a!r};{b!r};{c}" for (a, b), c in zip(ROWS.tolist(), LABELS, strict=True)]
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


def as_npz(folder: Path) -> Path:
    np.savez(folder / "table.npz", x=ROWS, y=LABELS)
    return folder / "table.npz"


def as_parquet(folder: Path) -> Path:
    pandas.DataFrame({"height": ROWS[:, 0], "weight": ROWS[:, 1], "kind": LABELS}).to_parquet(folder / "table.parquet")
    return folder / "table.parquet"


@pytest.mark.parametrize(
    ("source", "labels"),
    [
        (as_npz, None),
        (as_csv, "kind"),
        (as_parquet, "kind"),
        (lambda _: pandas.DataFrame({"height": ROWS[:, 0], "weight": ROWS[:, 1], "kind": LABELS}), "kind"),
        (lambda _: (ROWS, LABELS), None),
        (lambda _: {"x": torch.from_numpy(ROWS), "y": LABELS}, None),
        (lambda _: torch.from_numpy(ROWS), LABELS),
        (lambda _: ROWS.tolist(), LABELS),
    ],
)
def test_every_source_of_a_table_gives_the_same_data(source, labels, tmp_path):
    data = load(source(tmp_path), labels=labels)
    np.testing.assert_array_equal(original_order(data), ROWS.astype(np.float32))
    assert original_labels(data) == LABELS.tolist()
    assert data.label_names == ("a", "b", "c")
    assert data.fingerprint == load((ROWS, LABELS), splits=(0.5, 0.5, 0)).fingerprint
    assert not data.is_image


def test_columns_keep_their_names(tmp_path):
    assert load(as_csv(tmp_path), labels="kind").columns == ("height", "weight")
    assert load(as_parquet(tmp_path), labels="kind").columns == ("height", "weight")


def test_a_csv_without_header_is_read_from_its_first_row(tmp_path):
    (tmp_path / "bare.csv").write_text("1,2.5\n3,4.5\n5,6\n")
    data = load(tmp_path / "bare.csv", splits=(1, 0, 0))
    assert isinstance(data.train, Split)
    assert data.train.x.tolist() == [[1, 2.5], [3, 4.5], [5, 6]]
    assert data.columns == ("0", "1")


def test_npy_round_trips(tmp_path):
    np.save(tmp_path / "x.npy", ROWS)
    np.testing.assert_array_equal(original_order(load(tmp_path / "x.npy")), ROWS.astype(np.float32))


def test_values_are_kept_in_the_smallest_type_that_holds_them():
    kept = {
        np.float64: torch.float32,
        np.bool_: torch.uint8,
        np.uint8: torch.uint8,
        np.int64: torch.int32,
        np.uint16: torch.int32,
    }
    for given, expected in kept.items():
        train = load(np.array([[0, 1], [1, 0], [1, 1]], given) * given(1) + (300 if given in (np.int64, np.uint16) else 0)).train
        assert isinstance(train, Split)
        assert train.x.dtype == (torch.uint8 if given is np.float64 else expected)
    train = load(ROWS).train
    assert isinstance(train, Split)
    assert train.x.dtype == torch.float32


def test_given_splits_are_respected_and_missing_ones_cut_from_training():
    x = np.arange(40).reshape(20, 2)
    data = load({"train_x": x, "train_y": np.arange(20) % 2, "test_x": x[:4], "test_y": np.arange(4) % 2})
    assert isinstance(data.test, Split)
    assert data.test.x.tolist() == x[:4].tolist()
    assert [len(split) for split in data.splits.values()] == [18, 2, 4]
    assert isinstance(data.valid, Split)
    assert data.valid.labels is not None
    assert sorted(data.valid.labels.tolist()) == [0, 1]


def test_class_names_in_the_source_name_the_codes():
    data = load({"x": ROWS, "y": np.arange(12) % 3, "class_names": np.array(["ant", "bee", "cat"])})
    assert data.label_names == ("ant", "bee", "cat")


def test_labels_with_gaps_are_coded_in_order_with_their_names():
    data = load((ROWS, np.array([7, -1, 100] * 4)), splits=(1, 0, 0))
    assert data.label_names == ("-1", "7", "100")
    assert isinstance(data.train, Split)
    assert data.train.labels is not None
    assert data.train.labels[:3].tolist() == [1, 0, 2]


def test_labels_that_are_fractions_stay_numbers_with_a_note():
    data = load((ROWS, np.linspace(0, 1, 12)))
    assert isinstance(data.train, Split)
    assert data.train.labels is not None
    assert data.train.labels.dtype == torch.float32
    assert any("fractions, not classes" in note for note in data.notes)


def test_conditions_are_coded_or_kept_and_cut_with_their_rows(tmp_path):
    arrays = {"x": ROWS, "y": LABELS, "context_batch": np.array(["u", "v"] * 6), "age": np.linspace(0, 1, 12)}
    np.savez(tmp_path / "d.npz", **arrays)
    data = load(tmp_path / "d.npz", context=["batch", "age", "label"])
    assert data.context_names == {"batch": ("u", "v"), "label": ("a", "b", "c")}
    for split in data.splits.values():
        assert isinstance(split, Split)
        np.testing.assert_array_equal(split.context["batch"], split.index % 2)
        np.testing.assert_allclose(split.context["age"], split.index / 11, rtol=1e-6)
        assert split.labels is not None
        assert torch.equal(split.context["label"], split.labels)


def test_conditions_come_from_columns_of_a_table_and_leave_x(tmp_path):
    data = load(as_csv(tmp_path), context=["kind", "weight"])
    assert data.columns == ("height",)
    assert data.context_names == {"kind": ("a", "b", "c")}
    assert isinstance(data.train, Split)
    expected = ROWS[data.train.index.numpy(), 1].astype(np.float32)
    np.testing.assert_array_equal(data.train.context["weight"], expected)


def test_conditions_may_be_given_as_arrays():
    data = load(ROWS, context={"dose": np.linspace(0, 2, 12), "site": LABELS})
    assert data.context_names == {"site": ("a", "b", "c")}


@pytest.mark.parametrize(("mode", "shape"), [("L", (5, 4)), ("RGB", (5, 4, 3))])
@pytest.mark.parametrize("extension", ["png", "bmp"])
def test_a_folder_of_images_round_trips_with_classes(mode, shape, extension, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, *shape), dtype=np.uint8)
    for i, image in enumerate(pixels):
        folder = tmp_path / ("cat" if i < 3 else "dog")
        folder.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.{extension}")
    data = load(tmp_path)
    np.testing.assert_array_equal(original_order(data), pixels)
    assert original_labels(data) == ["cat"] * 3 + ["dog"] * 3
    assert data.is_image
    assert data.support.levels == 256


def test_subfolders_named_as_splits_are_the_splits(tmp_path):
    for split, count in {"train": 5, "valid": 2, "test": 3}.items():
        (tmp_path / split).mkdir()
        for i in range(count):
            Image.new("L", (4, 4), i).save(tmp_path / split / f"{i}.png")
    data = load(tmp_path)
    assert [len(split) for split in data.splits.values()] == [5, 2, 3]
    assert data.label_names == ()


@pytest.mark.parametrize(("extension", "shape"), [("jpg", (4, 4)), ("jpeg", (4, 4)), ("gif", (4, 4, 3)), ("webp", (4, 4, 3))])
def test_other_image_formats_are_read(extension, shape, tmp_path):
    for i in range(2):
        Image.new("L", (4, 4), 7).save(tmp_path / f"{i}.{extension}")
    data = load(tmp_path, splits=(1, 0, 0))
    assert data.event_shape == shape
    assert isinstance(data.train, Split)
    assert data.train.x.unique().tolist() == [7]


def test_the_first_frame_of_an_animation_is_the_image(tmp_path):
    frames = [Image.new("L", (4, 4), 9), Image.new("L", (4, 4), 200)]
    for i in range(2):
        frames[0].save(tmp_path / f"{i}.gif", save_all=True, append_images=frames[1:])
    train = load(tmp_path, splits=(1, 0, 0)).train
    assert isinstance(train, Split)
    assert train.x.unique().tolist() == [9]


def test_constant_columns_are_named():
    x = np.array([[1.5, 0, 2], [1.5, 1, 2], [1.5, 0, 2]])
    data = load(pandas.DataFrame(x, columns=["a", "b", "c"]), splits=(1, 0, 0))
    assert data.constant == ("a", "c")
    assert data.notes[0].startswith("columns 'a', 'c' never vary in the training split")


@pytest.mark.parametrize("dtype", [np.float64, np.int64, np.int32])
def test_whole_numbers_that_float32_changes_are_announced(dtype):
    x = np.array([[1, 2**24], [2, 20_000_001], [3, 20_000_003]], dtype)
    (note,) = (note for note in load(pandas.DataFrame(x, columns=["a", "id"])).notes if "float32" in note)
    assert note.startswith("array 'x' has 20000001 at row 1, column 'id', a whole number that float32 rounds to 20000000; leave")


@pytest.mark.parametrize("dtype", ["int64", "uint32", "Int64", "float64"])
def test_large_numbers_of_a_frame_are_what_they_were(dtype):
    frame = pandas.DataFrame({"a": [0.5, 1.5, 2.5], "large": pandas.array([3_000_000_000, 1, 2], dtype=dtype)})
    assert original_order(load(frame))[0].tolist() == [0.5, 3_000_000_000]
    assert original_order(load(frame[["large"]]))[:, 0].tolist() == [3_000_000_000, 1, 2]


def test_numbers_that_float32_holds_or_only_rounds_are_not_announced():
    for x in (np.array([[2**24, 2**30], [0, -(2**26)]]), np.array([[0.1, 1e9 + 0.5], [2.0, np.nan]])):
        assert not any("float32" in note for note in load(x).notes)


def test_constant_pixels_are_counted():
    data = load("digits")
    assert any(note.startswith(f"{len(data.constant)} of 64 entries never vary") for note in data.notes)


def test_the_fingerprint_changes_with_one_value():
    changed = ROWS.copy()
    changed[3, 1] += 1
    assert load(changed).fingerprint != load(ROWS).fingerprint


def test_a_tensor_dataset_is_held_in_memory():
    data = load(TensorDataset(torch.from_numpy(ROWS), torch.arange(12) % 2))
    assert isinstance(data.train, Split)
    np.testing.assert_array_equal(original_order(data), ROWS.astype(np.float32))


def test_names_are_found_in_the_folder_of_the_variable(tmp_path, monkeypatch):
    as_npz(tmp_path)
    monkeypatch.setenv("AMORTIZED_DATA", str(tmp_path))
    assert load("table").name == "table"
    with pytest.raises(InputError, match="did you mean 'table'"):
        load("tabel")


def test_a_run_that_has_the_name_of_its_data_does_not_hide_them(tmp_path, monkeypatch):
    as_npz(tmp_path)
    here = tmp_path / "here"
    (here / "table").mkdir(parents=True)
    (here / "table" / "config.json").write_text("{}")
    monkeypatch.setenv("AMORTIZED_DATA", str(tmp_path))
    monkeypatch.chdir(here)
    np.testing.assert_array_equal(original_order(load("table")), original_order(load(tmp_path / "table.npz")))


def test_mnist_has_its_official_test_split(monkeypatch):
    folder = Path(os.environ.get("AMORTIZED_DATA", Path(__file__).parents[2] / "../shared/data"))
    if not (folder / "mnist.npz").exists():
        pytest.skip("no mnist.npz in the data folder")
    monkeypatch.setenv("AMORTIZED_DATA", str(folder))
    data = load("mnist")
    assert [len(split) for split in data.splits.values()] == [54000, 6000, 10000]
    assert isinstance(data.test, Split)
    assert data.test.x.double().mean().item() == pytest.approx(33.791, abs=5e-4)
    assert data.support.levels == 256


def test_the_digits_are_scikit_learns_whichever_way_they_are_read(monkeypatch: pytest.MonkeyPatch):
    from sklearn.datasets import load_digits

    reference: Any = load_digits()
    ways = [sources._digits()]
    monkeypatch.setattr(sources, "find_spec", lambda _: None)
    ways.append(sources._digits())
    for arrays in ways:
        assert np.array_equal(arrays["x"], reference.images)
        assert np.array_equal(arrays["y"], reference.target)
        assert arrays["y"].dtype == reference.target.dtype

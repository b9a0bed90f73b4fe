import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, IterableDataset

from amortized.data import describe, load, make_transform
from amortized.data.batches import Batches
from amortized.data.transforms import Masking, Noise
from amortized.errors import InputError

ROWS = np.arange(24.0).reshape(12, 2)


def truncated(folder: Path) -> Path:
    np.savez(folder / "cut.npz", x=ROWS)
    content = (folder / "cut.npz").read_bytes()
    (folder / "cut.npz").write_bytes(content[: len(content) // 2])
    return folder / "cut.npz"


def saved(**arrays):
    def write(folder: Path) -> Path:
        np.savez(folder / "d.npz", allow_pickle=True, **arrays)
        return folder / "d.npz"

    return write


def object_npy(folder: Path) -> Path:
    np.save(folder / "d.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    return folder / "d.npy"


def csv(text: str):
    def write(folder: Path) -> Path:
        (folder / "d.csv").write_text(text)
        return folder / "d.csv"

    return write


def folder_of(*images: Image.Image, **files: bytes):
    def write(folder: Path) -> Path:
        for i, image in enumerate(images):
            image.save(folder / f"{i}.png")
        for name, content in files.items():
            (folder / name.replace("_", ".")).write_bytes(content)
        return folder

    return write


def just(value):
    return lambda _: value


def changed(position, value) -> np.ndarray:
    array = ROWS.copy()
    array[position] = value
    return array


class Numbers(IterableDataset):
    def __iter__(self):
        return iter(torch.zeros(3, 2))


class Words(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return "word"


class Marked(Dataset):
    def __init__(self, observed):
        self.observed = observed

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"x": torch.zeros(4), "observed": self.observed}


class Ragged(Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return torch.zeros(index + 1)


GREY, WIDE, COLOR = Image.new("L", (4, 4)), Image.new("L", (5, 4)), Image.new("RGB", (4, 4))


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (just("nowhere/x.npz"), {}, ["x.npz", "does not exist"]),
        (just("digit"), {}, ["did you mean 'digits'", "AMORTIZED_DATA"]),
        (truncated, {}, ["cut.npz", "truncated", "Write it again"]),
        (saved(x=np.array([{}, []], dtype=object)), {}, ["array 'x'", "Python objects", "save numbers"]),
        (object_npy, {}, ["array 'x'", "Python objects"]),
        (saved(data=ROWS, z=ROWS), {}, ["no array 'x' or 'train_x'", "'data', 'z'"]),
        (saved(x=ROWS, train_x=ROWS), {}, ["'x' and also 'train_x'"]),
        (saved(train_x=ROWS, test_x=ROWS[:, :1]), {}, ["'test_x'", "(1,)", "(2,)"]),
        (saved(test_x=ROWS), {}, ["no array 'x' or 'train_x'", "'test_x'"]),
        (just(changed((3, 1), -np.inf)), {}, ["array 'x'", "1 value", "-inf at row 3, column 1", "Remove", "NaN"]),
        (just(changed((3, slice(None)), np.inf)), {}, ["2 values", "inf at row 3, column 0"]),
        (just(changed((0, 0), 1e300)), {}, ["not finite in float32", "1e+300 at row 0, column 0"]),
        (just({"x": changed((3, 1), np.inf), "columns": np.array(["a"])}), {}, ["row 3, column 1"]),
        (just(np.zeros((0, 3))), {}, ["empty", "(0, 3)"]),
        (just(np.zeros((3, 0))), {}, ["empty", "(3, 0)"]),
        (just(np.zeros((1, 3))), {}, ["1 row"]),
        (just(np.zeros(3)), {}, ["(3,)", "reshape(-1, 1)"]),
        (just(np.float64(3)), {}, ["shape is ()", "reshape(-1, 1)"]),
        (just([[1, 2], [3]]), {}, ["array 'x'", "one shape"]),
        (just(ROWS + 1j), {}, ["complex"]),
        (just(np.array([["a"], ["b"]])), {}, ["array 'x' holds text"]),
        (just((ROWS, ROWS, ROWS)), {}, ["two members", "3"]),
        (just((ROWS, np.zeros(5))), {}, ["'y' has 5 rows", "'x' has 12"]),
        (just(ROWS), {"labels": np.zeros((5,))}, ["5 rows", "12"]),
        (just({"x": ROWS, "kind": np.zeros(12)}), {"labels": "knd"}, ["labels='knd'", "did you mean 'kind'"]),
        (just({"x": ROWS, "dose": np.zeros(12)}), {"context": ["dos"]}, ["context='dos'", "did you mean 'dose'"]),
        (just({"x": ROWS, "dose": np.full(12, np.nan)}), {"context": ["dose"]}, ["array 'dose'", "row 0"]),
        (just({"x": ROWS, "dose": np.zeros((12, 2, 2)) + 0.5}), {"context": ["dose"]}, ["array 'dose'", "(12, 2, 2)"]),
        (saved(train_x=ROWS, test_x=ROWS), {"labels": np.zeros(12)}, ["'labels' as an array", "'train_labels'"]),
        (just(ROWS), {"splits": (0.5, 0.1, 0.1)}, ["splits", "sum to 1", "(0.5, 0.1, 0.1)"]),
        (just(ROWS), {"splits": (1.2, -0.2, 0)}, ["splits", "none negative"]),
        (just(ROWS), {"splits": (0, 0.5, 0.5)}, ["train above 0"]),
        (just(ROWS), {"splits": (0.01, 0.5, 0.49)}, ["no row of 12 for training"]),
        (csv(""), {}, ["no rows"]),
        (csv("a,b\n"), {}, ["no rows"]),
        (csv("a,b\n1,2\n3\n"), {}, ["row 1", "1 cells", "2 columns"]),
        (csv("a,b\n1,2\n3,red\n"), {}, ["column 'b'", "'red' at row 1", "labels='b'"]),
        (csv("a,b\n1,\n3,red\n"), {}, ["column 'b'", "'red' at row 1", "labels='b'"]),
        (csv("a,b\n1,2\n3,inf\n"), {}, ["row 1, column 'b'"]),
        (csv("a,a\n1,2\n3,4\n"), {}, ["column 'a' occurs more than once"]),
        (csv("a\nx\ny\n"), {"labels": "a"}, ["every column", "at least one"]),
        (csv("kind,b\n1,2\n3,4\n"), {"labels": "knd"}, ["did you mean 'kind'"]),
        (just(pandas.DataFrame({"a": [1.0, np.inf], "b": [1.0, 2.0]})), {}, ["row 1, column 'a'"]),
        (just(Marked(torch.ones(2, dtype=torch.bool))), {}, ["'observed'", "(3, 2)", "(3, 4)"]),
        (just(pandas.DataFrame({"a": ["u", "v"], "b": [1.0, 2.0]})), {}, ["column 'a'", "'u' at row 0"]),
        (folder_of(GREY, WIDE), {}, ["1.png", "5 x 4 grey", "4 x 4 grey"]),
        (folder_of(GREY, COLOR), {}, ["1.png", "4 x 4 color"]),
        (folder_of(GREY, GREY, notes_txt=b"hello"), {}, ["notes.txt", "no image"]),
        (folder_of(GREY, GREY, z_png=b"no image"), {}, ["z.png", "cannot be read as an image"]),
        (folder_of(), {}, ["holds no images"]),
        (just(Words()), {}, ["x is list", "x a tensor"]),
        (just(Ragged()), {}, ["cannot be stacked"]),
        (just(Numbers()), {}, ["Numbers", "map-style"]),
        (just(DataLoader(Numbers())), {}, ["no length"]),
        (just({"valid": Words()}), {}, ["'train'", "['valid']"]),
        (just(Words()), {"labels": "y"}, ["come with its items"]),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_sentence(source, options, words, tmp_path, monkeypatch):
    monkeypatch.delenv("AMORTIZED_DATA", raising=False)
    with pytest.raises(InputError) as caught:
        load(source(tmp_path), **options)
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["d.h5", "d.txt"])
def test_an_unknown_extension_is_refused_with_the_known_ones(name, tmp_path):
    (tmp_path / name).write_text("1")
    with pytest.raises(InputError, match=r"no known format; give \.npz, \.npy, \.csv, \.parquet"):
        load(tmp_path / name)


def test_a_truncated_parquet_is_refused(tmp_path):
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="truncated"):
        load(tmp_path / "d.parquet")


def test_parquet_without_its_extra_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "d.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"pip install 'amortized\[tables\]'"):
        load(tmp_path / "d.parquet")


def test_a_variable_that_names_no_folder_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("AMORTIZED_DATA", str(tmp_path / "gone"))
    with pytest.raises(InputError, match="which is no folder"):
        load("mnist")


def test_what_cannot_be_transformed_is_refused():
    counts, grey = describe(torch.arange(6).reshape(3, 2)), describe(torch.arange(12).reshape(3, 2, 2))
    with pytest.raises(InputError, match="binarize='dynamic' needs grey levels"):
        make_transform(counts, binarize="dynamic")
    with pytest.raises(InputError, match="did you mean 'dynamic'"):
        make_transform(grey, binarize="dynamc")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="give one of the two"):
        make_transform(grey, binarize="dynamic", scale="unit")
    with pytest.raises(InputError, match="give the factor as a number"):
        make_transform(counts, scale="unit")
    with pytest.raises(InputError, match="positive finite number"):
        make_transform(counts, scale=-2.0)
    with pytest.raises(InputError, match="probability in"):
        Masking(1.5)
    with pytest.raises(InputError, match="std of at least 0"):
        Noise(float("nan"))


def test_batches_refuse_sizes_that_cannot_be():
    train = load(ROWS).train
    with pytest.raises(InputError, match="at least 1 row; it is 0"):
        Batches(train, batch_size=0)
    with pytest.raises(InputError, match="cannot be shared evenly by 3 processes; choose a multiple, such as 3"):
        next(Batches(train, batch_size=4).epoch(0, world=3))

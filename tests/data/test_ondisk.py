"""Every kind of data on the disk, streamed, is that in memory; and what is refused."""

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

from amortized.data import (
    Data,
    StreamedSplit,
    arrange,
    in_order,
    load,
    mean_and_scale,
    memory,
    never_observed,
    shards,
    to_batches,
)
from amortized.data.ondisk import choose_window, from_disk
from amortized.errors import InputError

X = np.random.default_rng(0).normal(size=(900, 6)).astype(np.float32)
KIND = np.asarray(["dog", "cat", "emu"])[np.arange(900) % 3]
PIXELS = np.random.default_rng(1).integers(0, 256, (300, 8, 6, 3), dtype=np.uint8)
ON: dict[str, Any] = {"stream": "on", "window_mib": 1}


def everything(data: Data) -> dict[str, Any]:
    """All rows in the order of their source."""
    (rows,) = data.parts("all")
    (batch,) = in_order(rows, 10**6)
    return batch


def npy(folder: Path) -> Path:
    np.save(folder / "x.npy", X)
    return folder / "x.npy"


def npy_shards(folder: Path) -> Path:
    for number, part in enumerate(np.split(X, [100, 250])):
        np.save(folder / f"{number}.npy", part)
    return folder


def table() -> pandas.DataFrame:
    frame = pandas.DataFrame({f"c{column}": X[:, column].astype(np.float64) for column in range(6)})
    return frame.assign(kind=KIND, dose=np.arange(900) / 900)


def parquet(folder: Path) -> Path:
    table().drop(columns=["kind", "dose"]).to_parquet(folder / "x.parquet", row_group_size=70)
    return folder / "x.parquet"


def parquet_shards(folder: Path) -> Path:
    for number, part in enumerate(np.split(np.arange(900), [300])):
        table().drop(columns=["kind", "dose"]).iloc[part].to_parquet(folder / f"{number}.parquet", row_group_size=70)
    return folder


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def tar_shards(folder: Path) -> Path:
    for shard in range(2):
        members: dict[str, bytes] = {}
        for number in range(150 * shard, 150 * (shard + 1)):
            members[f"{number:04}.cls"] = str(number % 3).encode()
            members[f"{number:04}.png"] = png(PIXELS[number])
            members[f"{number:04}.json"] = b"{}"
        write_tar(folder / f"{shard}.tar", members)
    return folder


def image_folder(folder: Path) -> Path:
    for number, pixels in enumerate(PIXELS):
        part = folder / "abc"[number % 3]
        part.mkdir(exist_ok=True)
        (part / f"{number:04}.png").write_bytes(png(pixels))
    return folder


@pytest.mark.parametrize("write", [npy, npy_shards, parquet, parquet_shards])
def test_rows_on_the_disk_are_those_in_memory(write, tmp_path: Path):
    data = load(write(tmp_path), **ON)
    batch = everything(data)
    np.testing.assert_array_equal(batch["x"].numpy(), X)
    assert batch["index"].tolist() == list(range(900))
    assert data.notes[0] == "the data (21.6 kB) stay on the disk and stream in shuffled windows of 1 MiB."
    assert data.support.kind == "real"
    assert (data.support.low, data.support.high) == (X.min(), X.max())
    seen = [batch["index"] for batch in to_batches(data.train, batch_size=30, training=True).epoch(0)]
    assert len(torch.cat(seen).unique()) == 720
    held = load(X, splits=(1, 0, 0))
    alone = load(write(tmp_path), splits=(1, 0, 0), **ON)
    for how in ("columns", "global"):
        for ours, theirs in zip(mean_and_scale(alone.train, how), mean_and_scale(held.train, how), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("write", [tar_shards, image_folder])
def test_images_on_the_disk_are_those_in_memory_with_their_labels(write, tmp_path: Path):
    data = load(write(tmp_path), context=["label"], **ON)
    batch = everything(data)
    order = np.arange(300) if write is tar_shards else np.argsort(np.arange(300) % 3, kind="stable")
    np.testing.assert_array_equal(batch["x"].numpy(), PIXELS[order])
    assert batch["x"].dtype == torch.uint8
    assert batch["labels"].tolist() == (order % 3).tolist()
    assert torch.equal(batch["context"]["label"], batch["labels"])
    assert data.label_names == (("0", "1", "2") if write is tar_shards else ("a", "b", "c"))
    assert data.is_image
    assert data.support.kind == "levels"
    in_memory = load(tmp_path, splits=(1, 0, 0))
    assert torch.equal(everything(in_memory)["x"], batch["x"])


def test_small_data_are_held_in_memory_as_ever(tmp_path: Path):
    for write in (npy, npy_shards, parquet, tar_shards, image_folder):
        (folder := tmp_path / write.__name__).mkdir()
        assert load(write(folder)).window_mib is None
    np.testing.assert_array_equal(everything(load(tmp_path / "npy_shards"))["x"], X)


def test_columns_may_be_labels_and_conditions_and_are_matched_by_name(tmp_path: Path):
    table().to_parquet(tmp_path / "t.parquet", row_group_size=70)
    how: dict[str, Any] = {"labels": "kind", "context": ["dose"]}
    data = load(tmp_path / "t.parquet", **how, **ON)
    assert data.columns == tuple(f"c{column}" for column in range(6))
    assert data.label_names == ("cat", "dog", "emu")
    batch = everything(data)
    assert [data.label_names[code] for code in batch["labels"]] == KIND.tolist()
    np.testing.assert_allclose(batch["context"]["dose"], np.arange(900) / 900, rtol=1e-6)
    assert isinstance(data.train, StreamedSplit)
    dose = torch.cat([batch["context"]["dose"] for batch in in_order(data.train)])
    assert torch.equal(data.train.own_context()["dose"], dose)
    other = arrange(data, ("c5", "c4", "c3", "c2", "c1", "c0"))
    np.testing.assert_array_equal(everything(other)["x"].numpy(), X[:, ::-1])


def test_missing_numbers_of_a_table_are_counted_in_all_of_it(tmp_path: Path):
    frame = pandas.DataFrame({"a": np.arange(900) % 4, "b": np.ones(900, np.int64), "c": np.full(900, np.nan)})
    frame = frame.astype({"a": "Int64"})
    frame.loc[850, "a"] = pandas.NA
    frame.to_parquet(tmp_path / "t.parquet", row_group_size=100)
    data = load(tmp_path / "t.parquet", **ON)
    assert data.has_missing
    assert any(note.startswith("33.4% of the entries are missing") for note in data.notes)
    assert any("column 'b' never varies" in note for note in data.notes)
    assert never_observed(data.train).tolist() == [False, False, True]
    assert all(batch["observed"][:, 1].all() for batch in to_batches(data.test, batch_size=9, training=False).epoch(0))
    assert everything(data)["x"].isnan().sum() == 901


def test_splits_may_lie_in_folders_of_their_own(tmp_path: Path):
    for split, part in (("train", X[:700]), ("valid", X[700:800]), ("test", X[800:])):
        (tmp_path / split).mkdir()
        npy_shards_of = np.array_split(part, 3)
        for number, shard in enumerate(npy_shards_of):
            np.save(tmp_path / split / f"{number}.npy", shard)
    data = load(tmp_path, **ON)
    assert [len(split) for split in data.splits.values()] == [700, 100, 100]
    np.testing.assert_array_equal(torch.cat([batch["x"] for batch in in_order(data.test)]), X[800:])
    assert [len(split) for split in load(tmp_path).splits.values()] == [700, 100, 100]


@pytest.mark.parametrize("dtype", [">f4", "<f8", "<i2", "<u2", "<i8", "?", "<f2"])
def test_numbers_of_every_type_keep_their_values(dtype: str, tmp_path: Path):
    x = np.round(X * 10).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    held = everything(load(tmp_path / "x.npy", splits=(1, 0, 0), **ON))["x"]
    np.testing.assert_array_equal(held.float().numpy(), x.astype(np.float32))


def test_a_memory_map_is_read_from_its_file_with_arrays_beside_it(tmp_path: Path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    data = load((mapped[100:], np.arange(800) % 2), **ON)
    batch = everything(data)
    np.testing.assert_array_equal(batch["x"], X[100:])
    assert batch["labels"].tolist() == (np.arange(800) % 2).tolist()
    assert load(mapped).window_mib is None
    given = load({"train_x": mapped[:500], "test_x": mapped[500:]}, **ON)
    assert [len(split) for split in given.splits.values()] == [450, 50, 400]
    with pytest.raises(InputError, match="cannot be streamed"):
        load(mapped[:, ::2], **ON)


def test_what_is_free_decides_and_the_user_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = npy(tmp_path)
    for module in (shards, memory):
        monkeypatch.setattr(module, "free_memory", lambda: 4 * X.nbytes - 1)
    assert load(path).window_mib == 1
    assert load(path, stream="off").window_mib is None
    monkeypatch.setattr(shards, "free_memory", lambda: 4 * X.nbytes)
    assert load(path).window_mib is None
    monkeypatch.setattr(shards, "free_memory", lambda: X.nbytes - 1)
    with pytest.raises(InputError, match=r"data.stream is 'off', but .* takes 21.6 kB of memory, and 21.6 kB are free"):
        load(path, stream="off")


def test_what_cannot_be_streamed_is_held_where_memory_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = by_columns(tmp_path)
    monkeypatch.setattr(shards, "free_memory", lambda: 5 * X.nbytes)
    np.testing.assert_array_equal(everything(load(path))["x"].numpy(), X)
    monkeypatch.setattr(shards, "free_memory", lambda: 4 * X.nbytes - 1)
    with pytest.raises(InputError, match="column by column"):
        load(path)


def test_the_window_is_a_power_of_two_of_mib_within_bounds(monkeypatch: pytest.MonkeyPatch):
    for free, window in ((0.0, 16), (600e6, 32), (1.2e9, 64), (float("inf"), 128)):
        monkeypatch.setattr("amortized.data.ondisk.free_memory", lambda free=free: free)
        assert choose_window() == window


def test_the_fingerprint_tells_other_data(tmp_path: Path):
    path = npy(tmp_path)
    first = load(path, **ON).fingerprint
    assert load(path, seed=1, splits=(0.5, 0.5, 0), stream="on", window_mib=2).fingerprint == first
    changed = X.copy()
    changed[-1, -1] += 1
    np.save(path, changed)
    assert load(path, **ON).fingerprint != first
    np.save(path, X.reshape(600, 9))
    assert load(path, **ON).fingerprint != first


@pytest.mark.parametrize("write", [npy_shards, parquet, tar_shards])
def test_a_look_through_all_rows_adds_a_checksum_that_is_the_same_each_time(write, tmp_path: Path):
    path = write(tmp_path)
    first, seen = load(path, **ON, judged=False).fingerprint, load(path, **ON).fingerprint
    assert seen.split(":")[0] == first
    assert len(seen) > len(first)
    assert load(path, stream="on", window_mib=2).fingerprint == seen


def rounded_npy(folder: Path) -> Path:
    x = np.arange(2700).reshape(900, 3)
    x[[700, 800], 1] = 2**24 + 1, 2**25 + 1
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def rounded_parquet(folder: Path) -> Path:
    frame = pandas.DataFrame(np.load(rounded_npy(folder)), columns=["0", "1", "2"])
    frame.to_parquet(folder / "x.parquet", row_group_size=70)
    return folder / "x.parquet"


@pytest.mark.parametrize("write", [rounded_npy, rounded_parquet])
def test_a_whole_number_that_float32_rounds_is_noted(write, tmp_path: Path):
    path = write(tmp_path)
    (held,) = [note for note in load(path, stream="off").notes if "float32 rounds" in note]
    assert "16777217 at row 700" in held
    assert held in load(path, **ON).notes


def truncated(folder: Path) -> Path:
    path = npy(folder)
    path.write_bytes(path.read_bytes()[:-8])
    return path


def other_shape(folder: Path) -> Path:
    np.save(npy_shards(folder) / "9.npy", X[:, :3])
    return folder


def other_type(folder: Path) -> Path:
    np.save(npy_shards(folder) / "9.npy", X.astype(np.float64))
    return folder


def empty_shard(folder: Path) -> Path:
    np.save(npy_shards(folder) / "9.npy", X[:0])
    return folder


def infinite(folder: Path) -> Path:
    x = X.copy()
    x[871, 4] = np.inf
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def by_columns(folder: Path) -> Path:
    np.save(folder / "x.npy", np.asfortranarray(X))
    return folder / "x.npy"


def strange_shard(folder: Path) -> Path:
    (npy_shards(folder) / "notes.txt").write_text("mine")
    return folder


def other_columns(folder: Path) -> Path:
    pandas.DataFrame({"z": [1.0]}).to_parquet(parquet_shards(folder) / "9.parquet")
    return folder


def no_rows(folder: Path) -> Path:
    table().drop(columns=["kind", "dose"]).iloc[:0].to_parquet(parquet_shards(folder) / "9.parquet")
    return folder


def cut_parquet(folder: Path) -> Path:
    path = parquet(folder)
    path.write_bytes(path.read_bytes()[:-8])
    return path


def words(folder: Path) -> Path:
    table().to_parquet(folder / "x.parquet", row_group_size=70)
    return folder / "x.parquet"


def cut_tar(folder: Path) -> Path:
    path = write_tar(folder / "x.tar", {"0.png": png(PIXELS[0]), "1.png": png(PIXELS[1])})
    path.write_bytes(path.read_bytes()[:1700])  # within the last image
    return path


def other_size(folder: Path) -> Path:
    return write_tar(folder / "x.tar", {"0.png": png(PIXELS[0]), "1.png": png(PIXELS[1][:4])})


def some_labels(folder: Path) -> Path:
    return write_tar(folder / "x.tar", {"0.png": png(PIXELS[0]), "0.cls": b"1", "1.png": png(PIXELS[1])})


def two_images(folder: Path) -> Path:
    return write_tar(folder / "x.tar", {"0.left.png": png(PIXELS[0]), "0.right.png": png(PIXELS[0])})


def no_image(folder: Path) -> Path:
    return write_tar(folder / "x.tar", {"0.txt": b"words"})


def empty_label(folder: Path) -> Path:
    return write_tar(folder / "x.tar", {"0.png": png(PIXELS[0]), "0.cls": b" "})


def broken_image(folder: Path) -> Path:
    return write_tar(folder / "x.tar", {"0.png": b"words"})


def shard_beside_classes(folder: Path) -> Path:
    np.save(image_folder(folder) / "stray.npy", X)
    return folder


def compressed(folder: Path) -> Path:
    with tarfile.open(folder / "x.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("0.png"))
    return folder / "x.tar"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (truncated, "is truncated: it has 21,720 of the 21,728 bytes"),
        (other_shape, r"9.npy' has rows of shape \(3,\) and type float32"),
        (other_type, r"9.npy' has rows of shape \(6,\) and type float64"),
        (empty_shard, "9.npy' is empty"),
        (infinite, "it is inf at row 871, column 4"),
        (by_columns, "lies on the disk column by column"),
        (strange_shard, "notes.txt' lies beside shards that end in .npy"),
        (other_columns, "9.parquet' has other columns"),
        (no_rows, "9.parquet' has no rows; remove it"),
        (cut_parquet, "cannot be read: it is truncated"),
        (words, "column 'kind' needs numbers; it has 'dog' at row 0"),
        (cut_tar, "unexpected end of data"),
        (other_size, "image 1 of .*x.tar' is 6 x 4 color, but image 0 of .*x.tar' is 6 x 8 color"),
        (some_labels, "image '1' of '.*x.tar' has no label, but others have"),
        (two_images, "sample '0' of '.*x.tar' has more than one image"),
        (empty_label, "'0.cls' of '.*x.tar' is empty; write a class"),
        (broken_image, r"image 0 of '.*x.tar' cannot be read as an image \(it has no format that is known\)"),
        (shard_beside_classes, "stray.npy' lies beside the folder 'a'; keep shards in a folder of their own"),
        (no_image, "holds no images"),
        (compressed, "truncated, compressed or no .tar file"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_streamed_is_refused_in_one_sentence(write, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message) as caught:
        load(write(tmp_path), **ON)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kept", ["header", "half a header", "file"])
def test_a_tar_cut_where_the_rest_reads_like_a_whole_one_is_truncated(kept: str, tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {f"{number}.png": png(PIXELS[number]) for number in range(3)})
    with tarfile.open(path) as archive:
        last = archive.getmembers()[-1]
    assert len(load(path).parts("all")[0]) == 3
    size = {"header": last.offset, "half a header": last.offset + 200, "file": last.offset_data + 512 * (last.size // 512 + 1)}
    path.write_bytes(path.read_bytes()[: size[kept]])
    with pytest.raises(InputError, match="x.tar' is truncated: its end mark is missing; write it again"):
        load(path)


def test_a_column_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path):
    with pytest.raises(InputError, match="labels='sort' names no array of 'x' .*; choose one of 'c0', 'c1'"):
        load(parquet(tmp_path), labels="sort", **ON)
    with pytest.raises(InputError, match="context='c9' names no array of 'x' .*; choose one of 'c0', 'c1'"):
        load(parquet(tmp_path), context="c9", **ON)


def test_windows_of_which_memory_does_not_hold_two_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = npy(tmp_path)
    monkeypatch.setattr("amortized.data.ondisk.free_memory", lambda: 2.0 * X.nbytes)
    assert load(path, stream="on", window_mib=10**6).window_mib == 10**6  # these data are less than a window
    monkeypatch.setattr("amortized.data.ondisk.free_memory", lambda: 2.0 * X.nbytes - 1)
    with pytest.raises(
        InputError, match="two windows of 70 MiB take 43.2 kB of memory, and 43.2 kB are free; set data.window_mib to 16"
    ):
        load(path, stream="on", window_mib=70)


def test_other_sources_are_not_streamed(tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=X)
    for source in (tmp_path / "x.npz", X, "digits", table()):
        with pytest.raises(InputError, match="data.stream is 'on', but .* cannot be streamed; give .npy"):
            load(source, labels="kind" if isinstance(source, pandas.DataFrame) else None, **ON)


def test_row_groups_that_memory_does_not_hold_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = parquet(tmp_path)
    monkeypatch.setattr("amortized.data.ondisk.free_memory", lambda: 2000.0)
    with pytest.raises(InputError, match="row groups of up to 70 rows, 1.7 kB each"):
        load(path, **ON)


def test_a_file_that_is_removed_or_cut_while_it_is_read_is_named(tmp_path: Path):
    path = npy(tmp_path)
    for spoil, message in (
        (lambda: path.write_bytes(path.read_bytes()[:9000]), "was cut while"),
        (path.unlink, "can no longer be read"),
    ):
        data = load(npy(tmp_path), **ON)
        spoil()
        with pytest.raises(InputError, match=message):
            list(to_batches(data.train, batch_size=30, training=True).epoch(0))


def test_stores_of_splits_must_fit_each_other(tmp_path: Path):
    stores = {split: shards.open_npy([npy(tmp_path)]) for split in ("train", "test")}
    stores["test"].event_shape = (3,)
    with pytest.raises(InputError, match=r"'test_x' has rows of shape \(3,\)"):
        from_disk(
            stores,
            name="x",
            shared={},
            labels=None,
            context=(),
            splits=(1, 0, 0),
            seed=0,
            is_image=None,
            least_rows=2,
            window_mib=None,
            judged=False,
            say=None,
        )

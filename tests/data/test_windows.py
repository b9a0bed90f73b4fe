"""The order in which data on the disk are seen, and that it is a function of (seed, epoch) alone."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from amortized.data import StreamedSplit, in_order, load, make_transform, sample_rows, to_batches, windows
from amortized.data.ahead import ahead
from amortized.data.ondisk import cut
from amortized.data.stores import open_npy
from amortized.data.windows import plan_windows
from amortized.errors import InputError

ROWS, WIDTH = 6000, 700  # 4.2 MB: three windows of 1 MiB for training


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bytes; the first four of a row are its number."""
    x = np.random.default_rng(0).integers(0, 200, (ROWS, WIDTH), dtype=np.uint8)
    x[:, :4] = np.arange(ROWS, dtype="<u4").view(np.uint8).reshape(ROWS, 4)
    path = tmp_path_factory.mktemp("windows") / "x.npy"
    np.save(path, x.reshape(ROWS, 20, 35))
    return path


def numbers(x: torch.Tensor) -> torch.Tensor:
    return (x.flatten(1)[:, :4].to(torch.int64) * torch.tensor([1, 2**8, 2**16, 2**24])).sum(1)


def streamed(path: Path, **options):
    return load(path, stream="on", window_mib=1, **options)


def training(path: Path, seed: int = 0):
    return to_batches(streamed(path).train, batch_size=64, training=True, seed=seed)


def rows(batches, epoch: int = 0, **options) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches.epoch(epoch, **options)]


def test_every_row_is_in_one_split_and_whole(path: Path):
    data = streamed(path)
    seen = []
    for split in data.splits.values():
        assert isinstance(split, StreamedSplit)
        for batch in to_batches(split, batch_size=100, training=False).epoch(0):
            assert torch.equal(numbers(batch["x"]), batch["index"])
            seen += batch["index"].tolist()
    assert sorted(seen) == list(range(ROWS))
    for split, share in zip(data.splits.values(), (0.8, 0.1, 0.1), strict=True):
        assert len(split) == pytest.approx(share * ROWS, abs=3)  # runs are of two or three rows


def test_an_epoch_is_a_permutation_in_full_batches_of_the_very_rows(path: Path):
    batches = training(path)
    visited = []
    for batch in batches.epoch(3):
        assert torch.equal(numbers(batch["x"]), batch["index"])
        assert len(batch["index"]) == 64
        visited += batch["index"].tolist()
    assert len(set(visited)) == len(visited) == len(batches) * 64
    assert len(batches.split) - len(visited) < 64


def test_the_order_is_a_function_of_seed_and_epoch_and_comes_from_all_over_the_file(path: Path):
    assert rows(training(path), 3) == rows(training(path), 3)
    assert rows(training(path), 3) != rows(training(path), 4)
    assert rows(training(path, seed=0), 3) != rows(training(path, seed=1), 3)
    # The ranks of 64 even draws have a mean of 1/2 with a standard error of 0.036; one batch in 75 may be 4 of them off.
    means = np.asarray([np.mean(batch) for batch in rows(training(path))]) / ROWS
    assert (abs(means - 0.5) < 4 / np.sqrt(12 * 64)).all()


def test_starting_later_reads_nothing_of_what_is_skipped_and_gives_the_same_bits(path: Path, monkeypatch: pytest.MonkeyPatch):
    transform = make_transform(streamed(path).support, scale="unit")
    batches = to_batches(streamed(path).train, batch_size=64, training=True, transform=transform)
    whole = list(batches.epoch(2))
    read: list[int] = []
    store = batches.split.store  # pyright: ignore[reportAttributeAccessIssue]
    own = store.read
    monkeypatch.setattr(store, "read", lambda begin, end: read.append(end - begin) or own(begin, end))
    for start in (1, 24, 25, 26, 70, len(batches) - 1):
        read.clear()
        rest = list(batches.epoch(2, start=start))
        assert len(rest) == len(whole) - start
        assert all(torch.equal(a["x"], b["x"]) for a, b in zip(rest, whole[start:], strict=True))
    window = max(np.diff(plan_windows(batches.split, 0)[1], prepend=0))  # pyright: ignore[reportArgumentType]
    assert sum(read) <= window


def test_ranks_see_together_what_one_process_sees(path: Path):
    whole = rows(training(path), 1)
    shares = [rows(training(path), 1, rank=rank, world=2) for rank in range(2)]
    assert [a + b for a, b in zip(*shares, strict=True)] == whole
    assert {len(share) for part in shares for share in part} == {32}


def test_reading_ahead_changes_nothing_and_leaves_the_global_generator_alone(path: Path, monkeypatch: pytest.MonkeyPatch):
    state = torch.get_rng_state()
    ahead_of_time = [batch["x"] for batch in training(path).epoch(1)]
    assert torch.equal(state, torch.get_rng_state())
    monkeypatch.setattr(windows, "ahead", lambda items: (item for item in items))
    assert all(torch.equal(a, b["x"]) for a, b in zip(ahead_of_time, training(path).epoch(1), strict=True))


def test_no_more_than_two_windows_are_there(path: Path):
    split = streamed(path).train
    assert isinstance(split, StreamedSplit)
    planned, ends = plan_windows(split, 0)
    sizes = np.diff(ends, prepend=0)
    assert len(planned) == 4  # 3.4 MB in windows of 1 MiB
    assert sizes.max() <= split.window + 3
    assert sizes.max() - sizes.min() <= 6  # no short window, in which little would be shuffled


def test_the_thread_ends_with_the_iterator(path: Path):
    def readers() -> int:
        return sum(thread.name.startswith("read-ahead") for thread in threading.enumerate())

    before = readers()
    epoch = training(path).epoch(0)
    next(epoch)
    assert readers() == before + 1
    del epoch
    assert readers() == before
    list(training(path).epoch(0))
    assert readers() == before


def test_an_error_while_reading_ahead_reaches_who_takes_the_items():
    def items():
        yield 1
        raise InputError("the file is gone; restore it.")

    taken = ahead(items())
    assert next(taken) == 1
    with pytest.raises(InputError, match="the file is gone"):
        next(taken)


def test_rows_are_fetched_by_number_in_any_order_and_repeatedly(path: Path):
    split = streamed(path).train
    whole = torch.cat([batch["index"] for batch in in_order(split)])
    chosen = torch.tensor([4000, 3, 3, 17, 0, len(split) - 1])
    batch = split.fetch(chosen)
    assert torch.equal(batch["index"], whole[chosen])
    assert torch.equal(numbers(batch["x"]), whole[chosen])
    assert len(split.fetch(chosen[:0])["x"]) == 0
    assert len(sample_rows(split, 50)["index"].unique()) == 50


def test_the_splits_together_are_the_file_in_its_order(path: Path):
    (whole,) = streamed(path).parts("all")
    assert torch.equal(torch.cat([batch["index"] for batch in in_order(whole)]), torch.arange(ROWS))


def test_a_piece_that_can_only_be_read_whole_is_read_once_for_all_of_its_runs(path: Path):
    store = open_npy([path])
    assert len(cut(store)) == ROWS // 2  # 2,048 runs at least
    store.is_whole = True
    runs = cut(store)
    assert set(runs.piece.tolist()) == {0}
    reads: list[tuple[int, int]] = []
    own = store.read
    store.read = lambda begin, end: reads.append((begin, end)) or own(begin, end)
    split = StreamedSplit(store, runs.take(np.arange(0, len(runs), 2)), window=10)
    assert sum(len(batch["x"]) for batch in in_order(split)) == len(split)
    assert reads == [(0, ROWS - 2)]


def test_frozen_noise_is_that_of_rows_in_memory(path: Path):
    options = {"batch_size": 100, "training": False}
    data = streamed(path, splits=(1, 0, 0))
    transform = make_transform(data.support, binarize="dynamic")
    from_disk = torch.cat([batch["x"] for batch in to_batches(data.train, transform=transform, **options).epoch(0)])  # pyright: ignore[reportArgumentType]
    held = load(path, splits=(1, 0, 0)).train
    in_memory = torch.cat([batch["x"] for batch in to_batches(held, transform=transform, **options).epoch(0)])  # pyright: ignore[reportArgumentType]
    assert torch.equal(from_disk, in_memory)

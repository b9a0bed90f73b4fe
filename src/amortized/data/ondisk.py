"""From stores to a `Data` whose rows stay on the disk."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortized.data.arrays import SPLITS, place
from amortized.data.looking import Findings, Say, look
from amortized.data.memory import free_memory, in_words
from amortized.data.notes import hole_notes, notes_of, rounded_note
from amortized.data.record import Data
from amortized.data.roles import WHOLE, find_conditions, find_labels, key_of
from amortized.data.splits import check_fractions, divide
from amortized.data.stores import Store, decoded_bytes, row_bytes
from amortized.data.support import is_image_shape
from amortized.data.windows import Runs, StreamedSplit
from amortized.data.witness import Witness, checksum, first_of
from amortized.errors import InputError, NoRoomError

MIB = 2**20
WINDOWS_MIB = (16, 128)
"""The smallest and the largest window that is chosen."""
SHARE = 16
"""A window takes at most this part of the memory that is free: two are there at once, and a model needs most of it."""
RUNS = 2048
"""Data are cut into this many runs at least, as far as they have rows: so that a division of runs is one of the data."""
PIECES = 200
"""From so many pieces on that can only be read whole, those themselves are divided, so that no split reads more than its own."""
SAMPLES, SAMPLE_BYTES = 32, 2**16
"""How many pieces of the files, and how long, their fingerprint is made of."""


def from_disk(
    stores: Mapping[str, Store],
    *,
    name: str,
    shared: Mapping[str, np.ndarray],
    labels: Any,
    context: Sequence[str] | Mapping[str, Any],
    splits: Sequence[float],
    seed: int,
    is_image: bool | None,
    least_rows: int,
    window_mib: int | None,
    judged: bool,
    say: Say | None,
) -> Data:
    """Make a data set of stores.

    Args:
        stores: By split, or one to be divided under the key "".
        name: What to call the data.
        shared: Arrays that belong to all of them: `class_names`.
        labels: One class per row, or the name of an array.
        context: What to condition on.
        splits: The fractions of train, valid and test.
        seed: Which division.
        is_image: Whether the data are images; None where the shape tells.
        least_rows: How many rows there must be.
        window_mib: How many MiB are shuffled together; None chooses by the memory that is free.
        judged: Whether all rows are looked through, for support, moments and notes; without that they can be used, not fitted.
        say: Is told what takes long.

    Raises:
        InputError: The stores do not fit each other, or have too few rows, or row groups that are too large.
    """
    fractions = check_fractions(splits)
    first = next(iter(stores.values()))
    for split, store in stores.items():
        _check(split, store, first, least_rows)
    arrays = {key_of(split, key): value for split, store in stores.items() for key, value in store.arrays.items()} | dict(shared)
    found = find_labels(arrays, labels, stores, name, first.columns)
    conditions, context_names = find_conditions(arrays, context, stores, name, found, first.columns)
    size = decoded_bytes(stores.values())
    if judged and window_mib is not None:
        _check_window(window_mib, size)
    window_mib = window_mib or min(choose_window(), -(-size // MIB))
    parts: dict[str, StreamedSplit] = {}
    for split, store in stores.items():
        own = {key: _small(values[split]) for key, values in conditions.items()}
        codes = None if found[0] is None else _small(found[0][split])
        rows = max(1, window_mib * MIB // row_bytes(store))
        parts |= _divided(split, StreamedSplit(store, cut(store), rows, own, codes), fractions, seed, stores)
    columns = first.columns or tuple(map(str, range(first.event_shape[0] if len(first.event_shape) == 1 else 0)))
    image = is_image_shape(first.event_shape) if is_image is None else is_image
    data = Data(
        name,
        parts["train"],
        parts["valid"],
        parts["test"],
        image,
        columns=columns,
        label_names=found[1],
        context_names=context_names,
        notes=(f"the data ({in_words(size)}) stay on the disk and stream in shuffled windows of {window_mib} MiB.",),
        fingerprint=fingerprint(stores.values()),
        window_mib=window_mib,
    )
    return _judged(data, parts, stores, say) if judged else data


def choose_window() -> int:
    """The size of a window in MiB, a power of two: what is free decides, within bounds."""
    least, most = WINDOWS_MIB
    share = free_memory() / SHARE / MIB
    return max(least, most if share >= most else 2 ** int(np.log2(max(1.0, share))))


def cut(store: Store) -> Runs:
    """The runs of neighbors that the rows of a store are divided by, and read by."""
    cuts = store.cuts
    if store.is_whole and len(cuts) > PIECES:
        return Runs(cuts[:-1], cuts[1:], np.arange(len(cuts) - 1))
    run = min(store.run, max(1, len(store) // RUNS))
    begin = np.concatenate([np.arange(*ends, run) for ends in zip(cuts[:-1], cuts[1:], strict=True)])
    piece = np.searchsorted(cuts, begin, side="right") - 1
    end = np.minimum(begin + run, cuts[piece + 1])
    return Runs(begin, end, piece if store.is_whole else np.arange(len(begin)))


def fingerprint(stores: Any) -> str:
    """The start of a hash of shapes, sizes and a sample of the bytes: another one where a file was written anew.

    What lies between the samples is not read, so that it costs little whatever the size; a look through all rows adds a checksum
    of them, after a colon.
    """
    digest = hashlib.sha256()
    for store in stores:
        sizes = [_size(path) for path in store.files]
        digest.update(f"{len(store)} {store.event_shape} {store.dtype}".encode())
        digest.update("".join(f"{path.name} {size}\n" for path, size in zip(store.files, sizes, strict=True)).encode())
        ends = np.cumsum(sizes)
        for begin in np.linspace(0, max(0, int(ends[-1]) - SAMPLE_BYTES), SAMPLES).astype(np.int64):
            number = int(np.searchsorted(ends, begin, side="right"))
            with store.files[number].open("rb") as file:
                file.seek(int(begin - ends[number] + sizes[number]))
                digest.update(file.read(SAMPLE_BYTES))
        for key, value in sorted(store.arrays.items()):
            digest.update(f"{key} {value.dtype}".encode() + value.tobytes())
    return digest.hexdigest()[:16]


def _size(path: Path) -> int:
    return path.stat().st_size


def _check(split: str, store: Store, first: Store, least_rows: int) -> None:
    key = key_of(split, "x")
    if split in (WHOLE, "train") and len(store) < least_rows:
        raise InputError(f"array '{key}' has 1 row; learning a distribution needs at least {least_rows}.")
    if store.event_shape != first.event_shape or store.columns != first.columns:
        what = "other columns" if store.event_shape == first.event_shape else f"rows of shape {store.event_shape}"
        raise InputError(f"array '{key}' has {what}, but those of the training split are {first.event_shape}; give one shape.")
    largest = int(np.diff(store.cuts).max())
    size, free = largest * row_bytes(store), free_memory()
    if store.is_whole and 4 * size > free:
        raise InputError(
            f"'{store.files[0]}' has row groups of up to {largest:,} rows, {in_words(size)} each, which can only be read whole,"
            f" and {in_words(free)} of memory are free; write it with smaller ones, such as by frame.to_parquet(path,"
            f" row_group_size={max(1, 32 * MIB // row_bytes(store))})."
        )


def _check_window(window_mib: int, size: int) -> None:
    """Refuse large windows of which memory does not hold two, where the data fill them."""
    needed, free = 2 * min(window_mib * MIB, size), free_memory()
    if window_mib > WINDOWS_MIB[0] and needed > free:
        needs = f"two windows of {window_mib} MiB take {in_words(needed)} of memory, and {in_words(free)} are free"
        raise NoRoomError(f"{needs}; set data.window_mib to {choose_window()}, or leave it out.", needs)


def _divided(
    split: str, whole: StreamedSplit, fractions: tuple[float, float, float], seed: int, given: Mapping[str, Store]
) -> dict[str, StreamedSplit]:
    """The splits that a store is made into: three, or those that are not given by others."""
    if split in ("valid", "test"):
        return {split: whole}
    shares = [0.0 if other in given else fraction for other, fraction in zip(SPLITS, fractions, strict=True)]
    shares[0] = 1.0 - shares[1] - shares[2]
    is_by_row = len(whole.runs) == len(whole)
    codes = whole.labels if is_by_row and whole.labels is not None and not whole.labels.is_floating_point() else None
    parts = divide(len(whole.runs), shares, seed, None if codes is None else codes.numpy())
    made = {
        name: replace(whole, runs=whole.runs.take(chosen))
        for name, chosen in zip(SPLITS, parts, strict=True)
        if name not in given or name == "train"
    }
    if not len(made["train"]):
        raise InputError(f"splits leave no row of {len(whole)} for training; give train a larger fraction.")
    return made


def _judged(data: Data, parts: Mapping[str, StreamedSplit], stores: Mapping[str, Store], say: Say | None) -> Data:
    """The data with what a look through all of them tells."""
    some = {split: part for split, part in parts.items() if len(part)}
    seen = {split: Witness(part.store) for split, part in some.items()}
    looked_at = [replace(part, store=seen[split]) for split, part in some.items()]
    found = dict(zip(some, look(looked_at, decoded_bytes(stores.values()), say), strict=True))
    whole = reduce(Findings.joined, found.values())
    columns = data.columns
    still = [tuple(position) for position in found["train"].still.nonzero().tolist()]
    constant = tuple(columns[position[0]] if columns else str(position) for position in still)
    notes = notes_of(
        tuple(data.event_shape),
        columns,
        missing=whole.missing / (sum(map(len, some.values())) * whole.low.numel()),
        constant=constant,
        labels=[part.labels for part in some.values() if part.labels is not None],
        empty=[split for split in ("valid", "test") if split not in some],
    )
    held = {
        split: replace(part, has_missing=whole.missing > 0, moments=found[split].moments if split in found else None)
        for split, part in parts.items()
    }
    names = {"label": data.label_names, **data.context_names}
    of_stores = {str(id(part.store)): part for part in held.values()}  # the codes of a part are those of its whole store
    return replace(
        data,
        **held,
        constant=constant,
        notes=(*data.notes, *notes, *_rounded_notes(data, seen, stores), *hole_notes(of_stores, names)),
        fingerprint=f"{data.fingerprint}:{checksum(seen.values())}",
        judged=whole.support(image=data.is_image),
    )


def _rounded_notes(data: Data, seen: Mapping[str, Witness], stores: Mapping[str, Store]) -> Iterator[str]:
    for split, store in stores.items():
        if (found := first_of(seen.values(), store)) is not None:
            yield rounded_note(key_of(split, "x"), found[1], place(found[0], data.columns))


def _small(codes: Tensor) -> Tensor:
    """Codes in the smallest type that holds them: those of all rows are in memory."""
    if codes.is_floating_point() or not len(codes):
        return codes
    most = int(codes.max())
    return codes.to(torch.uint8 if most < 2**8 else torch.int16 if most < 2**15 else torch.int32 if most < 2**31 else torch.int64)

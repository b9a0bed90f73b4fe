"""Which sources may stay on the disk, and whether they do.

A file `.npy`, `.parquet` or `.tar`, a folder of such files (shards), a folder of images, and memory maps in Python. Folders
may have `train/`, `valid/` and `test/`. Whether they are held in memory is chosen by what that would take and what is free.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np

from amortized.data.arrays import SPLITS, to_numpy
from amortized.data.images import EXTENSIONS
from amortized.data.memory import free_memory, in_words
from amortized.data.pictures import TarStore, open_folder
from amortized.data.roles import key_of
from amortized.data.rowgroups import RowGroupStore
from amortized.data.stores import Store, decoded_bytes, is_mapped, open_map, open_npy
from amortized.errors import InputError, NoRoomError

Streaming = Literal["auto", "on", "off"]
SHARDS = (".npy", ".parquet", ".tar")
"""The kinds of files of which several make one data set."""
COPIES = 4
"""How many times its size a data set takes while it is loaded into memory and divided."""
MOST_COMPRESSED = 64
"""A file is not looked into where so many times its size are free: it is then small in any case."""


@dataclass(frozen=True)
class OnDisk:
    """Data that lie on the disk.

    Attributes:
        stores: By split, or one under the key "".
        shared: Arrays of all of them.
        is_image: Whether they are images; None where the shape tells.
        is_only_so: Whether nothing else reads them into memory.
    """

    stores: Mapping[str, Store]
    shared: Mapping[str, np.ndarray] = field(default_factory=dict)
    is_image: bool | None = None
    is_only_so: bool = False

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it in memory, as arrays under the names of an `.npz`."""
        held = dict(self.shared)
        for split, store in self.stores.items():
            pieces = [store.read(*ends) for ends in zip(store.cuts[:-1].tolist(), store.cuts[1:].tolist(), strict=True)]
            held[key_of(split, "x")] = np.concatenate(pieces)
            held |= {key_of(split, key): value for key, value in store.arrays.items()}
            if store.columns:
                held["columns"] = np.asarray(store.columns)
        return held


def find_on_disk(source: Any, named: Collection[str], stream: Streaming) -> OnDisk | None:
    """The data of a source, where they lie on the disk and cannot be read into memory as they always were, or shall not be.

    Args:
        source: A path, or what is handed over in Python.
        named: The columns that are no part of x.
        stream: `auto` leaves the choice to this.

    Raises:
        InputError: They shall stay on the disk and cannot, or shall not and must.
    """
    kind = _kind(source)
    if kind is None:
        if stream == "on":
            raise InputError(
                f"data.stream is 'on', but {_called(source)} cannot be streamed; give {', '.join(SHARDS)}, a folder of such files"
                " or of images, or a memory map, or set data.stream to 'auto'."
            )
        return None
    if stream == "auto" and not kind.is_new and MOST_COMPRESSED * kind.size < free_memory():
        return None
    if stream == "off" and not kind.is_new and kind.size < free_memory():
        return None
    try:
        return replace(kind.open(named), is_only_so=kind.is_new)
    except InputError:
        if stream != "auto" or kind.is_new or COPIES * kind.size >= free_memory():
            raise
        return None  # it cannot be streamed, and need not be


def stays(found: OnDisk, stream: Streaming, source: Any) -> bool:
    """Whether data stay on the disk.

    Raises:
        InputError: They shall not, but memory does not hold them.
    """
    size, free = decoded_bytes(found.stores.values()), free_memory()
    if stream == "off" and size > free:
        needs = f"{_called(source)} takes {in_words(size)} of memory, and {in_words(free)} are free"
        raise NoRoomError(f"data.stream is 'off', but {needs}; set data.stream to 'auto'.", needs)
    return stream == "on" or (stream == "auto" and COPIES * size > free)


@dataclass(frozen=True)
class _Kind:
    """What a source is: how large on the disk, whether it can be read by stores only, and how these are opened."""

    size: int
    is_new: bool
    open: Callable[[Collection[str]], OnDisk]


def _kind(source: Any) -> _Kind | None:
    if not isinstance(source, Path):
        return _kind_in_python(source)
    if source.is_dir():
        return _kind_of_folder(source)
    suffix = source.suffix.lower()
    if suffix not in SHARDS:
        return None
    return _Kind(source.stat().st_size, suffix == ".tar", lambda named: _opened({"": [source]}, suffix, named))


def _kind_in_python(source: Any) -> _Kind | None:
    """Memory maps of x, with other arrays beside them."""
    if isinstance(source, tuple) and len(source) == 2:
        source = {"x": source[0], "y": source[1]}
    given: dict[str, Any] = dict(source) if isinstance(source, Mapping) else {"x": source}
    x = {split: given.pop(key_of(split, "x")) for split in ("", *SPLITS) if key_of(split, "x") in given}
    if not x or not all(map(is_mapped, x.values())) or ("" in x and len(x) > 1) or not {"", "train"} & set(x):
        return None

    def opened(_: Collection[str]) -> OnDisk:
        stores = {split: open_map(array) for split, array in x.items()}
        return OnDisk(stores, {str(name): to_numpy(value, str(name)) for name, value in given.items()})

    return _Kind(sum(array.nbytes for array in x.values()), False, opened)


def _kind_of_folder(folder: Path) -> _Kind | None:
    splits = {split: folder / split for split in SPLITS if (folder / split).is_dir()} or {"": folder}
    files = {split: _visible(part) for split, part in splits.items()}
    kinds = {path.suffix.lower() for paths in files.values() for path in paths if path.is_file()}
    shards = kinds & set(SHARDS)
    if not shards:
        images = (path for each in splits.values() for path in each.rglob("*") if path.suffix.lower() in EXTENSIONS)
        return _Kind(sum(map(_size, images)), False, lambda _: OnDisk(*open_folder(folder), is_image=True))
    if len(kinds) > 1:
        other = next(path for paths in files.values() for path in paths if path.suffix.lower() != min(shards))
        raise InputError(
            f"'{other}' lies beside shards that end in {min(shards)}; keep shards of one kind in a folder of their own."
        )
    if inner := next((path for paths in files.values() for path in paths if path.is_dir()), None):
        stray = next(path for paths in files.values() for path in paths if path.is_file())
        raise InputError(f"'{stray}' lies beside the folder '{inner.name}'; keep shards in a folder of their own.")
    suffix, size = shards.pop(), sum(map(_size, chain.from_iterable(files.values())))
    return _Kind(size, True, lambda named: _opened(files, suffix, named))


def _size(path: Path) -> int:
    return path.stat().st_size


def _visible(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "_"))]


def _opened(files: Mapping[str, Sequence[Path]], suffix: str, named: Collection[str]) -> OnDisk:
    empty = [split for split, paths in files.items() if not paths]
    if empty or not {"", "train"} & set(files):
        where = f"the split '{empty[0]}'" if empty else "'train'"
        raise InputError(f"there are no {suffix} shards of {where}; give it some, or leave the folder out.")
    if suffix == ".npy":
        return OnDisk({split: open_npy(paths) for split, paths in files.items()})
    if suffix == ".tar":
        return OnDisk({split: TarStore(paths) for split, paths in files.items()}, is_image=True)
    return OnDisk({split: RowGroupStore(paths, named) for split, paths in files.items()})


def _called(source: Any) -> str:
    return f"'{source}'" if isinstance(source, str | Path) else f"what is given in Python ({type(source).__name__})"

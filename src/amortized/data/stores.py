"""Stores: rows that lie on the disk, of which any run can be read.

A store is one file or several (shards), with as many rows as all together. It is cut where rows that are read together must not
reach across: where a shard ends, or a row group of a Parquet file. Files are read by plain reads into memory of one's own, and
opened anew each time: mapped pages would count as resident, and a file that was removed meanwhile would go unnoticed.
"""

import mmap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from amortized.errors import InputError

RUN_BYTES = 2**20
"""About how much is read at once: enough that finding its place costs little beside reading it."""


class Store(Protocol):
    """Rows on the disk.

    Attributes:
        files: Where they lie, in their order.
        event_shape: The shape of one row's `x`.
        dtype: Of `x` in memory.
        cuts: (P + 1,) the rows at which its pieces begin, from 0 to their number.
        is_whole: Whether a piece can only be read whole.
        run: How many neighboring rows are best read together.
        columns: The names of a table's columns; empty for other events.
        arrays: All arrays but x, by their names in an `.npz`; these are in memory.
    """

    files: Sequence[Path]
    event_shape: tuple[int, ...]
    dtype: np.dtype
    cuts: NDArray[np.int64]
    is_whole: bool
    run: int
    columns: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def read(self, begin: int, end: int) -> np.ndarray:
        """The x of rows that lie in one piece.

        Raises:
            InputError: They cannot be read any more.
        """
        ...


@dataclass(frozen=True)
class Extent:
    """Rows in one file, end to end from `offset` on."""

    path: Path
    offset: int
    rows: int


class RawStore:
    """Rows of numbers as `.npy` files hold them.

    Args:
        extents: The files.
        event_shape: The shape of a row.
        dtype: Of the numbers.
        arrays: Other arrays, in memory.
    """

    files: Sequence[Path]
    arrays: Mapping[str, np.ndarray]
    is_whole: bool = False
    columns: tuple[str, ...] = ()

    def __init__(
        self,
        extents: Sequence[Extent],
        event_shape: tuple[int, ...],
        dtype: np.dtype,
        arrays: Mapping[str, np.ndarray] | None = None,
    ):
        self.extents, self.event_shape, self.stored = extents, event_shape, dtype
        self.files = [extent.path for extent in extents]
        self.dtype = narrow(dtype)
        self.cuts = np.cumsum([0, *(extent.rows for extent in extents)], dtype=np.int64)
        self.arrays = arrays or {}
        self.row_bytes = dtype.itemsize * int(np.prod(event_shape, dtype=np.int64))
        self.run = max(1, RUN_BYTES // max(1, self.row_bytes))

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.cuts[-1])

    def read(self, begin: int, end: int) -> np.ndarray:
        """The x of rows that lie in one file, as they are stored."""
        shard = int(np.searchsorted(self.cuts, begin, side="right")) - 1
        extent = self.extents[shard]
        rows = np.empty((end - begin, *self.event_shape), self.stored)
        where = extent.offset + (begin - int(self.cuts[shard])) * self.row_bytes
        try:
            with extent.path.open("rb", buffering=0) as file:
                file.seek(where)
                _fill(file, rows, extent.path)
        except OSError as error:
            raise no_longer_readable(extent.path, error) from None
        return rows


def narrow(dtype: np.dtype) -> np.dtype:
    """The type in which numbers are kept in memory: their own where it is small and torch has it."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind in "ui" and dtype.itemsize <= 2 and dtype != np.uint16:
        return dtype.newbyteorder("=")
    return np.dtype(np.int32 if dtype == np.uint16 or (dtype.kind == "i" and dtype.itemsize == 4) else np.float32)


def open_npy(paths: Sequence[Path]) -> RawStore:
    """The store of one `.npy` file, or of shards that have rows of one shape and type.

    Raises:
        InputError: A file is truncated, is none, or does not fit the first.
    """
    headers = [_header(path) for path in paths]
    shape, dtype = headers[0][1][1:], headers[0][2]
    for path, (_, other, kind) in zip(paths, headers, strict=True):
        if other[1:] != shape or kind != dtype:
            raise InputError(
                f"shard '{path}' has rows of shape {other[1:]} and type {kind}, but those of '{paths[0]}' have {shape} and"
                f" {dtype}; write all shards alike."
            )
    extents = [Extent(path, offset, other[0]) for path, (offset, other, _) in zip(paths, headers, strict=True)]
    return RawStore(extents, shape, dtype)


def open_map(array: np.memmap, arrays: Mapping[str, np.ndarray] | None = None) -> RawStore:
    """The store of the file behind a memory map; `is_mapped` tells whether there is one."""
    root: Any = array
    while isinstance(root.base, np.memmap):
        root = root.base
    offset = root.offset + array.ctypes.data - root.ctypes.data
    return RawStore([Extent(Path(str(array.filename)), offset, len(array))], array.shape[1:], array.dtype, arrays)


def is_mapped(array: Any) -> bool:
    """Whether an array is a part of a file as it lies on the disk, in whole rows."""
    is_map = isinstance(array, np.memmap) and array.filename is not None and array.ndim > 1 and array.size > 0
    if not (is_map and array.flags.c_contiguous and array.dtype.kind in "buif" and array.mode != "c"):
        return False
    root: Any = array
    while isinstance(root.base, np.memmap):
        root = root.base
    return isinstance(root.base, mmap.mmap)


def no_longer_readable(path: Path, error: OSError) -> InputError:
    """The error of a file that could be opened before."""
    reason = (error.strerror or str(error)).lower()
    return InputError(f"'{path}' can no longer be read ({reason}); restore it, and go on with --resume if there is a run folder.")


def _header(path: Path) -> tuple[int, tuple[int, ...], np.dtype]:
    """Where the numbers of an `.npy` file begin, their shape and type."""
    try:
        with path.open("rb") as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, is_fortran, dtype = read(file)
            offset = file.tell()
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read: it is truncated or no .npy file ({error}). Write it again.") from None
    if dtype.kind not in "buif":
        raise InputError(
            f"'{path}' holds {dtype}, which cannot be streamed; save real numbers, such as np.save(path, x.astype('float32'))."
        )
    if len(shape) < 2:
        raise InputError(f"'{path}' needs rows and columns; its shape is {shape}. For one column: x.reshape(-1, 1).")
    if is_fortran and min(shape) > 1:
        raise InputError(
            f"'{path}' lies on the disk column by column, so that rows cannot be streamed; write it again by np.save(path,"
            " np.ascontiguousarray(x))."
        )
    if 0 in shape:
        raise InputError(f"'{path}' is empty: its shape is {shape}; remove it, or give rows of at least 1 value.")
    needed, size = offset + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, path.stat().st_size
    if size < needed:
        raise InputError(
            f"'{path}' is truncated: it has {size:,} of the {needed:,} bytes that its header tells of; write it again."
        )
    return offset, shape, dtype


def _fill(file: BinaryIO, rows: np.ndarray, path: Path) -> None:
    rest = memoryview(rows.view(np.uint8).reshape(-1))  # pyright: ignore[reportArgumentType]
    while rest:
        count = file.readinto(rest)  # pyright: ignore[reportAttributeAccessIssue]
        if not count:
            raise InputError(f"'{path}' ends {len(rest):,} bytes too early: it was cut while it was read; restore it.")
        rest = rest[count:]


def decoded_bytes(stores: Iterable[Store]) -> int:
    """How much memory the rows of stores take in the type that they are kept in."""
    return sum(len(store) * row_bytes(store) for store in stores)


def row_bytes(store: Store) -> int:
    """How much memory a row takes."""
    return max(1, store.dtype.itemsize * int(np.prod(store.event_shape, dtype=np.int64)))

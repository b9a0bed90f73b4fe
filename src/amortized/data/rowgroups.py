"""Parquet files by their row groups, the least of them that can be read.

Several files, with the same columns, are one table. Columns that are named as labels or conditions are read whole, once; the
others are the x of the rows. Needs the extra `tables`.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amortized.data.stores import RUN_BYTES, no_longer_readable, row_bytes
from amortized.data.tables import EXTRA, as_numbers, from_series
from amortized.errors import InputError


class RowGroupStore:
    """The rows of Parquet files.

    Args:
        paths: The files.
        named: The columns that are no part of x.

    Raises:
        InputError: A file cannot be read, or has other columns than the first.
    """

    arrays: Mapping[str, np.ndarray]
    is_whole: bool = True

    def __init__(self, paths: Sequence[Path], named: Collection[str]):
        try:
            import pyarrow as arrow
        except ImportError as error:
            raise InputError(f"reading '{paths[0]}' needs {error.name}; install it by: {EXTRA}") from None
        self.files, self._arrow, self._own = paths, arrow, threading.local()
        schema = self._reader(paths[0]).schema_arrow
        names = _columns(schema)
        repeated = {name for name in names if names.count(name) > 1}
        if repeated:
            raise InputError(f"column '{min(repeated)}' occurs more than once in '{paths[0]}'; rename one of them.")
        self.columns = tuple(name for name in names if name not in named)
        if not self.columns:
            raise InputError(f"every column of '{paths[0]}' is named as labels or context; leave at least one to be modeled.")
        self.event_shape = (len(self.columns),)
        types = [schema.field(name).type for name in self.columns]
        is_small = all(arrow.types.is_boolean(kind) or arrow.types.is_uint8(kind) for kind in types)
        self.dtype = np.dtype(np.uint8 if is_small else np.float32)
        sizes: list[int] = []
        self._groups: list[tuple[Path, int]] = []
        for path in paths:
            for number, size in self._sizes(path, schema):
                sizes.append(size)
                self._groups.append((path, number))
        self.cuts = np.cumsum([0, *sizes], dtype=np.int64)
        self.run = max(1, RUN_BYTES // row_bytes(self))
        kept = [name for name in names if name in named]
        self.arrays = {f"context_{name}": self._whole_column(name) for name in kept}

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.cuts[-1])

    def read(self, begin: int, end: int) -> np.ndarray:
        """The x of rows of one row group, in a type that holds all of its columns; a missing number is NaN."""
        group = int(np.searchsorted(self.cuts, begin, side="right")) - 1
        path, number = self._groups[group]
        try:
            table = self._reader(path).read_row_group(number, columns=list(self.columns), use_threads=False)
        except (OSError, self._arrow.ArrowException) as error:
            raise no_longer_readable(path, OSError(_first_line(error))) from None
        first = int(self.cuts[group])
        table = table.slice(begin - first, end - begin)
        cells = [self._cells(name, table.column(name), begin) for name in self.columns]
        # Whole numbers become floats where some are missing.
        rows = np.empty((end - begin, len(cells)), np.result_type(self.dtype, *(cell.dtype for cell in cells)))
        for position, each in enumerate(cells):
            rows[:, position] = each
        return rows

    def _cells(self, name: str, values: Any, first: int) -> np.ndarray:
        types = self._arrow.types
        if types.is_boolean(values.type) and values.null_count:
            values = values.cast(self._arrow.uint8())
        if types.is_boolean(values.type) or types.is_integer(values.type) or types.is_floating(values.type):
            return values.to_numpy()
        return as_numbers(name, from_series(values.to_pandas()), first)

    def _whole_column(self, name: str) -> np.ndarray:
        parts = [self._reader(path).read(columns=[name], use_threads=False).column(name) for path in self.files]
        whole = self._arrow.chunked_array([chunk for part in parts for chunk in part.chunks], type=parts[0].type)
        return from_series(whole.to_pandas())

    def _sizes(self, path: Path, schema: Any) -> list[tuple[int, int]]:
        """The number of each row group with rows, and how many it has."""
        reader = self._reader(path)
        if not reader.schema_arrow.equals(schema):
            raise InputError(
                f"shard '{path}' has other columns, or other types of them, than '{self.files[0]}'; write all shards alike."
            )
        sizes = [reader.metadata.row_group(number).num_rows for number in range(reader.num_row_groups)]
        if not sum(sizes):
            raise InputError(f"'{path}' has no rows; remove it.")
        return [(number, size) for number, size in enumerate(sizes) if size]

    def _reader(self, path: Path) -> Any:
        """The open file; each thread keeps the last one that it read from."""
        if getattr(self._own, "path", None) != path:
            from pyarrow import parquet

            try:
                self._own.reader = parquet.ParquetFile(path, pre_buffer=False)
            except (OSError, ValueError, self._arrow.ArrowException) as error:
                raise InputError(
                    f"'{path}' cannot be read: it is truncated or no .parquet file ({_first_line(error)}). Write it again."
                ) from None
            self._own.path = path
        return self._own.reader


def _columns(schema: Any) -> list[str]:
    """The names of the columns, without those that pandas wrote as the index."""
    index = (schema.pandas_metadata or {}).get("index_columns", ())
    return [name for name in schema.names if name not in index]


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".")

"""Tables: `.csv`, `.parquet` and DataFrames, as a dict of named arrays.

Every column is a number of the datum, but those that are named as labels or as conditions; these may be text. A number that is
missing is NaN: an empty cell, or one of the words by which programs write a hole. In text these are text.
"""

import csv
from collections.abc import Collection, Sequence
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from amortized.data.missing import is_hole
from amortized.errors import InputError

EXTRA = "pip install 'amortized[tables]'"
_WIDEST = {"b": np.bool_, "u": np.uint64, "i": np.int64, "f": np.float64}


def read_csv(path: Path, named: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of a `.csv` file, with a header or without; commas, semicolons or tabs.

    A first row of no numbers, and of more than holes, is a header; without one the columns are called 0, 1, ....

    Args:
        path: Of the file.
        named: The columns that are no part of `x`.

    Raises:
        InputError: No rows, ragged rows, or text where a number is needed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=first.count)
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"'{path}' cannot be read as a table of text ({error}); write it as CSV in UTF-8.") from None
    header = bool(rows) and not any(map(_is_number, rows[0])) and not all(map(is_hole, rows[0]))
    names = [cell.strip() for cell in rows[0]] if header else [str(column) for column in range(len(rows[0]) if rows else 0)]
    rows = rows[header:]
    if not rows:
        raise InputError(f"'{path}' has no rows of data; give at least 2.")
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise InputError(
                f"row {number} of '{path}' has {len(row)} cells, but the table has {len(names)} columns; repair that row."
            )
    columns = [_numbers_or_text(column) for column in zip(*rows, strict=True)]
    return _arrays(names, columns, named, str(path))


def read_parquet(path: Path, named: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of a `.parquet` file; needs the extra `tables`."""
    try:
        import pandas
        import pyarrow
    except ImportError as error:
        raise InputError(f"reading '{path}' needs {error.name}; install it by: {EXTRA}") from None
    try:
        frame = pandas.read_parquet(path)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"'{path}' cannot be read: it is truncated or no .parquet file ({error}). Write it again.") from None
    return from_frame(frame, named)


def is_frame(source: Any) -> bool:
    """Whether `source` is a pandas DataFrame, found out without importing pandas."""
    return type(source).__module__.partition(".")[0] == "pandas" and type(source).__name__ == "DataFrame"


def from_frame(frame: Any, named: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of a DataFrame."""
    names = [str(name) for name in frame.columns]
    columns = [from_series(frame.iloc[:, position]) for position in range(len(names))]
    return _arrays(names, columns, named, "the table")


def from_series(series: Any) -> np.ndarray:
    """The array of a column of a DataFrame: numbers, NaN where one is missing, or text."""
    missing = series.isna().to_numpy()
    if series.dtype.kind in _WIDEST:
        # A nullable integer column has no NaN of its own; as floats its holes are like any other.
        if missing.any():
            return series.to_numpy(dtype=np.float64, na_value=np.nan)
        return series.to_numpy(dtype=_WIDEST[series.dtype.kind])
    if series.dtype == object and all(isinstance(cell, (Real, Decimal)) for cell in series[~missing]):
        return np.asarray([np.nan if hole else float(cell) for cell, hole in zip(series, missing, strict=True)])
    # Not by pandas' own conversion to numpy's text, which cuts every cell to one letter where one is missing.
    return np.asarray(["" if hole else str(cell) for cell, hole in zip(series, missing, strict=True)], dtype=np.str_)


def _arrays(names: Sequence[str], columns: Sequence[np.ndarray], named: Collection[str], where: str) -> dict[str, np.ndarray]:
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"column '{min(repeated)}' occurs more than once in {where}; rename one of them.")
    arrays = {f"context_{name}": column for name, column in zip(names, columns, strict=True) if name in named}
    data = [(name, as_numbers(name, column)) for name, column in zip(names, columns, strict=True) if name not in named]
    if not data:
        raise InputError(f"every column of {where} is named as labels or context; leave at least one to be modeled.")
    return {
        "x": np.stack([column for _, column in data], axis=1),
        "columns": np.asarray([name for name, _ in data]),
        **arrays,
    }


def as_numbers(name: str, column: np.ndarray, first: int = 0) -> np.ndarray:
    """The numbers of a column, whose first cell stands at row `first`; holes are NaN.

    Raises:
        InputError: A cell is no number.
    """
    if column.dtype.kind in "buif":
        return column
    numbers = np.full(len(column), np.nan)
    for row, cell in enumerate(column.tolist()):
        if _is_number(cell):
            numbers[row] = float(cell)
        elif not is_hole(cell):
            raise InputError(
                f"column '{name}' needs numbers; it has '{cell}' at row {first + row}. Name it as a class by labels='{name}'"
                f" or context=['{name}'], or leave the column out."
            )
    return numbers


def _numbers_or_text(cells: Sequence[str]) -> np.ndarray:
    text = np.asarray(cells)
    try:
        return text.astype(np.float64)
    except ValueError:
        is_text = any(not (is_hole(cell) or _is_number(cell)) for cell in cells)
        return text if is_text else np.asarray([np.nan if is_hole(cell) else float(cell) for cell in cells])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True

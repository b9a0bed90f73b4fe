"""What a command writes, in the format that the name of the file asks for."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from amortized.errors import InputError
from amortized.files import write_atomically

TABLES = (".npz", ".npy", ".csv")
RECORDS = (".csv", ".json")


def check_suffix(path: Path | str, *, image: bool = False, records: bool = False) -> str:
    """The suffix of a file that is to be written, before anything is computed for it.

    Args:
        path: The file.
        image: Whether what goes into it can be shown as pictures.
        records: Whether these are rows with names and values, not arrays.

    Raises:
        InputError: It is none that fits, or its folder does not exist.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    fits = RECORDS if records else (".png", *TABLES) if image else TABLES
    if suffix == ".png" and not image and not records:
        raise InputError(f"cannot write '{path}': these are no images. Fits: {', '.join(fits)}.")
    if suffix not in fits:
        raise InputError(f"cannot write '{path}': its suffix names no format that is known. Fits: {', '.join(fits)}.")
    if path.is_dir():
        raise InputError(f"cannot write '{path}': it is a folder; give --out the name of a file.")
    if not path.absolute().parent.is_dir():
        raise InputError(f"cannot write '{path}': there is no folder '{path.parent}'; create it, or give another --out.")
    return suffix


def write_table(path: Path | str, arrays: Mapping[str, np.ndarray], columns: Sequence[str] = ()) -> None:
    """Write arrays of N rows each to a file.

    Args:
        path: `.npz` takes every array by its name; `.npy` the first alone; `.csv` all of them, each row flattened.
        arrays: Arrays (N, *event) by name.
        columns: For `.csv`, the names of the entries of an event; by default its position. The name of the array stands before
            them where they would occur twice.

    Raises:
        InputError: The suffix is another, or the file cannot be written.
    """
    path = Path(path)
    suffix = check_suffix(path, image=False)
    buffer = io.BytesIO()
    if suffix == ".npz":
        np.savez_compressed(buffer, **arrays)  # pyright: ignore[reportArgumentType]
    elif suffix == ".npy":
        np.save(buffer, next(iter(arrays.values())), allow_pickle=False)
    else:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_header(arrays, columns))
        writer.writerows([cell for row in rows for cell in _cells(row)] for rows in zip(*arrays.values(), strict=True))
        buffer.write(text.getvalue().encode())
    write_atomically(path, buffer.getvalue())


def write_records(path: Path | str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of names and values as `.csv` or `.json`.

    Raises:
        InputError: The suffix is another, or the file cannot be written.
    """
    path = Path(path)
    if check_suffix(path, records=True) == ".json":
        write_atomically(path, json.dumps(list(rows), indent=2, ensure_ascii=False) + "\n")
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def _header(arrays: Mapping[str, np.ndarray], columns: Sequence[str]) -> list[str]:
    """The names of columns as they are, unless that of the array must say which of several is meant."""
    bare, full = (
        [name for key, array in arrays.items() for name in _names(key, array.shape[1:], [prefix(key) + name for name in columns])]
        for prefix in (lambda key: "", lambda key: f"{key}_")
    )
    return bare if len(set(bare)) == len(bare) else full


def _names(key: str, shape: tuple[int, ...], columns: Sequence[str]) -> list[str]:
    if shape and len(columns) == np.prod(shape, dtype=int):
        return list(columns)
    return ["_".join((key, *map(str, position))) for position in np.ndindex(shape)]


def _cells(row: np.ndarray) -> list[str]:
    """Each number in the fewest digits that its own type reads back as that number."""
    numbers = np.ravel(row)
    if numbers.dtype.kind == "f":  # as text, so that the digits are those of the type, and no exponent where they are few
        numbers = numbers.astype(str).astype(np.float64)
    return [str(number).removesuffix(".0") for number in numbers.tolist()]

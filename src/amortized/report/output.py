"""What a command writes, in the format that the name of the file asks for."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from amortized.errors import InputError
from amortized.files import write_atomically

TABLES = (".npz", ".npy", ".csv")


def check_suffix(path: Path | str, *, image: bool) -> str:
    """The suffix of a file that is to be written, before anything is computed for it.

    Args:
        path: The file.
        image: Whether what goes into it can be shown as pictures.

    Raises:
        InputError: It is none that fits, or its folder does not exist.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    fits = (".png", *TABLES) if image else TABLES
    if suffix == ".png" and not image:
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
        columns: For `.csv`, the names of the entries of an event; by default its position.

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
        names = [name for key, array in arrays.items() for name in _header(key, array, columns, alone=len(arrays) == 1)]
        table = np.concatenate([array.reshape(len(array), -1) for array in arrays.values()], axis=1)
        precision = "%d" if np.issubdtype(table.dtype, np.integer) else f"%.{np.finfo(table.dtype).precision + 3}g"
        np.savetxt(buffer, table, precision, delimiter=",", header=",".join(names), comments="", encoding="utf-8")
    write_atomically(path, buffer.getvalue())


def _header(key: str, array: np.ndarray, columns: Sequence[str], *, alone: bool) -> list[str]:
    shape = array.shape[1:]
    if shape and len(columns) == np.prod(shape, dtype=int):
        return [_quoted(name if alone else f"{key}_{name}") for name in columns]
    return ["_".join((key, *map(str, position))) for position in np.ndindex(shape)]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if any(character in name for character in ',"\n') else name

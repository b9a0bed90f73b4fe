"""One form for every source: a dict of numpy arrays under the names of an `.npz` file.

`x` (or `train_x`, `valid_x`, `test_x`) are the data, `y` (`train_y`, ...) the labels, `class_names` and `columns` names, and any
other array (`batch`, `train_batch`, `context_batch`, ...) may be asked for as labels or as a condition. Every reader
returns such a dict; this file checks the values and makes them compact.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from amortized.errors import InputError

SPLITS = ("train", "valid", "test")
WHOLE = 2**24
"""Up to this, float32 holds every whole number."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an `.npz` file, or of an `.npy` file under the name `x`."""
    try:
        with path.open("rb") as file:  # numpy leaves its own handle open when the archive is broken
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {"x": loaded}
            return {name: _member(loaded, name, path) for name in loaded.files}
    except InputError:
        raise
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        if "allow_pickle" in str(error) and path.suffix == ".npy":
            raise _object_array("x", path) from None
        raise InputError(
            f"'{path}' cannot be read: it is truncated or no {path.suffix} file ({error}). Write it again."
        ) from None


def _member(loaded: Any, name: str, path: Path) -> np.ndarray:
    try:
        return loaded[name]
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise _object_array(name, path) from None
        raise


def _object_array(name: str, path: Path) -> InputError:
    return InputError(
        f"array '{name}' of '{path}' holds Python objects, which are never unpickled;"
        " save numbers, such as np.savez(path, x=x.astype('float32'))."
    )


def from_memory(source: Any) -> dict[str, np.ndarray]:
    """The dict of arrays of an array, a tensor, a pair (x, y), or a mapping of such."""
    if isinstance(source, Mapping):
        return {str(name): to_numpy(value, str(name)) for name, value in source.items()}
    if isinstance(source, tuple):
        if len(source) != 2:
            raise InputError(f"a tuple of data needs two members, (x, y); it has {len(source)}. Give a dict to name more arrays.")
        return {"x": to_numpy(source[0], "x"), "y": to_numpy(source[1], "y")}
    return {"x": to_numpy(source, "x")}


def to_numpy(value: Any, name: str) -> np.ndarray:
    """The numpy array of a tensor, an array or nested lists."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"array '{name}' cannot be made of what was given ({error}); its rows need one shape.") from None


def compact(value: np.ndarray, name: str, columns: tuple[str, ...] = (), *, missing: bool = False) -> torch.Tensor:
    """The tensor of numbers in the smallest of uint8, int32 and float32 that holds them exactly (floats: as float32).

    Args:
        value: The numbers.
        name: What to call the array.
        columns: What to call its columns.
        missing: Whether NaN may be among them, for what is missing; they are then kept as float32.

    Raises:
        InputError: The values are no real numbers, or some are not finite.
    """
    if value.dtype.kind == "c":
        raise InputError(f"array '{name}' is complex ({value.dtype}); give real numbers, such as its real and imaginary parts.")
    if value.dtype.kind not in "buif":
        raise InputError(f"array '{name}' holds {_held(value)}, not numbers; convert it, or give it as labels or context.")
    if value.dtype.kind == "f":
        value = _as_float32(value, name, columns, missing)
    if value.size == 0 or value.dtype == np.uint8:
        return torch.tensor(value)
    low, high = value.min(), value.max()
    whole = value.dtype.kind != "f" or bool((value == np.rint(value)).all())
    if whole and low >= 0 and high <= 255:
        return torch.tensor(value.astype(np.uint8))
    if value.dtype.kind == "f":
        return torch.tensor(value)
    fits = low >= -(2**31) and high < 2**31
    return torch.tensor(value.astype(np.int32 if fits else np.float32))


def _held(value: np.ndarray) -> str:
    return {"O": "Python objects", "U": "text", "S": "text", "M": "dates", "m": "durations"}.get(
        value.dtype.kind, str(value.dtype)
    )


def _as_float32(value: np.ndarray, name: str, columns: tuple[str, ...], missing: bool) -> np.ndarray:
    with np.errstate(over="ignore"):
        single = value.astype(np.float32, copy=False)
    bad = np.isinf(single) if missing else ~np.isfinite(single)
    if bad.any():
        first = tuple(int(position) for position in np.argwhere(bad)[0])
        count = int(bad.sum())
        values = "1 value that is" if count == 1 else f"{count} values that are"
        raise InputError(
            f"array '{name}' has {values} not finite in float32; the first is {value[first]} at {place(first, columns)}."
            f" Remove those rows or fill them in{', or give NaN for what is missing' if missing else ''}."
        )
    return single


def as_finite(value: np.ndarray, columns: tuple[str, ...], first: int, dtype: np.dtype) -> np.ndarray:
    """Rows of x from number `first` on, floats as float32 and other numbers as `dtype`; NaN is what is missing.

    Raises:
        InputError: A value is infinite in float32.
    """
    if value.dtype.kind != "f":
        return value.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        single = value.astype(np.float32, copy=False)
    if np.isinf(single).any():
        position = tuple(int(each) for each in np.argwhere(np.isinf(single))[0])
        where = place((position[0] + first, *position[1:]), columns)
        raise InputError(
            f"array 'x' has a value that is not finite in float32: it is {value[position]} at {where}; remove that row, or give"
            " NaN for what is missing."
        )
    return single


def first_rounded(value: np.ndarray) -> tuple[int, ...] | None:
    """Where the first whole number stands that is another one in float32; None where there is none."""
    if value.dtype == np.float32 or value.dtype.itemsize <= 2:
        return None
    low, high = (float(end.reduce(value, axis=None)) for end in (np.fmin, np.fmax))
    if not max(-low, high) > WHOLE:
        return None
    changed = (value == np.rint(value)) & (value.astype(np.float32) != value)
    return tuple(np.argwhere(changed)[0].tolist()) if changed.any() else None


def place(position: tuple[int, ...], columns: tuple[str, ...] = ()) -> str:
    """Where a value stands, in words: row 3, column 20."""
    row, *entry = position
    if not entry:
        return f"row {row}"
    if len(entry) == 1:
        return f"row {row}, column " + (f"'{columns[entry[0]]}'" if entry[0] < len(columns) else str(entry[0]))
    if len(entry) == 2:
        return f"image {row}, row {entry[0]}, column {entry[1]}"
    return f"row {row}, entry {tuple(entry)}"

"""Labels and conditions: which of the named arrays of a source they are, and their codes."""

from collections.abc import Mapping, Sequence, Sized
from typing import Any

import numpy as np
from torch import Tensor

from amortized.data.arrays import to_numpy
from amortized.data.classes import encode
from amortized.errors import InputError, NotThereError, nearest

WHOLE = ""
"""The key of an array that is not divided into splits yet."""


def key_of(split: str, kind: str) -> str:
    """What the array of a split is called in an `.npz`."""
    return f"{split}_{kind}" if split else kind


def find_labels(
    arrays: Mapping[str, np.ndarray], labels: Any, x: Mapping[str, Sized], name: str, columns: Sequence[str] = ()
) -> tuple[dict[str, Tensor] | None, tuple[str, ...]]:
    """The labels of each split, or None where there are none, and the names of their codes.

    Args:
        arrays: Of the source, by name.
        labels: The name of an array, or one; None takes `y` where it is there.
        x: What the lengths of the labels must be those of, by split.
        name: Of the data.
        columns: The names of other columns, which may be offered.

    Raises:
        InputError: The labels that are named are not there, or not for every row.
    """
    class_names = tuple(map(str, arrays["class_names"])) if "class_names" in arrays else ()
    found = _found(arrays, "y" if labels is None else labels, "labels", x)
    if found is None:
        if labels is not None:
            raise NotThereError(
                f"labels='{labels}' names no array of '{name}' that covers every split; {_choices(labels, arrays, columns)}"
            )
        return None, ()
    _check_lengths(labels if isinstance(labels, str) else "y", found, x)
    return encode("labels", found, class_names)


def find_conditions(
    arrays: Mapping[str, np.ndarray],
    context: Sequence[str] | Mapping[str, Any],
    x: Mapping[str, Sized],
    name: str,
    labels: tuple[dict[str, Tensor] | None, tuple[str, ...]],
    columns: Sequence[str] = (),
) -> tuple[dict[str, dict[str, Tensor]], dict[str, tuple[str, ...]]]:
    """The conditions by name and split, and the names of the codes of those that are classes.

    Args:
        arrays: Of the source, by name.
        context: Names of arrays (`label` is the labels), or arrays by name.
        x: What their lengths must be those of, by split.
        name: Of the data.
        labels: What `find_labels` gave.
        columns: The names of other columns, which may be offered.

    Raises:
        InputError: One is not there, or not for every row.
    """
    values, names = {}, {}
    keys = (context,) if isinstance(context, str) else context
    for key in keys:
        found = _found(arrays, context[key] if isinstance(context, Mapping) else key, key, x)
        if found is not None:
            _check_lengths(key, found, x)
            values[key], coded = encode(key, found)
        elif key == "label" and labels[0] is not None:
            values[key], coded = labels
        else:
            raise InputError(
                f"context='{key}' names no array of '{name}' that covers every split; {_choices(key, arrays, columns)}"
            )
        if coded:
            names[key] = coded
    return values, names


def _found(arrays: Mapping[str, np.ndarray], value: Any, role: str, x: Mapping[str, Sized]) -> dict[str, np.ndarray] | None:
    """The arrays that `value` names, or is."""
    if isinstance(value, str):
        return _lookup(arrays, value, x)
    if WHOLE not in x:
        raise InputError(f"'{role}' as an array needs data without given splits; put it beside them as 'train_{role}' and so on.")
    return {WHOLE: to_numpy(value, role)}


def _choices(name: str, arrays: Mapping[str, np.ndarray], columns: Sequence[str]) -> str:
    names = {key.removeprefix("context_") for key in arrays if key not in ("x", "columns", "class_names")}
    labels = {"label"} if "y" in arrays or "train_y" in arrays else set()
    return nearest(name, names | labels | set(map(str, arrays.get("columns", columns))))


def _lookup(arrays: Mapping[str, np.ndarray], key: str, x: Mapping[str, Sized]) -> dict[str, np.ndarray] | None:
    for prefix in ("context_", ""):  # a column of a table lies under its prefix, apart from the table itself
        found = {split: arrays[key_of(split, prefix + key)] for split in x if key_of(split, prefix + key) in arrays}
        if len(found) == len(x):
            return found
    return None


def _check_lengths(name: str, found: Mapping[str, np.ndarray], x: Mapping[str, Sized]) -> None:
    for split, value in found.items():
        rows = len(value) if value.ndim else 0
        if rows != len(x[split]):
            raise InputError(
                f"array '{key_of(split, name)}' has {rows} rows, but '{key_of(split, 'x')}' has {len(x[split])}; give one per"
                " row."
            )

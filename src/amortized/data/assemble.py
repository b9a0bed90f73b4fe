"""From a dict of named arrays to a `Data`: checks, compact tensors, codes, splits, and what a user should be told."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortized.data.arrays import SPLITS, compact, first_rounded, place
from amortized.data.missing import has_missing
from amortized.data.notes import hole_notes, notes_of, rounded_note
from amortized.data.record import Data, Split
from amortized.data.roles import WHOLE, find_conditions, find_labels, key_of
from amortized.data.splits import check_fractions, divide
from amortized.data.support import is_image_shape
from amortized.errors import InputError


def assemble(
    arrays: Mapping[str, np.ndarray],
    *,
    name: str,
    labels: Any = None,
    context: Sequence[str] | Mapping[str, Any] = (),
    splits: Sequence[float] = (0.8, 0.1, 0.1),
    seed: int = 0,
    is_image: bool | None = None,
    least_rows: int = 2,
) -> Data:
    """Make a data set of arrays under the names of an `.npz` file; the arguments are those of `load`."""
    fractions = check_fractions(splits)
    columns = tuple(map(str, arrays["columns"])) if "columns" in arrays else ()
    given = _data(arrays, name)
    x = {split: compact(value, key_of(split, "x"), columns, missing=True) for split, value in given.items()}
    _check_shapes(x, least_rows)
    event = tuple(next(iter(x.values())).shape[1:])
    columns = columns if len(columns) == _width(event) else tuple(map(str, range(_width(event))))
    codes, label_names = find_labels(arrays, labels, x, name)
    conditions, context_names = find_conditions(arrays, context, x, name, (codes, label_names))
    missing = any(map(has_missing, x.values()))
    whole = {
        split: Split(
            value,
            torch.arange(len(value)),
            {key: condition[split] for key, condition in conditions.items()},
            None if codes is None else codes[split],
            missing,
        )
        for split, value in x.items()
    }
    parts = _divided(whole, fractions, seed)
    image = is_image_shape(event) if is_image is None else is_image
    constant = _constant(parts["train"], columns)
    return Data(
        name,
        parts["train"],
        parts["valid"],
        parts["test"],
        image,
        columns=columns,
        label_names=label_names,
        context_names=context_names,
        constant=constant,
        notes=(
            *notes_of(
                event,
                columns,
                missing=_share_missing(parts),
                constant=constant,
                labels=(codes or {}).values(),
                empty=[split for split in ("valid", "test") if len(parts[split]) == 0],
            ),
            *_rounded_notes(given, columns),
            *hole_notes(parts, {"label": label_names, **context_names}),
        ),
        fingerprint=_fingerprint(whole),
    )


def _data(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    given = {split: arrays[key_of(split, "x")] for split in SPLITS if key_of(split, "x") in arrays}
    held = ", ".join(f"'{key}'" for key in arrays) or "none"
    if "x" in arrays and given:
        raise InputError(f"'{name}' has 'x' and also '{key_of(next(iter(given)), 'x')}'; give 'x' to be split, or the splits.")
    if "x" in arrays:
        return {WHOLE: arrays["x"]}
    if "train" not in given:
        raise InputError(
            f"'{name}' has no array 'x' or 'train_x'; it has {held}. Rename the data to 'x' (and its labels to 'y')."
        )
    return given


def _check_shapes(x: Mapping[str, Tensor], least_rows: int) -> None:
    for split, value in x.items():
        key, shape = key_of(split, "x"), tuple(value.shape)
        if value.ndim < 2:
            raise InputError(f"array '{key}' needs rows and columns; its shape is {shape}. For one column: x.reshape(-1, 1).")
        if value.numel() == 0:
            raise InputError(f"array '{key}' is empty: its shape is {shape}; give rows of at least 1 value.")
        if split in (WHOLE, "train") and len(value) < least_rows:
            raise InputError(f"array '{key}' has 1 row; learning a distribution needs at least {least_rows}.")
        reference = next(iter(x.values()))
        if value.shape[1:] != reference.shape[1:]:
            raise InputError(
                f"array '{key}' has rows of shape {shape[1:]}, but those of 'train_x' have {tuple(reference.shape[1:])};"
                " give one shape."
            )


def _width(event: tuple[int, ...]) -> int:
    return event[0] if len(event) == 1 else 0


def _divided(whole: dict[str, Split], fractions: tuple[float, float, float], seed: int) -> dict[str, Split]:
    source = whole.get(WHOLE) or whole["train"]
    cut = [0.0 if split in whole else fraction for split, fraction in zip(SPLITS, fractions, strict=True)]
    cut[0] = 1.0 - cut[1] - cut[2]
    labels = None if source.labels is None or source.labels.is_floating_point() else source.labels.numpy()
    rows = divide(len(source), cut, seed, labels)
    made = {split: _taken(source, torch.from_numpy(part)) for split, part in zip(SPLITS, rows, strict=True)}
    if len(made["train"]) == 0:
        raise InputError(f"splits leave no row of {len(source)} for training; give train a larger fraction.")
    return {**made, **{split: whole[split] for split in ("valid", "test") if split in whole}}


def _taken(split: Split, rows: Tensor) -> Split:
    if len(rows) == len(split):
        return split  # all rows, ascending: no copy
    return Split(**split.fetch(rows), has_missing=split.has_missing)


def _constant(train: Split, columns: tuple[str, ...]) -> tuple[str, ...]:
    still = _still(train.x)
    positions = [tuple(position) for position in still.nonzero().tolist()]
    return tuple(columns[position[0]] if columns else str(position) for position in positions)


def _still(x: Tensor) -> Tensor:
    """Which entries have one value in all rows in which they are observed."""
    if not has_missing(x):
        return (x == x[:1]).all(0)
    missing = x.isnan()
    return torch.where(missing, torch.inf, x).amin(0) == torch.where(missing, -torch.inf, x).amax(0)


def _share_missing(parts: Mapping[str, Split]) -> float:
    if not parts["train"].has_missing:
        return 0.0
    return sum(int(part.x.isnan().sum()) for part in parts.values()) / sum(part.x.numel() for part in parts.values())


def _rounded_notes(x: Mapping[str, np.ndarray], columns: tuple[str, ...]):
    for split, value in x.items():
        if (position := first_rounded(value)) is not None:
            yield rounded_note(key_of(split, "x"), value[position], place(position, columns))


def _fingerprint(whole: Mapping[str, Split]) -> str:
    digest = hashlib.sha256()
    for split, part in whole.items():
        tensors = {"x": part.x, **{f"context_{key}": value for key, value in sorted(part.context.items())}}
        if part.labels is not None:
            tensors["y"] = part.labels
        for key, value in tensors.items():
            digest.update(f"{key_of(split, key)} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(np.ascontiguousarray(value.numpy()).data)
    return digest.hexdigest()[:16]

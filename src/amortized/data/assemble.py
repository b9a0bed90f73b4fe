"""From a dict of named arrays to a `Data`: checks, compact tensors, codes, splits, and what a user should be told."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortized.data.arrays import SPLITS, compact, first_rounded, place, to_numpy
from amortized.data.classes import encode
from amortized.data.missing import has_missing, is_hole, missing_note
from amortized.data.record import Data, Split
from amortized.data.splits import check_fractions, divide
from amortized.data.support import is_image_shape
from amortized.errors import InputError, NotThereError, nearest

WHOLE = ""  # the key of an array that is not divided into splits yet


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
    x = {split: compact(value, _key(split, "x"), columns, missing=True) for split, value in given.items()}
    _check_shapes(x, least_rows)
    event = tuple(next(iter(x.values())).shape[1:])
    columns = columns if len(columns) == _width(event) else tuple(map(str, range(_width(event))))
    codes, label_names = _labels(arrays, labels, x, name)
    conditions, context_names = _conditions(arrays, context, x, name, (codes, label_names))
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
            *_notes(parts, constant, columns, codes),
            *_rounded_notes(given, columns),
            *_hole_notes(parts, {"label": label_names, **context_names}),
        ),
        fingerprint=_fingerprint(whole),
    )


def channels_first_note(event: tuple[int, ...]) -> str | None:
    """A sentence for events that look like images with their channels first."""
    if len(event) != 3 or event[0] not in (1, 3, 4) or event[2] in (1, 3, 4):
        return None
    return f"rows of shape {event} look like images with channels first; for images give (H, W, C): x.transpose(0, 2, 3, 1)."


def _data(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    given = {split: arrays[_key(split, "x")] for split in SPLITS if _key(split, "x") in arrays}
    held = ", ".join(f"'{key}'" for key in arrays) or "none"
    if "x" in arrays and given:
        raise InputError(f"'{name}' has 'x' and also '{_key(next(iter(given)), 'x')}'; give 'x' to be split, or the splits.")
    if "x" in arrays:
        return {WHOLE: arrays["x"]}
    if "train" not in given:
        raise InputError(
            f"'{name}' has no array 'x' or 'train_x'; it has {held}. Rename the data to 'x' (and its labels to 'y')."
        )
    return given


def _key(split: str, kind: str) -> str:
    return f"{split}_{kind}" if split else kind


def _check_shapes(x: Mapping[str, Tensor], least_rows: int) -> None:
    for split, value in x.items():
        key, shape = _key(split, "x"), tuple(value.shape)
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


def _labels(
    arrays: Mapping[str, np.ndarray], labels: Any, x: Mapping[str, Tensor], name: str
) -> tuple[dict[str, Tensor] | None, tuple[str, ...]]:
    class_names = tuple(map(str, arrays["class_names"])) if "class_names" in arrays else ()
    found = _found(arrays, "y" if labels is None else labels, "labels", x)
    if found is None:
        if labels is not None:
            raise NotThereError(
                f"labels='{labels}' names no array of '{name}' that covers every split; {_choices(labels, arrays)}"
            )
        return None, ()
    _check_lengths(labels if isinstance(labels, str) else "y", found, x)
    return encode("labels", found, class_names)


def _conditions(
    arrays: Mapping[str, np.ndarray],
    context: Sequence[str] | Mapping[str, Any],
    x: Mapping[str, Tensor],
    name: str,
    labels: tuple[dict[str, Tensor] | None, tuple[str, ...]],
) -> tuple[dict[str, dict[str, Tensor]], dict[str, tuple[str, ...]]]:
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
            raise InputError(f"context='{key}' names no array of '{name}' that covers every split; {_choices(key, arrays)}")
        if coded:
            names[key] = coded
    return values, names


def _found(arrays: Mapping[str, np.ndarray], value: Any, role: str, x: Mapping[str, Tensor]) -> dict[str, np.ndarray] | None:
    """The arrays that `value` names, or is."""
    if isinstance(value, str):
        return _lookup(arrays, value, x)
    if WHOLE not in x:
        raise InputError(f"'{role}' as an array needs data without given splits; put it beside them as 'train_{role}' and so on.")
    return {WHOLE: to_numpy(value, role)}


def _choices(name: str, arrays: Mapping[str, np.ndarray]) -> str:
    names = {key.removeprefix("context_") for key in arrays if key not in ("x", "columns", "class_names")}
    labels = {"label"} if "y" in arrays or "train_y" in arrays else set()
    return nearest(name, names | labels | set(map(str, arrays.get("columns", ()))))


def _lookup(arrays: Mapping[str, np.ndarray], key: str, x: Mapping[str, Tensor]) -> dict[str, np.ndarray] | None:
    for prefix in ("context_", ""):  # a column of a table lies under its prefix, apart from the table itself
        found = {split: arrays[_key(split, prefix + key)] for split in x if _key(split, prefix + key) in arrays}
        if len(found) == len(x):
            return found
    return None


def _check_lengths(name: str, found: Mapping[str, np.ndarray], x: Mapping[str, Tensor]) -> None:
    for split, value in found.items():
        rows = len(value) if value.ndim else 0
        if rows != len(x[split]):
            raise InputError(
                f"array '{_key(split, name)}' has {rows} rows, but '{_key(split, 'x')}' has {len(x[split])}; give one per row."
            )


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


def _notes(parts: dict[str, Split], constant: tuple[str, ...], columns: tuple[str, ...], codes: dict[str, Tensor] | None):
    event = tuple(parts["train"].event_shape)
    if parts["train"].has_missing:
        holes = sum(int(part.x.isnan().sum()) for part in parts.values())
        yield missing_note(holes / sum(part.x.numel() for part in parts.values()))
    if constant and columns:
        shown = ", ".join(f"'{name}'" for name in constant[:8]) + (", ..." if len(constant) > 8 else "")
        which = f"column {shown} never varies" if len(constant) == 1 else f"columns {shown} never vary"
        yield f"{which} in the training split; a scale learned per column stops at its floor there."
    elif constant:
        total = parts["train"].x[0].numel()
        yield (
            f"{len(constant)} of {total} entries never vary in the training split;"
            " a scale learned per entry stops at its floor there."
        )
    if note := channels_first_note(event):
        yield note
    if codes is not None and any(value.is_floating_point() for value in codes.values()):
        yield "the labels are fractions, not classes: they are kept as numbers, and the splits are not stratified."
    for split in ("valid", "test"):
        if len(parts[split]) == 0:
            yield f"the {split} split is empty."


def _rounded_notes(x: Mapping[str, np.ndarray], columns: tuple[str, ...]):
    for split, value in x.items():
        if (position := first_rounded(value)) is not None:
            yield (
                f"array '{_key(split, 'x')}' has {value[position]:.0f} at {place(position, columns)}, a whole number that float32"
                f" rounds to {np.float32(value[position]):.0f}; leave out a column of which every digit counts."
            )


def _hole_notes(parts: Mapping[str, Split], names: Mapping[str, tuple[str, ...]]):
    for variable, classes in names.items():
        for code in (code for code, name in enumerate(classes) if is_hole(name)):
            values = (part.context.get(variable, part.labels) for part in parts.values())
            if rows := sum(int((value == code).sum()) for value in values if value is not None):
                yield (
                    f"'{variable}' has a class '{classes[code]}' in {rows} {'row' if rows == 1 else 'rows'}; where that means"
                    " that the value is missing, remove those rows or fill them in."
                )


def _fingerprint(whole: Mapping[str, Split]) -> str:
    digest = hashlib.sha256()
    for split, part in whole.items():
        tensors = {"x": part.x, **{f"context_{key}": value for key, value in sorted(part.context.items())}}
        if part.labels is not None:
            tensors["y"] = part.labels
        for key, value in tensors.items():
            digest.update(f"{_key(split, key)} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(np.ascontiguousarray(value.numpy()).data)
    return digest.hexdigest()[:16]

"""What a user should be told of data."""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from amortized.data.missing import is_hole, missing_note


def channels_first_note(event: tuple[int, ...]) -> str | None:
    """A sentence for events that look like images with their channels first."""
    if len(event) != 3 or event[0] not in (1, 3, 4) or event[2] in (1, 3, 4):
        return None
    return f"rows of shape {event} look like images with channels first; for images give (H, W, C): x.transpose(0, 2, 3, 1)."


def notes_of(
    event: tuple[int, ...],
    columns: tuple[str, ...],
    *,
    missing: float,
    constant: tuple[str, ...],
    labels: Iterable[Tensor],
    empty: Iterable[str],
) -> Iterator[str]:
    """The sentences about data.

    Args:
        event: The shape of a datum.
        columns: The names of a table's columns.
        missing: The share of entries that are missing.
        constant: The columns or entries that never vary in the training split.
        labels: Of each split that has some.
        empty: The splits without rows.
    """
    if missing:
        yield missing_note(missing)
    if constant and columns:
        shown = ", ".join(f"'{name}'" for name in constant[:8]) + (", ..." if len(constant) > 8 else "")
        which = f"column {shown} never varies" if len(constant) == 1 else f"columns {shown} never vary"
        yield f"{which} in the training split; a scale learned per column stops at its floor there."
    elif constant:
        yield (
            f"{len(constant)} of {math.prod(event)} entries never vary in the training split;"
            " a scale learned per entry stops at its floor there."
        )
    if note := channels_first_note(event):
        yield note
    if any(value.is_floating_point() for value in labels):
        yield "the labels are fractions, not classes: they are kept as numbers, and the splits are not stratified."
    for split in empty:
        yield f"the {split} split is empty."


def hole_notes(parts: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """The sentences about classes whose name says that there is none; `parts` have labels and context, `names` those of codes."""
    for variable, classes in names.items():
        for code in (code for code, name in enumerate(classes) if is_hole(name)):
            values = (part.context.get(variable, part.labels) for part in parts.values())
            if rows := sum(int((value == code).sum()) for value in values if value is not None):
                yield (
                    f"'{variable}' has a class '{classes[code]}' in {rows} {'row' if rows == 1 else 'rows'}; where that means"
                    " that the value is missing, remove those rows or fill them in."
                )


def rounded_note(array: str, value: Any, where: str) -> str:
    """What to say of a whole number that float32 rounds."""
    return (
        f"array '{array}' has {value:.0f} at {where}, a whole number that float32 rounds to {np.float32(value):.0f}; leave out a"
        " column of which every digit counts."
    )

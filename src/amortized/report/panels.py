"""Small multiples: panels of one size in rows, with a title above and what is to be said below them.

Everything is placed in pixels of the picture, as for tiles: a layout that is solved for takes longer than all else in a figure.
"""

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from amortized.report.tiles import DPI, WIDTH, place

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 4
HEIGHT = 165
"""Of a row of panels, in pixels of the picture, as are all lengths here."""

SIDE, LEFT, RIGHT, TOP, BOTTOM = 18, 46, 10, 20, 22
"""Room at the figure's left edge, and around a panel, for its title and the numbers at its axes."""

TITLE, LABEL, LINE, CHARACTERS = 26, 18, 16, 124
"""The height of the title, of the label of the axes and of a line below, which has so many characters."""


def panel_figure(
    mpl: Any,
    count: int,
    *,
    columns: int = COLUMNS,
    height: int = HEIGHT,
    title: str = "",
    x: str = "",
    y: str = "",
    note: str = "",
    handles: Sequence[Any] = (),
    left: int = LEFT,
    bottom: int = BOTTOM,
) -> tuple["Figure", list[Any]]:
    """A figure with so many panels.

    Args:
        mpl: Matplotlib, as `style` gives it.
        count: How many panels.
        columns: For how many there is room in a row.
        height: Of a row.
        title: Above them, at the left.
        x: What all panels have at their x axis.
        y: Likewise.
        note: What is said below them, broken into lines.
        handles: Of a legend, above the panels at the right.
        left: Room at the left of a panel.
        bottom: Room below a panel.

    Returns:
        The figure and the axes of its panels.
    """
    rows, lines = math.ceil(count / columns), wrapped(note)
    foot = LINE * len(lines) + 10
    head = TITLE if title or handles else 6
    label = LABEL if x else 0
    total = head + rows * height + label + foot
    figure = mpl.figure.Figure(figsize=(WIDTH / DPI, total / DPI), dpi=DPI)
    side = SIDE if y else 0
    pitch = (WIDTH - side) / columns
    axes = []
    for panel in range(count):
        row, column = divmod(panel, columns)
        base = total - head - (row + 1) * height + bottom
        ax = place(figure, side + column * pitch + left, base, pitch - left - RIGHT, height - TOP - bottom)
        ax.tick_params(labelsize=7)
        axes.append(ax)
    middle = side + min(count, columns) * pitch / 2
    if title:
        figure.text(8 / WIDTH, 1 - 6 / total, title, va="top", fontsize=9)
    if x:
        figure.text(middle / WIDTH, (foot + label / 2) / total, x, ha="center", va="center", fontsize=8)
    if y:
        figure.text(10 / WIDTH, 1 - (head + rows * height / 2) / total, y, ha="center", va="center", rotation=90, fontsize=8)
    if lines:
        figure.text(8 / WIDTH, 6 / total, "\n".join(lines), va="bottom", fontsize=8, color="0.25", linespacing=1.25)
    if handles:
        where = {"loc": "upper right", "bbox_to_anchor": (1.0, 1.0), "borderaxespad": 0.2}
        figure.legend(handles=handles, ncols=len(handles), fontsize=8, **where)
    return figure, axes


def wrapped(text: str) -> list[str]:
    """The lines of a text that is as wide as a figure; where it has lines of its own, these stay apart."""
    return [line for part in text.split("\n") for line in textwrap.wrap(part, CHARACTERS)]

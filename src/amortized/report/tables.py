"""A small table in a figure: rows and columns with names, numbers with as many digits as are read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

FULL = 105
"""Characters of a row that there is room for."""

DARK = 0.45
"""Of a color, from 0 to 1: what is darker has its numbers in white."""


def number(value: float) -> str:
    """A number in few characters; a dash for a missing one."""
    if not np.isfinite(value):
        return "–" if np.isnan(value) else f"{value}"
    is_whole = float(value).is_integer() or abs(value) >= 999.5  # three digits of which would be written as 1e+03
    return f"{value:,.0f}" if is_whole and abs(value) < 1e6 else f"{value:.3g}"


def draw_table(
    ax: Any,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    *,
    colors: Sequence[Sequence[Any]] | None = None,
    pairs: bool = False,
) -> None:
    """Draw a table over the whole of an axes.

    Args:
        ax: The axes.
        rows: Their names, R of them.
        columns: Their names, C of them.
        cells: (R, C) what stands in them.
        colors: (R, C) their red, green and blue, from 0 to 1.
        pairs: Draw a line under every second row only.
    """
    height, name = 1 / (len(rows) + 1), 0.16
    width = (1 - name) / len(columns)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_axis_off()
    for place, column in enumerate(columns):
        ax.text(name + (place + 0.5) * width, 1 - height / 2, column, ha="center", va="center", fontsize=7, color="0.25")
    ax.axhline(1 - height, color="0.4", linewidth=0.8)
    for row, (label, values) in enumerate(zip(rows, cells, strict=True)):
        bottom = 1 - (row + 2) * height
        ax.text(name - 0.01, bottom + height / 2, label, ha="right", va="center", fontsize=7.5)
        for place, value in enumerate(values):
            if colors is not None:
                ax.add_patch(_box(name + place * width, bottom, width, height, colors[row][place]))
            is_dark = colors is not None and np.mean(colors[row][place][:3]) < DARK
            size = 7.5 if len(value) * len(columns) <= FULL else 6.0
            ax.text(
                name + (place + 0.5) * width,
                bottom + height / 2,
                value,
                ha="center",
                va="center",
                fontsize=size,
                color="white" if is_dark else "black",
            )
        if not pairs or row % 2:
            ax.axhline(bottom, color="0.85", linewidth=0.6)


def _box(left: float, bottom: float, width: float, height: float, color: Any) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((left, bottom), width, height, facecolor=color, linewidth=0)

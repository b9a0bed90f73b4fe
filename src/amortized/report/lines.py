"""What becomes of the columns of a table along a line through the latent space: a line each, those that change most in color."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amortized.report.entries import LONGEST_NAME, entry_names, flat, foremost, short, spreads
from amortized.report.panels import COLUMNS, panel_figure
from amortized.report.style import PALETTE
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORED = 6
"""Columns that have a color and a name."""

AT_EDGE = 16
"""Characters of a name in the last of four panels of a row, beyond which there is no room."""

GREY = 60
"""Others that are drawn in grey, at most."""


def line_figure(
    mpl: Any,
    view: View,
    x: NDArray[Any],
    at: NDArray[Any],
    titles: Sequence[str],
    *,
    title: str,
    label: str,
    ends: NDArray[Any] | None = None,
) -> "Figure":
    """Draw the columns of a table along P paths, in standard deviations (SDs) of the data from their mean.

    Args:
        mpl: Matplotlib, as `style` gives it.
        view: Whose data they are.
        x: (P, S, *event) what is decoded.
        at: (S,) the places along a path.
        titles: The name of each path.
        title: Of the whole.
        label: Of the places.
        ends: (P, 2, *event) the data at both ends of a path, which have dots; None where there are none.
    """
    data = flat(view.shown_x)
    spread, middle = spreads(data), np.nan_to_num(np.nanmean(data, 0)) if len(data) else 0.0
    paths = (x.reshape(*x.shape[:2], -1).astype(np.float64) - middle) / spread
    changes = np.ptp(paths, axis=1).max(0)
    colored = foremost(changes, COLORED)
    grey = [column for column in foremost(changes, COLORED + GREY) if column not in colored]
    names, handles = entry_names(view.spec), []
    note = f"In color the {len(colored)} of {len(changes):,} columns that change most; the others are grey" if grey else ""
    note += (
        f", {len(changes) - len(grey) - len(colored):,} of them left out." if len(changes) > COLORED + GREY else "." * bool(grey)
    )
    y = "SDs of the data"
    columns = COLUMNS if len(paths) % COLUMNS else COLUMNS + 1  # or the legend would have a row of its own
    figure, axes = panel_figure(mpl, len(paths) + 1, columns=columns, title=title, note=note, x=label, y=y)
    for panel, (ax, path) in enumerate(zip(axes, paths, strict=False)):
        ax.plot(at, path[:, grey], color="0.8", linewidth=0.6)
        handles = [ax.plot(at, path[:, column], color=color)[0] for column, color in zip(colored, PALETTE, strict=False)]
        if ends is not None:
            dots = (ends[panel].reshape(2, -1)[:, colored] - np.broadcast_to(middle, spread.shape)[colored]) / spread[colored]
            for column, color in enumerate(PALETTE[: len(colored)]):
                ax.plot(at[[0, -1]], dots[:, column], "o", color=color, markersize=4, clip_on=False)
        ax.set_title(titles[panel], fontsize=8, pad=4)
    low, high = (limit(ax.get_ylim()[side] for ax in axes[:-1]) for side, limit in enumerate((min, max)))
    for ax in axes[:-1]:
        ax.set(ylim=(low, high))
        ax.locator_params(nbins=5)
    axes[-1].set_axis_off()
    is_last = (len(paths) + 1) % columns == 0
    labels = [short(names[column], (AT_EDGE if is_last else LONGEST_NAME) * COLUMNS // columns) for column in colored]
    axes[-1].legend(
        handles, labels, loc="center left", bbox_to_anchor=(-0.2, 0.5), handlelength=1.4, fontsize=7.5, borderaxespad=0
    )
    return figure

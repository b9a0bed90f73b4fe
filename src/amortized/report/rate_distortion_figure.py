"""The rate-distortion picture: what the points of a sweep reach, with lines of equal ELBO.

-ELBO = D + R        D = -E_q[log p(x|z)],  R = E[ KL( q(z|x) || p(z) ) ]        Alemi et al. 2018, arXiv 1711.00464
"""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortized.errors import InputError
from amortized.files import write_atomically
from amortized.report.style import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LINES = 7
"""About how many lines of equal ELBO are drawn."""


def rate_distortion_figure(rows: Sequence[Mapping[str, Any]], options: Sequence[str]) -> "Figure":
    """Draw the rate and the distortion of the points of a sweep.

    Args:
        rows: For each point `rate_nats`, `distortion_nats` and the values of its options; points without a rate are left out.
        options: What was swept over: the first is written at the points, and those that differ in the others are joined apart.

    Returns:
        A figure of matplotlib's.

    Raises:
        InputError: No point has a rate, nothing was swept over, or matplotlib is not installed.
    """
    known = [row for row in rows if {"rate_nats", "distortion_nats"} <= row.keys()]
    if not known or not options:
        what = "no point has a rate" if options else "nothing was swept over"
        raise InputError(f"a rate-distortion picture needs points with a rate and an option that they differ in; {what}.")
    with style() as mpl:
        figure = mpl.figure.Figure(figsize=(6.0, 4.5), layout="constrained")
        axes = figure.add_subplot()
        _draw_points(axes, known, options)
        _draw_lines(axes)
        axes.set_xlabel("rate: mean KL(q(z|x) || p(z)), nats")
        axes.set_ylabel("distortion: mean -E[log p(x|z)], nats")
        return figure


def write_rate_distortion(path: Path, rows: Sequence[Mapping[str, Any]], options: Sequence[str]) -> bool:
    """Draw the rate and the distortion of the points of a sweep, and write the picture.

    Args:
        path: The file, whose suffix says which kind of picture.
        rows: As in `rate_distortion_figure`.
        options: As there.

    Returns:
        Whether it was written: matplotlib is there, and a point has a rate.
    """
    try:
        figure = rate_distortion_figure(rows, options)
    except InputError:
        return False
    picture = io.BytesIO()
    figure.savefig(picture, format=path.suffix.removeprefix("."), dpi=150)
    write_atomically(path, picture.getvalue())
    return True


def _draw_points(axes: "Axes", rows: Sequence[Mapping[str, Any]], options: Sequence[str]) -> None:
    first, *others = options
    curves: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        curves.setdefault(", ".join(f"{name} = {row[name]}" for name in others), []).append(row)
    for label, curve in curves.items():
        curve = sorted(curve, key=lambda row: row["rate_nats"])
        axes.plot(
            [row["rate_nats"] for row in curve],
            [row["distortion_nats"] for row in curve],
            "o-",
            label=label,
            zorder=3,
            clip_on=False,
        )
        for row in curve:
            place = row["rate_nats"], row["distortion_nats"]
            axes.annotate(str(row[first]), place, xytext=(6, 5), textcoords="offset points", fontsize=8, zorder=4)
    axes.set_title(f"at the points: {first}")
    axes.margins(0.12)
    if others:
        axes.legend()


def _draw_lines(axes: "Axes") -> None:
    """Lines of equal ELBO behind the points, each with its value at the upper or left end."""
    from matplotlib.ticker import MaxNLocator

    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for total in MaxNLocator(LINES).tick_values(left + low, right + high):
        if left + low < total < right + high:
            axes.axline((left, total - left), slope=-1, color="0.85", linewidth=0.8, zorder=1)
            is_cut = total - high > left  # by the upper edge, not by the left one
            start = (total - high, high) if is_cut else (left, total - left)
            side = {"xytext": (-3, -3), "ha": "right", "va": "top"} if is_cut else {"xytext": (3, 2), "va": "bottom"}
            axes.annotate(f"ELBO {-total:g}", start, textcoords="offset points", fontsize=7, color="0.5", **side)
    axes.set_xlim(left, right)
    axes.set_ylim(low, high)

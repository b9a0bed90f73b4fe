"""The data that the model finds least likely, each above its reconstruction: errors in the data, or what was not learned.

They are ranked by the importance-weighted log p(x), or, where the posterior is a point mass and there is none, by the distortion
-E_q[log p(x|z)]; over the observed entries, so that a datum with holes has less to be wrong in.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amortized.report.entries import (
    check_positive,
    entry_names,
    flat,
    foremost,
    index_of,
    is_categorical,
    is_image,
    left_out,
    means,
    name_of,
    short,
    spreads,
)
from amortized.report.panels import panel_figure
from amortized.report.reconstruction_figure import reconstructions
from amortized.report.style import style
from amortized.report.tables import draw_table, number
from amortized.report.tiles import Block, Scale, fitting_columns, in_rows, tile_figure
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amortized.runs import Run

ROWS, COLUMNS = 8, 7
"""Of a table."""

ROW_NAME = 18
"""Characters of the name of a row."""

FARTHEST = 4.0
"""Standard deviations at which a color is full."""


@dataclass(frozen=True, eq=False)
class Worst:
    """The data that are scored worst.

    Attributes:
        rows: (n,) their rows among the data of the view, the worst first.
        scores: (n,) nats: log p(x), or E_q[log p(x|z)] where there is no bound.
        median: That of all data of the view.
        measure: What the scores are.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float64]
    median: float
    measure: str


def worst(run: "Run | View", n: int = 10) -> Worst:
    """Find the data with the lowest scores; one that has none (NaN) is the worst of all.

    Raises:
        InputError: The data are not there, or n is not positive.
    """
    check_positive(n)
    view = View.of(run)
    found = view.evidence
    scores, measure = (-found.distortion, "E[log p(x | z)]") if found.nll is None else (-found.nll, "log p(x)")
    scores = scores.double().cpu().numpy()
    rows = np.argsort(np.nan_to_num(scores, nan=-np.inf, neginf=-np.inf, posinf=np.inf), kind="stable")[:n]
    known = scores[~np.isnan(scores)]
    return Worst(rows, scores[rows], float(np.median(known)) if len(known) else float("nan"), measure)


def worst_figure(run: "Run | View", n: int | None = None) -> "Figure":
    """Draw the worst-scored data with their index, label and score, each above its reconstruction.

    Args:
        run: The run.
        n: How many; by default a row of images, or some rows of a table.

    Raises:
        InputError: The data are not there, n is not positive, or matplotlib is not installed.
    """
    view = View.of(run)
    check_positive(n)
    columns = fitting_columns(view.spec.event_shape) if is_image(view.spec) else ROWS
    found = worst(view, n or columns)
    title = f"The lowest {found.measure} of {len(view.batch):,} {view.split} data, nats (their median is {found.median:.1f})"
    with style() as mpl:
        if is_image(view.spec):
            return _with_images(mpl, view, found, title, columns)
        return _with_table(mpl, view, found, title)


def _with_images(mpl: Any, view: View, found: Worst, title: str, columns: int) -> "Figure":
    made = reconstructions(view, found.rows)
    # Index, label and score, a line each, as long as a tile is wide.
    most = max(4, Scale.of(view.spec.event_shape).tile[1] // 6)
    lines = [name_of(view, int(row)).removesuffix(")").split(" (", 1) for row in found.rows]
    names = [
        "\n".join([*(short(line, most) for line in some), f"{score:.1f}"])
        for some, score in zip(lines, found.scores, strict=True)
    ]
    rows = ["datum", "E[x | z]" if view.has_means else "x ~ p(x | z)"]
    layers = [in_rows(images, columns) for images in (view.shown_x[found.rows], made)]
    blocks = []
    for place, pair in enumerate(zip(*layers, strict=True)):
        some = names[place * columns : (place + 1) * columns]
        blocks.append(Block(np.stack(pair), rows, some, "" if place else title))
    return tile_figure(mpl, view, blocks)


def _with_table(mpl: Any, view: View, found: Worst, title: str) -> "Figure":
    x, made = flat(view.shown_x[found.rows]), flat(reconstructions(view, found.rows))
    off = (x - made) / spreads(flat(view.shown_x))
    shown, names = foremost(np.sqrt(means(np.square(off))), COLUMNS), entry_names(view.spec)
    rows = [_row_name(view, int(row), f"{score:.1f}") for row, score in zip(found.rows, found.scores, strict=True)]
    cells = [
        [f"{number(value)} ({number(guess)})" for value, guess in zip(a[shown], b[shown], strict=True)]
        for a, b in zip(x, made, strict=True)
    ]
    note = left_out(shown, x.shape[1], "that are most off")
    told = "orange where it lies above, purple below, by standard deviations"
    if is_categorical(view):
        told, off = "orange where it is another", np.where(x == made, 0.0, FARTHEST / 2)
    note = f"{note} Each value with its reconstruction, {told}.".strip()
    figure, (ax,) = panel_figure(mpl, 1, columns=1, height=60 + 24 * len(rows), title=title, note=note, left=10)
    colors = mpl.colormaps["PuOr_r"](0.5 + np.nan_to_num(off[:, shown]).clip(-FARTHEST, FARTHEST) / (2.6 * FARTHEST))
    draw_table(ax, rows, [short(names[column], 14) for column in shown], cells, colors=colors)
    return figure


def _row_name(view: View, row: int, score: str) -> str:
    """Index, label and score, the label as short as it must be."""
    room = ROW_NAME - len(f"{index_of(view, row)} ()  {score}")
    return f"{name_of(view, row, max(room, 4))}  {score}"

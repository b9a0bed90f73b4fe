"""Samples beside the training data that are nearest to them, and their distances beside those of new data."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amortized.report.entries import entry_names, flat, foremost, is_image, short, variances
from amortized.report.neighbors import Neighbors, neighbors
from amortized.report.panels import panel_figure, wrapped
from amortized.report.style import PALETTE, style
from amortized.report.tables import draw_table, number
from amortized.report.tiles import WIDTH, Block, fitting_columns, place, tile_figure
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amortized.runs import Run

BINS = 40
TABLE_SAMPLES, TABLE_COLUMNS = 4, 7
BELOW_TABLE = 0.07
"""Of the figure's height, that the table needs less below it than a panel with an axis does."""

HEADROOM = 1.25
"""Times the height of the histogram, for its legend above it."""

BELOW = 235
"""Height of the histogram with its sentences, in pixels of the picture."""


def neighbors_figure(run: "Run | View") -> "Figure":
    """Draw samples with their nearest training data, and say whether the model memorizes.

    Args:
        run: The run.

    Raises:
        InputError: The data are not there, or too few, or matplotlib is not installed.
    """
    view = View.of(run)
    found = neighbors(view)
    with style() as mpl:
        return _with_images(mpl, view, found) if is_image(view.spec) else _with_table(mpl, view, found)


def _with_images(mpl: Any, view: View, found: Neighbors) -> "Figure":
    columns = min(len(found.samples), fitting_columns(view.spec.event_shape))
    near = _training(found, found.nearest[:columns])
    images = np.stack((found.samples[:columns], near[:, 0], near[:, 1]))
    block = Block(images, ["sample", "nearest", "second"], title="Samples above the training data that are nearest to them")
    figure = tile_figure(mpl, view, [block], below=BELOW)
    _draw_distances(place(figure, 30, 96, WIDTH - 60, BELOW - 113), view, found)
    total = figure.get_figheight() * figure.dpi
    figure.text(8 / WIDTH, 8 / total, "\n".join(wrapped(_words(found))), fontsize=8, va="bottom", linespacing=1.3, color="0.25")
    return figure


def _with_table(mpl: Any, view: View, found: Neighbors) -> "Figure":
    figure, axes = panel_figure(mpl, 2, columns=1, height=190, note=_words(found), left=30, bottom=40)
    _draw_distances(axes[0], view, found)
    names, training = entry_names(view.spec), flat(found.training.x.cpu().numpy())
    shown = foremost(variances(training / np.where(np.isfinite(training).any(0), 1.0, np.nan)), TABLE_COLUMNS)
    rows, cells = [], []
    for sample in range(min(TABLE_SAMPLES, len(found.samples))):
        rows += ["sample", "its nearest"]
        values = flat(found.samples[sample : sample + 1])[0], flat(_training(found, found.nearest[sample, :1]))[0]
        cells += [[number(value[column]) for column in shown] for value in values]
    place_at = axes[1].get_position()
    axes[1].set_position((place_at.x0, place_at.y0 - BELOW_TABLE, place_at.width, place_at.height + BELOW_TABLE))
    draw_table(axes[1], rows, [short(names[column], 15) for column in shown], cells, pairs=True)
    left = len(names) - len(shown)
    said = f", {left:,} {'column' if left == 1 else 'columns'} left out" if left else ""
    axes[1].set_title(f"Samples above the training data that are nearest to them{said}", fontsize=9, loc="left", x=-0.03)
    return figure


def _training(found: Neighbors, places: NDArray[np.int64]) -> NDArray[Any]:
    """(*places, *event) the training data at places."""
    x = found.training.x.cpu().numpy()[places]
    return x if found.training.observed is None else np.where(found.training.observed.cpu().numpy()[places], x, np.nan)


def _draw_distances(ax: Any, view: View, found: Neighbors) -> None:
    sides = [(found.distance, PALETTE[1], "samples")]
    if found.distance_of_data is not None:
        sides.insert(0, (found.distance_of_data, "0.35", f"{view.split} data"))
    values = [side[0][np.isfinite(side[0])] for side in sides]
    joined = np.concatenate(values)
    low, high = (float(joined.min()), float(np.quantile(joined, 0.995))) if len(joined) else (0.0, 1.0)
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    for each, (_, color, name) in zip(values, sides, strict=True):
        heights = np.histogram(each, edges)[0] / max(1, len(each))
        ax.stairs(heights, edges, color=color, linewidth=1.4, label=name)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.tick_params(labelsize=7)
    ax.set_xlabel(f"distance to the nearest training datum{found.unit}", fontsize=8, labelpad=2)
    ax.set_ylim(0, HEADROOM * ax.get_ylim()[1])
    ax.legend(loc="upper right", fontsize=8, ncols=len(sides), borderaxespad=0)


def _words(found: Neighbors) -> str:
    of = "" if len(found.training) == found.whole else f" of {found.whole:,}, drawn at random"
    return f"{found.sentence}\n{len(found.distance):,} samples; nearest among {len(found.training):,} training data{of}."

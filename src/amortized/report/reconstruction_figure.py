"""What goes through the latent: data above their reconstructions E[x | z], z the center of q(z|x), beside draws of the prior.

Of a table, each column's reconstructions stand against its true values. The share that is explained,

    R^2 = 1 - sum (x - E[x|z])^2 / sum (x - mean x)^2

is 1 on the diagonal, and 0 or below for what says no more than the column's mean; of classes the share that is right is given.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from amortized import tasks
from amortized.report.entries import (
    check_positive,
    entry_names,
    flat,
    foremost,
    is_categorical,
    is_image,
    left_out,
    means,
    say,
    short,
    sites,
    variances,
)
from amortized.report.panels import panel_figure
from amortized.report.samples_figure import sample_block
from amortized.report.style import PALETTE, style
from amortized.report.tiles import Block, fitting_columns, in_rows, tile_figure
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amortized.runs import Run

POINTS = 400
"""In a panel."""

WIDE = 30
"""Counts that reach further are shown on a logarithmic scale."""


def reconstruction_figure(run: "Run | View", n: int | None = None) -> "Figure":
    """Draw data and what the model makes of them, and draws from the model beside them.

    Args:
        run: The run.
        n: How many data; by default two rows of images, or some hundreds of a table.

    Raises:
        InputError: The data are not there, n is not positive, or matplotlib is not installed.
    """
    view = View.of(run)
    check_positive(n)
    with style() as mpl:
        return _images(mpl, view, n) if is_image(view.spec) else _columns(mpl, view, n)


def explained(x: NDArray[Any], made: NDArray[Any]) -> NDArray[np.float64]:
    """(D,) the share R^2 of the variance of each column of x (N, D) that is explained; NaN where a column does not vary."""
    spread = variances(x)
    with np.errstate(all="ignore"):
        return np.where(spread > 0, 1 - means(np.square(made - x)) / spread, np.nan)


def reconstructions(view: View, rows: NDArray[np.int64]) -> NDArray[Any]:
    """(N, *event) E[x | z] of some of the data shown."""
    return tasks.reconstruct(
        view.model, view.batch.rows(torch.as_tensor(rows, device=view.batch.x.device)), seed=view.seed
    ).numpy()


def _images(mpl: Any, view: View, n: int | None) -> "Figure":
    columns = fitting_columns(view.spec.event_shape)
    rows = sites(view, 2 * columns if n is None else n)
    pairs = [in_rows(images, columns) for images in (view.shown_x[rows], reconstructions(view, rows))]
    stacked = np.stack(pairs, 1).reshape(-1, *pairs[0].shape[1:])
    names = ["data", "E[x | z]" if view.has_means else "x ~ p(x | z)"] * len(pairs[0])
    blocks = [Block(stacked, names, title=f"Data of the {view.split} split above their reconstructions")]
    return tile_figure(mpl, view, [*blocks, sample_block(view, stacked.shape[1])])


def _columns(mpl: Any, view: View, n: int | None) -> "Figure":
    rows = np.arange(len(view.batch)) if n is None else sites(view, n)
    x, made = flat(view.shown_x[rows]), flat(reconstructions(view, rows))
    word, share, decoded = "R²", explained(x, made), "E[x | z]"
    if is_categorical(view):
        word, decoded = "the share that is right", "the most likely class"
        share = means(np.where(np.isnan(x), np.nan, made == x))
    is_real, total = view.spec.support == "real", x.shape[1]
    shown = foremost(-share if is_real else variances(x))
    note = left_out(shown, total, "of which least is explained" if is_real else "that vary most")
    if total > 1 and np.isfinite(share).any():
        note = f"{note} In the mean over all columns, {word} is {np.nanmean(share):.2f}.".strip()
    title = f"Reconstructions against the true values, {view.split} split"
    figure, axes = panel_figure(mpl, len(shown), title=title, note=note, x="data", y=decoded)
    some = np.sort(np.random.default_rng(view.seed).permutation(len(x))[:POINTS])
    names = entry_names(view.spec)
    for ax, column in zip(axes, shown, strict=True):
        _draw_column(ax, x[some, column], made[some, column], is_count=view.spec.support == "counts")
        said = "does not vary" if np.isnan(share[column]) else f"{word.split()[-1]} {share[column]:.2f}"
        ax.set_title(f"{short(names[column], 16)}: {said}", fontsize=8, pad=4)
    return figure


def _draw_column(ax: Any, x: NDArray[np.float64], made: NDArray[np.float64], *, is_count: bool) -> None:
    known = np.isfinite(x) & np.isfinite(made)
    x, made = x[known], made[known]
    if not len(x):
        say(ax, "no entry is observed")
        return
    low, high = min(x.min(), made.min()), max(x.max(), made.max())
    room = 0.04 * (high - low) or 0.5
    is_wide = is_count and high > WIDE
    ends = (-0.5 if is_wide and low >= 0 else low - room), high + room
    ax.set(xlim=ends, ylim=ends)
    if is_wide:
        ax.set_xscale("symlog", linthresh=1)
        ax.set_yscale("symlog", linthresh=1)
    else:
        ax.locator_params(nbins=4)
    ax.plot(ends, ends, color="0.6", linewidth=0.8, zorder=1)
    ax.plot(x, made, ".", color=PALETTE[0], markersize=3.5, alpha=0.5, markeredgewidth=0)

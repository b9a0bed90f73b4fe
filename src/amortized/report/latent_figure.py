"""Where the data lie in the latent space: the aggregate posterior q(z) = E_x[ q(z|x) ] against the prior p(z).

On the left the map of the encoded data, a dot at the center of each posterior, colored by label, before draws from the prior. On
the right as many draws from the posteriors against those from the prior: these two are what the rate makes alike, while centers
alone are too narrow. Latents of more than two entries are seen in the plane of the two principal components of the centers.
"""

from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from amortized.errors import InputError, nearest
from amortized.models.model import evaluating
from amortized.report.densities import contours, curve, has_density, spots
from amortized.report.labeling import Coloring, color_by
from amortized.report.style import PALETTE, style
from amortized.report.view import View
from amortized.tasks.running import chunks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from amortized.runs import Run

Method = Literal["plane", "umap"]
PRIOR = "0.78"
ELLIPSES = 12
"""Posteriors whose ellipse is drawn."""

ENTRIES = 14
"""Classes in a column of the legend."""

DOT = 24
"""The area of a dot in the legend."""

REACH = 0.9995
"""The axes hold this share of the data and of all draws on each side."""


def latent_figure(run: "Run | View", *, method: Method = "plane") -> "Figure":
    """Draw the aggregate posterior against the prior, and the encoded data colored by label.

    Args:
        run: The run, or its view, whose data are encoded.
        method: "plane" shows a latent of one or two entries as it is, and others in the plane of their two principal components;
            "umap" embeds centers and draws from the prior together in two dimensions, whose distances mean little.

    Returns:
        A figure of matplotlib's.

    Raises:
        InputError: The data are not there, the method is unknown, or matplotlib, or umap-learn where it is asked for, is not
            installed.
    """
    if method not in get_args(Method):
        raise InputError(f"unknown method '{method}'; {nearest(method, get_args(Method))}")
    view = View.of(run)
    if not np.isfinite(view.z).all():
        raise InputError("the posterior's center is not finite for some of the data: the model has diverged; fit it anew.")
    coloring = color_by(view)
    with style() as mpl:
        if method == "umap":
            return _embedded(mpl, view, coloring)
        return _line(mpl, view, coloring) if view.latents == 1 else _plane(mpl, view, coloring)


def posterior_draws(view: View) -> NDArray[np.float32]:
    """(M, D) draws from the posteriors, as many of each datum: one of a point mass, else about as many as of the prior."""
    each = max(1, round(len(view.prior_draws) / len(view.batch))) if "bound" in view.model.offers else 1
    drawn = []
    with evaluating(view.model, view.seed, "aggregate"):
        for piece in chunks(view.batch, view.model):
            z = view.model.posterior(piece).sample(torch.Size((each,)))
            drawn.append(z.reshape(each * len(piece), -1).cpu())
    return torch.cat(drawn).numpy()


def _plane(mpl: Any, view: View, coloring: Coloring | None) -> "Figure":
    plane = view.plane
    centers, prior, drawn = (plane.project(z) for z in (view.z, view.prior_draws, posterior_draws(view)))
    figure = mpl.figure.Figure(figsize=(7.4 + 1.2 * _columns(coloring), 3.7), layout="constrained")
    first, second = figure.subplots(1, 2, sharex=True, sharey=True)
    if has_density(prior) and has_density(drawn):
        second.set_title("aggregate posterior (lines) against prior (grey):\nwhat holds 50% and 95% of the draws")
        draw = contours
    else:
        second.set_title("aggregate posterior (blue) against prior (grey):\ndraws, the larger the more lie there")
        draw = spots
    outlines = draw(second, prior, "0.5", filled=True), draw(second, drawn, PALETTE[0])
    _limit(first, np.concatenate((centers, prior, drawn)), np.concatenate(outlines))
    _scatter(first, centers, prior, coloring)
    if plane.kind == "latent" and view.spread is not None and (view.spread > 0).all():
        _ellipses(first, centers, view.spread)
    first.set_title(f"encoded data, {len(centers):,} centers of q(z|x)")
    names = ["z0", "z1"] if plane.kind == "latent" else _shares(view)
    for axes in (first, second):
        axes.set(xlabel=names[0], ylabel=names[1], aspect="equal")
    _legend(figure, first, coloring)
    return figure


def _line(mpl: Any, view: View, coloring: Coloring | None) -> "Figure":
    """A latent of one entry: densities, and the labels along the line."""
    prior, drawn = view.prior_draws[:, 0], posterior_draws(view)[:, 0]
    figure = mpl.figure.Figure(figsize=(6.4, 3.8 if coloring else 2.8), layout="constrained")
    rows = figure.subplots(2 if coloring else 1, 1, sharex=True, squeeze=False)[:, 0]
    curve(rows[0], prior, "0.5", "prior p(z)", filled=True)
    curve(rows[0], drawn, PALETTE[0], "aggregate posterior: draws from q(z|x)")
    rows[0].set(ylabel="density", ylim=(0, None), title="aggregate posterior against prior")
    rows[0].legend(loc="upper right", fontsize=7)
    if coloring is not None:
        heights = (
            np.random.default_rng(view.seed).uniform(0, 1, len(view.z)) if coloring.codes is None else coloring.rows(view.seed)
        )
        _dots(rows[1], np.stack((view.z[:, 0], heights), 1), coloring, named=False)
        if coloring.codes is not None:
            rows[1].set_yticks(range(len(coloring.names)), coloring.names, fontsize=7)
            rows[1].invert_yaxis()
            rows[1].set_ylabel(coloring.title)
        else:
            rows[1].set_yticks([])
            _legend(figure, rows[1], coloring)
        rows[1].set_title("centers of q(z|x)")
    rows[-1].set_xlabel("z")
    return figure


def _embedded(mpl: Any, view: View, coloring: Coloring | None) -> "Figure":
    try:
        from umap import UMAP  # pyright: ignore[reportMissingImports] an extra
    except ImportError as error:
        message = (
            "the method 'umap' needs umap-learn, which is not installed: pip install 'amortized[umap]'; 'plane' needs nothing."
        )
        raise InputError(message) from error
    z, prior = view.z, view.prior_draws
    places = np.asarray(UMAP(random_state=view.seed, n_jobs=1).fit_transform(np.concatenate((z, prior))))
    figure = mpl.figure.Figure(figsize=(5.4, 4.2), layout="constrained")
    axes = figure.add_subplot()
    _limit(axes, places)
    _scatter(axes, places[: len(z)], places[len(z) :], coloring)
    axes.set(xticks=[], yticks=[], title=f"encoded data and draws from the prior, {len(z):,} data, by UMAP")
    _legend(figure, axes, coloring)
    return figure


def _scatter(axes: "Axes", centers: NDArray[Any], prior: NDArray[Any], coloring: Coloring | None) -> None:
    axes.scatter(*prior.T, s=5, color=PRIOR, linewidth=0, label="draws from the prior", rasterized=True)
    _dots(axes, centers, coloring, named=True)


def _dots(axes: "Axes", places: NDArray[Any], coloring: Coloring | None, *, named: bool) -> None:
    size = float(np.clip(4000 / max(len(places), 1), 5, 16))
    if coloring is None:
        axes.scatter(*places.T, s=size, color=PALETTE[0], alpha=0.7, linewidth=0, label="data", rasterized=True)
    else:
        coloring.draw(axes, places, size, named=named)


def _ellipses(axes: "Axes", centers: NDArray[Any], spread: NDArray[Any]) -> None:
    """One standard deviation of some posteriors, from the first center to the last along the first axis."""
    from matplotlib.patches import Ellipse

    order = np.argsort(centers[:, 0], kind="stable")
    chosen = np.unique(order[np.linspace(0, len(order) - 1, ELLIPSES).astype(int)])
    for number, row in enumerate(chosen):
        label = "q(z|x) of some: one standard deviation" if number == 0 else None
        width, height = 2 * spread[row]
        axes.add_patch(Ellipse(tuple(centers[row]), width, height, fill=False, color="0.1", linewidth=0.8, zorder=4, label=label))


def _shares(view: View) -> list[str]:
    variance = view.z.var(0).sum()
    held = view.plane.project(view.z).var(0) / max(variance, 1e-30)
    return [f"principal component {number} ({share:.0%} of variance)" for number, share in enumerate(held, 1)]


def _limit(axes: "Axes", places: NDArray[Any], outlines: NDArray[Any] | None = None) -> None:
    """Axes as wide as high, that hold nearly all of the places (n, 2) and all of the outlines (m, 2)."""
    places = places[np.isfinite(places).all(1)]
    low, high = (np.quantile(places, share, axis=0) for share in (1 - REACH, REACH))
    if outlines is not None:
        low, high = np.minimum(low, outlines.min(0)), np.maximum(high, outlines.max(0))
    middle, reach = (low + high) / 2, 0.57 * float((high - low).max()) + 1e-6
    axes.set_xlim(middle[0] - reach, middle[0] + reach)
    axes.set_ylim(middle[1] - reach, middle[1] + reach)


def _columns(coloring: Coloring | None) -> int:
    """Of the legend, for which the figure has room."""
    return 0 if coloring is None else 1 + len(coloring.names) // ENTRIES


def _legend(figure: "Figure", axes: "Axes", coloring: Coloring | None) -> None:
    if coloring is not None and coloring.codes is None:
        figure.colorbar(axes.collections[-1], ax=axes, label=coloring.title, fraction=0.05)
    handles, labels = axes.get_legend_handles_labels()
    title = None if coloring is None or coloring.codes is None else coloring.title
    legend = figure.legend(
        handles,
        labels,
        loc="outside right center",
        ncols=max(_columns(coloring), 1),
        columnspacing=0.8,
        title=title,
        fontsize=7,
        title_fontsize=8,
        borderaxespad=0.2,
    )
    for handle in legend.legend_handles:
        if hasattr(handle, "set_sizes"):  # dots, which are small where there are many
            handle.set_sizes([DOT])  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]

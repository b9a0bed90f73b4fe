"""What each entry of the latent carries: KL( q(z_j|x) || p(z_j) ) in the mean over the data, the largest first.

An entry is active where the variance of its posterior mean over the data exceeds 0.01 (Burda et al. 2016, arXiv 1509.00519).
Where the KL is no sum over the entries (a flow, a sphere, a point mass), the variance of the posterior means over that of the
prior is drawn. Of a hierarchy each group of latents has a block of its own.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amortized.evaluation.activity import ACTIVE
from amortized.models.model import evaluating
from amortized.report.style import PALETTE, style
from amortized.report.view import View
from amortized.terms import Latent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from amortized.runs import Run

NAMED = 64
"""Bars that have the number of their entry below them."""

LEAST = 0.05
"""The height of the axes at least: what is less looks like nothing, and is."""

KINDS = (
    (True, PALETTE[0], f"active: its posterior mean has a variance above {ACTIVE:g}"),
    (False, "0.72", "not active"),
)


def kl_figure(run: "Run | View") -> "Figure":
    """Draw the KL of each latent dimension, sorted, with the active ones told apart.

    Args:
        run: The run, or its view, whose data are encoded.

    Returns:
        A figure of matplotlib's: a bar for each entry, with its position in z below where there are at most 64.

    Raises:
        InputError: The data are not there, or matplotlib is not installed.
    """
    view = View.of(run)
    ranking = view.ranking
    carried = np.empty(view.latents)
    carried[ranking.dimensions] = ranking.carried
    groups = [np.arange(start, end) for start, end in groups_of(view)]
    with style() as mpl:
        figure = mpl.figure.Figure(figsize=(min(max(4.4, 0.16 * view.latents + 1.2), 9.5), 3.0), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, [group[np.argsort(-carried[group], kind="stable")] for group in groups], carried, view.is_active)
        if ranking.measure == "kl_nats":
            axes.set(ylabel="mean KL, nats")
            total = f"rate {carried.sum():.2f} nats; "
        else:
            axes.set(ylabel="variance of posterior means,\nin prior variances")
            total = ""
        active, count = int(view.is_active.sum()), view.latents
        axes.set_title(f"{total}{active} of {count} entries active")
        handles, labels = axes.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True))
        figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=2, fontsize=8)
        return figure


def groups_of(view: View) -> list[tuple[int, int]]:
    """Where each group of latents begins and ends in z, flattened."""
    with evaluating(view.model, view.seed, "groups"):
        latents = view.model.terms(view.batch.rows(slice(1))).latents
    sizes = [latent.q.event_shape.numel() for latent in latents if isinstance(latent, Latent)]
    if sum(sizes) != view.latents:
        return [(0, view.latents)]
    ends = np.cumsum(sizes).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _draw(axes: "Axes", groups: list[NDArray[np.int64]], carried: NDArray[np.float64], is_active: NDArray[np.bool_]) -> None:
    start, ticks, names = 0, [], []
    for number, entries in enumerate(groups, 1):
        places = start + np.arange(len(entries))
        for active, color, label in KINDS:
            those = is_active[entries] == active
            if those.any():
                axes.bar(places[those], carried[entries][those], width=0.82, color=color, label=label)
        if len(groups) > 1:
            said = f"layer {number}: {carried[entries].sum():.2f}"
            axes.text(places.mean(), 1.0, said, ha="center", va="top", fontsize=8, transform=axes.get_xaxis_transform())
        ticks += places.tolist()
        names += [str(entry - entries.min()) for entry in entries]
        start += len(entries) + (2 if len(groups) > 1 else 0)
    axes.set_xlim(-0.8, max(ticks) + 0.8)
    axes.set_ylim(0, max(1.15 * float(np.nan_to_num(carried).max(initial=0)), LEAST))
    if len(ticks) <= NAMED:
        axes.set_xticks(ticks, names, fontsize=8 if len(ticks) <= 32 else 6)
        axes.tick_params(axis="x", length=0)
        axes.set_xlabel("entry of z" if len(groups) == 1 else "entry of each layer")
    else:
        axes.set_xlabel(f"rank among the {len(ticks)} entries of z")

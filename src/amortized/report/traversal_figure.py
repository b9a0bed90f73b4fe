"""What each dimension of the latent does: E[x | z] while one entry goes through the prior's range and the others stay.

A row, or a panel of a table's columns, for each active dimension, the one with the largest KL first: it carries most.
"""

from typing import TYPE_CHECKING

import numpy as np

from amortized import tasks
from amortized.errors import InputError
from amortized.report.entries import is_image, name_of, sites
from amortized.report.kl_figure import groups_of
from amortized.report.lines import line_figure
from amortized.report.style import style
from amortized.report.tiles import Block, fitting_columns, tile_figure
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amortized.runs import Run

MOST = 12
"""Dimensions, at most; of a table one fewer, for the names of columns take the place of a panel."""

SPAN = 3.0
STEPS, LEAST = 9, 5
POINTS = 31
"""Of a line."""


def traversal_figure(run: "Run | View", *, dims: int | None = None, span: float = SPAN) -> "Figure":
    """Draw what the active dimensions of the latent do to a datum.

    Args:
        run: The run.
        dims: How many dimensions at most; by default twelve.
        span: How far they go from the prior's mean, in its standard deviations.

    Raises:
        InputError: No dimension is active (collapse), or none can move alone (a sphere, classes); the data are not there, `dims`
            or `span` is not positive, or matplotlib is not installed.
    """
    view = View.of(run)
    of_images = is_image(view.spec)
    active = view.active
    if dims is not None and dims < 1:
        raise InputError(f"dims must be a positive integer; it is {dims}; leave it out for all that are active.")
    if not active:
        raise InputError(
            "no dimension of the latent is active (collapse), so there is none to traverse; lower beta, or warm it up."
        )
    shown = active[: dims or (MOST if of_images else MOST - 1)]
    places = {int(entry): place for place, entry in enumerate(view.ranking.dimensions)}
    carried = [float(view.ranking.carried[places[entry]]) for entry in shown]
    ranking = tasks.Ranking(np.array(shown), np.array(carried), view.ranking.measure)
    site = int(sites(view, 1)[0])
    steps = max(LEAST, min(STEPS, fitting_columns(view.spec.event_shape, name=16))) if of_images else POINTS
    datum = view.batch.rows(slice(site, site + 1))
    made = tasks.traverse(view.model, datum, ranking, steps=steps, span=span, seed=view.seed)
    of_kl = view.ranking.measure == "kl_nats"
    called = _called(groups_of(view))
    names = [
        f"{called[entry]}, {value:.2f} nats" if of_kl else f"{called[entry]}, variance {value:.2f}"
        for entry, value in zip(shown, carried, strict=True)
    ]
    by = "KL" if of_kl else "variance"
    title = f"One entry of z at a time, of datum {name_of(view, site)}: {_count(len(shown), len(active), view.latents)}, by {by}"
    at = np.linspace(-span, span, made.z.shape[2])
    with style() as mpl:
        if of_images:
            block = Block(made.x[0], names, [f"{value:+.3g}" if value else "0" for value in at.round(2)], title)
            return tile_figure(mpl, view, [block])
        label = "z, standard deviations of the prior from its mean"
        return line_figure(mpl, view, made.x[0], at, names, title=title, label=label)


def _called(groups: list[tuple[int, int]]) -> list[str]:
    """The name of each entry: that of its place, after the number of its layer where there are several."""
    if len(groups) == 1:
        return [f"z{entry}" for entry in range(groups[0][1])]
    return [f"layer {number}: z{entry}" for number, (start, end) in enumerate(groups, 1) for entry in range(end - start)]


def _count(shown: int, active: int, all_of_them: int) -> str:
    if active == 1:
        return f"the one active dimension of {all_of_them}"
    some = "all" if shown == active else f"the first {shown} of"
    return f"{some} {active} active dimensions of {all_of_them}"

"""What lies between data: E[x | z] along paths between the latents of pairs, with the data themselves at the ends.

The path is a straight line, or, on a sphere, which straight lines leave, the arc. Between discrete values there is none.
"""

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from amortized import tasks
from amortized.distributions import in_support, representative
from amortized.errors import InputError
from amortized.models.model import evaluating
from amortized.report.entries import check_positive, index_of, is_image, name_of, plain
from amortized.report.lines import line_figure
from amortized.report.style import style
from amortized.report.tiles import Block, Scale, fitting_columns, tile_figure
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amortized.runs import Run

PAIRS, PANELS = 5, 7
STEPS, LEAST = 8, 4
POINTS = 31
"""Of a line."""

TWO_LINES = 24
"""Pixels that two lines of a name take."""

PANEL_NAME = 28
"""Characters of a name for which there is room above a panel: where labels make it longer, the data are named by index."""


def interpolation_figure(run: "Run | View", n: int | None = None) -> "Figure":
    """Draw paths between pairs of data, of different labels where they have any.

    Args:
        run: The run.
        n: How many pairs.

    Raises:
        InputError: The latents are discrete; there are fewer than two data, or they are not there; n is not positive, or
            matplotlib is not installed.
    """
    view = View.of(run)
    check_positive(n)
    if len(view.batch) < 2:
        raise InputError(f"a path needs two data, and the {view.split} split has {len(view.batch)}; name another split.")
    of_images = is_image(view.spec)
    path = path_of(view)
    first, second = _pairs(view, n or (PAIRS if of_images else PANELS))
    steps = max(LEAST, min(STEPS, fitting_columns(view.spec.event_shape, name=16) - 2)) if of_images else POINTS
    begin, end = (view.batch.rows(torch.as_tensor(rows, device=view.batch.x.device)) for rows in (first, second))
    made = tasks.interpolate(view.model, begin, end, steps=steps, path=path, seed=view.seed).numpy()
    between = "\n" if of_images and Scale.of(view.spec.event_shape).tile[0] >= TWO_LINES else " "
    names = [f"{name_of(view, a)}{between}to {name_of(view, b)}" for a, b in zip(first, second, strict=True)]
    if not of_images and max(map(len, names)) > PANEL_NAME:
        names = [f"{index_of(view, a)} to {index_of(view, b)}" for a, b in zip(first, second, strict=True)]
    line = "straight lines" if path == "linear" else "arcs"
    title = f"Paths between data, {line} in the latent space, decoded"
    if view.spec.conditions:
        title += f"; {', '.join(map(plain, view.spec.conditions))} as at the beginning"
    ends = np.stack((view.shown_x[first], view.shown_x[second]), 1)
    t = np.linspace(0, 1, steps)
    with style() as mpl:
        if of_images:
            columns = ["datum", *(f"{share:.2g}" for share in t), "datum"]
            images = np.concatenate((ends[:, :1], made, ends[:, 1:]), axis=1)
            return tile_figure(mpl, view, [Block(images, names, columns, title)])
        return line_figure(mpl, view, made, t, names, title=f"{title}; dots: the data", label="along the path", ends=ends)


def path_of(view: View) -> Literal["linear", "spherical"]:
    """The path that the latent allows, "linear" or "spherical".

    Raises:
        InputError: There is none, for the latents are discrete.
    """
    view.material.check_paths()
    with torch.no_grad(), evaluating(view.model, view.seed, "paths"):
        q = view.model.posterior(view.batch.rows(slice(2)))
        ends = representative(q)
        return "linear" if in_support(q, ends.lerp(ends.flip(0), 0.5)) else "spherical"


def _pairs(view: View, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of data at which paths begin, and at which they end: no datum twice, and labels that differ where they can."""
    order = np.random.default_rng(view.seed).permutation(len(view.batch))
    count = min(count, len(order) // 2)
    first, rest = order[:count], order[count:].tolist()
    labels = view.labels
    second = []
    for row in first:
        others = [other for other in rest if labels is not None and labels[other] != labels[row]]
        second.append((others or rest)[0])
        rest.remove(second[-1])
    return first, np.array(second)

r"""Pictures of inference: q(z|x) over the posterior that it stands for.

The posterior p(z|x) = p(x, z) / p(x) is known on a grid, for latents of one or two entries, once quadrature has found p(x). The
grid spans what q and the posterior hold: the ends of draws from q, and five standard deviations of the posterior about its mean.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation import Joint, quadrature
from amortized.evaluation.quadrature import check_dimension, in_float64, log_densities
from amortized.models.model import Model, device_of, evaluating
from amortized.report.style import PALETTE, style
from amortized.terms import Batch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

POINTS = {1: 801, 2: 121}
"""Of the grid, on each edge."""

HELD = (0.95, 0.5)
"""What a density's contours hold of its mass."""

TOLERANCE = 0.01
"""Of the quadrature, nats: what a title shows."""

DRAWS = 1000
COLUMNS = 4
SIZE = 2.4
"""Of one panel, inches."""


def posterior_figure(model: Model, batch: Batch | Tensor, *, data: int = 8, seed: int = 0) -> "Figure":
    """Draw q(z|x) over the true posterior p(z|x), for each of a few data.

    For a latent of one entry both are curves, for one of two the posterior is filled to the levels that hold 50% and 95% of its
    mass, and q has contours that hold as much.

    Args:
        model: A model with a latent of one or two real entries; a copy of it is used, in float64.
        batch: The data.
        data: How many of them, from the first, are shown.
        seed: Of the draws that show where the densities are.

    Returns:
        The figure, each panel titled with KL(q || p(z|x)); `figure.savefig("posterior.png")` writes it.

    Raises:
        InputError: The latent is another, there are no data, or matplotlib is not installed.
    """
    if data < 1:
        raise InputError(f"data must be a positive integer; it is {data}; give how many data are to be shown.")
    with style() as mpl:
        exact = in_float64(model)
        batch = Batch.of(batch).rows(slice(0, data)).to(device_of(exact), torch.float64)
        found = quadrature(exact, [batch], tolerance=TOLERANCE, seed=seed)
        n = len(found.log_px)
        columns, rows = min(n, COLUMNS), math.ceil(n / COLUMNS)
        figure = mpl.figure.Figure(figsize=(SIZE * columns, SIZE * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        with evaluating(exact, seed, "figure"):
            for row, ax in enumerate(axes[:n]):
                joint = Joint.of(exact, batch.rows(slice(row, row + 1)), method="a figure of the posterior")
                edges = _edges(joint, found.mean[row], found.covariance[row])
                draw = _draw_curves if check_dimension(joint) == 1 else _draw_contours
                draw(ax, edges, *_on_grid(joint, edges, float(found.log_px[row])))
                ax.set_title(f"KL {float(found.kl_q_posterior[row]):.2f} nats")
        for ax in axes[n:]:
            ax.set_axis_off()
        figure.legend(handles=_handles(mpl, found.mean.shape[1]), loc="outside lower center", ncols=2)
        return figure


def _edges(joint: Joint, mean: Tensor, covariance: Tensor) -> list[Tensor]:
    """The values of each entry of z on the grid."""
    draws = joint.q.sample(torch.Size((DRAWS,))).reshape(DRAWS, -1).cpu()
    reach = 5 * covariance.diagonal().clamp(min=0).sqrt()
    low, high = torch.minimum(draws.amin(0), mean - reach), torch.maximum(draws.amax(0), mean + reach)
    return [torch.linspace(a, b, POINTS[len(low)], dtype=torch.float64) for a, b in zip(low.tolist(), high.tolist(), strict=True)]


def _on_grid(joint: Joint, edges: list[Tensor], log_px: float) -> tuple[Tensor, Tensor]:
    """The densities p(z | x) and q(z | x) on the grid."""
    grid = torch.cartesian_prod(*edges).reshape(-1, len(edges)).to(joint.batch.x.device)
    log_joint, _, log_q = log_densities(joint, grid)
    shape = [len(edge) for edge in edges]
    return (log_joint - log_px).exp().reshape(shape).cpu(), log_q.exp().reshape(shape).cpu()


def _draw_curves(ax: Any, edges: list[Tensor], posterior: Tensor, q: Tensor) -> None:
    (z,) = (edge.numpy() for edge in edges)
    ax.fill_between(z, posterior.numpy(), color=PALETTE[0], alpha=0.35, linewidth=0)
    ax.plot(z, q.numpy(), color=PALETTE[1])
    ax.set(xlabel="z", ylim=(0, None), yticks=[])
    ax.spines["left"].set_visible(False)


def _draw_contours(ax: Any, edges: list[Tensor], posterior: Tensor, q: Tensor) -> None:
    first, second = (edge.numpy() for edge in edges)
    for level in _levels(posterior):
        ax.contourf(first, second, posterior.T.numpy(), levels=[level, torch.inf], colors=PALETTE[0], alpha=0.35)
    ax.contour(first, second, q.T.numpy(), levels=_levels(q), colors=PALETTE[1], linewidths=1.2)
    ax.set(xlabel="z0", ylabel="z1")


def _levels(density: Tensor) -> list[float]:
    """The densities above which lie the shares `HELD` of the mass, ascending."""
    values = density.flatten().sort(descending=True).values
    mass = values.cumsum(0) / values.sum()
    levels = [float(values[int((mass < share).sum())]) for share in HELD]
    return levels if levels[0] < levels[1] else [levels[1] / 2, levels[1]]


def _handles(mpl: Any, dimension: int) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    held = "" if dimension == 1 else ", 50% and 95%"
    posterior = Patch(color=PALETTE[0], alpha=0.35, label=f"posterior p(z|x){held}")
    return [posterior, Line2D([], [], color=PALETTE[1], label=f"q(z|x){held}")]

"""What lies between two data: E[x | z] along a path from the posterior mean of one to that of the other.

    linear      z(t) = (1 - t) a + t b
    spherical   z(t) = ((1 - t) |a| + t |b|) (cos(t w) u + sin(t w) v)                White 2016, arXiv 1609.04468

with u the direction of a, w the angle between a and b, and v the direction of what b has beside u. Under a Gaussian prior of high
dimension a straight line leaves the shell in which the mass lies; the spherical path does not. Where v is undefined, because a
and b point the same way or opposite ways, any direction orthogonal to u will do: with w = 0 it is not used, with w = pi every
half circle is as short as every other.
"""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from amortized.distributions import center, in_support, representative
from amortized.errors import InputError, nearest
from amortized.models.model import Model, evaluating
from amortized.tasks.running import chunks
from amortized.terms import Batch

Path = Literal["linear", "spherical"]


def interpolate(
    model: Model, a: Batch | Tensor, b: Batch | Tensor, *, steps: int = 8, path: Path = "linear", seed: int = 0
) -> Tensor:
    """Decode the path between the latents of pairs of data.

    Args:
        model: The model.
        a: N data at which the paths begin. Their conditions, where the model has any, are held along the whole path.
        b: N data at which the paths end; their conditions reach their posterior only.
        steps: Points of each path, both ends among them.
        path: "linear" or "spherical".
        seed: Of the draws, where a mean is not known.

    Returns:
        (N, steps, *event) on the CPU, in the data's units.

    Raises:
        InputError: Fewer than two steps, an unknown path, or another number of data in b than in a; or the path
            leads where no latent can be.
    """
    if steps < 2:
        raise InputError(f"a path needs at least 2 steps, its two ends; steps is {steps}.")
    if path not in get_args(Path):
        raise InputError(f"unknown path '{path}'; {nearest(path, get_args(Path))}")
    a, b = Batch.of(a), Batch.of(b)
    if len(a) != len(b) or len(a) == 0:
        raise InputError(f"interpolation needs pairs of data; there are {len(a)} beginnings and {len(b)} ends.")
    between = _spherical if path == "spherical" else torch.lerp
    made = []
    with evaluating(model, seed, "interpolate"):
        for begin, end in zip(chunks(a, model, steps), chunks(b, model, steps), strict=True):
            q = model.posterior(begin)
            ends = representative(q), representative(model.posterior(end))
            t = torch.linspace(0.0, 1.0, steps, dtype=ends[0].dtype, device=ends[0].device)
            z = between(*ends, t.reshape(steps, *(1 for _ in ends[0].shape)))
            if not in_support(q, z):
                raise InputError(
                    f"a {path} path leaves what the latent can be: take the path 'spherical' on a sphere; between discrete values"
                    " there is none."
                )
            made.append(center(model.decode(z, begin.context)).transpose(0, 1).cpu())
    return torch.cat(made)


def _spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The points at t (steps, 1, ...) between a and b (N, *event): (steps, N, *event)."""
    shape, t = a.shape, t.reshape(-1, 1, 1)
    a, b = a.flatten(1), b.flatten(1)
    norm_a, norm_b = a.norm(dim=1, keepdim=True), b.norm(dim=1, keepdim=True)
    # A latent at the origin has no direction: it takes the other's, and the path is a ray.
    u = normalize(torch.where(norm_a > 0, a, b), dim=1)
    toward = normalize(torch.where(norm_b > 0, b, a), dim=1)
    cosine = (u * toward).sum(1, keepdim=True)
    rest = toward - cosine * u
    sine = rest.norm(dim=1, keepdim=True)
    angle = torch.atan2(sine, cosine)
    epsilon = torch.finfo(a.dtype).eps
    v = torch.where(sine > 8 * epsilon, normalize(rest, dim=1, eps=epsilon), _orthogonal(u))
    points = torch.lerp(norm_a, norm_b, t) * (torch.cos(t * angle) * u + torch.sin(t * angle) * v)
    return points.reshape(len(points), *shape)


def _orthogonal(u: Tensor) -> Tensor:
    """A direction orthogonal to each unit vector of u (N, D), zero where D = 1."""
    axis = one_hot(u.abs().argmin(1), u.shape[1]).to(u.dtype)
    return normalize(axis - (axis * u).sum(1, keepdim=True) * u, dim=1)

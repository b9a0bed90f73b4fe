"""Paths between two points that keep to the shell in which they lie.

    z(t) = ((1 - t) |a| + t |b|) (cos(t w) u + sin(t w) v)                White 2016, arXiv 1609.04468

with u the direction of a, w the angle between a and b, and v the direction of what b has beside u. Where v is undefined, because
a and b point the same way or opposite ways, any direction orthogonal to u will do: with w = 0 it is not used, with w = pi every
half circle is as short as every other.
"""

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot


def spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The points of the spherical paths between pairs.

    Args:
        a: (N, *event) where the paths begin.
        b: (N, *event) where they end.
        t: (steps, ...) how far along, from 0 to 1, one number a step.

    Returns:
        (steps, N, *event).
    """
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

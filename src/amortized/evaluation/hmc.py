r"""Hamiltonian Monte Carlo along a path of densities, many chains of many data at once.

    log f_b(z) = log f_0(z) + b t(z),    0 <= b <= 1

with f_0 the start of the path and t its tilt. A transition that leaves f_b as it is draws a momentum v ~ N(0, I), follows

    H(z, v) = - log f_b(z) + |v|^2 / 2

by L leapfrog steps, and takes the end with probability min(1, exp(-change of H)) (Duane et al. 1987; Neal 2011, arXiv 1206.1901,
sections 2.3 and 3.2). A leapfrog step is

    v += s/2 grad log f_b(z),    z += s v,    v += s/2 grad log f_b(z)

whose step s may differ between data and entries: it is that of the transformed latent z / s with unit steps. It is reversible and
preserves volume, so the transition is exact for any s that does not depend on the chain itself.

What is known at a point is known at all b: log f_0, t and their gradients. So the last point of a trajectory is the first of the
next, at whatever b, and a leapfrog step asks for the gradient once. In the code z is (K, B, *event): K chains of B data.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Path = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From z (K, B, *event) to log f_0(z) and t(z), each (K, B) nats."""


@dataclass(frozen=True, eq=False)
class Point:
    """What is known of the path at K x B values of the latent.

    Attributes:
        z: (K, B, *event) where.
        start: (K, B) log f_0(z).
        tilt: (K, B) t(z).
        start_slope: (K, B, *event) the gradient of log f_0.
        tilt_slope: (K, B, *event) that of t.
    """

    z: Tensor
    start: Tensor
    tilt: Tensor
    start_slope: Tensor
    tilt_slope: Tensor

    @classmethod
    def at(cls, path: Path, z: Tensor) -> "Point":
        """What the path says at z."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            start, tilt = path(z)
            start_slope = _slope(start, z, keep=True)
            tilt_slope = _slope(tilt, z)
        return cls(z.detach(), start.detach(), tilt.detach(), start_slope, tilt_slope)

    def slope(self, beta: float) -> Tensor:
        """(K, B, *event) the gradient of log f_b."""
        return torch.add(self.start_slope, self.tilt_slope, alpha=beta)

    def where(self, taken: Tensor, other: "Point") -> "Point":
        """The other point for the chains (K, B) in which it is taken, else this one."""
        wide = taken.reshape(*taken.shape, *(1 for _ in self.z.shape[taken.ndim :]))
        return Point(
            torch.where(wide, other.z, self.z),
            torch.where(taken, other.start, self.start),
            torch.where(taken, other.tilt, self.tilt),
            torch.where(wide, other.start_slope, self.start_slope),
            torch.where(wide, other.tilt_slope, self.tilt_slope),
        )


def leapfrog(path: Path, point: Point, v: Tensor, beta: float, step: Tensor, count: int) -> tuple[Point, Tensor]:
    """Follow the Hamiltonian dynamics of f_b.

    Args:
        path: The path of densities.
        point: Where they begin.
        v: (K, B, *event) the momentum there.
        beta: The density f_b on the path.
        step: (B, *event) the step sizes.
        count: The number L of leapfrog steps.

    Returns:
        The end and the momentum there.
    """
    v = torch.addcmul(v, step, point.slope(beta), value=0.5)
    for left in range(count - 1, -1, -1):
        point = Point.at(path, torch.addcmul(point.z, step, v))
        v = torch.addcmul(v, step, point.slope(beta), value=1.0 if left else 0.5)
    return point, v


def transition(path: Path, point: Point, beta: float, step: Tensor, count: int) -> tuple[Point, Tensor]:
    """One transition of every chain, which leaves f_b as it is; arguments as of `leapfrog`.

    Returns:
        Where the chains are then, and the probabilities (K, B) with which the ends of their trajectories were taken.
    """
    v = torch.randn_like(point.z)
    end, v_end = leapfrog(path, point, v, beta, step, count)
    gain = (end.start - point.start) + beta * (end.tilt - point.tilt) - _kinetic_gain(v, v_end)
    acceptance = gain.clamp(max=0.0).exp().nan_to_num(nan=0.0)  # a trajectory that left all numbers is not taken
    return point.where(torch.rand_like(acceptance) < acceptance, end), acceptance


def _kinetic_gain(v: Tensor, v_end: Tensor) -> Tensor:
    """(K, B) how much more kinetic energy |v|^2 / 2 there is at the end; not as a difference of sums, which would round."""
    return ((v_end - v) * (v_end + v)).flatten(2).sum(-1) / 2


def _slope(value: Tensor, z: Tensor, *, keep: bool = False) -> Tensor:
    """The gradient (K, B, *event) of values (K, B), each of one z; zero where they do not depend on it."""
    if not value.requires_grad:
        return torch.zeros_like(z)
    (slope,) = torch.autograd.grad(value.sum(), z, retain_graph=keep, allow_unused=True)
    return torch.zeros_like(z) if slope is None else slope

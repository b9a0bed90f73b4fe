r"""Step sizes for the chains of an annealing, found by a run of its own before them.

The bounds of annealing hold for transitions that are chosen without looking at the chains (Neal 2001, section 2). So a pilot goes
along the same path with noise of its own, adapts, and what it found is frozen. At each of its densities it keeps, for each datum,

    s_d = e c_d,    log e += gain (acceptance - target),    c_d^2 = running mean of the variance of z_d over the chains

a factor e (Robbins and Monro 1951) and a scale c_d for each entry of z. The target is the acceptance that makes the most of a
trajectory of a given length in many dimensions, 0.651 (Beskos et al. 2013, arXiv 1001.4460, section 4).

The pilot passes as many densities however many the chains do; log s is interpolated between them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from amortized.evaluation.hmc import Path, Point, transition

CHAINS = 8
TARGET = 0.65
WARM_UP, KNOTS = 20, 100
"""Transitions at the first density, to find the factor from nothing, and then along the path."""

GAIN, WARM_UP_GAIN = 0.3, 1.0
MEMORY = 0.9
"""What is kept of the running mean of the variance from one density to the next."""

LEAST_VARIANCE = 1e-12


def tuned_steps(path: Path, z: Tensor, betas: Sequence[float], leapfrog: int) -> Tensor:
    """Find the step sizes.

    Args:
        path: The path of densities.
        z: (K, B, *event) draws of its start, K at least 2.
        betas: The T densities f_b at which chains move, in their order from the start.
        leapfrog: The number of leapfrog steps of a transition.

    Returns:
        (T, B, *event) the step sizes at each density.
    """
    if not betas:
        return z.new_empty(0, *z.shape[1:])
    knots = torch.linspace(0, len(betas) - 1, KNOTS, dtype=torch.float64)
    point, variance = Point.at(path, z), z.var(0)
    log_factor, found = z.new_zeros(z.shape[1]), []
    for position, knot in enumerate([0.0] * WARM_UP + knots.tolist()):
        factor = log_factor.exp().reshape(-1, *(1 for _ in z.shape[2:]))
        found.append(factor * variance.clamp(min=LEAST_VARIANCE).sqrt())
        point, acceptance = transition(path, point, _between(betas, knot), found[-1], leapfrog)
        gain = GAIN if position >= WARM_UP else WARM_UP_GAIN
        log_factor = log_factor + gain * (acceptance.mean(0) - TARGET)
        variance = MEMORY * variance + (1 - MEMORY) * point.z.var(0)
    return _interpolated(torch.stack(found[WARM_UP:]), knots, len(betas))


def _between(betas: Sequence[float], position: float) -> float:
    """The density at a position between those of the chains."""
    before = min(int(position), len(betas) - 1)
    after = min(before + 1, len(betas) - 1)
    return betas[before] + (position - before) * (betas[after] - betas[before])


def _interpolated(steps: Tensor, knots: Tensor, count: int) -> Tensor:
    """The steps (P, B, *event) found at `knots`, at the positions 0, ..., count - 1: geometrically in between."""
    positions = torch.arange(count, dtype=knots.dtype)
    after = torch.searchsorted(knots, positions).clamp(1, len(knots) - 1)
    share = (positions - knots[after - 1]) / (knots[after] - knots[after - 1]).clamp(min=torch.finfo(knots.dtype).tiny)
    share = share.to(steps).reshape(-1, *(1 for _ in steps.shape[1:]))
    after = after.to(steps.device)
    return torch.lerp(steps[after - 1].log(), steps[after].log(), share).exp()

r"""Where a function on a grid may have peaks that no node of the grid shows, and how high they are.

A mode narrower than the nodes are apart is seen, if at all, by its feet: a node that is higher than its neighbors, by however
little, and they may be hundreds of nats below the top between them. So nodes that are local maxima are the ones to look at, and
not slopes: log p(x, z) with hundreds of entries of x is steep everywhere. A local maximum within 3 nats of its neighbors is
resolved. Of a steeper one two things are known:

* how high it may rise: of a concave function, and of a cusp, a top between a node and its neighbors is above that node by no
  more than the node is above the lower of the neighbors, along each axis (`hidden`). A node at the border
  that is above its neighbor inside is one of them: the top may be in the next panel, before its first node;
* how high it is: from the node upwards in steps to the best of the 3^D points around, that are halved where none is better,
  until they are so short that the top is resolved (`climb`). Nothing need be concave for that.

A peak whose feet are themselves lower than another slope between the nodes of the grid is not found.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

STEEP = 3.0
"""Nats between neighbors, above which a local maximum is not resolved."""

NOTHING = -700.0
"""A log p(z) so far out that nothing there counts: log p(z) itself changes by as much from node to node."""

CLIMBERS = 64
"""The local maxima, the highest, from which is climbed."""

STEPS = 100
"""Of a climb at most."""


def hidden(log_joint: Tensor, log_p: Tensor, log_weight: Tensor) -> tuple[Tensor, Tensor]:
    """What the integral of a peak of p(x, z) between nodes may be, on each of many grids.

    Args:
        log_joint: (P, n, ..., n) log p(x, z), nats.
        log_p: log p(z), of the same shape.
        log_weight: Of the nodes in the integral, of the same shape.

    Returns:
        (P,) nats, of the greatest, as it rises from the nodes; and the same of p(z), if p(x | z) is 1: the first is no more than
        the second and the greatest log p(x | z) there is. Both are -inf where all local maxima are resolved.
    """
    axes = range(1, log_joint.ndim)
    gain = _steepness(log_joint, axes)
    rise, prior = log_joint + gain, log_p + _steepness(log_p, axes, of_tops=False)
    counts = (gain > STEEP) & (log_p > NOTHING)
    found = [torch.where(counts, each + log_weight, -torch.inf).flatten(1).amax(-1) for each in (rise, prior)]
    return found[0], found[1]


def climb(function: Callable[[Tensor], Tensor], grid: Tensor, values: Tensor, step: float) -> tuple[Tensor, Tensor, Tensor]:
    """Climb from all local maxima of a grid that are not resolved.

    Args:
        function: From u (K, D) in (-1, 1)^D to (K,) nats.
        grid: (n, ..., n, D) the u of the nodes.
        values: (n, ..., n) the function there.
        step: The first step.

    Returns:
        Of each top where it is (M, D), how high (M,), and the step (M,) at which it is resolved.
    """
    gain = _steepness(values, range(values.ndim))
    height, order = torch.where(gain > STEEP, values, -torch.inf).flatten().topk(min(CLIMBERS, values.numel()))
    order = order[height > -torch.inf]
    top, height = grid.flatten(0, -2)[order], values.flatten()[order]
    steps = torch.full_like(height, step)
    around = torch.cartesian_prod(*[grid.new_tensor([-1.0, 0.0, 1.0])] * grid.shape[-1]).reshape(-1, grid.shape[-1])
    moving = torch.arange(len(top), device=top.device)
    for _ in range(STEPS):
        if not len(moving):
            break
        u = (top[moving, None] + steps[moving, None, None] * around).clamp(-1 + 1e-12, 1 - 1e-12)
        near = function(u.flatten(0, 1)).reshape(len(moving), -1)
        best, which = near.max(-1)
        is_better, is_resolved = best > height[moving], height[moving] - near.amin(-1) <= STEEP
        better = moving[is_better]
        top[better], height[better] = u[is_better, which[is_better]], best[is_better]
        moving, still = moving[is_better | ~is_resolved], is_better[is_better | ~is_resolved]
        steps[moving[~still]] /= 2
    return top, height, steps


def _steepness(values: Tensor, axes: range, *, of_tops: bool = True) -> Tensor:
    """How far each node is from its neighbors along the axes, in nats, summed over axes; 0 where it is not above them all."""
    steepness, is_top = torch.zeros_like(values), torch.ones_like(values, dtype=torch.bool)
    for axis in axes:
        rise = values.diff(dim=axis).movedim(axis, -1)
        rise = torch.where(rise.isfinite(), rise, 0.0)
        before, after = (pad(rise, side).movedim(-1, axis) for side in ((1, 0), (0, 1)))
        is_top &= (before >= 0) & (after <= 0)
        steepness = steepness + torch.maximum(before.abs(), after.abs())
    return torch.where(is_top, steepness, 0.0) if of_tops else steepness

"""Scoring what was observed of a datum with holes.

Where the entries of x are independent given z, the observed ones o have the exact marginal (Mattei and Frellsen 2019, arXiv
1812.02633, section 2)

    log p(x_o | z) = sum over i in o of log p(x_i | z)

A hole may hold anything, NaN included. It is filled before scoring, because a NaN that is scored and then multiplied by zero
still makes the gradient NaN. The fill is 0 for discrete families and 1/2 for continuous ones: inside the support of the real
line, the positive half line and the unit interval, and at no end of them, where a density may be infinite.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from amortized.distributions.optimal import OptimalScale
from amortized.errors import InputError


def masked_log_prob(distribution: Distribution, x: Tensor, observed: Tensor) -> Tensor:
    """Log-probability of the observed entries of x.

    Args:
        distribution: Independent over the entries of its event, batch (*batch).
        x: (B, *event), or any shape that broadcasts against (*batch, *event); its holes may hold NaN.
        observed: Of the shape of x, true where the entry was observed.

    Returns:
        (*batch) nats; 0 where nothing was observed.

    Raises:
        InputError: The distribution does not factorize over the entries of its event.
    """
    base = distribution
    while isinstance(base, Independent):
        base = base.base_dist
    if base.event_shape:
        raise InputError(
            f"holes in x cannot be left out under a {type(base).__name__}, which is not independent over the entries of its"
            f" event {tuple(base.event_shape)}; use a likelihood that is, such as 'gaussian', or fill the holes first."
        )
    fill = 0.0 if base.support is not None and base.support.is_discrete else 0.5
    observed = observed.bool()
    filled = torch.where(observed, x, torch.full_like(x, fill))
    if isinstance(base, OptimalScale):
        base = base.at(filled, observed)
    log_prob = torch.where(observed, base.log_prob(filled), 0.0)
    dimensions = len(distribution.event_shape)
    return log_prob.sum(tuple(range(-dimensions, 0))) if dimensions else log_prob

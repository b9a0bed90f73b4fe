"""Where a family starts so that its mean is that of the data, for the means that have no inverse in closed form."""

from collections.abc import Callable

import torch
from torch import Tensor

BISECTIONS = 60


def solve_increasing(function: Callable[[Tensor], Tensor], target: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Where an increasing function of each entry takes the value `target`, by bisection.

    Args:
        function: Maps entries to entries.
        target: The values to reach; float64 for all of the digits.
        low: Where the function is not above them.
        high: Where it is not below them.
    """
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        below = function(middle) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2

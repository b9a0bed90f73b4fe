r"""Ranks of a value among draws that should be like it, and what they tell where they are not uniform.

Where v and v_1, ..., v_L are independent draws from one distribution, the rank

    r = #{ l : v_l < v } + u,      u uniform in { 0, ..., #{ l : v_l = v } }

is uniform in { 0, ..., L } (Talts et al. 2018, arXiv 1804.06788, theorem 1; ties at random as in Modrák et al. 2023, arXiv
2211.02383). Of N independent ranks the counts in bins are tested by chi-squared, and of many quantities the p-values are
multiplied as Holm (1979) does: whatever their dependence, the chance that any of them falls below a is then at most a.

The interval that leaves a share a/2 of the draws on either side holds v where a/2 <= (r + U) / (L + 1) <= 1 - a/2, U uniform in
[0, 1]. The probability of that given r is taken in place of U: its mean is 1 - a for uniform ranks, whatever L is. In the code N
ranks of Q quantities are (N, Q), and `draws` is L.
"""

import math

import torch
from torch import Tensor

BINS = 20
"""At most; fewer where ranks are few."""

LEAST_EXPECTED = 5
"""Ranks in a bin: with fewer the chi-squared distribution is no approximation."""


def rank(value: Tensor, draws: Tensor, near: Tensor | float = 0.0) -> Tensor:
    """The rank of each value among its draws, on the CPU, ties broken by torch's generator.

    Args:
        value: (*shape).
        draws: (L, *shape).
        near: (*shape), or one number: what differs by no more is a tie.

    Returns:
        (*shape) integers of 0 to L.
    """
    below, above = (draws < value - near).sum(0), (draws > value + near).sum(0)
    ties = len(draws) - below - above
    return below + (torch.rand(ties.shape, dtype=torch.float64) * (ties + 1)).long()


def bins_for(simulations: int, draws: int) -> int:
    """Into how many bins N ranks are counted."""
    return max(1, min(BINS, draws + 1, simulations // LEAST_EXPECTED))


def counts(ranks: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """How many ranks are in each bin.

    Returns:
        (bins, Q) counts, and (bins,) the probabilities of the bins, which differ where L + 1 is no multiple of their number.
    """
    bins = bins_for(len(ranks), draws)
    bin_of = torch.arange(draws + 1) * bins // (draws + 1)
    occupied = torch.stack([(bin_of[ranks] == each).sum(0) for each in range(bins)])
    return occupied, torch.bincount(bin_of, minlength=bins).double() / (draws + 1)


def uniformity(ranks: Tensor, draws: int) -> Tensor:
    """(Q,) p-values of the chi-squared test that the ranks (N, Q) are uniform; NaN where they are too few to count."""
    occupied, probabilities = counts(ranks, draws)
    if len(occupied) < 2:
        return torch.full((ranks.shape[1],), math.nan, dtype=torch.float64)
    expected = len(ranks) * probabilities[:, None]
    statistic = ((occupied - expected).square() / expected).sum(0)
    freedom = torch.full_like(statistic, (len(occupied) - 1) / 2)
    return torch.special.gammaincc(freedom, statistic / 2)


def holm(p_values: Tensor) -> Tensor:
    """(Q,) p-values adjusted for being Q: the smallest times Q, the next times Q - 1, and none below a smaller one's."""
    ordered, order = p_values.sort()
    factors = torch.arange(len(p_values), 0, -1, dtype=ordered.dtype)
    adjusted = torch.empty_like(ordered)
    adjusted[order] = (factors * ordered).cummax(0).values.clamp(max=1.0) if len(ordered) else ordered
    return adjusted


def covered(ranks: Tensor, draws: int, level: float) -> Tensor:
    """Whether the central interval of a level holds the value: (N, Q) numbers from 0 to 1, of mean `level` for uniform ranks."""
    low = (draws + 1) * (1 - level) / 2
    high = (draws + 1) - low
    lower, upper = ranks.double(), ranks.double() + 1
    return (torch.minimum(upper, torch.full_like(upper, high)) - torch.maximum(lower, torch.full_like(lower, low))).clamp(min=0)


def tilt(ranks: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """How far the ranks are from uniform in their mean and in their variance.

    Returns:
        (Q,) each, in standard errors: positive where the ranks are too high, and where they are too often at the two ends.
    """
    support = torch.arange(draws + 1, dtype=torch.float64) - draws / 2
    centered = ranks.double() - draws / 2
    # About their own mean: ranks that are all high are not at two ends.
    return _score(centered, support), _score((centered - centered.mean(0)).square(), support.square())


def _score(values: Tensor, support: Tensor) -> Tensor:
    """(Q,) the mean of the values (N, Q) less that of the support, in standard errors; 0 where the support is one number."""
    deviation = float(support.std(correction=0))
    if deviation == 0:
        return torch.zeros(values.shape[1], dtype=torch.float64)
    return (values.mean(0) - support.mean()) / (deviation / math.sqrt(len(values)))

r"""Whether a mean of importance weights can be trusted: the shape of their tail.

The largest of many weights w_1, ..., w_K exceed a high threshold by amounts that follow a generalized Pareto distribution,

    p(y) = 1/sigma (1 + k y / sigma)^(-1/k - 1),    y = w - threshold > 0

whose shape k says which moments the weights have: those of order below 1/k. Beyond k = 1/2 their variance is infinite, and beyond
a threshold that rises with K,

    min(1 - 1 / log10 K, 0.7)

their mean is practically too low and its error cannot be told (Vehtari, Simpson, Gelman, Yao and Gabry 2024, arXiv 1507.02646,
section 3). The fit is to the M = min(K / 5, 3 sqrt K) largest weights (its section 2), by the profile posterior mean of
Zhang and Stephens (2009, Technometrics 51, equations 6 to 8): with theta = -k / sigma and n exceedances y,

    k(theta) = 1/n sum_i log(1 - theta y_i),      l(theta) = n [ log(-theta / k) - k - 1 ]

theta is averaged over a grid under weights e^l, and k is that of the average. A weak prior then draws k to 1/2 as ten further
exceedances would (Vehtari et al. 2024, appendix C), so that the noise of few exceedances raises no alarm.
"""

import math

import torch
from torch import Tensor

FEWEST = 5
"""Exceedances: with fewer there is no fit."""

PRIOR_EXCEEDANCES = 10.0
PRIOR_SHAPE = 0.5

FLAT = 1e-4
"""Weights whose largest is above the threshold by less than this share are alike, but for rounding in float32."""


def tail_length(samples: int) -> int:
    """The number M of largest weights, of K = `samples`, that are a tail."""
    return math.ceil(min(samples / 5, 3 * math.sqrt(samples)))


def most_trusted_k(samples: Tensor) -> Tensor:
    """The greatest k-hat of K = `samples` weights whose mean can be trusted."""
    return (1 - 1 / samples.double().log10()).clamp(max=0.7)


def pareto_k(log_w: Tensor) -> Tensor:
    """The k-hat of B sets of weights, by their tails.

    Args:
        log_w: (B, M + 1) the largest log-weights of each set, in any order.

    Returns:
        (B,) float64; NaN where M is below 5, or the weights of a tail are all alike; infinite where fewer than 5 of them are
        above the least.
    """
    tail = log_w.double().sort(-1).values
    if tail.shape[-1] <= FEWEST:
        return torch.full_like(tail[:, 0], torch.nan)
    weights = (tail - tail[:, -1:].clamp(min=torch.finfo(tail.dtype).min)).exp()
    excess = weights[:, 1:] - weights[:, :1]
    above = (excess > 0).sum(-1)
    k = (above * _shape(excess, above) + PRIOR_EXCEEDANCES * PRIOR_SHAPE) / (above + PRIOR_EXCEEDANCES)
    k = k.masked_fill(above < FEWEST, torch.inf)
    is_flat = (excess[:, -1] < FLAT) & (weights[:, 0] > 0)
    return k.masked_fill(is_flat, torch.nan)


def _shape(excess: Tensor, above: Tensor) -> Tensor:
    """The shape (B,) of Pareto distributions fitted to `excess` (B, M), sorted, of which the last `above` (B,) are not 0."""
    n, entries = above.clamp(min=1).double(), excess.shape[-1]
    first_quartile = excess.gather(-1, (entries - above + (n / 4 + 0.5).long() - 1).clamp(max=entries - 1)[:, None])
    points = 30 + math.isqrt(entries)
    grid = torch.arange(1, points + 1, dtype=excess.dtype, device=excess.device) - 0.5
    theta = 1 / excess[:, -1:] + (1 - (points / grid).sqrt()) / (3 * first_quartile)
    k = torch.log1p(-theta[..., None] * excess[:, None]).sum(-1) / n[:, None]
    # As theta goes to 0 the distribution is exponential, of rate -theta / k.
    rate = torch.where(theta == 0, n[:, None] / excess.sum(-1, keepdim=True), -theta / k)
    share = (n[:, None] * (rate.log() - k - 1)).softmax(-1)
    mean = (share * theta).sum(-1, keepdim=True)
    return torch.log1p(-mean * excess).sum(-1) / n

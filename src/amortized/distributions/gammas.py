r"""Differences of log Gamma whose large terms cancel on paper.

log Gamma(t) is about t log t, so that subtracting two of its values loses all digits below t log t times the rounding error. With
Stirling's series (Abramowitz and Stegun 6.1.41)

    log Gamma(t + 1) = t log t - t + 1/2 log(2 pi t) + R(t),        R(t) = 1/(12 t) - 1/(360 t^3) + ...

the terms in t log t are written down apart, or not at all. Below t = 16 log Gamma itself is small, and is used.
"""

import math

import torch
from torch import Tensor

STIRLING_FROM = 16.0  # the series' first term left out is then 1e-16


def log_rising_ratio(x: Tensor | float, theta: Tensor) -> Tensor:
    """The ratio log Gamma(x + theta) - log Gamma(theta) - x log theta, which goes to 0 as theta grows.

    Args:
        x: Not negative; broadcasts against `theta`.
        theta: Positive.

    Returns:
        Of the broadcast shape; each of its branches is kept to where it is finite, and so are their gradients.
    """
    small, large = theta.clamp(max=STIRLING_FROM), theta.clamp(min=STIRLING_FROM)
    direct = torch.lgamma(x + small) - torch.lgamma(small) - x * small.log()
    series = (x + large - 0.5) * torch.log1p(x / large) - x + _stirling_rest(x + large) - _stirling_rest(large)
    return torch.where(theta < STIRLING_FROM, direct, series)


def log_factorial_rest(t: Tensor, log_t: Tensor | None = None) -> Tensor:
    """What is left of log Gamma(t + 1) beside t log t - t: about log(2 pi t) / 2, and 0 at 0.

    Args:
        t: Not negative.
        log_t: Its logarithm, for a caller that knows it also where t underflows; where it is None, t may be 0.

    Returns:
        Of the shape of `t`.
    """
    small, large = t.clamp(max=STIRLING_FROM), t.clamp(min=STIRLING_FROM)
    product = torch.xlogy(small, small) if log_t is None else small * log_t.clamp(max=math.log(STIRLING_FROM))
    direct = torch.lgamma(small + 1) - product + small
    series = 0.5 * (2 * math.pi * large).log() + _stirling_rest(large)
    return torch.where(t < STIRLING_FROM, direct, series)


def _stirling_rest(t: Tensor) -> Tensor:
    s = t.reciprocal().square()
    return (1 / 12 - s * (1 / 360 - s * (1 / 1260 - s * (1 / 1680 - s / 1188)))) / t

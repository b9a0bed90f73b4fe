r"""Differences of log Gamma whose large terms cancel on paper.

log Gamma(t) is about t log t, so that subtracting two of its values loses all digits below t log t times the rounding error. With
Stirling's series (Abramowitz and Stegun 6.1.41)

    log Gamma(t + 1) = t log t - t + 1/2 log(2 pi t) + R(t),        R(t) = 1/(12 t) - 1/(360 t^3) + ...

the terms in t log t are written down apart, or not at all. Below t = 16 log Gamma itself is small, and is used.

The two differences of the negative binomial have a form without branch and without gamma function, in which all is arithmetic
that processors do on many numbers at once. By Gamma(t + n) = t (t + 1) ... (t + n - 1) Gamma(t) at t = x + theta and t = theta,
and the series at these plus n, with v = theta + n and psi = (log Gamma)' (6.1.15, 6.3.6 and 6.3.18),

    log Gamma(x + theta) - log Gamma(theta) - x log theta
        = (x + v - 1/2) log(1 + x / v) - x + R(x + v) - R(v) + x log(1 + n / theta) - sum_k<n log(1 + x / (theta + k))
    psi(x + theta) - psi(theta)
        = log(1 + x / v) + x / (2 v (x + v)) + R'(x + v) - R'(v) + sum_k<n x / ((theta + k) (x + theta + k))

torch's lgamma and digamma take one number at a time: these are the fast forms, and `log_rising_ratio` with its gradient is what
they are held against.
"""

import math

import torch
from torch import Tensor

from amortized.distributions.kernels import takes_kernel

STIRLING_FROM = 16.0  # the series' first term left out is then 1e-16
LEAST_SHIFT = {torch.float64: 16, torch.float32: 4}  # n, from which on that term is below the type's precision


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


def log_factorial(x: Tensor) -> Tensor:
    """The logarithm of x!, by log Gamma where it is not 0.

    Args:
        x: Not negative, of a floating type.

    Returns:
        Of the shape of `x`.
    """
    if not takes_kernel(x, x):
        return torch.lgamma(x + 1)
    flat = x.reshape(-1)
    where = flat.bool().nonzero().squeeze(1)
    return torch.zeros_like(flat).scatter_(0, where, torch.lgamma(flat.index_select(0, where) + 1)).view_as(x)


def log_rising_ratio_by_shift(x: Tensor, theta: Tensor) -> Tensor:
    """`log_rising_ratio` without branch and without gamma function; for values, not to be differentiated.

    Args:
        x: Not negative; broadcasts against `theta`.
        theta: Positive, of the type of `x`.

    Returns:
        Of the broadcast shape.
    """
    n = LEAST_SHIFT[theta.dtype]
    v = theta + n
    factors = 1 + x / (theta + 1)
    for k in range(2, n):  # one logarithm for all; that of k = 0, which a small theta makes large, is taken alone
        factors = factors * (1 + x / (theta + k))
    sums = torch.log1p(x / theta) + factors.log()
    return (
        (x + v - 0.5) * torch.log1p(x / v) - x + (_stirling_rest(x + v) - _stirling_rest(v)) + x * torch.log1p(n / theta) - sums
    )


def digamma_difference(x: Tensor, theta: Tensor) -> Tensor:
    """The difference psi(x + theta) - psi(theta), without branch and without gamma function; not to be differentiated.

    Args:
        x: Not negative; broadcasts against `theta`.
        theta: Positive, of the type of `x`.

    Returns:
        Of the broadcast shape.
    """
    n = LEAST_SHIFT[theta.dtype]
    v, total = theta + n, x + theta
    near = x / theta / total
    for k in range(1, n):
        near = near + x / (theta + k) / (total + k)
    far = torch.log1p(x / v) + x / (2 * v) / (x + v)
    return far + (_stirling_rest_slope(x + v) - _stirling_rest_slope(v)) + near


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


def _stirling_rest_slope(t: Tensor) -> Tensor:
    s = t.reciprocal().square()
    return -s * (1 / 12 - s * (1 / 120 - s * (1 / 252 - s * (1 / 240 - s / 132))))

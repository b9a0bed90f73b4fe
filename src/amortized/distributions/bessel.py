r"""The cumulants of the cosine to a fixed direction, which are ratios of Bessel functions, without underflow.

Let w be one coordinate of a uniform draw from the unit sphere of R^D, v = D/2 - 1 the order and I_v the modified Bessel function.
The normalizer of the von Mises-Fisher family at concentration k is the cumulant generating function of w (Mardia and Jupp 2000,
section 9.3.2; Abramowitz and Stegun, 9.6.10 and 9.6.47):

    L(k) = log E[exp(k w)] = log Gamma(v + 1) + v log(2 / k) + log I_v(k) = log 0F1(; D/2; k^2 / 4)

Its derivatives are the moments of w under the density tilted by exp(k w): the mean A(k) = L'(k) = I_{v+1}(k) / I_v(k), and the
variance A'(k). The divergence of the tilted density from the uniform one is k A(k) - L(k). Two expansions share all k >= 0 and
v >= 0 between them; with t = sqrt(v^2 + k^2), both reach the last digits of float64 on their side of t - v = 32.

* t - v <= 32: the power series (A&S 9.6.10), whose 64 terms are positive, the largest of them the 17th or earlier.

      0F1(; b; x) = sum_n x^n / (n! (b)_n),    b = D/2,   x = k^2 / 4,   A = k / (2 b) 0F1(; b + 1; x) / 0F1(; b; x)

* t - v > 32: Debye's expansion, uniform in k / v (A&S 9.7.7; DLMF 10.41.3). Its polynomials U_j(p) at p = v / t are p^j times a
  polynomial in p^2, so that U_j(p) / v^j is u_j(v^2 / t^2) / t^j: nothing is singular at v = 0, where it is Hankel's expansion.

      log I_v(k) = t - v asinh(v / k) - 1/2 log(2 pi t) + S,     S = log sum_j U_j(p) / v^j = sum_{j,i} c_ji (v^2 / t^2)^i t^-j

  Its derivatives in k are closed forms in which nothing cancels: with m = 2 i + j, each term s of S has s' = -m (k / t^2) s,

      A   = k / (t + v) - k / (2 t^2) + S'                 1 - A = (v + v^2 / (t + k)) / (t + v) + k / (2 t^2) - S'
      A'  = v / (t (t + v)) + (k^2 - v^2) / (2 t^4) + S''

Everything is computed in float64 and rounded once. L itself is not offered, but L - k, which is what a density needs.
"""

import math
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

SERIES_REACH, SERIES_TERMS = 32.0, 64
DEBYE_ORDER = 12


class Cumulants(NamedTuple):
    """Values (*batch) at concentrations k, in float64.

    Attributes:
        log_mass: L(k) - k = log E[exp(k (w - 1))].
        mean: A(k).
        shortfall: 1 - A(k).
        mean_over_k: A(k) / k, which is 1 / D at 0.
        variance: A'(k).
        divergence: k A(k) - L(k), nats.
    """

    log_mass: Tensor
    mean: Tensor
    shortfall: Tensor
    mean_over_k: Tensor
    variance: Tensor
    divergence: Tensor


def log_mass(concentration: Tensor, dimension: int) -> Tensor:
    """L(k) - k, for k of shape (*batch) in R^dimension."""
    return _differentiable("log_mass", concentration, dimension)


def mean_cosine(concentration: Tensor, dimension: int) -> Tensor:
    """A(k) = I_{D/2}(k) / I_{D/2-1}(k), the mean of the cosine."""
    return _differentiable("mean", concentration, dimension)


def shortfall(concentration: Tensor, dimension: int) -> Tensor:
    """1 - A(k), without the cancellation at large k."""
    return _differentiable("shortfall", concentration, dimension)


def variance_cosine(concentration: Tensor, dimension: int) -> Tensor:
    """A'(k), the variance of the cosine; asking for its gradient raises."""
    return _differentiable("variance", concentration, dimension)


def mean_over_concentration(concentration: Tensor, dimension: int) -> Tensor:
    """A(k) / k, the variance of each coordinate across the mean direction; asking for its gradient raises."""
    return _differentiable("mean_over_k", concentration, dimension)


def divergence(concentration: Tensor, dimension: int) -> Tensor:
    """K A(k) - L(k): the KL from the uniform distribution, in nats, which is k^2 / (2 D) near 0."""
    return _differentiable("divergence", concentration, dimension)


def cumulants(concentration: Tensor, dimension: int) -> Cumulants:
    """All of the values at once, without gradient.

    Args:
        concentration: (*batch) k, zero or more.
        dimension: The dimension D of the space around the sphere.
    """
    k, order = in_float64(concentration.detach()), dimension / 2 - 1
    by_series = torch.hypot(k, torch.full_like(k, order)) - order <= SERIES_REACH
    series = _by_series(torch.where(by_series, k, 1.0), order)
    debye = _by_debye(torch.where(by_series, 100.0 * SERIES_REACH + order, k), order)
    return Cumulants(*(torch.where(by_series, a, b) for a, b in zip(series, debye, strict=True)))


def in_float64(value: Tensor) -> Tensor:
    """The value in float64; on the CPU where its device has no such type (Apple's)."""
    return value.to("cpu" if value.device.type == "mps" else value.device, torch.float64)


class _Cumulant(Function):
    """One of the values; its gradient is another of them, which has a gradient in its turn or refuses."""

    generate_vmap_rule = True

    @staticmethod
    def forward(concentration: Tensor, name: str, dimension: int) -> Tensor:
        return getattr(cumulants(concentration, dimension), name).to(concentration)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str, int], output: Tensor) -> None:
        concentration, ctx.name, ctx.dimension = inputs
        ctx.save_for_backward(concentration)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (k,) = ctx.saved_tensors
        if ctx.name == "log_mass":
            slope = -shortfall(k, ctx.dimension)
        elif ctx.name == "divergence":
            slope = k * variance_cosine(k, ctx.dimension)
        elif ctx.name in ("mean", "shortfall"):
            slope = variance_cosine(k, ctx.dimension) * (1 if ctx.name == "mean" else -1)
        else:
            raise NotImplementedError(f"the Bessel ratio '{ctx.name}' has no gradient; detach the concentration.")
        return grads[0] * slope, None, None


def _differentiable(name: str, concentration: Tensor, dimension: int) -> Tensor:
    return _Cumulant.apply(concentration, name, dimension)  # pyright: ignore[reportReturnType]


def _by_series(k: Tensor, order: float) -> Cumulants:
    b = order + 1
    n = torch.arange(1, SERIES_TERMS + 1, dtype=k.dtype, device=k.device)
    terms = ((k * k / 4).unsqueeze(-1) / (n * (n + order))).cumprod(-1)
    # The terms of 0F1(; b + 1) and 0F1(; b + 2) are those of 0F1(; b) times these; each sum begins at n = 1.
    weights = torch.stack((torch.ones_like(n), b / (b + n), b * (b + 1) / ((b + n) * (b + n + 1))), -1)
    f0, f1, f2 = (terms @ weights).unbind(-1)
    log_moment = torch.log1p(f0)
    mean_over_k = (1 + f1) / (1 + f0) / (2 * b)
    mean = k * mean_over_k
    next_ratio = k * (1 + f2) / (1 + f1) / (2 * (b + 1))
    variance = mean_over_k * (1 + k * (next_ratio - mean))
    return Cumulants(log_moment - k, mean, 1 - mean, mean_over_k, variance, k * mean - log_moment)


def _by_debye(k: Tensor, order: float) -> Cumulants:
    t = torch.hypot(k, torch.full_like(k, order))
    in_t = t.reciprocal().unsqueeze(-1).expand(*t.shape, DEBYE_ORDER).cumprod(-1)
    in_p = (order / t).square().unsqueeze(-1).expand(*t.shape, DEBYE_ORDER).cumprod(-1)
    by_power = (in_t @ _debye_coefficients().to(k.device)).unflatten(-1, (3, DEBYE_ORDER + 1))
    s, s1, s2 = (by_power[..., 0] + (by_power[..., 1:] @ in_p.unsqueeze(-1)).squeeze(-1)).unbind(-1)
    slope, curvature = -k / t.square() * s1, (s2 * (k / t).square() - s1) / t.square()

    constant = math.lgamma(order + 1) - math.log(2 * math.pi) / 2
    log_mass = order**2 / (t + k) - order * torch.log((t + order) / 2) - torch.log(t) / 2 + constant + s
    mean = k / (t + order) - k / (2 * t.square()) + slope
    short = (order + order**2 / (t + k)) / (t + order) + k / (2 * t.square()) - slope
    variance = order / (t * (t + order)) + (k - order) * (k + order) / (2 * t**4) + curvature
    return Cumulants(log_mass, mean, short, mean / k, variance, -k * short - log_mass)


@cache
def _debye_coefficients() -> Tensor:
    """(J, 3 (J + 1)): rows c_ji of S, then the same times m = 2 i + j, and times m (m + 2), for its derivatives.

    U_j(p) = sum_i u_ji p^(j + 2 i) by its recurrence (A&S 9.3.10), and the logarithm of the series by n c_n = n u_n - sum_m m c_m
    u_(n-m), both in rational arithmetic.
    """
    u: list[list[Fraction]] = [[Fraction(1)]]
    for j in range(DEBYE_ORDER):
        following = [Fraction(0)] * (j + 2)
        for i, coefficient in enumerate(u[j]):
            power = j + 2 * i
            following[i] += coefficient * (Fraction(power, 2) + Fraction(1, 8 * (power + 1)))
            following[i + 1] -= coefficient * (Fraction(power, 2) + Fraction(5, 8 * (power + 3)))
        u.append(following)
    c: list[list[Fraction]] = [[]]
    for n in range(1, DEBYE_ORDER + 1):
        row = list(u[n])
        for m in range(1, n):
            for a, left in enumerate(c[m]):
                for b, right in enumerate(u[n - m]):
                    row[a + b] -= Fraction(m, n) * left * right
        c.append(row)
    table = torch.zeros(DEBYE_ORDER, 3, DEBYE_ORDER + 1, dtype=torch.float64, device="cpu")
    for j in range(1, DEBYE_ORDER + 1):
        for i, coefficient in enumerate(c[j]):
            m = 2 * i + j
            for derivative, factor in enumerate((1, m, m * (m + 2))):
                table[j - 1, derivative, i] = float(coefficient * factor)
    return table.flatten(1)

r"""The angle to the mean direction under a von Mises-Fisher distribution: drawing it, and its gradient in the concentration.

On the unit sphere of R^D the angle theta to the mean direction, with w = cos theta, has at concentration k a density in
proportion to

    exp(psi(theta)),     psi(theta) = k cos theta + (D - 2) log sin theta,     theta in [0, pi]

Drawing (Ulrich 1984; Wood 1994, algorithm VM*; Davidson et al. 2018, arXiv 1804.00891, algorithm 2): with a = (D - 1) / 2 and two
Gamma(a) variables g1, g2, whose share e = g1 / (g1 + g2) is the Beta(a, a) variable of the paper,

    b = 2 a / (2 k + sqrt(4 k^2 + 4 a^2)),     w = (1 - (1 + b) e) / (1 - (1 - b) e),     x0 = (1 - b) / (1 + b)

is accepted with probability exp(k w + 2 a log(1 - x0 w) - k x0 - 2 a log(1 - x0^2)), two times in three or oftener. In
h = 1 - w = 2 b g1 / (g2 + b g1) no digit is lost where the density is a narrow peak at w = 1.

The gradient is implicit (Figurnov, Mohamed and Mnih 2018, arXiv 1805.08498, equation 5), so that it is that of the distribution
drawn from: to differentiate the proposal alone leaves out that the acceptance depends on k, and is biased (Naesseth et al. 2017,
arXiv 1610.05683, section 3). With F the distribution function and A = E[w],

    d theta / d k = -(dF/dk) / F' = -int_0^theta (cos s - A) exp(psi(s) - psi(theta)) ds = int_theta^pi (cos s - A) exp(...) ds

The two integrals are equal since the mean of cos s - A is zero. The first is taken where w > A, the second elsewhere: nothing in
the integrand changes sign there. psi has one maximum, so the integrand matters on one interval that ends at theta; its other end
is looked up among distances that shrink by half, and Gauss-Legendre quadrature does the rest.
"""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from amortized.distributions.bessel import cumulants, in_float64

MAX_ROUNDS = 100  # a proposal is refused with probability 0.35 at most: never a hundred times
NODES = 32
NEGLIGIBLE = 36.0  # exp(-36) = 2e-16
HALVINGS = 16


def draw_angle(concentration: Tensor, dimension: int, shape: torch.Size) -> Tensor:
    """Draw angles to the mean direction, with an unbiased gradient in the concentration.

    Args:
        concentration: (*batch) k, zero or more.
        dimension: The dimension D of the space around the sphere, 2 or more.
        shape: (*sample_shape, *batch) of the result.

    Returns:
        Angles in [0, pi], in float64.
    """
    k = in_float64(concentration)
    angle = _propose_until_accepted(k.detach().expand(shape).reshape(-1), dimension).reshape(shape)
    return _ImplicitAngle.apply(angle, k, dimension)  # pyright: ignore[reportReturnType]


def angle_slope(angle: Tensor, concentration: Tensor, dimension: int) -> Tensor:
    """D theta / d k at a fixed quantile, in float64 and without gradient; never positive.

    Args:
        angle: (*sample_shape, *batch) angles in [0, pi].
        concentration: (*batch) k.
        dimension: The dimension D of the space around the sphere.
    """
    theta, k = in_float64(angle.detach()).unsqueeze(-1), in_float64(concentration.detach()).unsqueeze(-1)
    mean_h = cumulants(k, dimension).shortfall
    h = 2 * torch.sin(theta / 2).square()
    left = h < mean_h
    direction = torch.where(left, -1.0, 1.0)
    whole = torch.where(left, theta, math.pi - theta)

    def compare(distance: Tensor) -> tuple[Tensor, Tensor]:
        """Of s = theta + direction * distance: cos s - cos theta, and psi(s) - psi(theta)."""
        half = direction * distance / 2
        cosines = -2 * torch.sin(theta + half) * torch.sin(half)
        if dimension == 2:
            return cosines, k * cosines
        sines = torch.sin(theta + 2 * half).clamp(min=0) / torch.sin(theta)
        return cosines, k * cosines + (dimension - 2) * torch.log(sines)

    lengths = whole * torch.exp2(-torch.arange(1, HALVINGS + 1, dtype=k.dtype, device=k.device))
    length = torch.where(compare(lengths)[1] < -NEGLIGIBLE, lengths, whole).amin(-1, keepdim=True)

    nodes, weights = (part.to(k.device) for part in _gauss_legendre())
    cosines, log_ratio = compare(length * nodes)
    integral = ((mean_h - h + cosines).abs() * log_ratio.exp()) @ weights
    return -length.squeeze(-1) * integral


class _ImplicitAngle(Function):
    """The angle as it is, with the gradient of its quantile in the concentration."""

    @staticmethod
    def forward(angle: Tensor, concentration: Tensor, dimension: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return angle.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        angle, concentration, ctx.dimension = inputs
        ctx.save_for_backward(angle, concentration)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        angle, concentration = ctx.saved_tensors
        slope = angle_slope(angle, concentration, ctx.dimension)
        return None, (grads[0] * slope).sum_to_size(concentration.shape), None


@torch.no_grad()
def _propose_until_accepted(k: Tensor, dimension: int) -> Tensor:
    """(N) angles for (N) concentrations; each round proposes for those that are left."""
    shape = (dimension - 1) / 2
    angle = torch.zeros_like(k)
    left = torch.arange(len(k), device=k.device)
    for _ in range(MAX_ROUNDS):
        some = k[left]
        b = shape / (some + torch.hypot(some, torch.full_like(some, shape)))
        first, second = torch._standard_gamma(torch.full((2, len(some)), shape, dtype=k.dtype, device=k.device))
        h = 2 * b * first / (second + b * first)
        peak, x0 = 2 * b / (1 + b), (1 - b) / (1 + b)  # peak is 1 - x0
        log_accept = some * (peak - h) + 2 * shape * torch.log((1 + x0 * h / peak) / (1 + x0))
        angle[left] = 2 * torch.atan2((b * first).sqrt(), second.sqrt())
        left = left[~(torch.rand_like(some).log() <= log_accept)]
        if not len(left):
            break
    return angle


@cache
def _gauss_legendre() -> tuple[Tensor, Tensor]:
    """Nodes and weights on [0, 1]: the eigenvalues of the Jacobi matrix (Golub and Welsch 1969)."""
    n = torch.arange(1, NODES, dtype=torch.float64, device="cpu")
    values, vectors = torch.linalg.eigh(torch.diag(n / (4 * n * n - 1).sqrt(), 1), UPLO="U")
    return (values + 1) / 2, vectors[0].square()

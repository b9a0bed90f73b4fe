r"""The continuous Bernoulli: the density on [0, 1] that is proportional to the Bernoulli's mass.

Loaiza-Ganem and Cunningham 2019, arXiv 1907.06845, equations 5 to 8. With the logit l (their lambda is sigmoid(l)),

    log p(x) = l x - A(l),        A(l) = log of the integral of exp(l u) over [0, 1] = log((exp(l) - 1) / l)

With a = |l| and r the distance of x from the end that the density favors, nothing large cancels in

    log p(x) = -a r - h(a),        h(a) = log((1 - exp(-a)) / a)

The derivatives of A are the mean and the variance; with m(a) the mean at logit -a,

    m(a) = 1/a - 1/(exp(a) - 1)        variance = 1/a^2 - exp(-a) / (1 - exp(-a))^2        entropy = h(a) + a m(a)

These are differences that lose digits near 0, and so is what automatic differentiation makes of h. The gradient is therefore
given in closed form, d log p / dl = x - mean, and below a = 1/2 the three come from the series of A, with the Bernoulli numbers
B_2k,

    A(l) = l / 2 + log(sinh(l/2) / (l/2)) = l / 2 + sum_k B_2k l^2k / (2k (2k)!)

torch's family works with clamped probabilities: it is half a nat off at logit 60, and in float32 a quarter of one at logit 20.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

EMPTY = torch.Size()
LEAST = 1e-30  # stands for 0 in quotients that are right down to it
SERIES_BELOW = 0.5
BERNOULLI_NUMBERS = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)
SERIES = tuple(number / (2 * k * math.factorial(2 * k)) for k, number in enumerate(BERNOULLI_NUMBERS, 1))
SERIES_OF_MEAN = tuple(2 * k * coefficient for k, coefficient in enumerate(SERIES, 1))
SERIES_OF_VARIANCE = tuple((2 * k - 1) * coefficient for k, coefficient in enumerate(SERIES_OF_MEAN, 1))


class ContinuousBernoulli(Distribution):
    """Values in [0, 1], their log-density linear in the value.

    Args:
        logits: (*batch) the slope of the log-density.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"logits": constraints.real}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.unit_interval  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, logits: Tensor, validate_args: bool | None = None):
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """(*batch) the mean."""
        return _mean(self.logits)

    @property
    def variance(self) -> Tensor:
        """(*batch) the variance."""
        near, far, size = _split(self.logits)
        outer = size.reciprocal().square() - (-size).exp() / torch.expm1(-size).square()
        return torch.where(far, outer, _polynomial(SERIES_OF_VARIANCE, near.square()))

    def entropy(self) -> Tensor:
        """(*batch) the differential entropy, in nats."""
        near, far, size = _split(self.logits)
        square = near.square()
        inner = square * (_polynomial(SERIES, square) - _polynomial(SERIES_OF_MEAN, square))
        return torch.where(far, _log_mean_of_decay(size) + size * _lower_mean(size), inner)

    def expand(self, batch_shape, _instance=None) -> "ContinuousBernoulli":
        """The same over a larger batch."""
        return ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) values, by the inverse of the distribution function."""
        uniform = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=self.logits.dtype, device=self.logits.device)
        size = self.logits.abs().clamp(min=LEAST)
        lower = (torch.log1p(uniform * torch.expm1(-size)) / -size).clamp(0, 1)
        return torch.where(self.logits < 0, lower, 1 - lower)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = torch.broadcast_tensors(self.logits, value.to(self.logits.dtype))
        return _LogDensity.apply(logits, value)  # pyright: ignore[reportReturnType]


class _LogDensity(torch.autograd.Function):
    """The log-density, with its gradient in closed form."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        size = logits.abs().clamp(min=LEAST)
        return -size * torch.where(logits < 0, value, 1 - value) - _log_mean_of_decay(size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, value = ctx.saved_tensors
        return gradient * (value - _mean(logits)), gradient * logits


def _split(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logit where the series holds, where it does not, and |logit| there: each harmless elsewhere."""
    far = logits.abs() >= SERIES_BELOW
    return torch.where(far, 0.0, logits), far, torch.where(far, logits.abs(), 1.0)


def _mean(logits: Tensor) -> Tensor:
    near, far, size = _split(logits)
    lower = _lower_mean(size)
    return torch.where(far, torch.where(logits < 0, lower, 1 - lower), 0.5 + near * _polynomial(SERIES_OF_MEAN, near.square()))


def _log_mean_of_decay(size: Tensor) -> Tensor:
    """The logarithm h(a) of the mean of exp(-a u) over [0, 1]."""
    return torch.log(-torch.expm1(-size) / size)


def _lower_mean(size: Tensor) -> Tensor:
    return size.reciprocal() + (-size).exp() / torch.expm1(-size)


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    value = torch.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value

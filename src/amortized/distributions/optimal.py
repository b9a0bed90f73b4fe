r"""A Gaussian or Laplace distribution whose scale is the best one for what it is asked to score.

For residuals r_i = x_i - m_i over the N entries of a minibatch, the scale that maximizes the likelihood is known (Rybkin,
Daniilidis and Levine 2021, arXiv 2006.13202, section 3.2, equation 5):

    Gaussian   sigma^2 = sum_i r_i^2 / N                  Laplace   b = sum_i |r_i| / N

It is computed without gradient. The gradient with respect to m is that of the differentiable form all the same: the derivative
of the total log-likelihood with respect to the scale is zero at its maximum, so the chain through it adds nothing (the envelope
theorem). This holds for the mean log p(x | z) of the ELBO; an objective that weighs the samples otherwise takes the same scale
as a constant. At the floor the scale is a constant as well, and both gradients agree again.
"""

import torch
import torch.distributed
from torch import Tensor
from torch.distributions import Distribution, Laplace, Normal, constraints

EMPTY = torch.Size()


class OptimalScale(Distribution):
    """Normal or Laplace at the maximum-likelihood scale of whatever is scored, one for all entries, over all processes.

    Args:
        family: `Normal` or `Laplace`.
        loc: (*batch) the mean.
        unit: Broadcast against `loc`; the residuals are measured in it.
        floor: The smallest scale, in units of `unit`.
        scale: The scale for drawing samples, where nothing is scored, in units of `unit`.
    """

    arg_constraints = {"loc": constraints.real, "unit": constraints.positive}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.real  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    has_rsample = True

    def __init__(self, family: type[Normal] | type[Laplace], loc: Tensor, unit: Tensor, floor: float, scale: Tensor):
        self.family, self.loc, self.unit, self.floor, self.scale = family, loc, unit, floor, scale
        super().__init__(loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """(*batch) the mean."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """(*batch) the mean."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """(*batch) that of the samples."""
        return self._with(self.scale).variance

    def at(self, x: Tensor, observed: Tensor | None = None) -> Normal | Laplace:
        """The distribution with the best scale for x; where `observed` is given, for its observed entries."""
        return self._with(self.best_scale(x, observed))

    def best_scale(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """The scale that maximizes the likelihood of x, a number in units of `unit`, without gradient."""
        with torch.no_grad():
            deviation = deviations(self.family, (x - self.loc) / self.unit)
            seen = torch.ones_like(deviation) if observed is None else observed.expand_as(deviation).to(deviation.dtype)
            totals = torch.stack(((deviation * seen).sum(), seen.sum()))
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.all_reduce(totals)
            return scale_of(self.family, totals[0], totals[1]).clamp(min=self.floor)

    def expand(self, batch_shape, _instance=None) -> "OptimalScale":
        """The same over a larger batch."""
        return OptimalScale(self.family, self.loc.expand(batch_shape), self.unit, self.floor, self.scale)

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) draws at the fixed `scale`."""
        return self._with(self.scale).rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-density at the best scale for `value`, in nats."""
        return self.at(value).log_prob(value)

    def _with(self, scale: Tensor) -> Normal | Laplace:
        return self.family(self.loc, self.unit * scale, validate_args=False)


def deviations(family: type[Normal] | type[Laplace], residual: Tensor) -> Tensor:
    """What the best scale is a mean of: squares for the Gaussian, absolute values for the Laplace distribution."""
    return residual.square() if family is Normal else residual.abs()


def scale_of(family: type[Normal] | type[Laplace], total: Tensor, entries: Tensor | int) -> Tensor:
    """The best scale for `entries` residuals whose deviations sum to `total`."""
    mean = total / entries
    return mean.sqrt() if family is Normal else mean

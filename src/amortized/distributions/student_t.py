r"""Student's t: a Gaussian whose variance is drawn anew for every entry, so that outliers cost the log of their distance.

With degrees of freedom nu, center m and scale s, y = (x - m) / s and g as in `gammas.log_rising_ratio`,

    log p(x) = g(1/2, nu/2) - 1/2 log(2 pi) - log s - (nu + 1)/2 log(1 + y^2 / nu)

(Lange, Little and Taylor 1989, equation 2), where g is log Gamma((nu + 1)/2) - log Gamma(nu/2) - 1/2 log(nu/2). torch subtracts
the two values of log Gamma: 0.08 nats are lost an entry at nu = 1e6 in float32, 0.01 at 1e13 in float64. From Stirling's series g
goes to 0 as nu grows, and the family becomes the Gaussian.
"""

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from amortized.distributions.gammas import log_rising_ratio

EMPTY = torch.Size()


class StudentT(Distribution):
    """Real numbers with tails of a power law.

    Args:
        df: Degrees of freedom nu, positive. The three broadcast to (*batch), and none is expanded before it has to be: a number
            that all entries share has one value of log Gamma.
        loc: Center and median; the mean where nu > 1.
        scale: Positive; the variance is scale^2 nu / (nu - 2) where nu > 2.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.real  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    has_rsample = True

    def __init__(self, df: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None):
        self.df, self.loc, self.scale = df, loc, scale
        super().__init__(torch.broadcast_shapes(df.shape, loc.shape, scale.shape), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """(*batch) the center where nu > 1, NaN elsewhere."""
        return torch.where(self.df > 1, self.mode, torch.nan)

    @property
    def mode(self) -> Tensor:
        """(*batch) the center."""
        return self.loc.expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        """(*batch) scale^2 nu / (nu - 2) where nu > 2, infinite where 1 < nu <= 2, NaN elsewhere."""
        finite = (self.scale.square() * (self.df / (self.df - 2))).expand(self.batch_shape)
        return torch.where(self.df > 2, finite, torch.where(self.df > 1, torch.inf, torch.nan))

    def expand(self, batch_shape, _instance=None) -> "StudentT":
        """The same over a larger batch."""
        return StudentT(self.df, self.loc.expand(batch_shape), self.scale, validate_args=False)

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) values: a normal variable over the root of a Gamma variable with mean 1."""
        shape = self._extended_shape(torch.Size(sample_shape))
        half = self.df.expand(shape) / 2
        precision = (torch._standard_gamma(half) / half).clamp(min=torch.finfo(half.dtype).tiny)
        noise = torch.randn(shape, dtype=half.dtype, device=half.device)
        return self.loc + self.scale * noise * precision.rsqrt()

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        normalizer = log_rising_ratio(0.5, self.df / 2) - 0.5 * math.log(2 * math.pi) - self.scale.log()
        return normalizer - (self.df + 1) / 2 * torch.log1p(y * (y / self.df))

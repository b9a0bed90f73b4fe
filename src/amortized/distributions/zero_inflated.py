r"""The zero-inflated negative binomial: counts that are 0 more often than their mean explains.

Lopez, Regier, Cole, Jordan and Yosef 2018 (scVI, Nature Methods 15, online methods). With probability pi = sigmoid(l) the count
is 0, whatever the negative binomial NB (distributions/counts.py) would have drawn:

    log p(0) = log( pi + (1 - pi) NB(0) ) = logaddexp(log pi, log(1 - pi) + log NB(0))
    log p(x) = log(1 - pi) + log NB(x),                     x > 0
    mean = (1 - pi) m,          variance = (1 - pi) (m + m^2 / theta + pi m^2)

from log pi and log(1 - pi) as log-sigmoids. No number is added inside a logarithm to keep it finite: common code adds 1e-8 to the
mean and to theta, which costs up to 0.01 nats where the mean is small.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from amortized.distributions.counts import NegativeBinomial
from amortized.distributions.fast_counts import zero_inflated

EMPTY = torch.Size()


class ZeroInflatedNegativeBinomial(Distribution):
    """A negative binomial with an excess of zeros.

    Args:
        log_mean: (*batch) logarithm of the negative binomial's mean m, without the excess of zeros.
        theta: (*batch) its inverse dispersion, positive.
        zero_logits: (*batch) log-odds of a zero that the negative binomial has no part in.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"log_mean": constraints.real, "theta": constraints.positive, "zero_logits": constraints.real}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.nonnegative_integer  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, log_mean: Tensor, theta: Tensor, zero_logits: Tensor, validate_args: bool | None = None):
        self._given = (log_mean, theta, zero_logits)
        self.log_mean, self.theta, self.zero_logits = torch.broadcast_tensors(log_mean, theta, zero_logits)
        self.counts = NegativeBinomial(self.log_mean, self.theta, validate_args=False)
        super().__init__(self.log_mean.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """(*batch) the mean, zeros and all."""
        return torch.sigmoid(-self.zero_logits) * self.counts.mean

    @property
    def variance(self) -> Tensor:
        """(*batch) the variance."""
        zero = torch.sigmoid(self.zero_logits)
        return torch.sigmoid(-self.zero_logits) * (self.counts.variance + zero * self.counts.mean.square())

    def expand(self, batch_shape, _instance=None) -> "ZeroInflatedNegativeBinomial":
        """The same over a larger batch."""
        parameters = (each.expand(batch_shape) for each in (self.log_mean, self.theta, self.zero_logits))
        return ZeroInflatedNegativeBinomial(*parameters, validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) counts."""
        counts = self.counts.sample(sample_shape)
        return torch.where(torch.rand_like(counts) < torch.sigmoid(self.zero_logits), 0.0, counts)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return zero_inflated(*self._given, value)

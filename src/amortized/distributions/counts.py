r"""Counts: Poisson, negative binomial and binomial, from logarithms and logits.

    Poisson             log p(x) = x log m - m - log x!
    negative binomial   log p(x) = g(x, theta) + x (log m - s) - theta s - log x!,    s = log(1 + m / theta)
                        g(x, theta) = log Gamma(x + theta) - log Gamma(theta) - x log theta
    binomial            log p(x) = log C(n, x) - n log(1 + exp(-|l|)) - x max(-l, 0) - (n - x) max(l, 0)

with mean m, inverse dispersion theta (the variance is m + m^2 / theta) and logit l. torch has the three families; measured in
float64 against 50 digits, and for what float32 makes of that, they fall short where a decoder goes:

* Poisson wants the rate, and a rate that underflows scores every count above zero as minus infinity, with no gradient to return
  by.
* NegativeBinomial subtracts two values of log Gamma near theta: 0.06 nats wrong an entry at theta = 1e5 in float32 and 72 at
  7e7; 1e-4 at 7e10 in float64. From theta = 16 on, g is taken from Stirling's series, in which the large terms cancel on paper
  (`gammas.log_rising_ratio`, R as there):

      g = (x + theta - 1/2) log(1 + x / theta) - x + R(x + theta) - R(theta)

  it goes to 0 as theta grows, where the family becomes the Poisson.
* Binomial evaluates log Gamma three times an entry, each with float32's error at 1,161 for 256 levels. Its coefficients depend on
  n alone, so here they are a table. Terms of one sign replace the difference of two large ones.

fast_counts.py has how the negative binomial is computed; torch's Bernoulli, which is right at any logit, and the sum of many are
in bernoulli.py.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid, relu

from amortized.distributions.fast_counts import negative_binomial
from amortized.distributions.gammas import log_factorial

EMPTY = torch.Size()


class Poisson(Distribution):
    """Counts with one rate.

    Args:
        log_rate: (*batch) logarithm of the mean.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"log_rate": constraints.real}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.nonnegative_integer  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, log_rate: Tensor, validate_args: bool | None = None):
        self.log_rate = log_rate
        super().__init__(log_rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """(*batch) the rate."""
        return self.log_rate.exp()

    @property
    def variance(self) -> Tensor:
        """(*batch) the rate."""
        return self.log_rate.exp()

    def expand(self, batch_shape, _instance=None) -> "Poisson":
        """The same over a larger batch."""
        return Poisson(self.log_rate.expand(batch_shape), validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) counts."""
        return torch.poisson(self.mean.expand(self._extended_shape(torch.Size(sample_shape))))

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return value * self.log_rate - self.log_rate.exp() - log_factorial(value.to(self.log_rate.dtype))


class NegativeBinomial(Distribution):
    """Counts that vary more than a Poisson's: a Poisson whose rate is Gamma-distributed.

    Args:
        log_mean: (*batch) logarithm of the mean m.
        theta: (*batch) inverse dispersion, positive; the variance is m + m^2 / theta.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"log_mean": constraints.real, "theta": constraints.positive}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.nonnegative_integer  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, log_mean: Tensor, theta: Tensor, validate_args: bool | None = None):
        self._given = (log_mean, theta)  # not expanded: what depends on theta alone is computed once for all that share it
        self.log_mean, self.theta = torch.broadcast_tensors(log_mean, theta)
        super().__init__(self.log_mean.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """(*batch) the mean."""
        return self.log_mean.exp()

    @property
    def variance(self) -> Tensor:
        """(*batch) m + m^2 / theta."""
        return self.mean + self.mean.square() / self.theta

    def expand(self, batch_shape, _instance=None) -> "NegativeBinomial":
        """The same over a larger batch."""
        return NegativeBinomial(self.log_mean.expand(batch_shape), self.theta.expand(batch_shape), validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) counts, by way of the Gamma-distributed rate."""
        shape = self._extended_shape(torch.Size(sample_shape))
        gamma = torch._standard_gamma(self.theta.expand(shape))
        return torch.poisson(gamma * (self.mean / self.theta))

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return negative_binomial(*self._given, value)


class Binomial(Distribution):
    """Integers 0..total_count, the number of successes in so many trials.

    Args:
        total_count: The number n of trials.
        logits: (*batch) log-odds of a success.
        log_choose: (n + 1,) `log_binomial_coefficients(n)`, for a caller that keeps them.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"logits": constraints.real}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, total_count: int, logits: Tensor, log_choose: Tensor | None = None, validate_args: bool | None = None):
        self.total_count, self.logits = total_count, logits
        self.log_choose = log_binomial_coefficients(total_count) if log_choose is None else log_choose
        super().__init__(logits.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The integers 0..total_count."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        """(*batch) n times the probability of a success."""
        return self.total_count * torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        """(*batch) n p (1 - p)."""
        return self.mean * torch.sigmoid(-self.logits)

    def expand(self, batch_shape, _instance=None) -> "Binomial":
        """The same over a larger batch."""
        return Binomial(self.total_count, self.logits.expand(batch_shape), self.log_choose, validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) numbers of successes."""
        probabilities = torch.sigmoid(self.logits).expand(self._extended_shape(torch.Size(sample_shape)))
        return torch.binomial(torch.full_like(probabilities, self.total_count), probabilities)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        coefficients = self.log_choose.to(self.logits.dtype).to(self.logits.device)[value.long()]
        successes = value * relu(-self.logits)
        failures = (self.total_count - value) * relu(self.logits)
        return coefficients + self.total_count * logsigmoid(self.logits.abs()) - successes - failures


def log_binomial_coefficients(total_count: int) -> Tensor:
    """(n + 1,) log C(n, k) for k = 0..n, in float64."""
    k = torch.arange(total_count + 1, dtype=torch.float64)
    return torch.lgamma(k[-1] + 1) - torch.lgamma(k + 1) - torch.lgamma(k[-1] - k + 1)

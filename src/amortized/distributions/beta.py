r"""The beta distribution by its mean and concentration.

With mean m = sigmoid(l), concentration c, a = m c and b = (1 - m) c (Ferrari and Cribari-Neto 2004, equation 4, where c is phi),

    log p(x) = (a - 1) log x + (b - 1) log(1 - x) + log Gamma(c) - log Gamma(a) - log Gamma(b)

At a large concentration its terms are of the size of c and cancel: in float32 torch's family is 0.8 nats wrong at c = 1e6. With
s(t) = log Gamma(t + 1) - t log t + t (`gammas.log_factorial_rest`), the terms that are of the size of c are one divergence
between two Bernoulli distributions (as in Loader 2000 for the binomial),

    log p(x) = -c KL(m || x) - log x - log(1 - x) + log a + log b - log c + s(c) - s(a) - s(b)

and with d = x - m, where d is small,

    -KL(m || x) = m f(d / m) + (1 - m) f(-d / (1 - m)),        f(t) = log(1 + t) - t

The logarithms of m and of 1 - m are those of sigmoids of the logit, so that nothing is infinite where the mean rounds to 0 or 1.
"""

import torch
from torch import Tensor, distributions
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

from amortized.distributions.gammas import log_factorial_rest

EMPTY = torch.Size()
NEAR = 0.25  # how near x is to the mean, in units of the mean and of one minus it, for the form in d


class Beta(Distribution):
    """Values in the open interval (0, 1).

    Args:
        logits: Log-odds of the mean; it and the concentration broadcast to (*batch).
        concentration: The sum of the two usual parameters, positive; the variance is m (1 - m) / (concentration + 1).
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"logits": constraints.real, "concentration": constraints.positive}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, logits: Tensor, concentration: Tensor, validate_args: bool | None = None):
        self.logits, self.concentration = logits, concentration
        super().__init__(torch.broadcast_shapes(logits.shape, concentration.shape), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The open interval from 0 to 1."""
        return _OpenInterval()

    @property
    def mean(self) -> Tensor:
        """(*batch) the mean."""
        return torch.sigmoid(self.logits).expand(self.batch_shape)

    @property
    def variance(self) -> Tensor:
        """(*batch) m (1 - m) / (concentration + 1)."""
        return self.mean * torch.sigmoid(-self.logits) / (self.concentration + 1)

    def entropy(self) -> Tensor:
        """(*batch) the differential entropy, in nats."""
        a, b = self.concentration * self.mean, self.concentration * torch.sigmoid(-self.logits)
        return distributions.Beta(a, b, validate_args=False).entropy()

    def expand(self, batch_shape, _instance=None) -> "Beta":
        """The same over a larger batch."""
        return Beta(self.logits.expand(batch_shape), self.concentration, validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) values, the ends excluded: the odds are a ratio of two Gamma variables."""
        shape = self._extended_shape(torch.Size(sample_shape))
        log_odds = self._log_gamma_draw(1, shape) - self._log_gamma_draw(-1, shape)
        limits = torch.finfo(log_odds.dtype)
        return torch.sigmoid(log_odds).clamp(limits.tiny, 1 - limits.eps / 2)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-density, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        log_x, log_rest = value.log(), torch.log1p(-value)
        log_m, log_n = logsigmoid(self.logits), logsigmoid(-self.logits)
        c, log_c, m, n = self.concentration, self.concentration.log(), log_m.exp(), log_n.exp()
        # the difference from the mean is taken from the side of the nearer end, where both have the more digits
        d = torch.where(self.logits > 0, n - (1 - value), value - m)
        near = d.abs() < NEAR * torch.minimum(m, n)
        outer = m * (log_x - log_m) + n * (log_rest - log_n)
        inner = _near_divergence(torch.where(near, d, 0.0), torch.where(near, m, 0.5), torch.where(near, n, 0.5))
        divergence = torch.where(near, inner, outer)
        rests = log_factorial_rest(c * m, log_c + log_m) + log_factorial_rest(c * n, log_c + log_n)
        return c * divergence - log_x - log_rest + log_c + log_m + log_n + log_factorial_rest(c, log_c) - rests

    def _log_gamma_draw(self, sign: int, shape: torch.Size) -> Tensor:
        """Logarithms of Gamma variables, which underflow themselves at a small parameter: Gamma(a) = Gamma(a + 1) U^(1/a)."""
        parameter = (self.concentration * torch.sigmoid(sign * self.logits)).clamp(min=torch.finfo(self.logits.dtype).tiny)
        exponential = torch.empty(shape, dtype=parameter.dtype, device=parameter.device).exponential_()
        return torch._standard_gamma((parameter + 1).expand(shape)).log() - exponential / parameter


class _OpenInterval(constraints.Constraint):
    """The interval from 0 to 1 without its ends."""

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)


def _near_divergence(d: Tensor, m: Tensor, n: Tensor) -> Tensor:
    """The negative of KL(m || m + d), n being 1 - m, without the terms of the first order, which cancel."""
    up, down = d / m, -d / n
    return m * (torch.log1p(up) - up) + n * (torch.log1p(down) - down)

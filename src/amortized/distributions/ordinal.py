r"""Ordered classes by cumulative logits: the proportional-odds model.

McCullagh 1980 (J. R. Stat. Soc. B 42, section 2). With F the logistic sigmoid, a location f and ordered cutpoints
c_1 < ... < c_{L-1}, the levels are 0..L-1 and

    P(x < j) = F(c_j - f),       p(x) = F(c_{x+1} - f) - F(c_x - f),       c_0 = -inf, c_L = +inf

The difference of two sigmoids is taken as for the discretized logistic, whose bins these are at unequal widths:

    log(F(b) - F(a)) = log F(b) + log F(-a) + log(1 - exp(a - b))

Its three terms are each negative, so that nothing cancels and nothing is clamped, however far in a tail.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid

EMPTY = torch.Size()


class Ordinal(Distribution):
    """Integers 0..levels-1, of which only the order is known.

    Args:
        location: (*batch) where on the line of the cutpoints the datum is; the larger, the higher its level.
        cutpoints: (levels - 1) or (..., levels - 1), which broadcasts to (*batch, levels - 1); increasing.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"location": constraints.real}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, location: Tensor, cutpoints: Tensor, validate_args: bool | None = None):
        self.location, self.cutpoints = location, cutpoints
        self.levels = cutpoints.shape[-1] + 1
        super().__init__(location.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The integers 0..levels-1."""
        return constraints.integer_interval(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """(*batch) the mean level: the sum of the tails P(x >= j) over j = 1..L-1."""
        return self._tails().sum(-1)

    @property
    def variance(self) -> Tensor:
        """(*batch) the variance, in levels squared: E[x^2] is the sum of (2j - 1) P(x >= j)."""
        odd = torch.arange(1, 2 * self.levels - 1, 2, dtype=self.location.dtype, device=self.location.device)
        return (odd * self._tails()).sum(-1) - self.mean.square()

    def expand(self, batch_shape, _instance=None) -> "Ordinal":
        """The same over a larger batch."""
        return Ordinal(self.location.expand(batch_shape), self.cutpoints, validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) levels: how many cutpoints a logistic variable around the location exceeds."""
        shape = self._extended_shape(torch.Size(sample_shape))
        uniform = torch.rand(shape, dtype=self.location.dtype, device=self.location.device)
        continuous = self.location + torch.logit(uniform)
        return (continuous.unsqueeze(-1) > self.cutpoints).sum(-1).to(self.location.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        level = value.long().expand(torch.broadcast_shapes(value.shape, self.location.shape))
        lower, upper = self._cutpoint(level - 1), self._cutpoint(level)
        log_below, log_above = logsigmoid(upper - self.location), logsigmoid(self.location - lower)
        # at the first and last level both are one cutpoint: any width other than 0 will do
        is_first, is_last = level <= 0, level >= self.levels - 1
        width = torch.where(is_first | is_last, 1.0, upper - lower)
        inner = log_below + log_above + torch.log(-torch.expm1(-width))
        return torch.where(is_first, log_below, torch.where(is_last, log_above, inner))

    def _cutpoint(self, position: Tensor) -> Tensor:
        position = position.clamp(0, self.levels - 2).unsqueeze(-1)
        return self.cutpoints.expand(*position.shape[:-1], -1).gather(-1, position).squeeze(-1)

    def _tails(self) -> Tensor:
        return torch.sigmoid(self.location.unsqueeze(-1) - self.cutpoints)

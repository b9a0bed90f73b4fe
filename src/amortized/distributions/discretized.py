r"""The logistic distribution in bins: a family for grey levels.

Salimans, Karpathy, Chen and Kingma 2017, arXiv 1701.05517, section 2.1, equation 2, with one component. The levels 0..L-1 are
put on the grid u = 2 x / (L - 1) - 1 of [-1, 1], with half-width h = 1 / (L - 1). With s the scale and F the logistic sigmoid,

    p(x) = F(b) - F(a),     a = (u - h - loc) / s  (-inf at the first level),     b = (u + h - loc) / s  (+inf at the last)

Every bin takes its exact mass, without PixelCNN++'s switch to the density where the mass is tiny: the difference of two
sigmoids is

    log(F(b) - F(a)) = log F(b) + log F(-a) + log(1 - exp(a - b))

whose three terms are each negative, so that nothing cancels.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.utils import broadcast_all
from torch.nn.functional import logsigmoid

EMPTY = torch.Size()


class DiscretizedLogistic(Distribution):
    """Integers 0..levels-1, by a logistic distribution whose bins are the levels.

    Args:
        loc: (*batch) center, with the levels mapped to [-1, 1].
        scale: (*batch) of the logistic, in the same unit; positive.
        levels: The number L of levels, 2 or more.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None):
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The integers 0..levels-1."""
        return constraints.integer_interval(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """(*batch) the exact mean, in levels: the sum of the tails P(x >= j) over j = 1..L-1."""
        return self._sum_of_tails(squared=False)

    @property
    def variance(self) -> Tensor:
        """(*batch) the exact variance, in levels squared: E[x^2] is the sum of (2j - 1) P(x >= j)."""
        return self._sum_of_tails(squared=True) - self.mean.square()

    def expand(self, batch_shape, _instance=None) -> "DiscretizedLogistic":
        """The same over a larger batch."""
        return DiscretizedLogistic(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels, validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) levels, by the inverse of the distribution function."""
        uniform = torch.rand(self._extended_shape(torch.Size(sample_shape)), dtype=self.loc.dtype, device=self.loc.device)
        continuous = self.loc + self.scale * torch.logit(uniform)
        return torch.floor((continuous + 1) * (self.levels - 1) / 2 + 0.5).clamp(0, self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass of the bin, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        half = 1 / (self.levels - 1)
        offset = 2 * half * value - 1 - self.loc
        log_below = logsigmoid((offset + half) / self.scale)
        log_above = logsigmoid((half - offset) / self.scale)
        log_width = torch.log(-torch.expm1(-2 * half / self.scale))
        inner = log_below + log_above + log_width
        return torch.where(value <= 0, log_below, torch.where(value >= self.levels - 1, log_above, inner))

    def _sum_of_tails(self, *, squared: bool) -> Tensor:
        total = torch.zeros_like(self.loc)
        for level in range(1, self.levels):  # one level at a time: L copies of an image batch are too many to hold
            edge = (2 * level - 1) / (self.levels - 1) - 1
            tail = torch.sigmoid((self.loc - edge) / self.scale)
            total = total + (tail * (2 * level - 1) if squared else tail)
        return total

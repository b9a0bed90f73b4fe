r"""The chain rule as a distribution: every entry given the ones before it.

    log p(x) = sum_s log p(x_s | x_<s)                          s = 0 .. S-1, the steps

The entries are put in an order of S steps; those of one step are independent given the steps before. One masked network gives
all of the conditionals from x in a single pass, the parameters of step s depending on earlier steps only: MADE (Germain, Gregor,
Murray and Larochelle 2015, arXiv 1502.03509, section 3) and PixelCNN (van den Oord et al. 2016, arXiv 1606.05328, equation 1) are
such networks. So scoring takes one pass, and sampling one pass for each step.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.distributions.constraints import Constraint

EMPTY = torch.Size()


class Autoregressive(Distribution):
    """A distribution over entries that are drawn in `steps` steps, each step given the ones before.

    It has no mean, variance or entropy in closed form. Samples carry no gradient.

    Args:
        conditionals: Maps x (*lead, *event) to the distribution of each entry given the earlier steps: event (*event),
            independent over the entries of one step, and batch that of (*lead) with `batch_shape`. It is given x as it is scored,
            which may lack dimensions of the batch; in sampling, entries that are not drawn yet are 0. What it says of step s must
            not depend on the entries of step s and later: that is the mask, and nothing here can check it.
        order: (*event) integers, the step at which each entry is drawn, from 0 to steps - 1.
        steps: The number S of steps.
        batch_shape: Batch of the distribution.
        support: Where x lies, as of an event.
        dtype: Type of the samples; torch's default where it is None.
        sampler: Maps a shape (*lead), which ends in `batch_shape`, to draws (*lead, *event), where there is a cheaper way to them
            than a pass for each step.

    Example:
        >>> from torch.distributions import Independent, Normal
        >>> def walk(x):  # x_i given x_<i is normal around x_{i-1}
        ...     return Independent(Normal(torch.nn.functional.pad(x[..., :-1], (1, 0)), 1.0), 1)
        >>> p = Autoregressive(walk, torch.arange(4), 4, support=torch.distributions.constraints.real_vector)
        >>> p.log_prob(p.sample((5,))).shape
        torch.Size([5])
    """

    arg_constraints: dict[str, Constraint] = {}  # pyright: ignore[reportIncompatibleMethodOverride]

    def __init__(
        self,
        conditionals: Callable[[Tensor], Distribution],
        order: Tensor,
        steps: int,
        batch_shape: torch.Size = EMPTY,
        *,
        support: Constraint,
        dtype: torch.dtype | None = None,
        sampler: Callable[[torch.Size], Tensor] | None = None,
    ):
        self.conditionals = conditionals
        self.order = order
        self.steps = steps
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        self.sampler = sampler
        self._support = support
        super().__init__(batch_shape, order.shape, validate_args=False)

    @property
    def support(self) -> Constraint:
        """Where x lies."""
        return self._support

    def expand(self, batch_shape, _instance=None) -> "Autoregressive":
        """The same distribution over a larger batch."""
        return Autoregressive(
            self.conditionals,
            self.order,
            self.steps,
            torch.Size(batch_shape),
            support=self._support,
            dtype=self.dtype,
            sampler=self.sampler,
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) nats, by one pass; `value` may be any point at which the conditionals have a density."""
        score = self.conditionals(value).log_prob(value)
        return score.expand(torch.broadcast_shapes(score.shape, self.batch_shape))

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, *event) without gradient, by one pass for each step unless there is a `sampler`."""
        if self.sampler is not None:
            return self.sampler(torch.Size(sample_shape) + self.batch_shape).to(self.dtype)
        x = torch.zeros(self._extended_shape(torch.Size(sample_shape)), dtype=self.dtype, device=self.order.device)
        for step in range(self.steps):
            x = torch.where(self.order == step, self.conditionals(x).sample(), x)
        return x

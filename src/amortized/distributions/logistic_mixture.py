r"""Mixtures of logistic distributions in bins, of one grey level or of all the channels of a pixel.

PixelCNN++ (Salimans, Karpathy, Chen and Kingma 2017, arXiv 1701.05517). With u(x) = 2 x / (L - 1) - 1 the level x on [-1, 1]
and D(x | loc, s) the exact mass of its bin (distributions/discretized.py), M components of weights w_k make, for one level
(eq. 1, 2),

    p(x) = sum_k w_k D(x | loc_k, s_k)

and for the channels x_1..x_C of one pixel, whose component is the same for all of them (eq. 3, there with C = 3),

    p(x_1..x_C) = sum_k w_k prod_c D(x_c | loc_ck + sum_{d < c} a_cdk u(x_d), s_ck)

w is `logits` after a softmax, and a is `coefficients`: a channel's center is linear in the channels before it. As in
`DiscretizedLogistic` every bin takes its exact mass, a difference of log-sigmoids, without the switch of PixelCNN++'s code to the
density where the mass is tiny; so the masses sum to one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, constraints

from amortized.distributions.discretized import DiscretizedLogistic

EMPTY = torch.Size()


class LogisticMixture(Distribution):
    """Integers 0..levels-1, by a mixture of logistic distributions whose bins are the levels.

    Args:
        logits: (*batch, M) unnormalized log-weights of the components.
        loc: (*batch, M) their centers, with the levels mapped to [-1, 1].
        scale: (*batch, M) their scales, in the same unit; positive.
        levels: The number L of levels, 2 or more.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, levels: int, validate_args: bool | None = None):
        self.logits, self.loc, self.scale = torch.broadcast_tensors(logits, loc, scale)
        self.levels = levels
        super().__init__(self.logits.shape[:-1], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The integers 0..levels-1."""
        return constraints.integer_interval(0, self.levels - 1)

    @property
    def mean(self) -> Tensor:
        """(*batch) the exact mean, in levels."""
        return (self._weights * self._components.mean).sum(-1)

    @property
    def variance(self) -> Tensor:
        """(*batch) the exact variance, in levels squared: that within the components and that between their means."""
        means = self._components.mean
        between = (self._weights * (means - self.mean.unsqueeze(-1)).square()).sum(-1)
        return (self._weights * self._components.variance).sum(-1) + between

    def expand(self, batch_shape, _instance=None) -> "LogisticMixture":
        """The same over a larger batch."""
        shape = (*batch_shape, self.logits.shape[-1])
        logits, loc, scale = (value.expand(shape) for value in (self.logits, self.loc, self.scale))
        return LogisticMixture(logits, loc, scale, self.levels, validate_args=False)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch) levels: a component, then a level of it."""
        component = _draw_component(self.logits, torch.Size(sample_shape))
        loc, scale = (_pick(value, component, 0).squeeze(-1) for value in (self.loc, self.scale))
        return DiscretizedLogistic(loc, scale, self.levels, validate_args=False).sample()

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        return (self.logits.log_softmax(-1) + self._components.log_prob(value.unsqueeze(-1))).logsumexp(-1)

    @property
    def _weights(self) -> Tensor:
        return self.logits.softmax(-1)

    @property
    def _components(self) -> DiscretizedLogistic:
        return DiscretizedLogistic(self.loc, self.scale, self.levels, validate_args=False)


class ChannelLogisticMixture(Distribution):
    """The C channels of a pixel, integers 0..levels-1, each channel's center linear in the channels before it.

    It has no `mean`: that of a channel is a sum over all values of the channels before it. `center` stands in for it.

    Args:
        logits: (*batch, M) unnormalized log-weights of the components.
        loc: (*batch, C, M) the centers where all earlier channels are at the middle level.
        scale: (*batch, C, M) the scales; positive.
        coefficients: (*batch, C (C - 1) / 2, M) the slopes a of the pairs (c, d), d < c, in the order (1, 0), (2, 0), (2, 1), ...
        levels: The number L of levels, 2 or more.
        validate_args: As in `torch.distributions`.
    """

    arg_constraints = {  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
        "coefficients": constraints.independent(constraints.real, 2),
    }

    def __init__(
        self, logits: Tensor, loc: Tensor, scale: Tensor, coefficients: Tensor, levels: int, validate_args: bool | None = None
    ):
        self.logits, self.loc, self.scale, self.coefficients = logits, loc, scale, coefficients
        self.levels = levels
        super().__init__(logits.shape[:-1], torch.Size((loc.shape[-2],)), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Vectors of the integers 0..levels-1."""
        return constraints.independent(constraints.integer_interval(0, self.levels - 1), 1)

    @property
    def center(self) -> Tensor:
        """(*batch, C) the mean of each channel at the means of those before it, component by component, then averaged by weight.

        It is E[x] but for the tails that fold into the first and last level: exact for the first channel, and for all of them
        where the coefficients are zero.
        """
        means: list[Tensor] = []
        for channel in range(self.event_shape[0]):
            means.append(self._component(channel, self.loc, self.scale, self.coefficients, means).mean)
        weights = self.logits.softmax(-1)
        return torch.stack([(weights * mean).sum(-1) for mean in means], -1)

    def expand(self, batch_shape, _instance=None) -> "ChannelLogisticMixture":
        """The same over a larger batch."""

        def expanded(value: Tensor) -> Tensor:
            return value.expand(*batch_shape, *value.shape[len(self.batch_shape) :])

        return ChannelLogisticMixture(
            expanded(self.logits),
            expanded(self.loc),
            expanded(self.scale),
            expanded(self.coefficients),
            self.levels,
            validate_args=False,
        )

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, C) levels: a component for the pixel, then one channel after the other."""
        component = _draw_component(self.logits, torch.Size(sample_shape))
        loc, scale, coefficients = (_pick(value, component, 1) for value in (self.loc, self.scale, self.coefficients))
        drawn: list[Tensor] = []
        for channel in range(self.event_shape[0]):
            drawn.append(self._component(channel, loc, scale, coefficients, drawn).sample())
        return torch.cat(drawn, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass of all channels together, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        channels = value.unsqueeze(-1).unbind(-2)
        total = self.logits.log_softmax(-1)
        for channel, levels in enumerate(channels):
            component = self._component(channel, self.loc, self.scale, self.coefficients, channels[:channel])
            total = total + component.log_prob(levels)
        return total.logsumexp(-1)

    def _component(
        self, channel: int, loc: Tensor, scale: Tensor, coefficients: Tensor, earlier: Sequence[Tensor]
    ) -> DiscretizedLogistic:
        """Every component of one channel, (..., M), given the levels of the channels before it, each (..., M) or (..., 1)."""
        center = loc[..., channel, :]
        first = channel * (channel - 1) // 2
        for pair, levels in enumerate(earlier, start=first):
            center = center + coefficients[..., pair, :] * (2 / (self.levels - 1) * levels - 1)
        return DiscretizedLogistic(center, scale[..., channel, :], self.levels, validate_args=False)


def _draw_component(logits: Tensor, sample_shape: torch.Size) -> Tensor:
    """(*sample_shape, *batch) the number of a component."""
    return Categorical(logits=logits, validate_args=False).sample(sample_shape)


def _pick(values: Tensor, component: Tensor, inner: int) -> Tensor:
    """The values (*batch, *inner, M) of the components drawn (*lead, *batch), as (*lead, *batch, *inner, 1)."""
    shape = component.shape + values.shape[values.ndim - 1 - inner : -1]
    index = component.reshape(*component.shape, *(1 for _ in range(inner + 1)))
    return values.expand(*shape, values.shape[-1]).gather(-1, index.expand(*shape, 1))

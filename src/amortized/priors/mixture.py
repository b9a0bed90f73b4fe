"""The mixture of Gaussians p(z) = sum_m w_m N(z; m_m, diag(s_m^2)), learned, or p(z | y) predicted from the condition y.

Tomczak and Welling 2018 (arXiv 1705.07120, section 5) compare the VampPrior with it under the name MoG. Means start as draws of
N(0, I), standard deviations at 1 and weights equal: components that started alike would have the same gradient, and stay alike.

`temperature` multiplies the standard deviation of each component: below 1 the samples gather around the components' means,
whose weights stay; at 0 they are those means.
"""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from amortized.distributions.mixture import Mixture as MixtureOf
from amortized.errors import InputError, is_count
from amortized.networks import Head

# A component that shrinks onto one point must not take the density to infinity, nor one that grows take it to zero.
MIN_LOG_SCALE, MAX_LOG_SCALE = -12.0, 8.0


class Mixture(nn.Module):
    """A mixture of Gaussians with learned weights, means and scales, or with those that a network predicts: p(z | y).

    Args:
        event: Shape of z, an integer for a vector.
        components: The number M of Gaussians.
        network: Turns the encoded condition (B, C) into features; None learns one set of parameters.

    Raises:
        InputError: `components` is not a positive integer.
    """

    space = "real"
    has_gradient = False

    def __init__(self, event: int | tuple[int, ...], components: int = 10, network: nn.Module | None = None):
        super().__init__()
        if not is_count(components):
            raise InputError(f"components must be a positive integer; it is {components!r}; give e.g. components=10.")
        self.event_shape = torch.Size((event,) if isinstance(event, int) else event)
        self.components = components
        loc = torch.randn(components, *self.event_shape)
        self.head = None if network is None else Head(network, components * (1 + 2 * self.event_shape.numel()), 1)
        if self.head is None:
            self.log_weights = nn.Parameter(torch.zeros(components))
            self.loc = nn.Parameter(loc)
            self.log_scale = nn.Parameter(torch.zeros(components, *self.event_shape))
        else:
            self.head.set_bias(0, torch.cat((torch.zeros(components), loc.flatten(), torch.zeros(loc.numel()))))

    def forward(self, context: Tensor | None = None, *, temperature: float = 1.0) -> MixtureOf:
        """Return p(z) with event (*event), or p(z | context) with batch (B,).

        Raises:
            InputError: It has a network and there is no context, or there is a context and it has no network.
        """
        if (context is None) != (self.head is None):
            raise InputError(
                "prior Mixture has a network and was called without a condition; build the model with a context and"
                " 'prior' in its condition, or the prior without a network."
                if context is None
                else "prior Mixture was called with a condition and has no network to take it; give it one, or take 'prior'"
                " out of the model's condition."
            )
        log_weights, loc, log_scale = self._predict(context)
        scale = log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp() * temperature
        gaussians = Independent(Normal(loc, scale, validate_args=False), len(self.event_shape), validate_args=False)
        return MixtureOf(log_weights, gaussians)

    def _predict(self, context: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        if self.head is None or context is None:
            return self.log_weights, self.loc, self.log_scale
        (predicted,) = self.head(context)
        moments = self.components * math.prod(self.event_shape)
        log_weights, loc, log_scale = predicted.split((self.components, moments, moments), -1)
        shape = (*predicted.shape[:-1], self.components, *self.event_shape)
        return log_weights, loc.reshape(shape), log_scale.reshape(shape)

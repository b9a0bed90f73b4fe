"""Gaussian priors p(z) = N(z; m, diag(s^2)), and p(z | y) with moments predicted from the condition y.

The standard normal (m = 0, s = 1) is that of Kingma and Welling 2014 (arXiv 1312.6114). The Gaussian with moments that depend on
the condition is the prior of the conditional VAE of Sohn, Lee and Yan 2015, section 4.1.

`temperature` multiplies the standard deviation: below 1 the samples gather around the mean, 0 is the mean itself.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from amortized.errors import InputError
from amortized.networks import Head


class StandardNormal(nn.Module):
    """The prior N(0, I).

    Args:
        event: Shape of z, an integer for a vector.
    """

    zero: Tensor
    one: Tensor

    is_mean_field = True

    def __init__(self, event: int | tuple[int, ...]):
        super().__init__()
        self.event_shape = torch.Size((event,) if isinstance(event, int) else event)
        # Buffers, so that the prior follows the model to its device and precision; constants, so that no file stores them.
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)
        self.register_buffer("one", torch.ones(self.event_shape), persistent=False)

    def forward(self, context: Tensor | None = None, *, temperature: float = 1.0) -> Independent:
        """Return N(0, temperature^2 I) with event (*event); a condition does not change it."""
        return _gaussian(self.zero, self.one * temperature, self.event_shape)


class Gaussian(nn.Module):
    """A Gaussian prior with learned moments, or with moments that a network predicts from the condition: p(z | y).

    Args:
        event: Shape of z, an integer for a vector.
        network: Turns the encoded condition (B, C) into features; None learns one mean and scale per entry.
    """

    is_mean_field = True

    def __init__(self, event: int | tuple[int, ...], network: nn.Module | None = None):
        super().__init__()
        self.event_shape = torch.Size((event,) if isinstance(event, int) else event)
        self.head = None if network is None else Head(network, event, 2)
        if self.head is None:
            self.loc = nn.Parameter(torch.zeros(self.event_shape))
            self.log_scale = nn.Parameter(torch.zeros(self.event_shape))

    def forward(self, context: Tensor | None = None, *, temperature: float = 1.0) -> Independent:
        """Return p(z) with event (*event), or p(z | context) with batch (B,).

        Raises:
            InputError: It has a network, and there is no context.
        """
        if self.head is None:
            loc, log_scale = self.loc, self.log_scale
        else:
            if context is None:
                raise InputError(
                    "prior Gaussian has a network and was called without a condition; build the model with a context and"
                    " 'prior' in its condition, or the prior without a network."
                )
            loc, log_scale = self.head(context)
        return _gaussian(loc, log_scale.exp() * temperature, self.event_shape)


def _gaussian(loc: Tensor, scale: Tensor, event_shape: torch.Size) -> Independent:
    return Independent(Normal(loc, scale, validate_args=False), len(event_shape), validate_args=False)

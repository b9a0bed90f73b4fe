r"""The posterior that is a mixture of Gaussians.

    q(z | x) = sum_m pi_m(x) N(z; mu_m(x), diag(s_m(x)^2))

It is drawn in strata, S values z_ms of every component, so that nothing discrete has to be differentiated: an expectation and
its gradient, in the weights as well, are estimated without bias (Morningstar et al. 2021, arXiv 2003.01687):

    E_q[f(z)]    by    sum_m sum_s (pi_m / S) f(z_ms)            in the code K = M S draws of log-weight log pi_m - log S

With f = log p(x, z) - log q(z | x), q the density of the whole mixture, this is the stratified ELBO of that paper; the log of
the same sum over exp f is its importance-weighted bound, SIWAE.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from amortized.distributions.mixture import Mixture
from amortized.errors import InputError, is_count
from amortized.networks import Head
from amortized.networks.layers import check_shape
from amortized.posteriors.gaussian import MAX_LOG_SCALE, MIN_LOG_SCALE


class MixtureOfGaussians(nn.Module):
    """q(z | x) a mixture of Gaussians with independent entries; a draw of S samples has S of each component.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
        components: The number M of Gaussians.

    Raises:
        InputError: `components` is not a positive integer.

    Example:
        >>> from amortized.networks import MLP
        >>> q = MixtureOfGaussians(MLP(784, [300]), event=40, components=5)(torch.zeros(7, 784))
        >>> q.draw(2).z.shape
        torch.Size([10, 7, 40])
    """

    has_density = True

    def __init__(self, network: nn.Module, event: int | tuple[int, ...], components: int = 5):
        super().__init__()
        if not is_count(components):
            raise InputError(f"components must be a positive integer; it is {components!r}; give e.g. components=5.")
        self.event_shape = torch.Size(check_shape("event", event))
        self.components = self.values_per_sample = components
        self.head = Head(network, components * (1 + 2 * self.event_shape.numel()), 1)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """Return q(z | x, context) with batch (B,) and event (*event)."""
        (parameters,) = self.head(x, context)
        moments = self.components * self.event_shape.numel()
        log_weights, loc, log_scale = parameters.split((self.components, moments, moments), -1)
        shape = (*parameters.shape[:-1], self.components, *self.event_shape)
        scale = log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp().reshape(shape)
        gaussians = Normal(loc.reshape(shape), scale, validate_args=False)
        return Mixture(log_weights, Independent(gaussians, len(self.event_shape), validate_args=False))

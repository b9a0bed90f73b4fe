r"""The Gaussian around a mean that is itself drawn: the link of a hyperprior.

    mu ~ N(tau, diag(theta^2)),    z | mu ~ N(mu, diag(sigma^2))                    Bishop 2006, section 2.3.3

As the link of a hierarchy whose top latent is mu, with `Gaussian` as the top's prior, it makes the mean of z a second latent.
In the code sigma is exp(log_scale), the mean mu is what it is called with. Marginally z ~ N(tau, diag(theta^2 + sigma^2)), and
given z the posterior of mu is Gaussian, linear in z: with w = theta^2 / (theta^2 + sigma^2), N(tau + w (z - tau), diag(w
sigma^2)).
"""

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from amortized.errors import InputError


class Centered(nn.Module):
    """p(z | mu) = N(mu, diag(sigma^2)) with a learned standard deviation for each entry, which starts at 1.

    `temperature` multiplies sigma: below 1 the samples gather around mu, 0 is mu itself.

    Args:
        event: Shape of z and of mu, an integer for a vector.

    Example:
        >>> Centered(3)(torch.zeros(7, 5, 3)).batch_shape
        torch.Size([7, 5])
    """

    space = "real"
    is_mean_field = True

    def __init__(self, event: int | tuple[int, ...]):
        super().__init__()
        self.event_shape = torch.Size((event,) if isinstance(event, int) else event)
        self.log_scale = nn.Parameter(torch.zeros(self.event_shape))

    def forward(self, mean: Tensor, context: Tensor | None = None, *, temperature: float = 1.0) -> Independent:
        """Return p(z | mean) with batch (*lead) for a mean (*lead, *event); a condition does not change it.

        Raises:
            InputError: The mean has another event than z.
        """
        if mean.shape[mean.ndim - len(self.event_shape) :] != self.event_shape:
            raise InputError(
                f"prior Centered has events of shape {tuple(self.event_shape)}, and its mean has shape {tuple(mean.shape)};"
                " give the latent above it the same event."
            )
        normal = Normal(mean, self.log_scale.exp() * temperature, validate_args=False)
        return Independent(normal, len(self.event_shape), validate_args=False)

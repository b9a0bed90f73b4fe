r"""A posterior on the sphere: q(z | x) = vMF(z; mu(x), k(x)), the hyperspherical VAE.

Davidson, Falorsi, De Cao, Kipf and Tomczak 2018, arXiv 1804.00891. From D + 1 outputs (m, r) of the network,

    mu = m / |m|          k = min(FLOOR + softplus(r), CAP)

The floor keeps the density from being exactly the uniform one, at which mu has no gradient. It is low, so that a latent may carry
next to nothing: there the KL from the uniform prior is k^2 / (2 D), below 3e-7 nats. At the cap the peak is 1 / sqrt(k) = 0.003
wide, which unit vectors of single precision still resolve to four digits.
"""

import torch
from torch import Tensor, nn

from amortized.distributions import VonMisesFisher as Family
from amortized.distributions.sphere import check_dimension
from amortized.networks import Head

FLOOR, CAP = 1e-3, 1e5


class VonMisesFisher(nn.Module):
    """q(z | x) on the unit sphere S^{D-1} of R^D, with a mean direction and a concentration in [0.001, 100000].

    Its prior is `SphereUniform`-distributed: `priors.Uniform` of space "sphere".

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: The dimension D of the space around the sphere, 2 or more.

    Raises:
        InputError: The dimension is below 2.
    """

    has_density = True
    is_relaxed = False
    space = "sphere"

    def __init__(self, network: nn.Module, event: int):
        super().__init__()
        check_dimension(event)
        self.head = Head(network, event + 1, 1)
        self.event_shape = torch.Size((event,))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Family:
        """Return q(z | x, context) with batch (B,) and event (D,)."""
        (parameters,) = self.head(x, context)
        direction, raw = parameters.split((self.event_shape[0], 1), dim=-1)
        concentration = (FLOOR + nn.functional.softplus(raw.squeeze(-1))).clamp(max=CAP)
        return Family(unit_direction(direction), concentration, validate_args=False)


def unit_direction(vector: Tensor) -> Tensor:
    """(*batch, D) vectors scaled to length one; a zero vector, which has no direction, becomes e_1 with no gradient."""
    largest = vector.detach().abs().amax(-1, keepdim=True)
    is_zero = largest < torch.finfo(vector.dtype).tiny
    first = torch.zeros_like(vector)
    first[..., 0] = 1.0
    # Divided by its largest entry first: the squares of very large or very small entries leave the range of the type.
    scaled = torch.where(is_zero, first, vector / torch.where(is_zero, 1.0, largest))
    return nn.functional.normalize(scaled, dim=-1)

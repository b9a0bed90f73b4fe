r"""InfoMax-VAE: the evidence lower bound and a bound of the mutual information (Rezaabad and Vishwanath 2020, arXiv 1912.13361).

    E_q[ log p(x|z) ] - beta KL( q(z|x) || p(z) ) + alpha I_q(x; z),    I_q(x; z) = KL( q(x, z) || q(x) q(z) )

with q(x) the data and q(z) = E_x[ q(z|x) ]. The last term is a divergence, and is bounded from below by the dual of
f(u) = u log u (Nguyen, Wainwright and Jordan 2010, arXiv 0809.0853; Nowozin et al. 2016, arXiv 1606.00709, section 2.2):

    I_q(x; z) >= E_q(x,z)[ t(x, z) ] - E_q(x)q(z)[ exp( t(x, z) - 1 ) ]

for every critic t, with equality where t = 1 + log q(z|x) / q(z). The critic's own weights maximize the same. In the code
t = 1 + s, and s, the score, is held within (-20, 20) by a hyperbolic tangent: that is a critic like another, its bound is one, no
exponential of it overflows, and no mutual information of fewer than e^20 data, 10^8, needs more.

A draw of q(x) q(z) is a datum with the latent of another one: the minibatch is rolled by a random number of places, never by
none. Of data drawn independently such pairs are exactly of the product, so that the mean over minibatches bounds the mutual
information itself, and is not held below log B; a minibatch of one datum has no such pair, and a value that is 0 at the most.
Every process rolls its own share, which makes the same mean.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from amortized.objectives.auxiliary import Auxiliary, as_vector, held, scorer
from amortized.objectives.bounds import elbo
from amortized.terms import Terms

LARGEST_SCORE = 20.0
"""The bound of the critic's score, in nats."""


class InfoMaxVAE(Auxiliary):
    """The evidence lower bound and alpha times a lower bound of the mutual information, by a critic of its own.

    Args:
        latent_size: Entries of z, of all groups together.
        seen_size: Entries of a datum as the encoder sees it.
        hidden: Widths of the critic's layers, ReLUs; those of the authors' code unless given, as what follows.
        lr: The critic's learning rate.
        betas: The decay rates of its optimizer's two moments.

    Attributes:
        critic: From x and z, (*lead, seen_size + latent_size), to the score before it is bounded, (*lead, 1).

    Example:
        >>> from amortized.objectives import Objective
        >>> Objective(InfoMaxVAE(latent_size=2, seen_size=64, hidden=[50]), hyper={"alpha": 5.0}).name
        'InfoMaxVAE'
    """

    def __init__(
        self,
        latent_size: int,
        seen_size: int,
        hidden: Sequence[int] = (1000, 400, 100),
        *,
        lr: float = 1e-5,
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        super().__init__(lr, betas)
        self.latent_size, self.seen_size = latent_size, seen_size
        self.critic: nn.Module = scorer(seen_size + latent_size, hidden, nn.ReLU())

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, t: Terms, alpha: float | Tensor = 20.0, beta: float | Tensor = 1.0
    ) -> Tensor:
        """The evidence lower bound and alpha times that of the mutual information: (B,) nats, without gradient for the critic."""
        return elbo(t, beta) + alpha * self.mutual_information(t)

    def mutual_information(self, t: Terms) -> Tensor:
        """A lower bound of the mutual information of x and z: (B,) nats, whose mean is the bound."""
        return self._bound(t, partial(held, self.critic), self._vector(t), t.log_sample_weight)

    def loss(self, t: Terms) -> Tensor:
        """The bound with its sign changed: (B,) nats, without gradient for the model."""
        log_weight = None if t.log_sample_weight is None else t.log_sample_weight.detach()
        return -self._bound(t, self.critic, self._vector(t).detach(), log_weight)

    def _bound(self, t: Terms, critic: Callable[[Tensor], Tensor], z: Tensor, log_weight: Tensor | None) -> Tensor:
        x = as_vector(t.seen, 1, self.seen_size, "seen").detach().to(z.dtype).expand(len(z), -1, -1)

        def score(z: Tensor) -> Tensor:
            value = critic(torch.cat((x, z), -1)).squeeze(-1).to(t.log_px.dtype)
            return LARGEST_SCORE * torch.tanh(value / LARGEST_SCORE)

        rows = z.shape[1]
        places = int(torch.randint(1, rows, ())) if rows > 1 else 0
        joint, product = score(z), score(z.roll(places, 1)).exp()
        if log_weight is None:
            return 1.0 + joint.mean(0) - product.mean(0)
        weight = log_weight.exp()
        return 1.0 + (weight * joint).sum(0) - (weight.roll(places, 1) * product).sum(0)

    def _vector(self, t: Terms) -> Tensor:
        return as_vector(t.z, 2, self.latent_size, "z")

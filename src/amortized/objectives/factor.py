r"""FactorVAE: the evidence lower bound less a total correlation, by a discriminator (Kim and Mnih 2018, arXiv 1802.05983).

    L(x) - gamma TC(z),    TC(z) = KL( q(z) || prod_j q(z_j) ),    q(z) = E_x[ q(z|x) ]                      equation 2

A discriminator D tells z ~ q(z) from z ~ prod_j q(z_j). Its optimal logit is the log-ratio of the two densities, so that

    TC(z) = E_q(z)[ log D(z) / (1 - D(z)) ]                                                                  equation 3

which is the term's value, estimated by the logit that the discriminator has at this step: no bound, and exact where that is
optimal. D is trained on the cross-entropy

    -1/2 E_q(z)[ log D(z) ] - 1/2 E_prod[ log(1 - D(z)) ]                                                    algorithm 2

The product of marginals is sampled by permuting every entry of z over the minibatch by itself (algorithm 1), over that of all
processes: two entries of a row still come from the same datum with probability 1/B. The paper takes the second expectation over
a second minibatch; here it is over the same one. In the code the logit is one number: the difference of the paper's two.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from amortized.objectives.auxiliary import Auxiliary, as_vector, held, scorer
from amortized.objectives.bounds import elbo
from amortized.processes import of_all
from amortized.terms import Terms


class FactorVAE(Auxiliary):
    """The evidence lower bound less gamma times the total correlation, by a discriminator of its own.

    Args:
        latent_size: Entries of z, of all groups together.
        hidden: Widths of the discriminator's layers, leaky ReLUs of slope 0.2; the paper's unless given, as what follows.
        lr: The discriminator's learning rate.
        betas: The decay rates of its optimizer's two moments.

    Attributes:
        discriminator: From z (*lead, latent_size) to the logit, (*lead, 1).

    Example:
        >>> from amortized.objectives import Objective
        >>> Objective(FactorVAE(latent_size=2, hidden=[50, 50]), hyper={"gamma": 10.0}).name
        'FactorVAE'
    """

    needs: ClassVar[frozenset[str]] = frozenset({"free"})

    def __init__(
        self,
        latent_size: int,
        hidden: Sequence[int] = (1000,) * 6,
        *,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.5, 0.9),
    ):
        super().__init__(lr, betas)
        self.latent_size = latent_size
        self.discriminator: nn.Module = scorer(latent_size, hidden, nn.LeakyReLU(0.2))

    def forward(self, t: Terms, gamma: float | Tensor = 35.0) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The evidence lower bound less gamma times the total correlation: (B,) nats, without gradient for the discriminator."""
        return elbo(t) - gamma * self.total_correlation(t)

    def total_correlation(self, t: Terms) -> Tensor:
        """The discriminator's logit at z: (B,) nats, whose mean is the estimate of the total correlation."""
        logit = held(self.discriminator, self._vector(t)).squeeze(-1)
        return t.mean_over_samples(logit.to(t.log_px.dtype))

    def loss(self, t: Terms) -> Tensor:
        """The discriminator's cross-entropy: (B,) nats, without gradient for the model."""
        z = _alike(self._vector(t).detach(), t.log_sample_weight)
        logit, logit_permuted = (self.discriminator(each).squeeze(-1).to(t.log_px.dtype) for each in (z, permuted(z)))
        return 0.5 * (softplus(-logit) + softplus(logit_permuted)).mean(0)

    def _vector(self, t: Terms) -> Tensor:
        return as_vector(t.z, 2, self.latent_size, "z")


def permuted(z: Tensor) -> Tensor:
    """Draws of the product of marginals: every entry of z permuted over the data, of all processes, by itself.

    Args:
        z: (K, B, D), without gradient.

    Returns:
        (K, B, D).
    """
    everyone = of_all(z, dim=1)
    order = torch.rand(everyone.shape, device=z.device).argsort(1)
    return everyone.gather(1, order[:, : z.shape[1]])


def _alike(z: Tensor, log_weight: Tensor | None) -> Tensor:
    """Draws (K, B, D) that weigh the same: those of strata and of an enumerated support are drawn again, by their weights."""
    if log_weight is None:
        return z
    chosen = torch.multinomial(log_weight.detach().exp().T, len(z), replacement=True).T
    return z.gather(0, chosen.unsqueeze(-1).expand_as(z))

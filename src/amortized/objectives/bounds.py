"""Lower bounds on log p(x).

    ELBO        L(x)   = E_q[ log p(x|z) ] - beta KL( q(z|x) || p(z) )            Kingma and Welling 2014, arXiv 1312.6114, eq. 3
                         beta = 1 is the bound; others: Higgins et al. 2017 (beta-VAE), eq. 4
    IWAE        L_K(x) = E[ log 1/K sum_k w_k ],  w_k = p(x, z_k) / q(z_k | x)    Burda et al. 2016, arXiv 1509.00519, eq. 8

L = L_1 <= L_2 <= ... <= log p(x), and L_K tends to log p(x). In the code log_w is log w_k, (K, B).
"""

import math

import torch
from torch import Tensor

from amortized.objectives.objective import needs
from amortized.terms import Terms


def elbo(t: Terms, beta: float | Tensor = 1.0) -> Tensor:
    """The evidence lower bound, with the closed form of the KL where there is one: (B,) nats."""
    return t.mean_over_samples(t.log_px - (beta * t.kl).sum(0))


@needs("density")
def elbo_sampled(t: Terms, beta: float | Tensor = 1.0) -> Tensor:
    """The evidence lower bound, with every KL taken at the values drawn: (B,) nats."""
    return t.mean_over_samples(t.log_px - (beta * t.kl_sampled).sum(0))


@needs("log_w", samples=5)
def iwae(t: Terms) -> Tensor:
    """The importance-weighted bound of the K samples: (B,) nats."""
    if t.log_sample_weight is not None:
        return torch.logsumexp(t.log_w + t.log_sample_weight, 0)
    return t.log_w.logsumexp(0) - math.log(len(t.log_w))

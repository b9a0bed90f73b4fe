r"""DIP-VAE: the covariance of the aggregate posterior is held to the identity, by the moments of a minibatch.

    Cov_q(z)[z] = E_p(x)[ Cov_q(z|x)[z] ] + Cov_p(x)[ m(x) ],    m(x) = E_q(z|x)[z]

    penalty     lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2             Kumar, Sattigeri and Balakrishnan 2018,
                C = Cov_p(x)[ m(x) ] (DIP-VAE-I), C = Cov_q(z)[z] (DIP-VAE-II)          arXiv 1711.00848, eq. 5 to 7

and the objective is the ELBO less the penalty, which is the same for every datum: it is a function of the data of all processes
together. The moments are those of the minibatch itself, with 1/B, and their squares are above those of the data by O(1/B). The
identity is the covariance of the prior N(0, I); it is the target whatever the prior. In a model with conditions the covariance is
that of all data, whatever their conditions.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal

from amortized.errors import InputError
from amortized.objectives.bounds import elbo
from amortized.objectives.objective import needs
from amortized.processes import of_all
from amortized.terms import Latent, Terms


@needs("moments", rows=2)
def dip_i(t: Terms, lambda_od: float | Tensor = 10.0, lambda_d: float | Tensor = 100.0) -> Tensor:
    """The evidence lower bound less the distance of the covariance of the posterior means from the identity: (B,) nats.

    Args:
        t: The terms, of one latent whose posterior has a mean in closed form.
        lambda_od: Weight of the entries off the diagonal.
        lambda_d: Weight of those on it.

    Raises:
        InputError: There is more than one latent, or no closed form.
    """
    return elbo(t) - _distance(covariance_of_means(_latent(t)), lambda_od, lambda_d)


@needs("moments", rows=2)
def dip_ii(t: Terms, lambda_od: float | Tensor = 10.0, lambda_d: float | Tensor = 10.0) -> Tensor:
    """The evidence lower bound less the distance of the covariance of q(z) from the identity: (B,) nats.

    Args:
        t: The terms, of one latent whose posterior has a mean and a covariance in closed form.
        lambda_od: Weight of the entries off the diagonal.
        lambda_d: Weight of those on it.

    Raises:
        InputError: There is more than one latent, or no closed form.
    """
    latent = _latent(t)
    return elbo(t) - _distance(covariance_of_means(latent) + mean_covariance(latent), lambda_od, lambda_d)


def covariance_of_means(latent: Latent) -> Tensor:
    """Cov[ m(x) ] over the minibatch of all processes, (D, D)."""
    mean = of_all(latent.q.mean.flatten(1))
    centered = mean - mean.mean(0)
    return centered.mT @ centered / len(mean)


def mean_covariance(latent: Latent) -> Tensor:
    """E[ Cov_q(z|x)[z] ] over the minibatch of all processes, (D, D)."""
    q = latent.q
    if isinstance(q, MultivariateNormal):
        return of_all(q.covariance_matrix.mean(0, keepdim=True)).mean(0)
    return of_all(q.variance.flatten(1).mean(0, keepdim=True)).mean(0).diag()


def _distance(covariance: Tensor, lambda_od: float | Tensor, lambda_d: float | Tensor) -> Tensor:
    diagonal = covariance.diagonal()
    off_diagonal = covariance - torch.diag(diagonal)
    return lambda_od * off_diagonal.square().sum() + lambda_d * (diagonal - 1.0).square().sum()


def _latent(t: Terms) -> Latent:
    latent = t.latents[0]
    if len(t.latents) > 1 or not isinstance(latent, Latent) or not _has_moments(latent.q):
        raise InputError(
            "DIP-VAE needs one latent variable whose posterior has independent entries or is a MultivariateNormal; this one has"
            f" {len(t.latents)}, the first a {type(getattr(latent, 'q', latent)).__name__}; take a VAE with the posterior"
            " DiagonalGaussian or FullGaussian."
        )
    return latent


def _has_moments(q: Distribution) -> bool:
    """Whether the covariance of q is known: by its entries' variances, or because it is a point, which does not vary."""
    base = q.base_dist if type(q) is Independent else q
    if isinstance(q, MultivariateNormal) or not base.event_shape:
        return True
    try:
        return not q.variance.any()
    except NotImplementedError:
        return False

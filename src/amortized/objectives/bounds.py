r"""Lower bounds on log p(x), an upper one, and what lies between.

    ELBO        L(x)   = E_q[ log p(x|z) ] - beta KL( q(z|x) || p(z) )            Kingma and Welling 2014, arXiv 1312.6114, eq. 3
                         beta = 1 is the bound; others: Higgins et al. 2017 (beta-VAE), eq. 4
    IWAE        L_K(x) = E[ log 1/K sum_k w_k ],  w_k = p(x, z_k) / q(z_k | x)    Burda et al. 2016, arXiv 1509.00519, eq. 8
    MIWAE(M, K)        the mean of M such bounds, of K samples each               Rainforth et al. 2018, arXiv 1802.04537, eq. 11
    CIWAE(beta)        beta L + (1 - beta) L_K                                    the same, eq. 13
    VR(alpha)   L_a(x) = 1/(1 - alpha) log 1/K sum_k w_k^(1 - alpha)              Li and Turner 2016, arXiv 1602.02311, eq. 7
    CUBO(n)     U_n(x) = 1/n log E_q[ w^n ] >= log p(x)                           Dieng et al. 2017, arXiv 1611.00328, eq. 4

L = L_1 <= L_2 <= ... <= log p(x), and L_K tends to log p(x). VR goes from IWAE at alpha = 0 to the ELBO at alpha = 1; below 0 its
limit of many samples is above log p(x). The mean of K samples within the logarithm makes the estimate of U_n too low, so that it
bounds log p(x) from above for many samples only: it is a diagnostic. In the code log_w is log w_k, (K, B).
"""

import math

import torch
from torch import Tensor

from amortized.errors import InputError
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
    return _log_mean_exp(t.log_w, t.log_sample_weight)


@needs("log_w", samples=64)
def miwae(t: Terms, groups: int = 8) -> Tensor:
    """The mean of the importance-weighted bounds of M = `groups` equal parts of the samples: (B,) nats.

    Raises:
        InputError: The number of samples is no multiple of the number of groups.
    """
    if t.is_complete:  # every part would have to hold the whole support, and so would give the same
        return iwae(t)
    weight = None if t.log_sample_weight is None else grouped(t.log_sample_weight, groups) + math.log(groups)
    if weight is not None and (weight.detach().logsumexp(1).abs() > 1e-3).any():
        raise InputError(f"{groups} groups would tear the strata of a sample apart; give a multiple of {groups} as samples.")
    return _log_mean_exp(grouped(t.log_w, groups), weight, dim=1).mean(0)


@needs("log_w", samples=64)
def ciwae(t: Terms, beta: float | Tensor = 0.5) -> Tensor:
    """Between the bounds: beta times the ELBO and 1 - beta times the importance-weighted one, (B,) nats."""
    return beta * t.mean_over_samples(t.log_w) + (1.0 - beta) * iwae(t)


@needs("log_w", samples=50)
def renyi(t: Terms, alpha: float = 0.5) -> Tensor:
    """The variational Renyi bound of order alpha, any real number or an infinite one: (B,) nats."""
    order = 1.0 - alpha
    if order == 0:
        return t.mean_over_samples(t.log_w)
    extreme = t.log_w.amax(0) if order > 0 else t.log_w.amin(0)
    if math.isinf(order):
        return extreme
    pivot = extreme.detach().clamp(min=torch.finfo(extreme.dtype).min)  # minus infinity cannot be subtracted from itself
    # Near alpha = 1 this keeps the digits that the quotient of a logsumexp would lose.
    return pivot + t.mean_over_samples((order * (t.log_w - pivot)).expm1()).log1p() / order


@needs("log_w", samples=50)
def cubo(t: Terms, order: float = 2.0) -> Tensor:
    """The chi upper bound of order n >= 1, estimated by the K samples: (B,) nats. A diagnostic, not to be trained with."""
    return _log_mean_exp(order * t.log_w, t.log_sample_weight) / order


def grouped(value: Tensor, groups: int) -> Tensor:
    """A (K, B) value as M parts, (M, K / M, B).

    Raises:
        InputError: K is no multiple of M.
    """
    if groups < 1 or len(value) % groups:
        raise InputError(f"{len(value)} posterior samples do not divide into {groups} groups; give a multiple as samples.")
    return value.unflatten(0, (groups, -1))


def _log_mean_exp(value: Tensor, log_weight: Tensor | None, dim: int = 0) -> Tensor:
    if log_weight is not None:
        return torch.logsumexp(value + log_weight, dim)
    return value.logsumexp(dim) - math.log(value.shape[dim])

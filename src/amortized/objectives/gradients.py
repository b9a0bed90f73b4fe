r"""Objectives whose value is a bound, and whose gradient is not that of the value drawn.

What reaches the parameters phi of q through the K values z_k that are drawn, and what through the density log q(z_k | x), can be
told apart; where all derivatives of log w_k are taken at fixed z, g_k = d log w_k / d z_k and w~_k = w_k / sum_j w_j,

    DReG     grad_phi   = sum_k w~_k^2 g_k dz_k/dphi                         Tucker et al. 2019, arXiv 1810.04152, eq. 8
             grad_theta = sum_k w~_k dlog w_k/dtheta
    PIWAE    grad_theta that of IWAE, grad_phi that of MIWAE(M, K / M)       Rainforth et al. 2018, arXiv 1802.04537, section 4.2
    STL      the ELBO with grad_phi through the values drawn alone           Roeder et al. 2017, arXiv 1703.09194, eq. 8

theta are the parameters of p, shared ones among them: a VampPrior's p(z) depends on the encoder, and that is a part of
grad_theta. Where values have no derivative, as in discrete latents, the score function is left:

    RLOO     grad_phi L   = 1/K sum_k (l_k - 1/(K-1) sum_{j != k} l_j) dlog q(z_k)/dphi       Kool et al. 2019
    VIMCO    grad_phi L_K = sum_k (L_K - L_K^(-k)) dlog q(z_k)/dphi + sum_k w~_k dlog w_k/dphi
                                                                 Mnih and Rezende 2016, arXiv 1602.06725, eq. 8 and 9

l_k is the term of the ELBO at z_k, and L_K^(-k) the bound in which w_k gives way to the geometric mean of the others. Where a KL
has a closed form, l_k has it too, and grad_phi L has its derivative besides. That of log q(z_k) within l_k has mean zero, and is
left out. With several latents z_k is all of them, and dz_k/dphi goes through each that is drawn given another: q is
reparameterized as a whole, which needs no further terms (compare Bauer and Mnih 2021, arXiv 2101.11046). PIWAE's grad_phi is
taken in the form of DReG. Each function here returns its bound, and hands autograd the gradient by a surrogate whose value is 0.

The variance of DReG is less than that of the plain gradient in the part that reaches phi through q, where q is near the
posterior. Of a VampPrior's encoder it need not be less in all: there dlog p/dphi and dlog q/dphi of the plain gradient cancel in
part, and DReG has the first alone.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.objectives.bounds import elbo, elbo_sampled, grouped, iwae
from amortized.objectives.objective import needs
from amortized.terms import Latent, Terms


@needs("density", gradient="path")
def stl(t: Terms, beta: float | Tensor = 1.0) -> Tensor:
    """The evidence lower bound by sticking the landing: (B,) nats."""
    return elbo_sampled(t, beta)


@needs("log_w", "alike", samples=5, gradient="split")
def dreg(t: Terms) -> Tensor:
    """The importance-weighted bound with its doubly reparameterized gradient: (B,) nats."""
    if not torch.is_grad_enabled():
        return iwae(t)
    weight = t.log_w.detach().softmax(0)
    return _with_gradient(iwae(t), _reparameterized(t, encoder=weight.square(), decoder=weight))


@needs("log_w", "alike", samples=64, gradient="split")
def piwae(t: Terms, groups: int = 8) -> Tensor:
    """The importance-weighted bound for the decoder and the mean of M = `groups` smaller ones for the encoder.

    Returns:
        (B,) nats, the decoder's bound.

    Raises:
        InputError: The number of samples is no multiple of the number of groups.
    """
    if not torch.is_grad_enabled():
        return iwae(t)
    log_w = t.log_w.detach()
    within = grouped(log_w, groups).softmax(1).flatten(0, 1)
    return _with_gradient(iwae(t), _reparameterized(t, encoder=within.square() / groups, decoder=log_w.softmax(0)))


@needs("density", "alike", samples=4, least=2, gradient="score")
def rloo(t: Terms) -> Tensor:
    """The evidence lower bound with the score function's gradient, each sample held against the others: (B,) nats."""
    if not torch.is_grad_enabled():
        return elbo(t)
    value = t.log_px - t.kl.sum(0)
    samples = len(value)
    advantage = (value - value.mean(0)).detach() * samples / (samples - 1)
    direct = value + sum(latent.weight * _log_q(latent) for latent in _latents(t) if not latent.kl_is_exact)
    return _with_gradient(elbo(t), (advantage * _log_q(*_latents(t)) + direct).mean(0))


@needs("log_w", "alike", samples=5, least=2, gradient="score")
def vimco(t: Terms) -> Tensor:
    """The importance-weighted bound with the score function's gradient, each sample held against the others: (B,) nats."""
    if not torch.is_grad_enabled():
        return iwae(t)
    log_w = t.log_w.detach()
    advantage = iwae(t).detach() - _without_each(log_w)
    return _with_gradient(iwae(t), (advantage * _log_q(*_latents(t)) + log_w.softmax(0) * t.log_w).sum(0))


def _reparameterized(t: Terms, *, encoder: Tensor, decoder: Tensor) -> Tensor:
    """A surrogate (B,) in which sample k reaches q, through its draw, by encoder_k, and p, at that value, by decoder_k."""
    latents = _split(t)
    slopes = torch.autograd.grad(t.log_w.sum(), [latent.z for latent in latents], retain_graph=True)
    surrogate = decoder * t.log_w
    for latent, slope in zip(latents, slopes, strict=True):
        assert latent.draw is not None
        surrogate = surrogate + encoder * (slope * latent.draw).flatten(2).sum(-1)
    return surrogate.sum(0)


def _latents(t: Terms) -> Sequence[Latent]:
    return [latent for latent in t.latents if isinstance(latent, Latent)]


def _split(t: Terms) -> Sequence[Latent]:
    latents = [latent for latent in _latents(t) if latent.draw is not None]
    if len(latents) < len(t.latents):
        raise InputError("this objective takes terms whose draws are held apart; ask the model for gradient='split'.")
    return latents


def _log_q(*latents: Latent) -> Tensor:
    """(K, B) log q(z | x) of all these latents together, for the gradient in the parameters of q."""
    return torch.stack([latent.q.log_prob(latent.z) for latent in latents]).sum(0)


def _without_each(log_w: Tensor) -> Tensor:
    """(K, B) the importance-weighted bound with w_k replaced by the geometric mean of the others."""
    samples = len(log_w)
    others = (log_w.sum(0) - log_w) / (samples - 1)
    replaced = torch.where(torch.eye(samples, dtype=torch.bool, device=log_w.device).unsqueeze(-1), others, log_w.unsqueeze(0))
    return replaced.logsumexp(1) - math.log(samples)


def _with_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    return value.detach() + (surrogate - surrogate.detach())

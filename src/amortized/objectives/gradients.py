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
reparameterized as a whole, which needs no further terms. PIWAE's grad_phi is taken in the form of DReG. Each function here
returns its bound, and hands autograd the gradient by a surrogate whose value is 0.

All but STL weigh each datum's terms by its own weights, and so take log w_k of a datum to depend on that datum's z_k alone. Batch
normalization of what is drawn, or a scale that is optimal for a whole batch, breaks this: the "separate" that they need.

What DReG does for the score of q, Bauer and Mnih 2021 (arXiv 2101.11046) do for that of another distribution. Where p
is a Gaussian or a mixture of them its part of grad_theta is taken so, with T_k the draw of p from the noise that would give z_k:

    sum_k w~_k dlog p(z_k)/dtheta   becomes   sum_k [ w~_k (1 - w~_k) g_k + w~_k d/dz_k (log q - log p) ] dT_k/dtheta

A p that shares parameters with q needs this: that of a VampPrior, or of a ladder's links. In the plain gradient its dlog p/dtheta
and the dlog q/dphi cancel in part, so that without the latter alone the variance of the encoder's gradient would be larger, up to
five times. DReG's is smaller where q is near the posterior; with weights from the start it may be larger.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from amortized.errors import InputError
from amortized.objectives.bounds import elbo, elbo_sampled, grouped, iwae
from amortized.objectives.objective import needs
from amortized.terms import Latent, Terms


@needs("density", gradient="path")
def stl(t: Terms, beta: float | Tensor = 1.0) -> Tensor:
    """The evidence lower bound by sticking the landing: (B,) nats."""
    if torch.is_grad_enabled() and any(latent.q_path is None for latent in _latents(t)):
        raise InputError("sticking the landing takes terms whose q is also held constant; ask the model for gradient='path'.")
    return elbo_sampled(t, beta)


@needs("log_w", "alike", "separate", samples=5, gradient="split")
def dreg(t: Terms) -> Tensor:
    """The importance-weighted bound with its doubly reparameterized gradient: (B,) nats."""
    if not torch.is_grad_enabled():
        return iwae(t)
    weight = t.log_w.detach().softmax(0)
    return _with_gradient(iwae(t), _reparameterized(t, encoder=weight.square(), decoder=weight))


@needs("log_w", "alike", "separate", samples=64, gradient="split")
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


@needs("density", "alike", "separate", samples=4, least=2, gradient="score")
def rloo(t: Terms, beta: float | Tensor = 1.0) -> Tensor:
    """The evidence lower bound with the score function's gradient, each sample held against the others: (B,) nats."""
    if not torch.is_grad_enabled():
        return elbo(t, beta)
    latents = _scored(t)
    value = t.log_px - (beta * t.kl).sum(0)
    samples = len(value)
    advantage = (value - value.mean(0)).detach() * samples / (samples - 1)
    direct = value + sum(beta * latent.weight * _log_q(latent) for latent in latents if not latent.kl_is_exact)
    return _with_gradient(elbo(t, beta), (advantage * _log_q(*latents) + direct).mean(0))


@needs("log_w", "alike", "separate", samples=5, least=2, gradient="score")
def vimco(t: Terms) -> Tensor:
    """The importance-weighted bound with the score function's gradient, each sample held against the others: (B,) nats."""
    if not torch.is_grad_enabled():
        return iwae(t)
    latents, log_w = _scored(t), t.log_w.detach()
    advantage = iwae(t).detach() - _without_each(log_w)
    return _with_gradient(iwae(t), (advantage * _log_q(*latents) + _weighed(log_w.softmax(0), t.log_w)).sum(0))


def _reparameterized(t: Terms, *, encoder: Tensor, decoder: Tensor) -> Tensor:
    """A surrogate (B,) in which sample k reaches q, through its draw, by encoder_k, and p, at that value, by decoder_k."""
    latents = _split(t)
    slopes = torch.autograd.grad(t.log_w.sum(), [latent.z for latent in latents], retain_graph=True)
    through_q = torch.stack([_dot(slope, latent.draw) for slope, latent in zip(slopes, latents, strict=True)]).sum(0)
    surrogate = _weighed(decoder, t.log_w) + encoder * through_q
    for latent in latents:
        surrogate = surrogate + _through_p(latent, through_q, decoder)
    return surrogate.sum(0)


def _through_p(latent: Latent, through_q: Tensor, weight: Tensor) -> Tensor | float:
    """(K, B) what reaches p(z | ...) through the value that it would draw, in the place of through its density.

    Args:
        latent: The latent; 0 is returned where its p is neither a Gaussian nor a mixture of them, or is given a later draw.
        through_q: (K, B) the slopes of log w times the draws of all latents, whose slope is that of this one's draw and of all
            that are drawn given it.
        weight: (K, B) w~.
    """
    again = _drawn_again(latent.p, latent.z.detach()) if latent.is_averaged else None
    if again is None:
        return 0.0
    value, log_weights = again
    assert latent.draw is not None
    (slope,) = torch.autograd.grad(through_q.sum(), latent.draw, retain_graph=True)
    (apart,) = torch.autograd.grad(latent.log_ratio.sum(), latent.z, retain_graph=True)
    each = weight.reshape(*weight.shape, *(1 for _ in latent.q.event_shape))
    return _dot(each * (1.0 - each) * slope - each * apart, value) + _weighed(weight, log_weights - latent.log_ratio)


def _drawn_again(p: Distribution, z: Tensor) -> tuple[Tensor, Tensor | float] | None:
    """A value with the gradient of a draw of p, and what has the gradient of log p(z) in the weights of a mixture."""
    if hasattr(p, "reparameterized"):
        return p.reparameterized(z)  # pyright: ignore[reportAttributeAccessIssue]
    normal = p.base_dist if type(p) is Independent else p
    if type(normal) is not Normal or not (normal.loc.requires_grad or normal.scale.requires_grad):
        return None
    return normal.loc + normal.scale * ((z - normal.loc) / normal.scale).detach(), 0.0


def _dot(slope: Tensor, value: Tensor | None) -> Tensor:
    """(K, B) the products of two (K, B, *event), summed over the event."""
    assert value is not None
    return (slope * value).flatten(2).sum(-1)


def _latents(t: Terms) -> Sequence[Latent]:
    return [latent for latent in t.latents if isinstance(latent, Latent)]


def _split(t: Terms) -> Sequence[Latent]:
    latents = [latent for latent in _latents(t) if latent.draw is not None]
    if len(latents) < len(t.latents):
        raise InputError("this objective takes terms whose draws are held apart; ask the model for gradient='split'.")
    return latents


def _scored(t: Terms) -> Sequence[Latent]:
    latents = _latents(t)
    if any(latent.z.grad_fn is not None for latent in latents):
        raise InputError("this objective takes terms whose draws have no gradient; ask the model for gradient='score'.")
    return latents


def _weighed(weight: Tensor, log_w: Tensor) -> Tensor:
    """(K, B) the log-weights by what they count for; one of minus infinity counts for nothing."""
    return weight * torch.where(log_w.isfinite(), log_w, 0.0)


def _log_q(*latents: Latent) -> Tensor:
    """(K, B) log q(z | x) of all these latents together, for the gradient in the parameters of q."""
    return torch.stack([latent.q.log_prob(latent.z) for latent in latents]).sum(0)


def _without_each(log_w: Tensor) -> Tensor:
    """(K, B) the importance-weighted bound with w_k replaced by the geometric mean of the others."""
    samples = len(log_w)
    nothing = torch.full_like(log_w[:1], -torch.inf)
    before = torch.cat((nothing, log_w.logcumsumexp(0)[:-1]))
    after = torch.cat((log_w.flip(0).logcumsumexp(0).flip(0)[1:], nothing))
    others = torch.logaddexp(before, after)  # not a difference, which a w_k above all others would leave no digits
    return torch.logaddexp(others, _mean_of_others(log_w)) - math.log(samples)


def _mean_of_others(log_w: Tensor) -> Tensor:
    """(K, B) the mean of the K - 1 others; one of minus infinity is not subtracted from itself."""
    zero = torch.zeros_like(log_w[:1])
    before = torch.cat((zero, log_w.cumsum(0)[:-1]))
    after = torch.cat((log_w.flip(0).cumsum(0).flip(0)[1:], zero))
    return (before + after) / (len(log_w) - 1)


def _with_gradient(value: Tensor, surrogate: Tensor) -> Tensor:
    return value.detach() + (surrogate - surrogate.detach())

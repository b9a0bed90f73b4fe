r"""Kullback-Leibler divergences, and whether one is exact.

`exact_kl(q, p)` is the closed form of KL(q || p) = E_q[log q(z) - log p(z)] where one is registered with
`torch.distributions` for exactly these two families, and None elsewhere: the caller then takes the Monte Carlo value and says
so. A *subclass* of a family never inherits the closed form of its parent, which torch's own dispatch would hand out in
silence.

Two Gaussians of dimension D, with any covariances S_q = L_q L_q^T and S_p = L_p L_p^T (Kullback 1959, chapter 9, section 1):

    KL = 1/2 [ tr(S_p^-1 S_q) + (m_p - m_q)^T S_p^-1 (m_p - m_q) - D ] + log det L_p - log det L_q

Importing this module adds the pairs (Normal, MultivariateNormal) and (MultivariateNormal, Normal), where Normal stands for
`Independent(Normal, 1)`, to torch's registry, which lacks them.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    register_kl,
)
from torch.distributions.kl import _KL_REGISTRY  # pyright: ignore[reportPrivateUsage]


def gaussian_kl(q_loc: Tensor, q_scale_tril: Tensor, p_loc: Tensor, p_scale_tril: Tensor) -> Tensor:
    """KL between two Gaussians with any covariances, in nats.

    Args:
        q_loc: (*batch, D) mean of q.
        q_scale_tril: (*batch, D, D) Cholesky factor of the covariance of q.
        p_loc: (*batch, D) mean of p.
        p_scale_tril: (*batch, D, D) Cholesky factor of the covariance of p.

    Returns:
        (*batch) nats, the batch shapes broadcast against each other.
    """
    dimension = q_loc.shape[-1]
    whitened = torch.linalg.solve_triangular(p_scale_tril, q_scale_tril, upper=False)
    difference = torch.linalg.solve_triangular(p_scale_tril, (p_loc - q_loc).unsqueeze(-1), upper=False)
    trace = whitened.square().sum((-2, -1))
    distance = difference.square().sum((-2, -1))
    return 0.5 * (trace + distance - dimension) + _log_det(p_scale_tril) - _log_det(q_scale_tril)


def exact_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p) in nats by a closed form, or None where there is none for exactly these families.

    Args:
        q: The distribution under which the expectation is taken.
        p: The other one, over the same event.

    Returns:
        (*batch) nats, or None.
    """
    elementwise = exact_kl_elementwise(q, p)
    if elementwise is not None:
        dimensions = len(q.event_shape)
        return elementwise.sum(tuple(range(-dimensions, 0))) if dimensions else elementwise
    return _closed_form(q, p)


def exact_kl_elementwise(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q || p) entry by entry, in nats, where both are independent over the entries of their event.

    Args:
        q: The distribution under which the expectation is taken.
        p: The other one, over the same event.

    Returns:
        (*batch, *event) nats, or None where one of the two does not factorize or no closed form is registered.
    """
    q_base, p_base = _base(q), _base(p)
    factorized = not q_base.event_shape and not p_base.event_shape
    if q.event_shape != p.event_shape or not factorized:
        return None
    return _closed_form(q_base, p_base)


def _closed_form(q: Distribution, p: Distribution) -> Tensor | None:
    function = _registered(q, p)
    if function is None:
        return None
    try:
        return function(q, p)
    except NotImplementedError:  # a registered pair may still turn down these two members of it
        return None


def _registered(q: Distribution, p: Distribution) -> Callable[..., Tensor] | None:
    """The closed form that was registered for the family of q itself, against the family of p or against every p.

    It is looked up here, not by `kl_divergence`, whose search among subclasses the compiler cannot trace.
    """
    for wrapper in (Independent, TransformedDistribution):  # torch answers for these by what they wrap
        if type(q) is wrapper and type(p) is wrapper and _registered(q.base_dist, p.base_dist) is None:
            return None
    return _KL_REGISTRY.get((type(q), type(p))) or _KL_REGISTRY.get((type(q), Distribution))


def _base(distribution: Distribution) -> Distribution:
    while type(distribution) is Independent:
        distribution = distribution.base_dist
    return distribution


def _log_det(scale_tril: Tensor) -> Tensor:
    return scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _moments(gaussian: Independent | MultivariateNormal) -> tuple[Tensor, Tensor]:
    """Mean and Cholesky factor of a Gaussian over a vector; raises NotImplementedError for any other distribution."""
    if isinstance(gaussian, MultivariateNormal):
        return gaussian.loc, gaussian.scale_tril
    if type(gaussian.base_dist) is not Normal or len(gaussian.event_shape) != 1:
        raise NotImplementedError
    return gaussian.base_dist.loc, torch.diag_embed(gaussian.base_dist.scale)


@register_kl(Independent, MultivariateNormal)
@register_kl(MultivariateNormal, Independent)
def _kl_gaussian_gaussian(q: Independent | MultivariateNormal, p: Independent | MultivariateNormal) -> Tensor:
    return gaussian_kl(*_moments(q), *_moments(p))

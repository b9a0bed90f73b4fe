"""What a posterior says of one datum: how wide it is on the map, and the terms of the bound."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from amortized.distributions import is_point_mass
from amortized.evaluation import evaluate
from amortized.evaluation.joint import Joint
from amortized.explore.asking import known, listed
from amortized.models.model import Model
from amortized.report.view import Plane
from amortized.terms import Batch

ELLIPSE_DRAWS = 400
"""Draws from a posterior whose covariance is not known."""


def spread(q: Distribution) -> NDArray[np.float32] | None:
    """(D,) the standard deviation of one posterior, q of batch (1,), entry by entry; None for a point, or if unknown."""
    if is_point_mass(q):
        return None
    try:
        value = q.stddev
    except (NotImplementedError, AttributeError):
        return None
    return None if value.isnan().any() else value.flatten().cpu().numpy()


def ellipse(q: Distribution, plane: Plane) -> dict[str, Any] | None:
    """One standard deviation of a posterior, q of batch (1,), on the map; None for a point.

    That of a Gaussian is exact; that of another family is of its draws.
    """
    if is_point_mass(q):
        return None
    center, covariance = _moments(q, plane)
    if not (np.isfinite(center).all() and np.isfinite(covariance).all()):
        return None
    values, vectors = np.linalg.eigh(covariance)
    axes = (vectors * np.sqrt(values.clip(min=0))).T[::-1]  # the longer one first
    return {"center": listed(center), "axes": listed(axes)}


def scores(model: Model, batch: Batch, samples: int, seed: int) -> dict[str, float | bool | None] | None:
    """The two terms of the bound of one datum, their sum, and an estimate of log p(x), nats; None where there is no bound.

    The estimate `is_doubtful` where more samples would raise it by more than its error says.
    """
    found = evaluate(model, [batch], samples=samples, seed=seed)
    if found.elbo is None or found.nll is None or found.nll_variance is None or found.rate is None:
        return None
    return {
        "elbo_nats": known(float(found.elbo[0])),
        "log_px_z_nats": known(-float(found.distortion[0])),
        "kl_nats": known(float(found.rate[0])),
        "log_px_nats": known(-float(found.nll[0])),
        "stderr_nats": known(float(found.nll_variance[0].sqrt())),
        "is_doubtful": bool(found.is_doubtful[0]),
    }


def terms_at(model: Model, batch: Batch, z: Tensor) -> dict[str, float | None]:
    """The terms of the bound of one datum at one latent z (1, *event), nats; those that have no density are None."""
    p, q = model.prior(batch.context), model.posterior(batch)
    joint = Joint(model, batch, p, q)
    log_px_z, log_pz = _value(joint.log_px, z), _value(joint.log_prior, z)
    log_qz = None if is_point_mass(q) else _value(joint.log_q, z)
    here = None
    if log_px_z is not None and log_pz is not None and log_qz is not None:
        here = known(log_px_z + log_pz - log_qz)
    return {"log_px_z_nats": log_px_z, "log_pz_nats": log_pz, "log_qz_nats": log_qz, "elbo_here_nats": here}


def _moments(q: Distribution, plane: Plane) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean (2,) and covariance (2, 2) of a posterior on the map."""
    axes = plane.axes.astype(float)
    inner = q
    while isinstance(inner, Independent):
        inner = inner.base_dist
    if type(inner) is Normal:
        scaled = axes * inner.stddev.flatten().cpu().numpy()
        return plane.project(inner.mean.flatten().cpu().numpy()), scaled @ scaled.T
    if isinstance(inner, MultivariateNormal):
        covariance = inner.covariance_matrix[0].cpu().numpy()
        return plane.project(inner.mean.flatten().cpu().numpy()), axes @ covariance @ axes.T
    places = plane.project(q.sample(torch.Size((ELLIPSE_DRAWS,))).flatten(1).cpu().numpy())
    return places.mean(0), np.cov(places.T)


def _value(log_density: Any, z: Tensor) -> float | None:
    try:
        return known(float(log_density(z.unsqueeze(0))))
    except (ValueError, NotImplementedError):  # a value that the family cannot have, or a density that it does not tell
        return None

r"""The exact log p(x), posterior and gap of models whose latent has 1 or 2 real entries, by quadrature.

    log p(x) = log int p(x | z) p(z) dz
    KL( q(z|x) || p(z|x) ) = int q(z|x) log[ q(z|x) / p(z|x) ] dz = log p(x) - ELBO

The second equation is the one on which variational inference stands (Jordan et al. 1999, section 6): with both sides known, it is
seen how much of a poor bound is the fault of q. How the integrals are taken, `panels` says. They are taken in float64 whatever
the type of the model, of which a copy is made: an integrand rounded to float32 has no digits in which to claim an error.
"""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amortized.errors import InputError
from amortized.evaluation.chunks import rows_at_once
from amortized.evaluation.joint import Joint
from amortized.evaluation.panels import Integrals, integrate
from amortized.evaluation.records import Found, LogPx, Metric, as_text, standard_error
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import seed_noise
from amortized.terms import Batch

TOLERANCE = {1: 1e-9, 2: 1e-3}
"""The error, in nats, at which a datum is done: for two entries, that of the poorer rule, ten times that of the better or more.

The kinks of a network of rectified units are points on a line and lines on a plane: to find ten times fewer nats of error along
them takes some three splits on a line, and six times as many panels on a plane.
"""

MOST_POINTS = {1: 2**17, 2: 2**18}
"""Of a datum."""

DRAWS = 1024
"""From prior and posterior each, to see where they are."""

UNDERFLOW = -700.0
"""A log-density whose exponential is nothing: what a network says of x so far out is of no account."""


@dataclass(frozen=True, eq=False)
class Quadrature(Found):
    """What quadrature found, per datum, in the order of the data.

    Attributes:
        log_px: (N,) float64, nats.
        kl_q_posterior: (N,) KL(q(z|x) || p(z|x)), nats.
        elbo: (N,) its expectation under q by the same quadrature, nats.
        mean: (N, D) of the posterior p(z|x).
        covariance: (N, D, D) of the posterior.
        error: (N,) what log p(x), the ELBO and the masses of p(z) and q(z|x) are off by, by its own account, in nats: an
            estimate, and no bound.
        tolerance: The error that was asked for.
        points: The values of z at which a datum's densities were evaluated, in the mean.
        split: The data it is about.
        seconds: How long it took.
    """

    log_px: Tensor
    kl_q_posterior: Tensor
    elbo: Tensor
    mean: Tensor
    covariance: Tensor
    error: Tensor
    tolerance: float
    points: int
    split: str
    seconds: float

    @property
    def record(self) -> LogPx:
        """The log-likelihood as a record that other methods share."""
        method, zero = "quadrature", torch.zeros_like(self.log_px)
        return LogPx(method, self.log_px, self.log_px, self.log_px, zero, self.seconds, self.split, self.points)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The means over the data by name; of the error the greatest."""
        kind = "exact" if bool((self.error <= self.tolerance).all()) else "estimate"
        table = {
            "quadrature_log_px_nats": (float(self.log_px.mean()), kind),
            "quadrature_log_px_stderr_nats": (standard_error(self.log_px), "estimate"),
            "quadrature_elbo_nats": (float(self.elbo.mean()), kind),
            "kl_q_posterior_nats": (float(self.kl_q_posterior.mean()), kind),
            "kl_q_posterior_stderr_nats": (standard_error(self.kl_q_posterior), "estimate"),
            "quadrature_error_nats": (float(self.error.max()), "estimate"),
        }
        return {
            name: Metric(value, self.split, self.points, kind)
            for name, (value, kind) in table.items()
            if len(self.log_px) > 1 or "stderr" not in name
        }

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        rough = int((self.error > self.tolerance).sum())
        if not rough:
            return []
        return [
            f"For {rough:,} of {len(self.error):,} data the quadrature is not as exact as wanted, by its own account off by up to"
            f" {float(self.error.max()):.1g} nats; allow more points (`most_points`)."
        ]

    def __str__(self) -> str:
        """The metrics as a small table, with what they are."""
        head = f"{self.split} split, {len(self.log_px):,} data, {self.points:,} points each on average"
        return as_text(head, self.metrics, self.notes)


def quadrature(
    model: Model,
    batches: Iterable[Batch | Tensor],
    *,
    tolerance: float | None = None,
    most_points: int | None = None,
    seed: int = 0,
    split: str = "test",
    progress: Callable[[int], Any] | None = None,
) -> Quadrature:
    """Integrate over the latent of every datum.

    Args:
        model: The model; a copy of it is used, in float64 and in evaluation mode.
        batches: The data.
        tolerance: The error at which a datum is done, in nats; None for 1e-9 of one entry and 1e-3 of two.
        most_points: The values of z of a datum beyond which no more are added; None for 2^17 and 2^18.
        seed: Of the draws that show where prior and posterior are; what is found depends on it below the error alone.
        split: The name of the data, for the record.
        progress: Called with the number of data done, after each.

    Returns:
        Log p(x), posterior and gap, per datum and as metrics.

    Raises:
        InputError: The latent has more than two entries, or is not real; there are no data; or a number is none that works.
    """
    start, found = time.perf_counter(), []
    _check_positive("tolerance", tolerance)
    _check_positive("most_points", most_points)
    exact = in_float64(model)
    with evaluating(exact, seed, "quadrature"):
        for batch in map(Batch.of, batches):
            batch = batch.to(device_of(exact), torch.float64)
            for row in range(len(batch)):
                joint = Joint.of(exact, batch.rows(slice(row, row + 1)), method="quadrature")
                dimension = check_dimension(joint)
                seed_noise(device_of(exact), seed, "quadrature", len(found))
                tolerance = tolerance or TOLERANCE[dimension]
                found.append(_integrals(joint, tolerance, most_points or MOST_POINTS[dimension]))
                if progress is not None:
                    progress(1)
    if not found or tolerance is None:
        raise InputError(f"the {split} split has no data to evaluate; name another split.")
    return _gathered(found, tolerance, split, time.perf_counter() - start)


def in_float64(model: Model) -> Model:
    """A copy of the model in float64; on the CPU where its own device has no such type."""
    assert isinstance(model, nn.Module)
    device = device_of(model)
    exact = copy.deepcopy(model).to("cpu" if device.type == "mps" else device).double()
    return exact  # pyright: ignore[reportReturnType]


def check_dimension(joint: Joint) -> int:
    """How many entries the latent has.

    Raises:
        InputError: They are more than two.
    """
    dimension = joint.event_shape.numel()
    if dimension not in TOLERANCE:
        raise InputError(
            f"quadrature needs a latent of 1 or 2 entries, and that of this model has {dimension}; use importance sampling (the"
            " 'evidence') or annealed importance sampling."
        )
    return dimension


def log_densities(joint: Joint, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log p(x, z), log p(z) and log q(z | x) of one datum at z (K, D), each (K,) nats, so many rows at once as memory has."""
    rows = rows_at_once(joint.model, z.device)
    pieces = [_log_densities(joint, piece.reshape(-1, 1, *joint.event_shape)) for piece in z.split(rows)]
    log_joint, log_p, log_q = (torch.cat(each).squeeze(1) for each in zip(*pieces, strict=True))
    return log_joint, log_p, log_q


def _log_densities(joint: Joint, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    log_p = joint.log_prior(z)
    values = log_p + joint.log_px(z), log_p, joint.log_q(z)
    is_far = (log_p < UNDERFLOW) | log_p.isnan()
    log_joint, log_p, log_q = (torch.where(is_far & value.isnan(), -torch.inf, value) for value in values)
    return log_joint, log_p, log_q


def _integrals(joint: Joint, tolerance: float, most_points: int) -> Integrals:
    p, q = joint.p.sample(torch.Size((DRAWS,))), joint.q.sample(torch.Size((DRAWS,)))
    draws = [each.reshape(DRAWS, -1).double() for each in (p, q)]
    return integrate(lambda z: log_densities(joint, z), *draws, tolerance=tolerance, most_points=most_points)


def _gathered(found: list[Integrals], tolerance: float, split: str, seconds: float) -> Quadrature:
    log_px, elbo, error, points = torch.tensor(
        [(each.log_px, each.elbo, each.error, each.points) for each in found], dtype=torch.float64
    ).T
    mean, covariance = (torch.stack([getattr(each, name) for each in found]).cpu() for name in ("mean", "covariance"))
    number = round(float(points.mean()))
    return Quadrature(log_px, log_px - elbo, elbo, mean, covariance, error, tolerance, number, split, seconds)


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not value > 0:
        raise InputError(f"{name} must be a positive number; it is {value}; leave it out for one that suits the latent.")

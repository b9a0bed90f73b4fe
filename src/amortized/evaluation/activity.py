r"""Which latents are in use, and whether the decoder looks at them.

    unit j is active where    Var_x( E_q[z_j | x] ) > 0.01                   Burda et al. 2016, arXiv 1509.00519, section 5.2

A rate says the same in nats: of each entry, where the KL is a sum over them, or of each group of latents. Neither says that the
decoder uses what z carries. For that the likelihood at the posterior's draws is held against that at the prior's,

    gain    E_q(z|x)[ log p(x|z) ] - E_p(z)[ log p(x|z) ]

which is 0 for every datum where p(x|z) does not depend on z, whatever q is. Posterior collapse (Bowman et al. 2016, arXiv
1511.06349) is any of the three: no active unit, no rate, or no gain.

E_q[z_j | x] is exact where the family has a mean. Elsewhere it is the mean of S draws, which varies by Var_q(z_j | x) / S more;
that is estimated by the same draws and subtracted, and S is so large that what is left of it is far below the threshold. One-hot
variables count as one unit each, by the class that varies most.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from amortized.errors import InputError
from amortized.evaluation.chunks import cut, joined, take
from amortized.evaluation.joint import Joint
from amortized.evaluation.records import Found, Metric, as_metrics, as_text, standard_error
from amortized.evaluation.surgery import check_samples
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import seed_noise
from amortized.terms import Batch, Latent, Terms

ACTIVE = 0.01
"""The variance above which a unit is active, in the square of the latent's units."""

NOTHING_NATS = 0.05
"""A rate, or a gain of the likelihood, below this is none."""

REMEDIES = (
    "what may help: raise the KL's weight from 0 (objective.warmup_epochs), free bits (--objective free-bits), a weight below 1"
    " (objective.beta), a smaller decoder, or one that is not autoregressive"
)

MEAN_DRAWS = 100
"""Of a posterior without a mean of its own, at least: in units of its variance an error of 0.002 for 64 data, less for more."""

LISTED = 32
"""Units whose variance is told, the greatest first."""


@dataclass(frozen=True, eq=False)
class Activity(Found):
    """What the latents of N data do.

    Attributes:
        variance: (D,) float64, the variance over the data of the posterior mean of each unit.
        gain: (N,) log p(x|z) at the posterior's draws less that at the prior's, both in the mean, nats.
        rate: (N,) KL(q || p), nats; None for a point mass, which has none.
        rate_by_group: (L,) its mean for each group of latents; None likewise.
        rate_by_unit: (D,) its mean for each unit; None where the KL is no sum over them, or q is a point mass.
        samples: Posterior samples per datum.
        split: The data it is about.
        rate_is_exact: Whether the KL is a closed form.
        threshold: The variance above which a unit is active.
    """

    variance: Tensor
    gain: Tensor
    rate: Tensor | None
    rate_by_group: Tensor | None
    rate_by_unit: Tensor | None
    samples: int
    split: str = "test"
    rate_is_exact: bool = True
    threshold: float = ACTIVE

    @property
    def active(self) -> Tensor:
        """(D,) which units are active."""
        return self.variance > self.threshold

    @property
    def collapsed(self) -> bool:
        """Whether the latent says nothing of the data, or is not listened to."""
        return self._is_silent or self._is_ignored

    @property
    def metrics(self) -> dict[str, Metric]:
        """How many units are active and what the latent is worth; the rate of each group, where there are several."""
        kind = "exact" if self.rate_is_exact else "estimate"
        table: dict[str, tuple[float, str]] = {
            "active_units": (float(self.active.sum()), "estimate"),
            "active_share": (float(self.active.double().mean()), "estimate"),
            "latent_gain_nats": (float(self.gain.mean()), "estimate"),
            "latent_gain_stderr_nats": (standard_error(self.gain), "estimate"),
        }
        if self.rate_by_group is not None and len(self.rate_by_group) > 1:
            table |= {f"rate_group_{number}_nats": (float(rate), kind) for number, rate in enumerate(self.rate_by_group, start=1)}
        return as_metrics(table, self.split, self.samples)

    def __str__(self) -> str:
        """The metrics as a small table."""
        head = f"{self.split} split, {len(self.gain):,} data, {self.samples:,} posterior samples each"
        return as_text(head, self.metrics, self.notes)

    @property
    def notes(self) -> list[str]:
        """Collapse, or the units that are not used."""
        notes = [] if self.rate is not None else ["The posterior is a point mass: it has no rate; units are judged by variance."]
        units, active = len(self.variance), int(self.active.sum())
        if self.collapsed:
            notes.append(f"Posterior collapse: {self._collapse}; {REMEDIES}.")
            if active == 0 and self.rate is not None and float(self.rate.mean()) >= NOTHING_NATS:
                notes.append(
                    "A rate without an active unit is spent on what does not vary with x, unless the latent's scale is far below"
                    " 1: then give a smaller threshold."
                )
        elif active < units:
            notes.append(
                f"{active} of {units} latent units are active: the means of the others vary over the data by no more than"
                f" {self.threshold:g}; a smaller latent_dim would do as well."
            )
        return [*notes, self._variances]

    @property
    def _variances(self) -> str:
        """The variances themselves, of which the threshold makes a count."""
        order = self.variance.argsort(descending=True)
        shown = [f"{self.variance[unit]:.2g} (unit {unit})" for unit in order[:LISTED].tolist()]
        rest = "" if len(order) <= LISTED else f", and {len(order) - LISTED} of at most {self.variance[order[LISTED]]:.2g}"
        return f"Variances of the posterior means over the data: {', '.join(shown)}{rest}."

    @property
    def _is_silent(self) -> bool:
        no_rate = self.rate is not None and float(self.rate.mean()) < NOTHING_NATS
        return no_rate or not bool(self.active.any())

    @property
    def _is_ignored(self) -> bool:
        return float(self.gain.abs().mean()) < NOTHING_NATS

    @property
    def _collapse(self) -> str:
        units, active, found = len(self.variance), int(self.active.sum()), []
        if self._is_silent:
            found.append(f"{active} of {units} latent units are active")
            found += [] if self.rate is None else [f"the rate is {float(self.rate.mean()):.3f} nats"]
        if self._is_ignored:
            found.append("the decoder ignores the latent (log p(x|z) is the same at draws of the posterior and of the prior)")
        return ", ".join(found)


def activity(
    model: Model,
    batches: Iterable[Batch | Tensor],
    *,
    samples: int = 10,
    seed: int = 0,
    split: str = "test",
    progress: Callable[[int], Any] | None = None,
    threshold: float = ACTIVE,
) -> Activity:
    """Count the latent units that are in use, and measure what the decoder makes of them.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: The N data, two or more.
        samples: Posterior samples per datum. The mean of a posterior without one of its own (a flow, a chain) is that of 100
            draws or of as many as these; they are not decoded.
        seed: Of the samples.
        split: The name of the data, for the record.
        progress: Called with the number of data done, after each chunk.
        threshold: The variance of its mean above which a unit is active.

    Returns:
        The variances, rates and gains, and what they mean.

    Raises:
        InputError: There are fewer than two data, `samples` is too small, or `threshold` is negative.
    """
    check_samples(samples)
    if not threshold >= 0:
        raise InputError(f"threshold is a variance, and cannot be {threshold}; {ACTIVE} is usual.")
    found = []
    with evaluating(model, seed, "activity"):
        for number, (batch, at_once) in enumerate(cut(model, batches, samples)):
            seed_noise(device_of(model), seed, "activity", number)
            found.append(_looked_at(model, batch, samples, at_once))
            if progress is not None:
                progress(len(batch))
    count = sum(len(sums.gain) for sums in found)
    if count < 2:
        raise InputError(f"the {split} split has {count} data, and a variance over them needs two or more; give more.")
    kl, by_unit = joined([sums.kl for sums in found], 1), joined([sums.kl_by_unit for sums in found])
    return Activity(
        _variance(torch.cat([sums.mean for sums in found]), torch.cat([sums.noise for sums in found])),
        torch.cat([sums.gain for sums in found]),
        None if kl is None else kl.sum(0),
        None if kl is None else kl.mean(1),
        None if by_unit is None else by_unit.mean(0),
        samples,
        split,
        all(sums.rate_is_exact for sums in found),
        threshold,
    )


@dataclass
class _Sums:
    """What S draws of the latents of B data came to, as means over them, in float64.

    Attributes:
        gain: (B,) nats.
        kl: (L, B) of each group, nats; None for a point mass.
        kl_by_unit: (B, D) nats; None where the KL is no sum.
        mean: (B, D, C) E_q[z], of variables with C values; 1 where they are numbers.
        noise: (B, D, C) the variance of `mean` as an estimate.
        rate_is_exact: Whether the KL is a closed form.
    """

    gain: Tensor
    mean: Tensor
    noise: Tensor
    kl: Tensor | None = None
    kl_by_unit: Tensor | None = None
    rate_is_exact: bool = True


def _looked_at(model: Model, batch: Batch, samples: int, at_once: int) -> _Sums:
    q, p = model.posterior(batch), model.prior(batch.context)
    joint = Joint(model, batch, p, q)
    mean, noise = _posterior_mean(q, max(samples, MEAN_DRAWS), at_once)
    sums = _Sums(torch.zeros(len(batch), dtype=torch.float64), _by_unit(q, mean), _by_unit(q, noise))
    take(samples, at_once, partial(_add, sums, joint, samples))
    return sums


def _add(sums: _Sums, joint: Joint, samples: int, count: int) -> None:
    terms = joint.model.terms(joint.batch, samples=count)
    shape = (count,) if joint.p.batch_shape else (count, len(joint.batch))
    log_px_prior = joint.log_px(joint.p.sample(torch.Size(shape)))
    gain = terms.mean_over_samples(terms.log_px.double()) - log_px_prior.double().mean(0)
    share = count / samples
    sums.gain = sums.gain + share * gain.cpu()
    if terms.is_bound:
        kl = share * torch.stack([terms.mean_over_samples(each.double()) for each in terms.kl]).cpu()
        sums.kl = kl if sums.kl is None else sums.kl + kl
        sums.rate_is_exact = terms.is_complete or (terms.kl_is_exact and len(terms.latents) == 1)
        by_unit = _kl_by_unit(terms)
        if by_unit is not None:
            sums.kl_by_unit = share * by_unit + (0.0 if sums.kl_by_unit is None else sums.kl_by_unit)


def _kl_by_unit(terms: Terms) -> Tensor | None:
    """(B, D) the KL of all latents by unit, in the mean over the draws; None where one of them is no sum."""
    found = [latent.kl_elementwise if isinstance(latent, Latent) else None for latent in terms.latents]
    known = [kl.double().mean(0).flatten(1).cpu() for kl in found if kl is not None]
    return torch.cat(known, 1) if len(known) == len(found) else None


def _posterior_mean(q: Distribution, draws: int, at_once: int) -> tuple[Tensor, Tensor]:
    """E_q[z], (B, *event), and the variance of that as an estimate: 0 where the family knows its mean."""
    try:
        mean = q.mean
    except NotImplementedError:
        mean = None
    if mean is not None and not mean.isnan().any():
        return mean.double(), torch.zeros_like(mean, dtype=torch.float64)
    origin = q.sample().double()  # draws are summed as distances from a first one, so that the squares keep their digits
    first, second = torch.zeros_like(origin), torch.zeros_like(origin)

    def add(count: int) -> None:
        away = q.sample(torch.Size((count,))).double() - origin
        sums = away.sum(0), away.square().sum(0)  # both before either is added: where memory runs out the draws are taken again
        first.add_(sums[0])
        second.add_(sums[1])

    take(draws, at_once, add)
    variance = (second - first.square() / draws).clamp(min=0.0) / (draws - 1)
    return origin + first / draws, variance / draws


def _by_unit(q: Distribution, values: Tensor) -> Tensor:
    """Values (B, *event) as (B, D, C): C the classes of a one-hot variable, else 1."""
    is_one_hot = q.support is not None and q.support.is_discrete and len(q.event_shape) == 2
    classes = q.event_shape[-1] if is_one_hot else 1
    return values.reshape(len(values), -1, classes).cpu()


def _variance(means: Tensor, noise: Tensor) -> Tensor:
    """(D,) the variance over N data, of the class that varies most."""
    return (means.var(0) - noise.mean(0)).clamp(min=0.0).amax(-1)

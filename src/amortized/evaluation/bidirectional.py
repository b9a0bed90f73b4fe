r"""The evidence log p(x) from both sides, on data that the model draws itself.

    E[ log 1/K sum_k w_k ]  <=  log p(x)  <=  E[ - log 1/K sum_k v_k ],    E[w] = p(x),  E[v] = 1 / p(x)

(Grosse et al. 2015, arXiv 1511.02543; Wu et al. 2017, arXiv 1611.04273, section 2.3). The weights w are those of annealed chains
from the prior or q(z | x), and v those of chains back from an exact draw of p(z | x). There is one where x is the model's own:
the z that x was drawn from. All K chains back begin at that one z; each v has the mean 1 / p(x), and so has the mean of them,
whatever they share. For real data no upper bound is known: the gap here tells how far off the same lower bound may be there.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.annealer import Annealer, Plan, Schedule, Start, frozen, prior_draws
from amortized.evaluation.annealing import chain_notes, log_mean, relative_variance
from amortized.evaluation.chunks import cut
from amortized.evaluation.records import Found, LogPx, Metric, as_metrics, as_text, standard_error
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import seed_noise
from amortized.terms import Batch

WIDE_NATS = 1.0


@dataclass(frozen=True, eq=False)
class Bidirectional(Found):
    """What bidirectional Monte Carlo found, per datum that the model drew.

    Attributes:
        log_px: The log-likelihood between its two bounds; the estimate is the lower one, whose Monte Carlo variance is known.
        x: (N, *event) the data.
        acceptance: (N,) float64, the mean probability with which a trajectory's end was taken; NaN where no chain moved.
        plan: How chains were annealed.
    """

    log_px: LogPx
    x: Tensor
    acceptance: Tensor
    plan: Plan

    @property
    def gap(self) -> Tensor:
        """(N,) the upper less the lower bound, nats: at least 0 in expectation."""
        assert self.log_px.upper is not None
        return self.log_px.upper - self.log_px.lower

    @property
    def gap_nats(self) -> float:
        """The mean gap over the data."""
        return float(self.gap.mean())

    @property
    def metrics(self) -> dict[str, Metric]:
        """The means over the data by name; what cannot be told is left out."""
        found = self.log_px
        assert found.upper is not None
        table = {
            "bdmc_lower_nats": (float(found.lower.mean()), "lower bound"),
            "bdmc_upper_nats": (float(found.upper.mean()), "upper bound"),
            "bdmc_gap_nats": (self.gap_nats, "upper bound"),
            "bdmc_gap_stderr_nats": (standard_error(self.gap), "estimate"),
            "bdmc_acceptance": (float(self.acceptance.mean()), "estimate"),
            "bdmc_seconds": (found.seconds, "exact"),
        }
        return as_metrics(table, found.split, found.samples)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        notes = ["The data of the bdmc metrics were drawn from the model, and their log p(x) is not that of real data."]
        if self.gap_nats > WIDE_NATS:
            notes.append(
                f"The two bounds are {self.gap_nats:.2f} nats apart: annealing cannot tell models apart that differ by less;"
                " take more steps."
            )
        return notes + chain_notes(self.log_px, self.acceptance)

    def __str__(self) -> str:
        """The metrics as a small table, with how they were found."""
        return as_text(f"{len(self.gap):,} data drawn from the model, {self.plan}", self.metrics, self.notes)


def bidirectional(
    model: Model,
    batches: Iterable[Batch | Tensor] | int,
    *,
    chains: int = 16,
    steps: int = 250,
    leapfrog: int = 2,
    start: Start = "posterior",
    schedule: Schedule = "linear",
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> Bidirectional:
    """Bound log p(x) from both sides, for data that the model draws.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: How many data; or data, of which the model draws others with the same conditions and missing entries.
        chains: The number K of chains per datum and direction.
        steps: The number T of steps along the path; there are T - 1 transitions.
        leapfrog: The number of leapfrog steps of a transition.
        start: "posterior", q(z | x), or "prior": the other end of the path.
        schedule: "linear", densities evenly along the path, or "sigmoid", more of them at both ends.
        seed: Of the data, the chains, and the pilot before them.
        progress: Called with the number of data done, after each chunk.

    Returns:
        The bounds, per datum and as metrics.

    Raises:
        InputError: There are no data, a number is no positive integer, a choice is unknown, or latents are not free to move.
    """
    plan, began, found, data = Plan(chains, steps, leapfrog, start, schedule), time.perf_counter(), [], []
    given = _blank(model, batches) if isinstance(batches, int) else batches
    with evaluating(model, seed, "bidirectional"), frozen(model):
        for number, (batch, at_once) in enumerate(cut(model, given, chains)):
            seed_noise(device_of(model), seed, "bidirectional", number)
            z, batch = _drawn(model, batch)
            annealer = Annealer.of(model, batch, plan)
            found.append((*annealer.forward(at_once), *annealer.backward(z, at_once)))
            data.append(batch.x.cpu())
            if progress is not None:
                progress(len(batch))
    if not found:
        raise InputError("there are no data like which the model could draw; give some, or their number.")
    log_w, taken, log_v, taken_back = (torch.cat(pieces, -1) for pieces in zip(*found, strict=True))
    lower, upper, seconds = log_mean(log_w), -log_mean(log_v), time.perf_counter() - began
    variance = relative_variance(log_w) / chains
    log_px = LogPx("bidirectional Monte Carlo", lower, lower, upper, variance, seconds, "model", chains)
    return Bidirectional(log_px, torch.cat(data), (taken + taken_back) / 2, plan)


def _blank(model: Model, count: int) -> Iterator[Batch]:
    if count < 1:
        raise InputError(f"the number of data to draw must be positive; it is {count}; 100 are usual.")
    device = device_of(model)
    yield Batch(torch.zeros((), device=device).expand(count, *model.event_shape))


def _drawn(model: Model, batch: Batch) -> tuple[Tensor, Batch]:
    """Latents z (B, *event) from the prior, and the data drawn from them; both are exact draws of p(x, z)."""
    z = prior_draws(model.prior(batch.context), (len(batch),))
    return z, replace(batch, x=model.decode(z, batch.context).sample(), input=None, labels=None, index=None)

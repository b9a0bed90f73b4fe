r"""The evidence log p(x) by annealed importance sampling, from below.

    log p(x) >= E[ log 1/K sum_k w_k ],    E[w_k] = p(x)            Neal 2001; Wu et al. 2017, arXiv 1611.04273, section 2.2

with the weights of K chains that move from the prior or from q(z | x) to p(z | x) in T steps (`annealer`). For T = 1 that is
importance sampling; it gets tighter with more chains and, above all, with more steps: it needs no posterior that is close, only
time. With r the relative variance of a weight, the variance of the estimate is about r / K and its bias -r / 2K, as long as
chains reach all of p(z | x): a mode that none finds, no weight tells of.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.annealer import Annealer, Plan, Schedule, Start, frozen
from amortized.evaluation.chunks import cut
from amortized.evaluation.records import Found, LogPx, Metric, as_metrics, as_text, in_digits
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import seed_noise
from amortized.terms import Batch

LOW_ACCEPTANCE = 0.4
LOOSE_NATS = 0.1


@dataclass(frozen=True, eq=False)
class Annealing(Found):
    """What annealed importance sampling found, per datum, in the order of the data.

    Attributes:
        log_px: The log-likelihood; its estimate is the lower bound.
        effective_samples: (N,) float64, how many of the K chains their final weights are worth.
        acceptance: (N,) float64, the mean probability with which a trajectory's end was taken; NaN where no chain moved.
        plan: How chains were annealed.
        gap_nats: The mean distance of the two bounds that the same plan gives on data that the model drew itself, where known.
        gap_stderr_nats: Its standard error over those data.
    """

    log_px: LogPx
    effective_samples: Tensor
    acceptance: Tensor
    plan: Plan
    gap_nats: float | None = None
    gap_stderr_nats: float = math.nan

    @property
    def metrics(self) -> dict[str, Metric]:
        """The means over the data by name; what cannot be told is left out."""
        found = self.log_px
        table = {
            "ais_log_px_nats": (float(found.lower.mean()), "lower bound"),
            "ais_log_px_stderr_nats": (found.data_stderr, "estimate"),
            "ais_log_px_mc_stderr_nats": (found.mc_stderr, "estimate"),
            "ais_effective_samples": (float(self.effective_samples.mean()), "estimate"),
            "ais_acceptance": (float(self.acceptance.mean()), "estimate"),
            "ais_seconds": (found.seconds, "exact"),
        }
        return as_metrics(table, found.split, found.samples)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        notes = chain_notes(self.log_px, self.acceptance)
        if self.gap_nats is not None:
            gap = in_digits(self.gap_nats, self.gap_stderr_nats)
            notes.append(
                f"On data that the model drew itself, the lower and the upper bound by the same annealing are {gap} nats apart;"
                " ais_log_px_nats lies about as close below log p(x) where these data are no harder to infer."
            )
        return notes

    def __str__(self) -> str:
        """The metrics as a small table, with how they were found."""
        return as_text(f"{self.log_px.split} split, {len(self.log_px.lower):,} data, {self.plan}", self.metrics, self.notes)


def annealed(
    model: Model,
    batches: Iterable[Batch | Tensor],
    *,
    chains: int = 16,
    steps: int = 250,
    leapfrog: int = 2,
    start: Start = "posterior",
    schedule: Schedule = "linear",
    seed: int = 0,
    split: str = "test",
    progress: Callable[[int], Any] | None = None,
) -> Annealing:
    """Estimate log p(x) of every datum by annealed importance sampling.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: The data; how they are cut does not matter beyond the noise.
        chains: The number K of chains per datum.
        steps: The number T of steps along the path; there are T - 1 transitions.
        leapfrog: The number of leapfrog steps of a transition.
        start: "posterior", q(z | x), which is near p(z | x) where inference is good; or "prior", which covers all of its modes.
        schedule: "linear", densities evenly along the path, or "sigmoid", more of them at both ends.
        seed: Of the chains, and of the pilot before them.
        split: The name of the data, for the record.
        progress: Called with the number of data done, after each chunk.

    Returns:
        The lower bounds, per datum and as metrics.

    Raises:
        InputError: There are no data, a number is no positive integer, a choice is unknown, or latents are not free to move.
    """
    plan, began, found = Plan(chains, steps, leapfrog, start, schedule), time.perf_counter(), []
    with evaluating(model, seed, "annealing"), frozen(model):
        for number, (batch, at_once) in enumerate(cut(model, batches, chains)):
            seed_noise(device_of(model), seed, "annealing", number)
            found.append(Annealer.of(model, batch, plan).forward(at_once))
            if progress is not None:
                progress(len(batch))
    if not found:
        raise InputError(f"the {split} split has no data to anneal; name another split.")
    log_w, acceptance = (torch.cat(pieces, -1) for pieces in zip(*found, strict=True))
    lower, seconds = log_mean(log_w), time.perf_counter() - began
    log_px = LogPx("annealed importance sampling", lower, lower, None, relative_variance(log_w) / chains, seconds, split, chains)
    return Annealing(log_px, effective(log_w), acceptance, plan)


def chain_notes(log_px: LogPx, acceptance: Tensor) -> list[str]:
    """Why weights, or the transitions that made them, cannot be trusted."""
    notes, below = [], float(log_px.mc_variance.mean()) / 2
    if log_px.samples == 1:
        notes.append("With one chain per datum the lower bound has no known Monte Carlo error; take more chains.")
    if below > LOOSE_NATS:
        notes.append(
            f"The weights of chains vary so much that the lower bound is too low by about {below:.2f} nats; take more steps."
        )
    if (taken := float(acceptance.mean())) < LOW_ACCEPTANCE:
        notes.append(
            f"Only {taken:.0%} of the transitions were taken, so that chains hardly moved and the bound may be loose without its"
            " error showing it; start from the prior, or take more steps."
        )
    return notes


def log_mean(log_w: Tensor) -> Tensor:
    """(N,) the log of the mean of weights (K, N)."""
    return log_w.logsumexp(0) - math.log(len(log_w))


def relative_variance(log_w: Tensor) -> Tensor:
    """(N,) the variance of weights (K, N) over the square of their mean; NaN for one."""
    return (log_w - log_mean(log_w)).exp().var(0) if len(log_w) > 1 else torch.full_like(log_w[0], torch.nan)


def effective(log_w: Tensor) -> Tensor:
    """(N,) the effective number (sum w)^2 / sum w^2 of weights (K, N)."""
    return (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()

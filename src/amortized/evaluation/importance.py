r"""The evidence log p(x), by importance sampling with the posterior as the proposal.

    log p(x) ~ log 1/K sum_k w_k,    w_k = p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)       Burda et al. 2016, arXiv 1509.00519

The estimate is a lower bound in expectation. With r the relative variance of one weight, its bias is about -r / 2K and its
variance about r / K (Nowozin 2018, proposition 1); r is estimated from the same weights, as is the chi upper bound (Dieng et al.
2017, arXiv 1611.00328, equation 4),

    log p(x) <= 1/2 log E_q[ w^2 ] ~ 1/2 log 1/K sum_k w_k^2

which is a bound for many samples only: the estimate is too low where no draw found the largest weights.

Where an error is asked for, in place of a number of samples, a pilot's draws give r of each datum, and K doubles until r / K is
small enough. The pilot is then dropped, and the estimate is made of K other draws, so that it is the lower bound that it is for
any K. Draws that also said when they are enough would stop where they happen to vary little: with bounded weights, of a q wider
than the posterior, that is where no small one is among them, and their mean would be above log p(x).
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from amortized.errors import InputError, is_count
from amortized.evaluation.chunks import cut, rows_at_once, take
from amortized.evaluation.evidence import Evidence
from amortized.evaluation.pareto import FEWEST, tail_length
from amortized.evaluation.weights import Weights
from amortized.models.model import Model, device_of, evaluating
from amortized.processes import from_first, is_own, sum_of_all, working_together
from amortized.seeds import seed_noise
from amortized.terms import Batch

MOST_TIMES = 64
"""How many times the samples asked for are taken at most, where they grow."""

PILOT = 2
"""A pilot doubles until it asks for at most so many times the samples that it has."""

AIM = 0.8
"""The share of the error asked for that a pilot aims at, because the errors of the samples that follow scatter about its own."""

COLUMNS = 12
"""Numbers of each datum: what `_columns` gives."""


class Parts(Protocol):
    """What was found of the chunks of an evaluation, by their number; kept somewhere, so that it goes on where it was stopped."""

    def get(self, number: int) -> Tensor | None:
        """The columns (COLUMNS, B) of a chunk; None where it was not kept."""
        ...

    def put(self, number: int, columns: Tensor) -> None:
        """Keep the columns of a chunk."""
        ...


def evaluate(
    model: Model,
    batches: Iterable[Batch | Tensor],
    *,
    samples: int = 1000,
    target_stderr: float | None = None,
    most_samples: int | None = None,
    seed: int = 0,
    split: str = "test",
    dimensions: float | None = None,
    precision: Literal["32", "bf16"] = "32",
    progress: Callable[[int], Any] | None = None,
    parts: Parts | None = None,
) -> Evidence:
    """Estimate the ELBO and log p(x) of every datum.

    Of several processes that work together all must call it, on the same data: each takes its share of the chunks that the data
    are cut into, with noise that depends on the chunk alone, and all get what one process would get.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: The data; how they are cut does not matter beyond the noise.
        samples: The number K of posterior samples per datum; a model that enumerates its latents takes none.
        target_stderr: The Monte Carlo standard error, in nats, that the log p(x) of each datum is to have: K is doubled for the
            data that need more, as a pilot of at least half as many samples says, which then play no part. None takes K for all.
        most_samples: The K beyond which it is not doubled; None for 64 times `samples`.
        seed: Of the posterior samples.
        split: The name of the data, for the record.
        dimensions: Entries of a datum, for bits per dimension; None for continuous data. Of these the observed ones are counted.
        precision: Of the networks' products: "32" is that of the model's weights, and "bf16" rounds them. Log-densities are
            computed in float32 at least, and their sums in float64, in any case.
        progress: Called with the number of data done, after each chunk.
        parts: Keeps what was found of each chunk, and gives what was kept of an evaluation with the same arguments.

    Returns:
        The evidence, per datum and as metrics.

    Raises:
        InputError: There are no data, or a number is none that works.
    """
    plan = _Plan.checked(samples, target_stderr, most_samples)
    if precision not in ("32", "bf16"):
        raise InputError(f"precision of an evaluation cannot be '{precision}'; it must be '32' or 'bf16'.")
    plan = _Plan(1, None, 1) if getattr(model, "enumerates", False) else plan
    rows, observed, start = [], 0.0, time.perf_counter()
    products = torch.autocast(device_of(model).type, torch.bfloat16, enabled=precision == "bf16")
    with evaluating(model, seed, "evaluation"), working_together(), products:
        from_first(model.buffers())  # pyright: ignore[reportAttributeAccessIssue]
        for number, (batch, at_once) in enumerate(cut(model, batches, plan.samples)):
            found = None if parts is None else parts.get(number)
            if found is None and is_own(number):
                seed_noise(device_of(model), seed, "evaluation", number)
                found = torch.stack(_columns(_draw(model, batch, plan, at_once))).cpu()
                if parts is not None:
                    parts.put(number, found)
            rows.append(torch.zeros(COLUMNS, len(batch), dtype=torch.float64) if found is None else found)
            observed += len(batch) if batch.observed is None else float(batch.observed.double().mean()) * len(batch)
            if progress is not None:
                progress(len(batch))
        if not rows:
            raise InputError(f"the {split} split has no data to evaluate; name another split.")
        elbo, nll, variance, rate, distortion, cubo, effective, pareto_k, drawn, *flags = sum_of_all(torch.cat(rows, 1))
        exact, is_bound, complete = (bool((flag != 0).all()) for flag in flags)
    number, drawn, seconds = round(float(drawn.mean())), drawn.long(), time.perf_counter() - start
    if not is_bound:
        return Evidence(None, None, None, None, distortion, number, split, samples_of_each=drawn, seconds=seconds)
    are_several = not complete and number > 1
    dimensions = None if dimensions is None else dimensions * observed / len(elbo)
    return Evidence(
        elbo,
        nll,
        variance,
        rate,
        distortion,
        number,
        split,
        exact,
        dimensions,
        complete,
        cubo if are_several else None,
        effective if are_several else None,
        pareto_k if are_several and tail_length(int(drawn.max())) >= FEWEST else None,
        drawn,
        plan.target_stderr,
        seconds,
    )


def check_samples(samples: int, target_stderr: float | None = None) -> None:
    """Refuse what is no number of samples, or no error.

    Raises:
        InputError: It is none.
    """
    if not is_count(samples):
        raise InputError(f"samples must be a positive integer; it is {samples}; 1000 gives a usable estimate.")
    is_number = isinstance(target_stderr, int | float) and not isinstance(target_stderr, bool)
    if target_stderr is not None and not (is_number and 0 < target_stderr < math.inf):
        raise InputError(f"target_stderr must be a positive number of nats; it is {target_stderr}; 0.1 is usual.")


@dataclass(frozen=True)
class _Plan:
    """How many samples a datum gets."""

    samples: int
    target_stderr: float | None
    most_samples: int

    @classmethod
    def checked(cls, samples: int, target_stderr: float | None, most_samples: int | None) -> "_Plan":
        check_samples(samples, target_stderr)
        if target_stderr is None:
            if most_samples is not None:
                raise InputError(
                    f"most_samples is {most_samples}, and nothing makes the {samples} samples grow; give a target_stderr, or take"
                    " as many samples."
                )
            return cls(samples, None, samples)
        most_samples = MOST_TIMES * samples if most_samples is None else most_samples
        if not is_count(most_samples) or most_samples < samples:
            raise InputError(f"most_samples must be an integer from samples ({samples}) up; it is {most_samples}.")
        return cls(samples, target_stderr, most_samples)

    def needed(self, pilot: Weights) -> Tensor:
        """(B,) samples that the data need for the error asked for; where that cannot be told, as many as they may have."""
        if self.target_stderr is None or not pilot.is_bound:
            return pilot.drawn
        needed = pilot.variance * pilot.drawn / (AIM * self.target_stderr) ** 2
        return needed.nan_to_num(nan=math.inf).clamp(max=self.most_samples)


def _draw(model: Model, batch: Batch, plan: _Plan, at_once: int) -> Weights:
    """The weights of a chunk of data; where they are to meet an error, a pilot says how many."""
    grown = partial(_grown, model, batch, plan, at_once)
    pilot = grown(lambda weights: plan.needed(weights) > PILOT * weights.drawn)
    if plan.target_stderr is None or not pilot.is_bound or pilot.is_complete:
        return pilot
    needed = plan.needed(pilot)
    return grown(lambda weights: needed > weights.drawn)


def _grown(model: Model, batch: Batch, plan: _Plan, at_once: int, is_short: Callable[[Weights], Tensor]) -> Weights:
    """The weights of a chunk of data, of which those that are short of samples get as many again until they are not."""
    weights, drawn = Weights(len(batch), batch.x.device, plan.most_samples), plan.samples
    take(drawn, at_once, partial(_add, model, batch, weights, slice(None)))
    while drawn < plan.most_samples and len(rows := is_short(weights).nonzero().squeeze(-1)):
        more = min(drawn, plan.most_samples - drawn)
        at_once = max(1, rows_at_once(model, device_of(model)) // len(rows))
        take(more, at_once, partial(_add, model, batch.rows(rows.to(batch.x.device)), weights, rows))
        drawn += more
    return weights


def _add(model: Model, batch: Batch, weights: Weights, rows: Tensor | slice, count: int) -> None:
    weights.add(model.terms(batch, samples=count), rows, count)


def _columns(weights: Weights) -> tuple[Tensor, ...]:
    """ELBO, NLL, its variance, rate, distortion, chi bound, effective samples, k-hat, samples and three flags, each (B,)."""
    distortion, rate = -weights.log_px / weights.drawn, weights.kl / weights.drawn
    flags = (weights.rate_is_exact, weights.is_bound, weights.is_complete)
    return (
        -distortion - rate,
        -weights.log_mean,
        weights.variance,
        rate,
        distortion,
        weights.log_root_mean_square,
        weights.effective_samples,
        weights.pareto_k,
        weights.drawn,
        *(torch.full_like(rate, float(flag)) for flag in flags),
    )

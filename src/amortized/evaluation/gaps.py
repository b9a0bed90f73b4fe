r"""Where the nats go between log p(x) and the ELBO.

    log p(x) - L(q)  =  log p(x) - L(q*)  +  L(q*) - L(q)               Cremer, Li and Duvenaud 2018, arXiv 1801.03558, eq. 5 to 7
    inference gap       approximation gap    amortization gap

q is the encoder's and q* the best member of its family for that one datum, found by gradient steps on the bound (`local`). The
family is that of diagonal Gaussians, or of full ones, where q is such a Gaussian. Any other q (a flow, a mixture, a hierarchy) is
held against the best of all that was found for the datum, itself and the local flow among it: its amortization gap is then
what a posterior of the datum's own would gain over it.

log p(x) is estimated by importance sampling with all posteriors found as the proposal (`fitted`). The estimate is low in
expectation, by half its Monte Carlo variance, and by more where the true posterior has a mode that no proposal found; where
that may be, hand in a better one.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amortized.errors import InputError, is_count
from amortized.evaluation.chunks import cut, rows_at_once, take
from amortized.evaluation.fitted import FAMILIES, Fitted, fit
from amortized.evaluation.joint import Joint
from amortized.evaluation.local import DRAWS
from amortized.evaluation.records import Found, LogPx, Metric, as_metrics, as_text, standard_error
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import seed_noise
from amortized.terms import Batch

METHOD = "importance sampling from posteriors fitted to each datum"
PARTS = ("inference_gap", "approximation_gap", "amortization_gap")
LITTLE = 0.1
"""Nats that are not worth a remedy."""


@dataclass(frozen=True, eq=False)
class Gaps(Found):
    """Where the nats go, per datum, in the order of the data.

    Attributes:
        log_px: What is taken for log p(x).
        elbo: (N,) float64, the bound of the encoder's q, nats.
        elbo_gaussian: (N,) that of the best diagonal Gaussian found, nats.
        elbo_full_gaussian: (N,) that of the best Gaussian found, nats.
        elbo_flow: (N,) that of the best posterior found, nats.
        family: The encoder's: "gaussian", "full-gaussian", or "flow" for all others.
        mc_variance: By the name of a gap, (N,) its Monte Carlo variance, nats^2; NaN where one sample cannot tell it.
        is_settled: By family, (N,) whether no gain was in sight for the local posterior when its steps ended.
        samples: Draws of each posterior per datum.
        steps: The most steps that a local posterior took.
        split: The data it is about.
    """

    log_px: LogPx
    elbo: Tensor
    elbo_gaussian: Tensor
    elbo_full_gaussian: Tensor
    elbo_flow: Tensor
    family: str
    mc_variance: dict[str, Tensor]
    is_settled: dict[str, Tensor]
    samples: int
    steps: int
    split: str = "test"

    @property
    def elbo_local(self) -> Tensor:
        """(N,) the bound of the best q found in the encoder's family, nats."""
        return (self.elbo_gaussian, self.elbo_full_gaussian, self.elbo_flow)[FAMILIES.index(self.family)]

    @property
    def inference_gap(self) -> Tensor:
        """(N,) log p(x) - ELBO, nats: KL(q || p(z|x)) of the encoder's q."""
        return self.log_px.estimate - self.elbo

    @property
    def approximation_gap(self) -> Tensor:
        """(N,) what the best q of the encoder's family loses, nats."""
        return self.log_px.estimate - self.elbo_local

    @property
    def amortization_gap(self) -> Tensor:
        """(N,) what the encoder's q loses against the best of its family, nats."""
        return self.elbo_local - self.elbo

    @property
    def gaps(self) -> dict[str, Tensor]:
        """All gaps by name, (N,) nats each."""
        best = (self.elbo_gaussian, self.elbo_full_gaussian, self.elbo_flow)
        parts = dict(zip(PARTS, (self.inference_gap, self.approximation_gap, self.amortization_gap), strict=True))
        return parts | {_of_family(name): self.log_px.estimate - elbo for name, elbo in zip(FAMILIES, best, strict=True)}

    @property
    def metrics(self) -> dict[str, Metric]:
        """The mean gaps in nats, each with its standard error over the data and over Monte Carlo samples."""
        table = {}
        for name, gap in self.gaps.items():
            table[f"{name}_nats"] = float(gap.mean())
            table[f"{name}_stderr_nats"] = standard_error(gap)
            table[f"{name}_mc_stderr_nats"] = self.mc_stderr(name)
        return as_metrics(table, self.split, self.samples)

    def mc_stderr(self, name: str) -> float:
        """The standard error of a mean gap over Monte Carlo samples alone, nats."""
        return float(self.mc_variance[name].sum().sqrt()) / len(self.elbo)

    @property
    def notes(self) -> list[str]:
        """Which part is to blame, and what keeps the numbers from being trusted."""
        return [*self._blame(), *self._doubts()]

    def _blame(self) -> list[str]:
        total, family, encoder = (float(gap.mean()) for gap in list(self.gaps.values())[:3])
        if total < LITTLE:
            return [f"The posterior loses {total:.2f} nats in all: there is little to gain from better inference."]
        if encoder >= family:
            return [
                f"The encoder is to blame for {encoder:.2f} of {total:.2f} nats: a posterior of its own for each datum wins them"
                " back. Train longer or with a larger encoder, or refine its guess (posterior 'semi-amortized')."
            ]
        blame = f"The family of the posterior is to blame for {family:.2f} of {total:.2f} nats: its best member loses them"
        if self.family == "flow":
            return [f"{blame}, and so does every posterior that was tried."]
        full, flow = (float((bound - self.elbo_local).mean()) for bound in (self.elbo_full_gaussian, self.elbo_flow))
        wins = f"a flow wins back {flow:.2f} (posteriors 'iaf', 'sylvester')"
        if self.family == "gaussian":
            wins = f"any covariance wins back {full:.2f} (posterior 'full-gaussian'), {wins}"
        return [f"{blame}; {wins}."]

    def _doubts(self) -> list[str]:
        notes = []
        if self.family == "flow":
            notes.append(
                "The encoder's posterior is no Gaussian: its amortization gap is what the best posterior found for each datum, a"
                " flow or its own, gains over it."
            )
        for name, settled in self.is_settled.items():
            if not bool(settled.all()):
                notes.append(
                    f"For {int((~settled).sum())} of {len(self.elbo)} data the best '{name}' posterior still climbed after"
                    f" {self.steps} steps: its approximation gap is smaller than stated; take more steps."
                )
        bias = float(self.log_px.mc_variance.mean()) / 2
        if bias > LITTLE:
            notes.append(
                f"log p(x) is too low by about {bias:.2f} nats, and so are the inference and approximation gaps; take more"
                " samples, or hand in log p(x) by annealed importance sampling."
            )
        lowest = float((self.log_px.estimate - self.elbo_flow).mean())
        if lowest < -LITTLE and lowest < -4 * self.mc_stderr(_of_family("flow")):
            notes.append(
                f"log p(x) lies {-lowest:.2f} nats below a lower bound on it, the best posterior's: its estimate"
                f" ({self.log_px.method}) is too low; take another."
            )
        return notes

    def __str__(self) -> str:
        """The metrics as a small table, with what they say."""
        head = f"{self.split} split, {len(self.elbo):,} data, {self.samples:,} draws of each posterior; encoder: {self.family}"
        return as_text(head, self.metrics, self.notes)


def gaps(
    model: Model,
    batches: Iterable[Batch | Tensor],
    *,
    samples: int = 1000,
    steps: int = 1000,
    log_px: LogPx | Tensor | None = None,
    seed: int = 0,
    split: str = "test",
    progress: Callable[[int], Any] | None = None,
) -> Gaps:
    """Split what the ELBO loses into what the posterior's family loses and what the encoder loses.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: The data.
        samples: Draws of each posterior per datum, by which bounds and log p(x) are estimated.
        steps: The most gradient steps of each local posterior; it stops earlier where nothing is to be gained.
        log_px: A better estimate of log p(x) of these data, such as that by annealed importance sampling: a record, or (N,) nats,
            which are taken as exact. None estimates it from the posteriors that were found.
        seed: Of all noise.
        split: The name of the data, for the record.
        progress: Called with the number of data done, after each chunk.

    Returns:
        The gaps, per datum and as metrics.

    Raises:
        InputError: There are no data, a number is not a positive integer, `log_px` does not fit the data, or the latent is not
            free to move (it is discrete, on a sphere, or a point).
    """
    _check_count("samples", samples)
    _check_count("steps", steps)
    given = None if log_px is None else _given(log_px)
    started, chunks = time.perf_counter(), []
    with evaluating(model, seed, "gaps"):
        for number, (batch, _) in enumerate(cut(model, batches, DRAWS)):
            seed_noise(device_of(model), seed, "gaps", number)
            fitted = fit(Joint.of(model, batch, method="a split of the inference gap"), steps)
            chunks.append(_Sums(fitted, samples, max(DRAWS, rows_at_once(model, device_of(model)) // (4 * len(batch)))))
            if progress is not None:
                progress(len(batch))
    if not chunks:
        raise InputError(f"the {split} split has no data whose gaps could be told; name another split.")
    return _record(chunks, given, time.perf_counter() - started, samples, steps, split)


class _Sums:
    """What the draws from the posteriors of B data give.

    Attributes:
        fitted: The posteriors.
        elbos: (4, B) the encoder's bound, and the best of each family.
        log_px: (B,) the estimate of log p(x).
        covariance: (5, 5, B) that of these five, log p(x) last; NaN where one sample cannot tell it.
    """

    def __init__(self, fitted: Fitted, samples: int, at_once: int):
        self.fitted, self._own, self._log_w = fitted, [], []
        take(samples, at_once, self._add)
        own, log_w = torch.cat(self._own, 1), torch.cat(self._log_w)
        best = own.gather(0, fitted.chosen[:, None].expand(-1, samples, -1))
        bounds = torch.cat((own[:1], best))
        self.elbos = bounds.mean(1)
        self.log_px = log_w.logsumexp(0) - math.log(samples)
        influence = torch.cat((bounds - self.elbos[:, None], ((log_w - self.log_px).exp() - 1)[None]))
        unknown = math.nan if samples == 1 else 1 / (samples * (samples - 1))
        self.covariance = torch.einsum("ikb,jkb->ijb", influence, influence) * unknown

    def _add(self, count: int) -> None:
        own, log_w = self.fitted.weigh(count)
        self._own.append(own)
        self._log_w.append(log_w)


def _record(chunks: list[_Sums], given: LogPx | None, seconds: float, samples: int, steps: int, split: str) -> Gaps:
    family = max((chunk.fitted.family for chunk in chunks), key=FAMILIES.index)
    elbo, gaussian, full, flow = torch.cat([chunk.elbos for chunk in chunks], 1)
    estimate = torch.cat([chunk.log_px for chunk in chunks])
    covariance = torch.cat([chunk.covariance for chunk in chunks], 2)
    settled = torch.cat([chunk.fitted.is_settled for chunk in chunks], 1)
    if bool(estimate.isnan().any()):
        raise InputError(
            f"log p(x) of datum {int(estimate.isnan().nonzero()[0])} of the {split} split is NaN; a datum with missing entries"
            " needs `observed`, and a model that has diverged must be fitted again."
        )
    own = LogPx(METHOD, estimate, estimate, None, covariance[4, 4], seconds, split, samples)
    log_px = own if given is None else given
    if len(log_px.estimate) != len(estimate):
        raise InputError(f"log_px has {len(log_px.estimate)} values and there are {len(estimate)} data; give one for each datum.")
    if given is not None:  # its error is independent of those of the bounds
        covariance[4], covariance[:, 4] = 0.0, 0.0
        covariance[4, 4] = given.mc_variance
    mine = 1 + FAMILIES.index(family)
    pairs = {"inference_gap": (4, 0), "approximation_gap": (4, mine), "amortization_gap": (mine, 0)}
    pairs |= {_of_family(name): (4, row) for row, name in enumerate(FAMILIES, 1)}
    variance = {name: covariance[i, i] + covariance[j, j] - 2 * covariance[i, j] for name, (i, j) in pairs.items()}
    is_settled: dict[str, Tensor] = dict(zip(FAMILIES, settled, strict=True))
    mc_variance = {name: value.clamp(min=0) for name, value in variance.items()}
    return Gaps(log_px, elbo, gaussian, full, flow, family, mc_variance, is_settled, samples, steps, split)


def _given(log_px: LogPx | Tensor) -> LogPx:
    if isinstance(log_px, Tensor):
        exact = log_px.detach().cpu().double()
        log_px = LogPx("handed in", exact, exact, None, torch.zeros_like(exact), 0.0, "", 0)
    if log_px.estimate.ndim != 1 or not bool(log_px.estimate.isfinite().all()):
        raise InputError(
            f"log_px must be one finite number of nats for each datum; it has shape {tuple(log_px.estimate.shape)} and"
            f" {int((~log_px.estimate.isfinite()).sum())} values that are not finite."
        )
    return log_px


def _check_count(name: str, value: int) -> None:
    if not is_count(value):
        raise InputError(f"{name} must be a positive integer; it is {value!r}; 1000 gives a usable result.")


def _of_family(name: str) -> str:
    return f"approximation_gap_{name.replace('-', '_')}"

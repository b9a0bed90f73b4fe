r"""The evidence log p(x), by importance sampling with the posterior as the proposal.

    log p(x) ~ log 1/K sum_k w_k,    w_k = p(x, z_k) / q(z_k | x),  z_k ~ q(z | x)       Burda et al. 2016, arXiv 1509.00519

The estimate is a lower bound in expectation. With r the relative variance of one weight, its bias is about -r / 2K and its
variance about r / K (Nowozin 2018, proposition 1); r is estimated from the same weights. Two errors are kept apart:
that of Monte Carlo, which falls with K, and that of the data, which is how far another sample of as many data would be.

Weights are summed in float64 and never leave the log domain: kept are a running maximum m, sum_k e^{log w_k - m} and
sum_k e^{2 (log w_k - m)}. The second gives, besides r, the chi upper bound (Dieng et al. 2017, arXiv 1611.00328, equation 4),

    log p(x) <= 1/2 log E_q[ w^2 ] ~ 1/2 log 1/K sum_k w_k^2

which is a bound for many samples only: the estimate is too low where no draw found the largest weights.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.chunks import cut, take
from amortized.evaluation.records import Metric, as_text, standard_error
from amortized.models.model import Model, device_of, evaluating
from amortized.processes import from_first, is_own, sum_of_all, working_together
from amortized.seeds import seed_noise
from amortized.terms import Batch

COLUMNS = 6
"""Numbers of each datum: what `_Sums.results` gives."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """What an evaluation found, per datum, in the order of the data.

    Attributes:
        elbo: (N,) float64, nats; None where the objective is no bound.
        nll: (N,) importance-weighted estimate of -log p(x), nats; None likewise.
        nll_variance: (N,) Monte Carlo variance of `nll`, nats^2; NaN where one sample cannot tell it; None likewise.
        rate: (N,) KL(q || p), nats; None likewise.
        distortion: (N,) -E_q[log p(x|z)], nats.
        samples: Posterior samples per datum.
        split: The data it is about.
        rate_is_exact: Whether the KL is a closed form.
        dimensions: Observed entries of a datum, in the mean over the data, where bits per dimension make sense (discrete data),
            else None.
        is_exact: Whether nothing was sampled: the posterior's whole support was summed over.
        cubo: (N,) estimate of the chi upper bound on log p(x), nats; None where there is no bound, or log p(x) itself is known.
    """

    elbo: Tensor | None
    nll: Tensor | None
    nll_variance: Tensor | None
    rate: Tensor | None
    distortion: Tensor
    samples: int
    split: str = "test"
    rate_is_exact: bool = True
    dimensions: float | None = None
    is_exact: bool = False
    cubo: Tensor | None = None

    @property
    def metrics(self) -> dict[str, Metric]:
        """The means over the data by name, in nats unless the name says otherwise; errors that cannot be told are left out."""
        table: dict[str, tuple[float, str]] = {}
        if self.elbo is not None and self.nll is not None and self.nll_variance is not None and self.rate is not None:
            mean_nll, kind = float(self.nll.mean()), "exact" if self.is_exact else "estimate"
            table = {
                "elbo_nats": (float(self.elbo.mean()), "lower bound"),
                "elbo_stderr_nats": (standard_error(self.elbo), "estimate"),
                "nll_nats": (mean_nll, kind),
                "nll_stderr_nats": (standard_error(self.nll), "estimate"),
                "nll_mc_stderr_nats": (float(self.nll_variance.sum().sqrt()) / len(self.nll), "estimate"),
                "nll_bias_nats": (float(self.nll_variance.mean()) / 2, "estimate"),
            }
            if self.cubo is not None:
                table["cubo_nats"] = (float(self.cubo.mean()), "estimate")
            if self.dimensions:
                table["bits_per_dim"] = (mean_nll / self.dimensions / math.log(2), kind)
            table["rate_nats"] = (float(self.rate.mean()), "exact" if self.rate_is_exact else "estimate")
        table["distortion_nats"] = (float(self.distortion.mean()), "exact" if self.is_exact else "estimate")
        errors = ("stderr_nats", "bias_nats")
        known = {name: entry for name, entry in table.items() if not (name.endswith(errors) and math.isnan(entry[0]))}
        return {name: Metric(value, self.split, self.samples, kind) for name, (value, kind) in known.items()}

    def __str__(self) -> str:
        """The metrics as a small table, with what they are."""
        head = f"{self.split} split, {len(self.distortion):,} data, {self.samples:,} posterior samples each"
        return as_text(head, self.metrics, self.notes)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        if self.nll_variance is None:
            return ["The posterior is a point mass: there is no bound on log p(x), only the distortion."]
        if self.is_exact:
            return ["Every value of the latent was summed over: -log p(x) is exact, and `samples` plays no part."]
        if self.samples == 1:
            return ["With one posterior sample nll_nats is the ELBO's Monte Carlo value, of unknown error; take more samples."]
        bias = float(self.nll_variance.mean()) / 2
        if bias > 0.1:
            return [f"The importance weights vary so much that nll_nats is too high by about {bias:.2f} nats; take more samples."]
        return []


def evaluate(
    model: Model,
    batches: Iterable[Batch | Tensor],
    *,
    samples: int = 1000,
    seed: int = 0,
    split: str = "test",
    dimensions: float | None = None,
    precision: Literal["32", "bf16"] = "32",
    progress: Callable[[int], Any] | None = None,
) -> Evidence:
    """Estimate the ELBO and log p(x) of every datum.

    Of several processes that work together all must call it, on the same data: each takes its share of the chunks that the data
    are cut into, with noise that depends on the chunk alone, and all get what one process would get.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: The data; how they are cut does not matter beyond the noise.
        samples: The number K of posterior samples per datum; a model that enumerates its latents takes none.
        seed: Of the posterior samples.
        split: The name of the data, for the record.
        dimensions: Entries of a datum, for bits per dimension; None for continuous data. Of these the observed ones are counted.
        precision: Of the networks' products: "32" is that of the model's weights, and "bf16" rounds them. Log-densities are
            computed in float32 at least, and their sums in float64, in any case.
        progress: Called with the number of data done, after each chunk.

    Returns:
        The evidence, per datum and as metrics.

    Raises:
        InputError: There are no data, or `samples` is not positive.
    """
    if samples < 1:
        raise InputError(f"samples must be a positive integer; it is {samples}; 1000 gives a usable estimate.")
    if precision not in ("32", "bf16"):
        raise InputError(f"precision of an evaluation cannot be '{precision}'; it must be '32' or 'bf16'.")
    samples = 1 if getattr(model, "enumerates", False) else samples
    rows, exact, is_bound, complete, observed = [], True, True, True, 0.0
    products = torch.autocast(device_of(model).type, torch.bfloat16, enabled=precision == "bf16")
    with evaluating(model, seed, "evaluation"), working_together(), products:
        from_first(model.buffers())  # pyright: ignore[reportAttributeAccessIssue]
        for number, (batch, at_once) in enumerate(cut(model, batches, samples)):
            if is_own(number):
                seed_noise(device_of(model), seed, "evaluation", number)
                sums = _Sums(model, batch, samples, at_once)
                exact, is_bound = exact and sums.rate_is_exact, is_bound and sums.is_bound
                complete = complete and sums.is_complete
                rows.append(torch.stack(sums.results()).cpu())
            else:
                rows.append(torch.zeros(COLUMNS, len(batch), dtype=torch.float64))
            observed += len(batch) if batch.observed is None else float(batch.observed.double().mean()) * len(batch)
            if progress is not None:
                progress(len(batch))
        if not rows:
            raise InputError(f"the {split} split has no data to evaluate; name another split.")
        elbo, nll, variance, rate, distortion, cubo = sum_of_all(torch.cat(rows, 1))
        exact, is_bound, complete = (sum_of_all(torch.tensor([not exact, not is_bound, not complete]).int()) == 0).tolist()
    if not is_bound:
        return Evidence(None, None, None, None, distortion, samples, split)
    above = None if complete or samples == 1 else cubo
    dimensions = None if dimensions is None else dimensions * observed / len(elbo)
    return Evidence(elbo, nll, variance, rate, distortion, samples, split, exact, dimensions, complete, above)


class _Sums:
    """Running sums over the posterior samples of B data, in float64."""

    def __init__(self, model: Model, batch: Batch, samples: int, at_once: int):
        self.samples = samples
        zero = torch.zeros(len(batch), dtype=torch.float64, device=_float64_device(batch.x.device))
        # Not minus infinity, which cannot be subtracted from itself where all weights so far are zero.
        self.maximum = torch.full_like(zero, torch.finfo(zero.dtype).min)
        self.first, self.second, self.log_px, self.kl = zero, zero, zero, zero
        take(samples, at_once, partial(self._add, model, batch))

    def _add(self, model: Model, batch: Batch, count: int) -> None:
        terms = model.terms(batch, samples=count)
        log_w, kl = (terms.log_w, terms.kl.sum(0)) if terms.is_bound else (None, None)  # all that takes memory, before any sum
        # The closed form of one group of latents still has to be averaged over the draws of another.
        self.rate_is_exact = terms.is_complete or (terms.kl_is_exact and len(terms.latents) == 1)
        self.is_bound = terms.is_bound
        self.is_complete = terms.is_complete
        device = self.maximum.device
        self.log_px = self.log_px + count * terms.mean_over_samples(terms.log_px.to(device).double())
        if log_w is None or kl is None:
            return
        self.kl = self.kl + count * terms.mean_over_samples(kl.to(device).double())
        log_w = log_w.to(device).double()
        if terms.log_sample_weight is not None:
            log_w = log_w + terms.log_sample_weight.to(device) + math.log(count)
            if len(log_w) > count and not terms.is_complete:  # each sample has several strata: it is their weighted sum
                log_w = log_w.reshape(count, -1, len(batch)).logsumexp(1)
        maximum = torch.maximum(self.maximum, log_w.amax(0))
        kept = (self.maximum - maximum).exp()
        weights = (log_w - maximum).exp()
        self.first = kept * self.first + weights.sum(0)
        self.second = kept.square() * self.second + weights.square().sum(0)
        self.maximum = maximum

    def results(self) -> tuple[Tensor, ...]:
        """ELBO, NLL, its Monte Carlo variance, rate, distortion and chi bound, each (B,)."""
        distortion, rate = -self.log_px / self.samples, self.kl / self.samples
        nll = -(self.maximum + (self.first / self.samples).log())
        spread = (self.second / self.first.square() - 1.0 / self.samples).clamp(min=0.0)
        variance = spread * self.samples / (self.samples - 1) if self.samples > 1 else torch.full_like(nll, torch.nan)
        variance = torch.zeros_like(nll) if self.is_complete else variance
        cubo = self.maximum + (self.second / self.samples).log() / 2
        return -distortion - rate, nll, variance, rate, distortion, cubo


def _float64_device(device: torch.device) -> torch.device:
    return torch.device("cpu") if device.type == "mps" else device

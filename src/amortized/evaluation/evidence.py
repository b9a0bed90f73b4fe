r"""What an evaluation by importance sampling found: the evidence of each datum, and how far it can be trusted.

Two errors are kept apart: that of Monte Carlo, which falls with the number K of samples, and that of the data, which is how far
another sample of as many data would be. That the first is what it is said to be takes weights that do not vary too much: with an
effective sample size of 100 the interval of two standard errors has its name's coverage, and a Pareto k-hat above its threshold
says that weights yet larger would come, so that -log p(x) is estimated too high and its error too small (`importance`, `pareto`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from amortized.evaluation.pareto import most_trusted_k
from amortized.evaluation.records import Found, LogPx, Metric, as_text, standard_error

ENOUGH_EFFECTIVE_SAMPLES = 100
"""Below, the delta method's interval is too narrow, and its center too low."""

HEAVY = 0.35
"""A median k-hat above it leaves intervals too narrow: weights whose third moment is infinite are far from normal in the mean."""

METRICS = frozenset(
    "elbo_nats elbo_stderr_nats nll_nats nll_stderr_nats nll_mc_stderr_nats nll_bias_nats cubo_nats bits_per_dim rate_nats"
    " effective_samples effective_samples_least pareto_k pareto_k_bad_fraction distortion_nats".split()
)
"""The names of all metrics that the evidence may have."""


@dataclass(frozen=True, eq=False)
class Evidence(Found):
    """What an evaluation found, per datum, in the order of the data.

    Attributes:
        elbo: (N,) float64, nats; None where the objective is no bound.
        nll: (N,) importance-weighted estimate of -log p(x), nats; None likewise.
        nll_variance: (N,) Monte Carlo variance of `nll`, nats^2; NaN where one sample cannot tell it; None likewise.
        rate: (N,) KL(q || p), nats; None likewise.
        distortion: (N,) -E_q[log p(x|z)], nats.
        samples: Posterior samples per datum; the mean over the data, rounded, where they differ.
        split: The data it is about.
        rate_is_exact: Whether the KL is a closed form.
        dimensions: Observed entries of a datum, in the mean over the data, where bits per dimension make sense (discrete data),
            else None.
        is_exact: Whether nothing was sampled: the posterior's whole support was summed over.
        cubo: (N,) estimate of the chi upper bound on log p(x), nats; None where there is no bound, or log p(x) itself is known.
        effective_samples: (N,) Kish's effective sample size of the weights; None where there are not several.
        pareto_k: (N,) k-hat of the weights' tails; NaN where the largest are all alike, or there are fewer than 21 samples; None
            where that is so of every datum's number of samples, or there are no weights.
        samples_of_each: (N,) int64, posterior samples of each datum, those of a pilot not counted.
        target_stderr_nats: The Monte Carlo standard error that was asked for; None where the number of samples was.
        seconds: How long it took.
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
    effective_samples: Tensor | None = None
    pareto_k: Tensor | None = None
    samples_of_each: Tensor | None = None
    target_stderr_nats: float | None = None
    seconds: float = math.nan

    @property
    def log_px(self) -> LogPx | None:
        """The log-likelihood as a record that other methods share; None where there is no bound."""
        if self.nll is None or self.nll_variance is None:
            return None
        method, upper = ("enumeration", -self.nll) if self.is_exact else ("importance sampling", None)
        return LogPx(method, -self.nll, -self.nll, upper, self.nll_variance, self.seconds, self.split, self.samples)

    @property
    def is_doubtful(self) -> Tensor:
        """(N,) whether more samples would move the estimate of a datum by more than its error says, by its k-hat."""
        if self.pareto_k is None or self.samples_of_each is None:
            return torch.zeros(len(self.distortion), dtype=torch.bool)
        return self.pareto_k > most_trusted_k(self.samples_of_each)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The means over the data by name, in nats unless the name says otherwise; errors that cannot be told are left out.

        Of `effective_samples` and `pareto_k` it is the median, and `effective_samples_least` is of the worst datum;
        `pareto_k_bad_fraction` is the share of the data whose k-hat is above its threshold.
        """
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
            table |= {name: (value, "estimate") for name, value in self._trust}
        table["distortion_nats"] = (float(self.distortion.mean()), "exact" if self.is_exact else "estimate")
        errors = ("stderr_nats", "bias_nats")
        known = {name: entry for name, entry in table.items() if not (name.endswith(errors) and math.isnan(entry[0]))}
        return {name: Metric(value, self.split, self.samples, kind) for name, (value, kind) in known.items()}

    def __str__(self) -> str:
        """The metrics as a small table, with what they are."""
        return as_text(self.head, self.metrics, self.notes)

    @property
    def head(self) -> str:
        """What the table is about."""
        is_same = self.samples_of_each is None or bool((self.samples_of_each == self.samples).all())
        each = "each" if is_same else "each on average"
        return f"{self.split} split, {len(self.distortion):,} data, {self.samples:,} posterior samples {each}"

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        if self.nll_variance is None:
            return ["The posterior is a point mass: there is no bound on log p(x), only the distortion."]
        if self.is_exact:
            return ["Every value of the latent was summed over: -log p(x) is exact, and `samples` plays no part."]
        if self.samples == 1:
            return ["With one posterior sample nll_nats is the ELBO's Monte Carlo value, of unknown error; take more samples."]
        return list(self._doubts(self.nll_variance))

    @property
    def _trust(self) -> Iterator[tuple[str, float]]:
        if self.effective_samples is not None:
            yield "effective_samples", float(self.effective_samples.median())
            yield "effective_samples_least", float(self.effective_samples.min())
        if self.pareto_k is not None:
            if not self.pareto_k.isnan().all():
                yield "pareto_k", float(self.pareto_k.nanmedian())
            yield "pareto_k_bad_fraction", float(self.is_doubtful.double().mean())

    def _doubts(self, variance: Tensor) -> Iterator[str]:
        bias, n = float(variance.mean()) / 2, len(variance)
        if bias > 0.1:
            yield f"The importance weights vary so much that nll_nats is too high by about {bias:.2f} nats; take more samples."
        if doubtful := int(self.is_doubtful.sum()):
            yield (
                f"For {doubtful:,} of {n:,} data the largest importance weights are so much larger than the others (Pareto k-hat"
                " above its threshold) that nll_nats is too high and its error too small; take more samples, or hold it against"
                " annealed importance sampling (`evaluate --only annealing`)."
            )
        few = 0 if self.effective_samples is None else int((self.effective_samples < ENOUGH_EFFECTIVE_SAMPLES).sum())
        if few:
            yield (
                f"For {few:,} of {n:,} data the effective sample size is below {ENOUGH_EFFECTIVE_SAMPLES}: intervals from the"
                " standard errors of their log p(x) are too narrow; take more samples."
            )
        if self.pareto_k is not None and (shape := float(self.pareto_k.nanmedian())) > HEAVY:
            yield (
                f"The importance weights' tails are heavy (median Pareto k-hat {shape:.2f}): intervals of 95% cover log p(x)"
                " less often than that, 80 to 93 times in 100 as tried, and else lie below it."
            )
        target = self.target_stderr_nats
        if target is not None and (missed := int((~(variance.sqrt() <= target)).sum())):
            yield (
                f"For {missed:,} of {n:,} data the Monte Carlo standard error is still above the {target:g} nats asked for; take"
                " more `samples`, or allow more (`most_samples`)."
            )

r"""Surgery of the ELBO: what the rate is spent on.

With q(z) = 1/N sum_n q(z|x_n) the aggregate posterior of the N data given (Hoffman and Johnson 2016, "ELBO surgery"),

    1/N sum_n KL( q(z|x_n) || p(z) ) = I_q(x; z) + KL( q(z) || p(z) )
                                       mutual information, marginal KL

    KL( q(z) || p(z) ) = KL( q(z) || prod_j q(z_j) ) + sum_j KL( q(z_j) || p(z_j) )     Chen et al. 2018, arXiv 1802.04942, eq. 2
                         total correlation, dimension-wise KL

the last where p factorizes. At every draw z ~ q(z|x_n) these are differences of log q(z|x_n), log q(z), log prod_j q(z_j) and
log p(z), next to each other in this order, so that the parts sum to the rate at that draw; q(z) is the whole mixture, O(S N^2 D).

Errors. Of the N data themselves, each used once, the parts are known but for the draws. Of the distribution that data come from
they are estimates. Their standard error is that of the mean of N per-datum values: to first order in 1/N the data act on a part
by nothing else, because a small change d of q(z) changes E_q[log q] by the integral of d (log q + 1), and that of d is 0. And
they are biased. A datum's own component is in the mixture, so that

    I_N <= log N,    E[ I_N ] <= I_q(x; z) <= E[ I_N with q(z) that of the other data ]        Poole et al. 2019, arXiv 1905.06922

With the rate unbiased, the marginal KL is as much too high as I is too low. The dimension-wise KL is too high as well (a KL is
convex in its first argument); the total correlation, their difference, may err to either side, up to (D - 1) log N.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amortized.distributions import is_point_mass
from amortized.errors import InputError, is_count
from amortized.evaluation.aggregate import Components, Densities, independent_entries
from amortized.evaluation.chunks import cut, joined
from amortized.evaluation.records import Found, Metric, as_metrics, as_text, standard_error
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import seed_noise
from amortized.terms import Batch

NEAR_CAP_NATS = 0.5
"""So near log N the mutual information says how many data there are, and little more."""


@dataclass(frozen=True, eq=False)
class Surgery(Found):
    """The parts of the rate, per datum, in the order of the data; each the mean over the datum's draws, float64 nats.

    Attributes:
        mutual_information: (N,) log q(z|x) - log q(z).
        mutual_information_upper: (N,) the same with q(z) the mixture of the other data alone.
        marginal_kl: (N,) log q(z) - log p(z).
        total_correlation: (N,) log q(z) - sum_j log q(z_j); None where the marginals of q(z|x) are not known.
        dimension_wise_kl: (N,) sum_j log q(z_j) - log p(z_j); None there, and where p does not factorize.
        samples: Posterior samples per datum.
        split: The data it is about.
        is_conditioned: Whether p(z) depends on the datum's conditions.
    """

    mutual_information: Tensor
    mutual_information_upper: Tensor
    marginal_kl: Tensor
    total_correlation: Tensor | None
    dimension_wise_kl: Tensor | None
    samples: int
    split: str = "test"
    is_conditioned: bool = False

    @property
    def mean_kl(self) -> Tensor:
        """(N,) log q(z|x) - log p(z), nats: the sum of the parts, and the Monte Carlo value of the KL."""
        return self.mutual_information + self.marginal_kl

    @property
    def cap(self) -> float:
        """The largest mutual information that N data can show, log N, nats."""
        return math.log(len(self.mutual_information))

    @property
    def metrics(self) -> dict[str, Metric]:
        """The means over the data, with their standard errors; bounds are on what holds of the data's distribution."""
        above = "estimate" if self.is_conditioned else "upper bound"
        parts = {
            "mean_kl": (self.mean_kl, "estimate"),
            "mutual_information": (self.mutual_information, "lower bound"),
            "mutual_information_upper": (self.mutual_information_upper, "upper bound"),
            "marginal_kl": (self.marginal_kl, above),
            "total_correlation": (self.total_correlation, "estimate"),
            "dimension_wise_kl": (self.dimension_wise_kl, above),
        }
        table: dict[str, tuple[float, str]] = {}
        for name, (values, kind) in parts.items():
            if values is not None:
                table[f"{name}_nats"] = float(values.mean()), kind
                table[f"{name}_stderr_nats"] = standard_error(values), "estimate"
        table["mutual_information_cap_nats"] = self.cap, "exact"
        return as_metrics(table, self.split, self.samples)

    def __str__(self) -> str:
        """The parts as a small table."""
        head = f"{self.split} split, {len(self.mutual_information):,} data, {self.samples:,} posterior samples each"
        return as_text(head, self.metrics, self.notes)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        notes, found = [self._bias], float(self.mutual_information.mean())
        if found > self.cap - NEAR_CAP_NATS:
            notes.append(
                f"The mutual information, {found:.2f} nats, is within {NEAR_CAP_NATS} of its cap log N = {self.cap:.2f}: the"
                f" latents tell these {len(self.mutual_information):,} data from each other, and what more they tell is not seen,"
                " but counted in the marginal KL and its total correlation; give more data."
            )
        if self.is_conditioned:
            notes.append(
                "The prior depends on the data's conditions, and q(z) is that of all data: marginal_kl_nats is E[log q(z) - log"
                " p(z|y)], which is no KL and may be negative."
            )
        if self.total_correlation is None:
            notes.append("The marginals of q(z|x) have no known form, so the marginal KL is not divided further.")
        elif self.dimension_wise_kl is None:
            notes.append("The prior's entries depend on each other, so the marginal KL has no dimension-wise part.")
        return notes

    @property
    def _bias(self) -> str:
        mean = float(self.mutual_information.mean())
        upper = float(self.mutual_information_upper.mean())
        if not self.is_conditioned:
            upper = min(upper, float(self.mean_kl.mean()))  # the marginal KL is no less than 0
        return (
            f"q(z) is the mixture of these {len(self.mutual_information):,} data: for all data of their kind the mutual"
            f" information is too low by at most {max(0.0, upper - mean):.2f} nats, in the mean, and the marginal KL too high by"
            " as much."
        )


def surgery(
    model: Model,
    batches: Iterable[Batch | Tensor],
    *,
    samples: int = 10,
    seed: int = 0,
    split: str = "test",
    progress: Callable[[int], Any] | None = None,
) -> Surgery:
    """Divide the mean KL of the posterior from the prior into its parts.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: The N data, two or more; time grows with their square.
        samples: Posterior samples per datum.
        seed: Of the posterior samples.
        split: The name of the data, for the record.
        progress: Called with the number of data done, after each chunk.

    Returns:
        The parts, per datum and as metrics.

    Raises:
        InputError: There are fewer than two data, `samples` is no positive integer, or the posterior is a point mass.
    """
    check_samples(samples)
    with evaluating(model, seed, "surgery"):
        drawn = [_Drawn.of(model, batch, samples, seed, number) for number, (batch, _) in enumerate(cut(model, batches, samples))]
        count = sum(len(part.components) for part in drawn)
        if count < 2:
            raise InputError(f"the {split} split has {count} data, and an aggregate posterior is of two or more; give more.")
        components, first, rows = [part.components for part in drawn], 0, []
        for part in drawn:
            rows.append(part.divided(components, first, count))
            first += len(part.components)
            if progress is not None:
                progress(len(part.components))
    information, upper, marginal, correlation, dimension_wise = (joined(values) for values in zip(*rows, strict=True))
    assert information is not None
    assert upper is not None
    assert marginal is not None
    is_conditioned = any(part.is_conditioned for part in drawn)
    return Surgery(information, upper, marginal, correlation, dimension_wise, samples, split, is_conditioned)


def check_samples(samples: int) -> None:
    """Refuse a number of posterior samples that is no positive integer."""
    if not is_count(samples):
        raise InputError(f"samples must be a positive integer; it is {samples!r}; 10 are usual.")


@dataclass(frozen=True, eq=False)
class _Drawn:
    """S draws of the latents of B data.

    Attributes:
        components: The posteriors.
        z: (S, B, *event) the values drawn.
        log_p: (S, B) the log prior log p(z), nats.
        prior_factorizes: Whether the entries of p are independent.
        is_conditioned: Whether p depends on the datum.
    """

    components: Components
    z: Tensor
    log_p: Tensor
    prior_factorizes: bool
    is_conditioned: bool

    @classmethod
    def of(cls, model: Model, batch: Batch, samples: int, seed: int, number: int) -> "_Drawn":
        seed_noise(device_of(model), seed, "surgery", number)
        q, p = model.posterior(batch), model.prior(batch.context)
        if is_point_mass(q):
            raise InputError(
                "surgery needs a posterior with a density, and this model's is a point: it has no rate to divide; `activity`"
                " tells which of its latents vary."
            )
        z = q.sample(torch.Size((samples,)))
        log_p = p.log_prob(z).double().expand(samples, len(batch))
        return cls(Components.of(q), z, log_p, independent_entries(p) is not None, bool(p.batch_shape))

    def divided(self, components: list[Components], first: int, count: int) -> tuple[Tensor | None, ...]:
        """The parts, (B,) each, where these are the data from `first` on of `count`."""
        samples, size = self.log_p.shape
        own = torch.arange(first, first + size, device=self.z.device).expand(samples, size)
        found = Densities.of(components, self.z.flatten(0, 1), own.flatten())
        log_own, log_others = (value.reshape(samples, size) for value in (found.log_own, found.log_others))
        log_q = torch.logaddexp(log_own, log_others) - math.log(count)
        information, marginal = log_own - log_q, log_q - self.log_p
        upper = log_own - log_others + math.log(count - 1)
        correlation = dimension_wise = None
        if found.log_each is not None:
            log_product = (found.log_each - math.log(count)).sum(-1).reshape(samples, size)
            correlation = log_q - log_product
            dimension_wise = log_product - self.log_p if self.prior_factorizes else None
        parts = information, upper, marginal, correlation, dimension_wise
        return tuple(None if part is None else part.mean(0).cpu() for part in parts)

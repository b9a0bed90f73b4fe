"""The records that models write and objectives read.

    log p(x) = E_q[ log p(x|z) + log p(z) - log q(z|x) ] + KL( q(z|x) || p(z|x) )

A `Batch` is a minibatch of data. A model turns it into `Terms`: the terms of the first expectation, each kept per posterior
sample and per datum, nothing averaged. An objective is a function of that record. Shapes are written (K, B, *event) for K
posterior samples of B data; L counts the latent variables; every value is in nats.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from amortized.divergences import exact_kl, exact_kl_elementwise
from amortized.errors import InputError
from amortized.kept import kept
from amortized.showing import Table, Tabled


@dataclass(frozen=True)
class Batch:
    """A minibatch of B data.

    Attributes:
        x: (B, *event) what the likelihood scores.
        input: (B, *event) what the encoder sees, where it differs from `x` (denoising, holes filled in a way of one's own).
        context: Named conditions, each (B,) or (B, C): integer codes or floats. The model encodes them.
        observed: (B, *event) true where the entry of `x` is not missing; None when all are there.
        labels: (B,) codes for evaluation; no model conditions on them unless they are also in `context`.
        index: (B,) position of each datum in its data set.
    """

    x: Tensor
    input: Tensor | None = None
    context: Mapping[str, Tensor] = field(default_factory=dict)
    observed: Tensor | None = None
    labels: Tensor | None = None
    index: Tensor | None = None

    @classmethod
    def of(cls, data: "Batch | Tensor") -> "Batch":
        """A bare tensor is a batch of nothing but `x`, in which NaN means that an entry is missing."""
        if isinstance(data, Batch):
            return data
        missing = data.isnan() if data.is_floating_point() else None
        return cls(data, observed=None if missing is None or not bool(missing.any()) else ~missing)

    @classmethod
    def join(cls, batches: "Sequence[Batch]") -> "Batch":
        """The data of several batches, which have the same fields but for `observed`, as one."""
        if any(batch.observed is not None for batch in batches):
            batches = [batch._with_observed() for batch in batches]
        first, *_ = batches
        names = [field.name for field in fields(cls) if field.name != "context" and getattr(first, field.name) is not None]
        values: dict[str, Any] = {name: torch.cat([getattr(batch, name) for batch in batches]) for name in names}
        context = {name: torch.cat([batch.context[name] for batch in batches]) for name in first.context}
        return cls(**values, context=context)

    def __len__(self) -> int:
        """The number B of data."""
        return len(self.x)

    def rows(self, rows: "slice | Tensor") -> "Batch":
        """Some of the data."""
        return self._map(lambda value: value[rows])

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> "Batch":
        """The same data on a device, floating-point fields in a type where one is given."""
        return self._map(lambda value: value.to(device, dtype if value.is_floating_point() else None))

    def _with_observed(self) -> "Batch":
        return replace(self, observed=torch.ones_like(self.x, dtype=torch.bool)) if self.observed is None else self

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        names = (field.name for field in fields(self) if field.name != "context")
        values = {name: None if (value := getattr(self, name)) is None else function(value) for name in names}
        return replace(self, **values, context={name: function(value) for name, value in self.context.items()})


@dataclass(frozen=True)
class Latent:
    """One latent variable at the value that was drawn for it.

    Attributes:
        q: The posterior q(z | x, ...).
        p: The prior p(z | ...).
        z: (K, B, *event) the value drawn.
        q_path: q with its parameters held constant, given when the path gradient is asked for, or the split one.
        weight: (K, B) one over the probability that this latent was the one drawn; 1 when none is left out.
        is_averaged: Whether a closed form of KL(q || p) is the expectation of -log_ratio. It is not where p depends on a latent
            drawn after z, as in bottom-up inference: given that one, z no longer has the distribution q.
        draw: (K, B, *event) what z is a copy of, given with the split gradient: it has the gradient of the posteriors, while z is
            a leaf at which all terms are scored.
    """

    q: Distribution
    p: Distribution
    z: Tensor
    q_path: Distribution | None = None
    weight: Tensor | float = 1.0
    is_averaged: bool = True
    draw: Tensor | None = None

    @kept
    def log_ratio(self) -> Tensor:
        """(K, B) log p(z) - log q(z), scored under `q_path` where that is given.

        A relaxed family is scored at the hard values that its draws stand for: a soft one lies between what p and q know.
        """
        q = self.q if self.q_path is None else self.q_path
        harden = getattr(self.q, "harden", None)
        z = self.z if harden is None else harden(self.z)
        return self.p.log_prob(z) - q.log_prob(z)

    @kept
    def kl(self) -> Tensor:
        """(K, B) weight times KL(q || p): the closed form where there is one, else -log_ratio at the value drawn."""
        if self._closed_form is None:
            return self.kl_sampled
        return (self.weight * self._closed_form).expand(self._sample_shape)

    @kept
    def kl_sampled(self) -> Tensor:
        """(K, B) weight times -log_ratio: the Monte Carlo value of the KL, whether or not a closed form is known."""
        return (-self.weight * self.log_ratio).expand(self._sample_shape)

    @kept
    def kl_elementwise(self) -> Tensor | None:
        """(K, B, *event) the closed form entry by entry, None where q or p does not factorize or none is known."""
        value = exact_kl_elementwise(self.q, self.p) if self._takes_closed_form else None
        if value is None:
            return None
        weight = self.weight
        if isinstance(weight, Tensor):
            weight = weight.reshape(*weight.shape, *(1 for _ in self.q.event_shape))
        return (weight * value).expand(self.z.shape)

    @property
    def kl_is_exact(self) -> bool:
        """Whether `kl` is the closed form, not a Monte Carlo value."""
        return self._closed_form is not None

    @kept
    def _closed_form(self) -> Tensor | None:
        return exact_kl(self.q, self.p) if self._takes_closed_form else None

    @property
    def _takes_closed_form(self) -> bool:
        # The path gradient needs -log_ratio: a closed form has no path through z, and so no gradient for the encoder.
        return self.q_path is None and self.is_averaged

    @property
    def _sample_shape(self) -> torch.Size:
        return self.z.shape[: self.z.ndim - len(self.q.event_shape)]


@dataclass(frozen=True)
class LatentPath:
    """A continuum of latents, whose KL is known only as an integrand at a random time (diffusion).

    Attributes:
        kl: (K, B) the integrand, never reweighted.
        z: (K, B, *event) the value drawn at that time.
        log_snr: (K, B) log signal-to-noise ratio at that time; a weighting of an objective's own is a function of it.
    """

    kl: Tensor
    z: Tensor
    log_snr: Tensor


@dataclass(frozen=True)
class Terms(Tabled):
    """What an objective looks at: the terms of the bound for K posterior samples of B data, in nats.

    Attributes:
        log_px: (K, B) log p(x | z), over the observed entries.
        latents: The L latent variables.
        penalties: Named (B,) values that are no term of the bound; the training loop subtracts them, once.
        log_sample_weight: (K, B) log-weights of the K samples, summing to one over K, where they are not 1/K each.
        is_bound: False where the objective's value is no bound on log p(x) (a point-mass or a relaxed posterior).
        is_complete: Whether the K samples are the whole support of the posterior: sums over them are exact.
        z: (K, B, *event) all latents as one value, what p(x | z) is given; of several groups, the vector of all.
        seen: (B, *event) what the encoder saw of the data.
    """

    log_px: Tensor
    latents: tuple[Latent | LatentPath, ...]
    penalties: Mapping[str, Tensor] = field(default_factory=dict)
    log_sample_weight: Tensor | None = None
    is_bound: bool = True
    is_complete: bool = False
    z: Tensor | None = None
    seen: Tensor | None = None

    @kept
    def kl(self) -> Tensor:
        """(L, K, B) the KL of each latent, exact where a closed form is known."""
        return torch.stack([latent.kl for latent in self.latents])

    @kept
    def kl_sampled(self) -> Tensor:
        """(L, K, B) the Monte Carlo value of each latent's KL."""
        return torch.stack([latent.kl_sampled if isinstance(latent, Latent) else latent.kl for latent in self.latents])

    def tables(self) -> list[Table]:
        """The terms of the bound, their means in nats and their shapes."""
        # With gradients, as the values that are computed here are kept with the record.
        rows = [("log p(x|z)", self.log_px, "")]
        for number, latent in enumerate(self.latents, 1):
            kind = ("exact" if latent.kl_is_exact else "sampled") if isinstance(latent, Latent) else "at a random time"
            rows.append((f"KL(q || p) of latent {number}", latent.kl, kind))
        if self.is_bound:
            rows.append(("ELBO", self.mean_over_samples(self.log_px - self.kl.sum(0)), "lower bound on log p(x)"))
        rows += [(f"penalty: {name}", value, "no term of the bound") for name, value in self.penalties.items()]
        said = [(name, f"{float(self._mean(value)):,.4f}", str(tuple(value.shape)), kind) for name, value, kind in rows]
        samples, data = self.log_px.shape
        notes = [] if self.is_bound else ["The posterior is a point mass or relaxed: these terms are no bound on log p(x)."]
        head = f"Terms: {data:,} data, {samples:,} posterior samples each"
        return [Table(head, ("term", "mean, nats", "shape", ""), said, notes)]

    def _mean(self, value: Tensor) -> Tensor:
        return (value if value.ndim == 1 else self.mean_over_samples(value)).detach().double().mean()

    @property
    def kl_is_exact(self) -> bool:
        """Whether every latent's KL is a closed form."""
        return all(isinstance(latent, Latent) and latent.kl_is_exact for latent in self.latents)

    @kept
    def log_w(self) -> Tensor:
        """(K, B) log importance weight, log p(x, z) - log q(z | x).

        Raises:
            InputError: A latent was sub-sampled, and the logarithm of an unbiased sub-sample is no bound; or the posterior has
                no density at the values drawn.
        """
        if not self.is_bound:
            raise InputError(
                "log_w needs the density of the posterior at the values drawn, and a point mass or a relaxed family has none;"
                " use the objective 'elbo'."
            )
        total = self.log_px
        for position, latent in enumerate(self.latents):
            if isinstance(latent, LatentPath) or isinstance(latent.weight, Tensor) or latent.weight != 1.0:
                raise InputError(
                    f"log_w needs every latent variable in full; latent {position} of {len(self.latents)} was sub-sampled."
                    " Use an objective that needs only 'kl', such as 'elbo'."
                )
            total = total + latent.log_ratio
        return total

    def mean_over_samples(self, value: Tensor) -> Tensor:
        """Average a (K, B) value over the K samples, by their weights: (B,)."""
        if self.log_sample_weight is not None:
            return (self.log_sample_weight.exp() * value).sum(0)
        return value.squeeze(0) if len(value) == 1 else value.mean(0)

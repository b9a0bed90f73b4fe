"""What all models of a prior, a posterior and a likelihood have in common.

    log p(x) >= E_q(z|x)[ log p(x|z) + log p(z) - log q(z|x) ]

Kinds of model differ in how z is inferred: in one piece (`VAE`), or as a chain of groups (`Hierarchical`). Such a kind says how,
by `infer`, and what p(z) and q(z|x) are; the rest is here. In the code c is the encoded condition (B, C), and what is called
`part` is a conditional distribution: a module whose call returns a `torch.distributions.Distribution`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.distributions import center, is_point_mass, is_relaxed, masked_log_prob
from amortized.errors import InputError, nearest
from amortized.models.model import Gradient
from amortized.networks import Context, Fill
from amortized.terms import Batch, Latent, Terms

CONDITIONED = ("prior", "posterior", "likelihood")
FREE = ("real", "binary")
"""Spaces of values whose entries do not determine each other, as those of a one-hot vector do."""


@dataclass(frozen=True)
class Inferred:
    """The latents of a batch, at the values drawn for them.

    Attributes:
        latents: One per group.
        z: (K, B, *event) all of them, what the likelihood is given.
        log_weight: (K, B) log-weights of the draws, as in `Draw`.
        is_complete: Whether the draws are the whole support.
    """

    latents: tuple[Latent, ...]
    z: Tensor
    log_weight: Tensor | None = None
    is_complete: bool = False


class LatentModel(nn.Module, ABC):
    """A model of data x with latents z.

    Args:
        parts: The conditional distributions by name, "likelihood" among them: p(x | z), called with z (K, B, *event), or z and c.
        context: Encodes the named conditions of a batch into c (B, C); None for a model without conditions.
        condition: Which of "prior", "posterior" and "likelihood" are called with c.
        preprocess: Applied to what the encoder sees (standardization, one-hot codes); None leaves it as it is.
        fill: What the encoder sees of missing entries; None fills them with 0, after `preprocess`, and shows no mask.
        select: Applied to what the decoder sees: z, of which it may take a part; None leaves it as it is.
    """

    def __init__(
        self,
        parts: Mapping[str, nn.Module],
        *,
        context: Context | None = None,
        condition: Sequence[str] = ("posterior", "likelihood"),
        preprocess: nn.Module | None = None,
        fill: Fill | None = None,
        select: nn.Module | None = None,
    ):
        super().__init__()
        for name, part in parts.items():
            if not isinstance(part, nn.Module):
                raise InputError(f"{name} must be a torch.nn.Module whose call returns a Distribution; it is {part!r}.")
        for name in condition:
            if name not in CONDITIONED:
                raise InputError(f"condition names '{name}', which is no part of a model; {nearest(name, CONDITIONED)}")
        self.parts = nn.ModuleDict(parts)
        self.context = context
        self.condition = tuple(condition)
        self.preprocess = nn.Identity() if preprocess is None else preprocess
        self.fill = Fill() if fill is None else fill
        self.select = nn.Identity() if select is None else select

    @abstractmethod
    def infer(self, batch: Batch, seen: Tensor, c: Tensor | None, samples: int, gradient: Gradient) -> Inferred:
        """Draw the latents of B data, of which the encoder sees `seen`, K = `samples` times (more by a family's own plan)."""

    @abstractmethod
    def posterior(self, batch: Batch | Tensor) -> Distribution:
        """q(z | x), with batch (B,)."""

    @abstractmethod
    def prior(self, context: Mapping[str, Tensor] | None = None, *, temperature: float = 1.0) -> Distribution:
        """p(z), or p(z | y) with batch (B,) where the prior is conditioned."""

    @property
    @abstractmethod
    def posteriors(self) -> tuple[nn.Module, ...]:
        """The parts that q is made of."""

    @property
    @abstractmethod
    def of_data_alone(self) -> tuple[nn.Module, ...]:
        """The parts of q that are given no latent that was drawn."""

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one datum."""
        return torch.Size(self.parts["likelihood"].event_shape)  # pyright: ignore[reportArgumentType]

    @property
    def latent_size(self) -> int:
        """How many entries all latents have together."""
        return sum(torch.Size(part.event_shape).numel() for part in self.posteriors)  # pyright: ignore[reportArgumentType]

    @property
    def seen_shape(self) -> torch.Size:
        """The shape of one datum as the encoder sees it."""
        device = next(self.parameters(), torch.empty(0)).device
        return self.seen(Batch(torch.zeros((1, *self.event_shape), device=device))).shape[1:]

    @property
    def offers(self) -> frozenset[str]:
        """What q gives: a bound where it has a density, and that density in training too where its draws are not relaxed."""
        offers = set()
        if self._has_density:
            relaxed = any(getattr(part, "is_relaxed", False) for part in self.posteriors)
            offers |= {"bound"} if relaxed else {"bound", "density", "log_w"}
        if all(getattr(part, "has_gradient", True) for part in self.posteriors):
            offers.add("pathwise")
        if self.values_per_sample == 1:
            offers.add("alike")
        if not self._couples_data:
            offers.add("separate")
        if all(getattr(part, "space", "real") in FREE for part in self.posteriors):
            offers.add("free")
        if self._is_mean_field:
            offers.add("entrywise")
        return frozenset(offers | self._offers_of_one_latent)

    @property
    def _couples_data(self) -> bool:
        """Whether what is made of a datum's draws depends on those of the others in its batch."""
        of_data_alone = {id(module) for part in self.of_data_alone for module in part.modules()}
        of_draws = (module for module in self.parts.modules() if id(module) not in of_data_alone)
        return self.needs_calibration or any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in of_draws)

    @property
    def _is_mean_field(self) -> bool:
        """Whether all that is said of a latent, in model and inference, has independent entries given those drawn before."""
        links = self.parts["links"].children() if "links" in self.parts else ()
        parts = [*self.posteriors, self.parts["prior"], *links]
        in_order = not getattr(self.parts["posterior"], "upward", False)  # p of a group is given what is drawn after it
        return in_order and all(getattr(part, "is_mean_field", False) for part in parts)

    @property
    def _offers_of_one_latent(self) -> set[str]:
        """What can be said of the aggregate over the data where z is one latent: a group of several is drawn given others."""
        if len(self.posteriors) != 1:
            return set()
        declared = {
            "mean_field": getattr(self.posteriors[0], "is_mean_field", False),
            "moments": getattr(self.posteriors[0], "has_moments", False),
            "prior_draws": getattr(self.parts["prior"], "has_gradient", True),
        }
        return {name for name, is_offered in declared.items() if is_offered}

    @property
    def values_per_sample(self) -> int:
        """How many values of the latent one sample asks for: the strata of a mixture, the support of an enumerated family."""
        return math.prod(getattr(part, "values_per_sample", 1) for part in self.posteriors)

    @property
    def _has_density(self) -> bool:
        return all(getattr(part, "has_density", True) for part in self.posteriors)

    def terms(self, batch: Batch | Tensor, *, samples: int = 1, gradient: Gradient = "total") -> Terms:
        """The terms of the bound.

        Args:
            batch: B data; a bare tensor is taken as their `x`.
            samples: The number K of posterior samples; a mixture draws as many of each component, an enumerated posterior
                its whole support.
            gradient: "path" holds the parameters of q constant where it is scored, so that its score-function gradient,
                whose mean is zero, is left out (Roeder et al. 2017, arXiv 1703.09194); "split" scores at leaves, beside which
                `Latent.draw` keeps the gradient of the draws; "score" leaves the draws without one.

        Returns:
            The terms, each value (K, B) in nats.

        Raises:
            InputError: The posterior cannot be drawn from with a gradient, or a part's shapes do not fit.
        """
        batch = Batch.of(batch)
        c = self.encode_context(batch.context)
        seen = self.seen(batch)
        inferred = self.infer(batch, seen, c, samples, gradient)
        log_px = self.score(batch, inferred.z, c)
        is_bound = self._has_density and not any(is_point_mass(each.q) or is_relaxed(each.q) for each in inferred.latents)
        return Terms(
            log_px,
            inferred.latents,
            log_sample_weight=inferred.log_weight,
            is_bound=is_bound,
            is_complete=inferred.is_complete,
            z=inferred.z,
            seen=seen,
        )

    def score(self, batch: Batch, z: Tensor, c: Tensor | None) -> Tensor:
        """The log-likelihood log p(x | z) over the observed entries, (K, B) nats, for z of shape (K, B, *event)."""
        likelihood = self.parts["likelihood"]
        if batch.observed is not None and not getattr(likelihood, "factorizes", True):
            raise InputError(
                f"likelihood {type(likelihood).__name__} does not factorize over the entries of x, so that missing ones cannot be"
                " left out; use one that does, or fill the holes first."
            )
        px = likelihood(self.select(z), *self.given("likelihood", c))
        log_px = px.log_prob(batch.x) if batch.observed is None else masked_log_prob(px, batch.x, batch.observed)
        wanted = (len(z), len(batch))
        if log_px.shape != wanted:
            raise InputError(
                f"the likelihood scored x of shape {tuple(batch.x.shape)} as {tuple(log_px.shape)} where (K, B) = {wanted}"
                f" is wanted: its event is {tuple(px.event_shape)}; it must be that of one datum."
            )
        return log_px

    def decode(self, z: Tensor, context: Mapping[str, Tensor] | None = None) -> Distribution:
        """p(x | z) for z of shape (B, *event) or (K, B, *event), and conditions of B rows."""
        return self.parts["likelihood"](self.select(z), *self.given("likelihood", self.encode_context(context or {})))

    def sample(
        self, n: int, context: Mapping[str, Tensor] | None = None, temperature: float = 1.0, *, mean: bool = False
    ) -> Tensor:
        """Draw n data from the model.

        Args:
            n: How many.
            context: Conditions of n rows each, for a model that has them.
            temperature: Of the prior; its meaning is stated with each family.
            mean: Return E[x | z] at the n latents drawn, in place of x drawn given z.

        Returns:
            (n, *event) in the units of the data that it was fitted on, after any scaling of theirs.
        """
        p = self.prior(context, temperature=temperature)
        z = p.sample() if p.batch_shape == (n,) else p.sample((n,))
        px = self.decode(z, context)
        return center(px) if mean else px.sample()

    @property
    def needs_calibration(self) -> bool:
        """Whether the likelihood's scale is computed over the training data before evaluation."""
        return bool(getattr(self.parts["likelihood"], "needs_calibration", False))

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Batch]) -> None:
        """Set the likelihood's optimal scale from the data of `batches`, one posterior sample each."""
        likelihood = self.parts["likelihood"]
        total, entries = torch.zeros((), dtype=torch.float64), 0
        for batch in batches:
            px = self.decode(self.posterior(batch).sample(), batch.context)
            total += likelihood.deviation(batch.x, px, batch.observed).sum().double().cpu()  # pyright: ignore[reportCallIssue]
            entries += batch.x.numel() if batch.observed is None else int(batch.observed.sum())
        likelihood.set_scale(total, entries)  # pyright: ignore[reportCallIssue]

    def seen(self, batch: Batch) -> Tensor:
        """What the encoder sees of the data."""
        return self.fill(batch.x, batch.observed, batch.input, self.preprocess)

    def encode_context(self, context: Mapping[str, Tensor]) -> Tensor | None:
        """The conditions as one tensor c (B, C); None for a model that has none."""
        if self.context is not None:
            return self.context(context)
        if context:
            raise InputError(f"this model has no conditions; the batch brings '{next(iter(context))}'; build it with a context.")
        return None

    def given(self, part: str, c: Tensor | None) -> tuple[Tensor, ...]:
        """What a part is called with besides its first argument."""
        return (c,) if c is not None and part in self.condition else ()

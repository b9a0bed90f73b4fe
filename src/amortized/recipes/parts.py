"""Descriptions of priors, posteriors and likelihoods; each builds its part.

The kinds are those of the architecture's table, the same in Python, YAML and on the command line.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from amortized import likelihoods, posteriors, priors
from amortized.errors import InputError
from amortized.recipes.networks import Network
from amortized.recipes.schema import BY_KIND, BY_NAME, Description, Size
from amortized.recipes.spec import Spec

ScaleName = Literal["learned", "per-entry", "predicted", "optimal"]
PositiveFloat = Annotated[float, Field(gt=0)]
Levels = Annotated[int, Field(ge=2)]


class NormalPrior(Description):
    """The standard normal."""

    kind: Literal["normal"] = "normal"

    def build(self, latent_dim: int, network: Network, context_features: int) -> nn.Module:
        """The prior p(z)."""
        if context_features:
            raise InputError("prior 'normal' takes no condition; use prior 'gaussian', or leave 'prior' out of model.condition.")
        return priors.StandardNormal(latent_dim)


class GaussianPrior(Description):
    """A Gaussian with learned moments, predicted from the condition where `model.condition` names the prior."""

    kind: Literal["gaussian"] = "gaussian"
    network: Network | None = None
    """Of the condition; the model's own where none is given."""

    def build(self, latent_dim: int, network: Network, context_features: int) -> nn.Module:
        """The prior p(z), or p(z | y)."""
        if not context_features:
            return priors.Gaussian(latent_dim)
        return priors.Gaussian(latent_dim, (self.network or network).encoder((context_features,)))


class PosteriorDescription(Description):
    """What the posteriors have in common."""

    family: ClassVar[Any]

    network: Network | None = None
    """The encoder; the model's own network where none is given."""

    def build(self, in_shape: tuple[int, ...], latent_dim: int, network: Network, context_features: int) -> nn.Module:
        """The posterior q(z | x)."""
        return self.family((self.network or network).encoder(in_shape, context_features), latent_dim)


class GaussianPosterior(PosteriorDescription):
    """A Gaussian with independent entries."""

    kind: Literal["gaussian"] = "gaussian"
    family: ClassVar[Any] = posteriors.DiagonalGaussian


class FullGaussianPosterior(PosteriorDescription):
    """A Gaussian with any covariance."""

    kind: Literal["full-gaussian"] = "full-gaussian"
    family: ClassVar[Any] = posteriors.FullGaussian


class DeltaPosterior(PosteriorDescription):
    """A point mass: the classical autoencoder."""

    kind: Literal["delta"] = "delta"
    family: ClassVar[Any] = posteriors.Delta


class LikelihoodDescription(Description, ABC):
    """What the likelihoods have in common."""

    network: Network | None = None
    """The decoder; the model's own network where none is given."""

    def build(self, latent_dim: int, network: Network, context_features: int, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        """The likelihood p(x | z)."""
        decoder = (self.network or network).decoder((latent_dim,), spec.event_shape, context_features)
        return self._make(decoder, spec, units)

    @abstractmethod
    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module: ...


class BernoulliLikelihood(LikelihoodDescription):
    """Values in {0, 1}."""

    kind: Literal["bernoulli"] = "bernoulli"

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.Bernoulli(decoder, spec.event_shape)


class GaussianLikelihood(LikelihoodDescription):
    """Real values."""

    kind: Literal["gaussian"] = "gaussian"
    scale: ScaleName | PositiveFloat = "learned"
    """Standard deviation in standardized units: one "learned", one "per-entry", "predicted", "optimal", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least scale, in standardized units."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.Gaussian(decoder, spec.event_shape, scale=self.scale, floor=self.floor, **units)


class LaplaceLikelihood(GaussianLikelihood):
    """Real values, with tails heavier than a Gaussian's."""

    kind: Literal["laplace"] = "laplace"  # pyright: ignore[reportIncompatibleVariableOverride]

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.Laplace(decoder, spec.event_shape, scale=self.scale, floor=self.floor, **units)


class CategoricalLikelihood(LikelihoodDescription):
    """Classes or tokens, integers 0 to classes - 1 without an order."""

    kind: Literal["categorical"] = "categorical"
    classes: Size | None = None
    """Number of classes; that of the data where none is given."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.Categorical(decoder, spec.event_shape, classes=known_levels(self.kind, self.classes, spec))


class BinomialLikelihood(LikelihoodDescription):
    """Grey levels 0 to levels - 1."""

    kind: Literal["binomial"] = "binomial"
    levels: Levels | None = None
    """Number of levels; that of the data where none is given."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.Binomial(decoder, spec.event_shape, levels=known_levels(self.kind, self.levels, spec))


class DiscretizedLogisticLikelihood(LikelihoodDescription):
    """Grey levels 0 to levels - 1."""

    kind: Literal["discretized-logistic"] = "discretized-logistic"
    levels: Levels | None = None
    """Number of levels; that of the data where none is given."""
    scale: Literal["learned", "per-entry", "predicted"] | PositiveFloat = "per-entry"
    """Scale of the logistic on the grid from -1 to 1: "learned", "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least scale."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        levels = known_levels(self.kind, self.levels, spec)
        return likelihoods.DiscretizedLogistic(decoder, spec.event_shape, levels=levels, scale=self.scale, floor=self.floor)


class PoissonLikelihood(LikelihoodDescription):
    """Counts whose variance is their mean."""

    kind: Literal["poisson"] = "poisson"

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.Poisson(decoder, spec.event_shape)


class NegativeBinomialLikelihood(LikelihoodDescription):
    """Counts that vary more than Poisson's."""

    kind: Literal["negative-binomial"] = "negative-binomial"
    dispersion: Literal["learned", "per-entry", "predicted"] | PositiveFloat = "per-entry"
    """Inverse dispersion: one "learned", one "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least inverse dispersion."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.NegativeBinomial(decoder, spec.event_shape, dispersion=self.dispersion, floor=self.floor)


def known_levels(kind: str, given: int | None, spec: Spec) -> int:
    """The number of levels or classes: the one given, or that of the data."""
    levels = given or spec.levels
    if levels is None:
        raise InputError(f"likelihood '{kind}' needs the number of levels, and the data do not tell it; set it in the recipe.")
    return levels


Prior = Annotated[NormalPrior | GaussianPrior, BY_KIND, BY_NAME]
Posterior = Annotated[GaussianPosterior | FullGaussianPosterior | DeltaPosterior, BY_KIND, BY_NAME]
Likelihood = Annotated[
    BernoulliLikelihood
    | GaussianLikelihood
    | LaplaceLikelihood
    | CategoricalLikelihood
    | BinomialLikelihood
    | DiscretizedLogisticLikelihood
    | PoissonLikelihood
    | NegativeBinomialLikelihood,
    BY_KIND,
    BY_NAME,
]

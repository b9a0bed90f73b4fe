"""Descriptions of likelihoods; each builds its part. The kinds are those of the architecture's table."""

from abc import ABC, abstractmethod
from typing import Annotated, ClassVar, Literal

from pydantic import Field
from torch import Tensor, nn

from amortized import likelihoods
from amortized.errors import InputError
from amortized.recipes.networks import Network
from amortized.recipes.schema import BY_KIND, BY_NAME, Description, PositiveFloat, Size
from amortized.recipes.spec import Spec

ScaleKind = Literal["learned", "per-entry", "predicted"]
ScaleName = Literal["learned", "per-entry", "predicted", "optimal"]
Levels = Annotated[int, Field(ge=2)]


class LikelihoodDescription(Description, ABC):
    """What the likelihoods have in common."""

    network: Network | None = None
    """The decoder; the model's own network where none is given."""

    standardizes: ClassVar[bool] = False
    """Whether the networks work in standardized units."""

    def build(
        self,
        event: tuple[int, ...],
        network: Network,
        context_features: int,
        spec: Spec,
        units: dict[str, Tensor],
        decoder: nn.Module | None = None,
    ) -> nn.Module:
        """The likelihood p(x | z) of z with shape `event`, through `decoder` where it brings no network and one is given."""
        if decoder is None or self.network is not None:
            decoder = (self.network or network).decoder(event, spec.event_shape, context_features)
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
    standardizes: ClassVar[bool] = True
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
    scale: ScaleKind | PositiveFloat = "per-entry"
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
    dispersion: ScaleKind | PositiveFloat = "per-entry"
    """Inverse dispersion: one "learned", one "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least inverse dispersion."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.NegativeBinomial(decoder, spec.event_shape, dispersion=self.dispersion, floor=self.floor)


class ZINBLikelihood(NegativeBinomialLikelihood):
    """Counts with more zeros than a negative binomial has."""

    kind: Literal["zinb"] = "zinb"  # pyright: ignore[reportIncompatibleVariableOverride]
    zeros: ScaleKind = "predicted"
    """The probability of an extra zero: one "learned", one "per-entry", or "predicted"."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.ZeroInflatedNegativeBinomial(
            decoder, spec.event_shape, dispersion=self.dispersion, zeros=self.zeros, floor=self.floor
        )


class MultinomialLikelihood(LikelihoodDescription):
    """Counts given their total: how it is shared out."""

    kind: Literal["multinomial"] = "multinomial"

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.Multinomial(decoder, spec.event_shape)


class ContinuousBernoulliLikelihood(LikelihoodDescription):
    """Values in [0, 1], such as grey levels taken as numbers (Loaiza-Ganem and Cunningham 2019)."""

    kind: Literal["continuous-bernoulli"] = "continuous-bernoulli"

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.ContinuousBernoulli(decoder, spec.event_shape)


class BetaLikelihood(LikelihoodDescription):
    """Values between 0 and 1, the ends excluded."""

    kind: Literal["beta"] = "beta"
    concentration: ScaleKind | PositiveFloat = "per-entry"
    """How narrow: one "learned", one "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least concentration."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.Beta(decoder, spec.event_shape, concentration=self.concentration, floor=self.floor)


class StudentTLikelihood(LikelihoodDescription):
    """Real values with outliers."""

    kind: Literal["student-t"] = "student-t"
    standardizes: ClassVar[bool] = True
    scale: ScaleKind | PositiveFloat = "learned"
    """Scale in standardized units: one "learned", one "per-entry", "predicted", or a fixed number."""
    df: ScaleKind | PositiveFloat = "learned"
    """Degrees of freedom: likewise."""
    floor: PositiveFloat = 1e-3
    """The least scale, in standardized units."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.StudentT(decoder, spec.event_shape, scale=self.scale, df=self.df, floor=self.floor, **units)


class GaussianMixtureLikelihood(LikelihoodDescription):
    """Real values with several modes."""

    kind: Literal["gaussian-mixture"] = "gaussian-mixture"
    standardizes: ClassVar[bool] = True
    components: Size = 5
    """Gaussians in the mixture of each entry."""
    scale: ScaleKind | PositiveFloat = "predicted"
    """Standard deviations in standardized units: one "learned", one "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least scale, in standardized units."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        return likelihoods.GaussianMixture(
            decoder, spec.event_shape, components=self.components, scale=self.scale, floor=self.floor, **units
        )


class OrdinalLikelihood(BinomialLikelihood):
    """Ordered classes 0 to levels - 1, such as ratings."""

    kind: Literal["ordinal"] = "ordinal"  # pyright: ignore[reportIncompatibleVariableOverride]
    cutpoints: Literal["learned", "per-entry"] = "per-entry"
    """The places between the classes: the same for all entries, or one set "per-entry"."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        levels = known_levels(self.kind, self.levels, spec)
        return likelihoods.Ordinal(decoder, spec.event_shape, levels=levels, cutpoints=self.cutpoints)


class LogisticMixtureLikelihood(BinomialLikelihood):
    """Grey levels or colours, a mixture of logistics for each pixel (Salimans et al. 2017)."""

    kind: Literal["logistic-mixture"] = "logistic-mixture"  # pyright: ignore[reportIncompatibleVariableOverride]
    components: Size = 10
    """Logistics in the mixture of each pixel."""
    floor: PositiveFloat = 1e-3
    """The least scale on the grid from -1 to 1."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        levels = known_levels(self.kind, self.levels, spec)
        return likelihoods.LogisticMixture(decoder, spec.event_shape, levels=levels, components=self.components, floor=self.floor)


class PixelCNNLikelihood(BinomialLikelihood):
    """Images, each pixel given z and the pixels before it (van den Oord et al. 2016; Gulrajani et al. 2017)."""

    kind: Literal["pixelcnn"] = "pixelcnn"  # pyright: ignore[reportIncompatibleVariableOverride]
    channels: Size = 32
    """Channels of each gated layer."""
    layers: Size = 5
    """Number of gated layers."""
    kernel: Size = 5
    """Height and width of the convolutions, an odd number."""
    context_channels: Size = 16
    """Channels of the map that z is turned into."""

    def _make(self, decoder: nn.Module, spec: Spec, units: dict[str, Tensor]) -> nn.Module:
        options = {name: getattr(self, name) for name in ("channels", "layers", "kernel", "context_channels")}
        levels = 2 if self.levels is None and spec.support == "binary" else known_levels(self.kind, self.levels, spec)
        return likelihoods.PixelCNN(decoder, spec.event_shape, levels=levels, **options)


def known_levels(kind: str, given: int | None, spec: Spec) -> int:
    """The number of levels or classes: the one given, or that of the data."""
    levels = given or spec.levels
    if levels is None:
        raise InputError(f"likelihood '{kind}' needs the number of levels, and the data do not tell it; set it in the recipe.")
    return levels


Likelihood = Annotated[
    BernoulliLikelihood
    | GaussianLikelihood
    | LaplaceLikelihood
    | CategoricalLikelihood
    | BinomialLikelihood
    | DiscretizedLogisticLikelihood
    | PoissonLikelihood
    | NegativeBinomialLikelihood
    | ZINBLikelihood
    | MultinomialLikelihood
    | ContinuousBernoulliLikelihood
    | BetaLikelihood
    | StudentTLikelihood
    | GaussianMixtureLikelihood
    | OrdinalLikelihood
    | LogisticMixtureLikelihood
    | PixelCNNLikelihood,
    BY_KIND,
    BY_NAME,
]

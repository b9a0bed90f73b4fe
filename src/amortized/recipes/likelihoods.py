"""Descriptions of likelihoods; each builds its part. The kinds are those of the architecture's table."""

from typing import Annotated, Any, ClassVar, Literal

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


class LikelihoodDescription(Description):
    """What the likelihoods have in common."""

    family: ClassVar[Any]

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
        options = {name: getattr(self, name) for name in type(self).model_fields if name not in ("kind", "network")}
        for size in {"levels", "classes"} & options.keys():
            options[size] = known_levels(self.kind, options[size], spec)  # pyright: ignore[reportAttributeAccessIssue]
        return self.family(decoder, spec.event_shape, **options, **(units if self.standardizes else {}))


class BernoulliLikelihood(LikelihoodDescription):
    """Values in {0, 1}."""

    kind: Literal["bernoulli"] = "bernoulli"
    family: ClassVar[Any] = likelihoods.Bernoulli


class GaussianLikelihood(LikelihoodDescription):
    """Real values."""

    kind: Literal["gaussian"] = "gaussian"
    family: ClassVar[Any] = likelihoods.Gaussian
    standardizes: ClassVar[bool] = True
    scale: ScaleName | PositiveFloat = "learned"
    """Standard deviation in standardized units: one "learned", one "per-entry", "predicted", "optimal", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least scale, in standardized units."""


class LaplaceLikelihood(GaussianLikelihood):
    """Real values, with tails heavier than a Gaussian's."""

    kind: Literal["laplace"] = "laplace"  # pyright: ignore[reportIncompatibleVariableOverride]
    family: ClassVar[Any] = likelihoods.Laplace


class CategoricalLikelihood(LikelihoodDescription):
    """Classes or tokens, integers 0 to classes - 1 without an order."""

    kind: Literal["categorical"] = "categorical"
    family: ClassVar[Any] = likelihoods.Categorical
    classes: Size | None = None
    """Number of classes; that of the data where none is given."""


class BinomialLikelihood(LikelihoodDescription):
    """Grey levels 0 to levels - 1."""

    kind: Literal["binomial"] = "binomial"
    family: ClassVar[Any] = likelihoods.Binomial
    levels: Levels | None = None
    """Number of levels; that of the data where none is given."""


class DiscretizedLogisticLikelihood(LikelihoodDescription):
    """Grey levels 0 to levels - 1."""

    kind: Literal["discretized-logistic"] = "discretized-logistic"
    family: ClassVar[Any] = likelihoods.DiscretizedLogistic
    levels: Levels | None = None
    """Number of levels; that of the data where none is given."""
    scale: ScaleKind | PositiveFloat = "per-entry"
    """Scale of the logistic on the grid from -1 to 1: "learned", "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least scale."""


class PoissonLikelihood(LikelihoodDescription):
    """Counts whose variance is their mean."""

    kind: Literal["poisson"] = "poisson"
    family: ClassVar[Any] = likelihoods.Poisson


class NegativeBinomialLikelihood(LikelihoodDescription):
    """Counts that vary more than Poisson's."""

    kind: Literal["negative-binomial"] = "negative-binomial"
    family: ClassVar[Any] = likelihoods.NegativeBinomial
    dispersion: ScaleKind | PositiveFloat = "per-entry"
    """Inverse dispersion: one "learned", one "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least inverse dispersion."""


class ZINBLikelihood(NegativeBinomialLikelihood):
    """Counts with more zeros than a negative binomial has."""

    kind: Literal["zinb"] = "zinb"  # pyright: ignore[reportIncompatibleVariableOverride]
    family: ClassVar[Any] = likelihoods.ZeroInflatedNegativeBinomial
    zeros: ScaleKind = "predicted"
    """The probability of an extra zero: one "learned", one "per-entry", or "predicted"."""


class MultinomialLikelihood(LikelihoodDescription):
    """Counts given their total: how it is shared out."""

    kind: Literal["multinomial"] = "multinomial"
    family: ClassVar[Any] = likelihoods.Multinomial


class ContinuousBernoulliLikelihood(LikelihoodDescription):
    """Values in [0, 1], such as grey levels taken as numbers (Loaiza-Ganem and Cunningham 2019)."""

    kind: Literal["continuous-bernoulli"] = "continuous-bernoulli"
    family: ClassVar[Any] = likelihoods.ContinuousBernoulli


class BetaLikelihood(LikelihoodDescription):
    """Values between 0 and 1, the ends excluded."""

    kind: Literal["beta"] = "beta"
    family: ClassVar[Any] = likelihoods.Beta
    concentration: ScaleKind | PositiveFloat = "per-entry"
    """How narrow: one "learned", one "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least concentration."""


class StudentTLikelihood(LikelihoodDescription):
    """Real values with outliers."""

    kind: Literal["student-t"] = "student-t"
    family: ClassVar[Any] = likelihoods.StudentT
    standardizes: ClassVar[bool] = True
    scale: ScaleKind | PositiveFloat = "learned"
    """Scale in standardized units: one "learned", one "per-entry", "predicted", or a fixed number."""
    df: ScaleKind | PositiveFloat = "learned"
    """Degrees of freedom: likewise."""
    floor: PositiveFloat = 1e-3
    """The least scale, in standardized units."""


class GaussianMixtureLikelihood(LikelihoodDescription):
    """Real values with several modes."""

    kind: Literal["gaussian-mixture"] = "gaussian-mixture"
    family: ClassVar[Any] = likelihoods.GaussianMixture
    standardizes: ClassVar[bool] = True
    components: Size = 5
    """Gaussians in the mixture of each entry."""
    scale: ScaleKind | PositiveFloat = "predicted"
    """Standard deviations in standardized units: one "learned", one "per-entry", "predicted", or a fixed number."""
    floor: PositiveFloat = 1e-3
    """The least scale, in standardized units."""


class OrdinalLikelihood(BinomialLikelihood):
    """Ordered classes 0 to levels - 1, such as ratings."""

    kind: Literal["ordinal"] = "ordinal"  # pyright: ignore[reportIncompatibleVariableOverride]
    family: ClassVar[Any] = likelihoods.Ordinal
    cutpoints: Literal["learned", "per-entry"] = "per-entry"
    """The places between the classes: the same for all entries, or one set "per-entry"."""


class LogisticMixtureLikelihood(BinomialLikelihood):
    """Grey levels or colours, a mixture of logistics for each pixel (Salimans et al. 2017)."""

    kind: Literal["logistic-mixture"] = "logistic-mixture"  # pyright: ignore[reportIncompatibleVariableOverride]
    family: ClassVar[Any] = likelihoods.LogisticMixture
    components: Size = 10
    """Logistics in the mixture of each pixel."""
    floor: PositiveFloat = 1e-3
    """The least scale on the grid from -1 to 1."""


class PixelCNNLikelihood(BinomialLikelihood):
    """Images, each pixel given z and the pixels before it (van den Oord et al. 2016; Gulrajani et al. 2017)."""

    kind: Literal["pixelcnn"] = "pixelcnn"  # pyright: ignore[reportIncompatibleVariableOverride]
    family: ClassVar[Any] = likelihoods.PixelCNN
    channels: Size = 32
    """Channels of each gated layer."""
    layers: Size = 5
    """Number of gated layers."""
    kernel: Size = 5
    """Height and width of the convolutions, an odd number."""
    context_channels: Size = 16
    """Channels of the map that z is turned into."""


def known_levels(kind: str, given: int | None, spec: Spec) -> int:
    """The number of levels or classes: the one given, or that of the data."""
    levels = given or (2 if spec.support == "binary" else spec.levels)
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

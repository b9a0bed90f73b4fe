"""Descriptions of posteriors; each builds its part. The kinds are those of the architecture's table."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import nn

from amortized import posteriors
from amortized.recipes.networks import Network
from amortized.recipes.schema import BY_KIND, BY_NAME, Description, PositiveFloat, Size


class PosteriorDescription(Description):
    """What the posteriors have in common."""

    family: ClassVar[Any]
    space: ClassVar[str] = "real"

    network: Network | None = None
    """The encoder; the model's own network where none is given."""

    def build(self, in_shape: tuple[int, ...], latent_dim: int, network: Network, context_features: int) -> nn.Module:
        """The posterior q(z | x)."""
        return self.over((self.network or network).encoder(in_shape, context_features), latent_dim)

    def over(self, network: nn.Module, latent_dim: int) -> nn.Module:
        """The same with a network that is there already."""
        return self.family(network, latent_dim, **self.model_dump(exclude={"kind", "network"}))


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


class PlanarPosterior(PosteriorDescription):
    """A Gaussian pushed through planar flows (Rezende and Mohamed 2015)."""

    kind: Literal["planar"] = "planar"
    family: ClassVar[Any] = posteriors.Planar
    flows: Size = 4
    """Number of flows."""


class RadialPosterior(PlanarPosterior):
    """A Gaussian pushed through radial flows (Rezende and Mohamed 2015)."""

    kind: Literal["radial"] = "radial"  # pyright: ignore[reportIncompatibleVariableOverride]
    family: ClassVar[Any] = posteriors.Radial


class SylvesterPosterior(PosteriorDescription):
    """A Gaussian pushed through Sylvester flows (van den Berg et al. 2018)."""

    kind: Literal["sylvester"] = "sylvester"
    family: ClassVar[Any] = posteriors.Sylvester
    flows: Size = 4
    """Number of flows."""
    variant: Literal["orthogonal", "householder", "triangular"] = "orthogonal"
    """How the orthogonal matrix of each flow is made: by orthogonalization, as a product of reflections, or a permutation."""
    width: Size | None = None
    """Columns of the orthogonal matrix, for the variant "orthogonal"."""
    reflections: Size | None = None
    """Number of reflections, for the variant "householder"."""

    def over(self, network: nn.Module, latent_dim: int) -> nn.Module:
        """The posterior with a network that is there already."""
        return posteriors.Sylvester(network, latent_dim, self.flows, self.variant, width=self.width, reflections=self.reflections)


class IAFPosterior(PosteriorDescription):
    """A Gaussian pushed through inverse autoregressive flows (Kingma et al. 2016)."""

    kind: Literal["iaf"] = "iaf"
    family: ClassVar[Any] = posteriors.InverseAutoregressive
    flows: Size = 4
    """Number of flows."""
    hidden: list[Size] = [320]
    """Widths of the masked network of each flow."""
    summary: Size = 64
    """Features of the datum that each flow sees."""


class SplinePosterior(PosteriorDescription):
    """A Gaussian pushed through neural splines (Durkan et al. 2019)."""

    kind: Literal["spline"] = "spline"
    family: ClassVar[Any] = posteriors.Spline
    flows: Size = 4
    """Number of flows."""
    bins: Size = 8
    """Bins of each spline."""
    hidden: list[Size] = [128]
    """Widths of the network of each flow."""
    summary: Size = 64
    """Features of the datum that each flow sees."""


class MixturePosterior(PosteriorDescription):
    """A mixture of Gaussians, every one of which is drawn from (Morningstar et al. 2021)."""

    kind: Literal["mixture"] = "mixture"
    family: ClassVar[Any] = posteriors.MixtureOfGaussians
    components: Size = 5
    """Number of Gaussians."""


class DiscretePosterior(PosteriorDescription):
    """What the discrete posteriors have in common."""

    estimator: Literal["gumbel", "straight-through", "sample", "enumerate"] | None = None
    """In training: relaxed values, hard values with the gradient of the relaxed ones, hard values without one, or a sum over all
    values; "gumbel" where none is given, "sample" under an objective that takes the score function's gradient."""
    temperature: PositiveFloat = 1.0
    """Of the relaxation, at the first step."""
    final_temperature: PositiveFloat | None = None
    """The temperature after `temperature_steps`; that of the first step where none is given."""
    temperature_steps: Annotated[int, Field(ge=0)] = 0
    """Steps over which the temperature falls exponentially."""


class CategoricalPosterior(DiscretePosterior):
    """Classes, as many variables as there are latent dimensions (Jang et al. 2017)."""

    kind: Literal["categorical"] = "categorical"
    family: ClassVar[Any] = posteriors.Categorical
    space: ClassVar[str] = "categorical"
    classes: Annotated[int, Field(ge=2)] = 10
    """Classes of each variable."""


class BernoulliPosterior(DiscretePosterior):
    """Bits (Maddison et al. 2017)."""

    kind: Literal["bernoulli"] = "bernoulli"
    family: ClassVar[Any] = posteriors.Bernoulli
    space: ClassVar[str] = "binary"


class VonMisesFisherPosterior(PosteriorDescription):
    """A von Mises-Fisher distribution on the sphere of unit vectors with `latent_dim` entries (Davidson et al. 2018)."""

    kind: Literal["vmf"] = "vmf"
    family: ClassVar[Any] = posteriors.VonMisesFisher
    space: ClassVar[str] = "sphere"


class SemiAmortizedPosterior(PosteriorDescription):
    """A Gaussian that goes on from the encoder's guess by gradient steps on the datum's own bound (Kim et al. 2018)."""

    kind: Literal["semi-amortized"] = "semi-amortized"
    family: ClassVar[Any] = posteriors.SemiAmortized
    steps: Annotated[int, Field(ge=0)] = 5
    """Number of gradient steps."""
    step_size: PositiveFloat = 0.5
    """The first step, along the natural gradient; each datum's own grows and shrinks from there."""
    noise: Literal["cubature", "gaussian"] = "cubature"
    """The noise under which the bound is climbed: two points for each latent dimension, or random draws."""
    samples: Size = 32
    """Number of random draws."""
    end_to_end: bool = False
    """Whether the encoder's gradient goes through the steps."""


Posterior = Annotated[
    GaussianPosterior
    | FullGaussianPosterior
    | DeltaPosterior
    | PlanarPosterior
    | RadialPosterior
    | SylvesterPosterior
    | IAFPosterior
    | SplinePosterior
    | MixturePosterior
    | CategoricalPosterior
    | BernoulliPosterior
    | VonMisesFisherPosterior
    | SemiAmortizedPosterior,
    BY_KIND,
    BY_NAME,
]

"""Descriptions of hierarchies: models with two or more stochastic layers."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from torch import nn

from amortized import priors
from amortized.errors import InputError
from amortized.models import BottomUp, Ladder, TopDown
from amortized.models.factorizations import Factorization
from amortized.networks import MLP, Joined
from amortized.posteriors import DiagonalGaussian
from amortized.recipes.networks import MLPDescription, Network
from amortized.recipes.posteriors import Posterior
from amortized.recipes.schema import BY_KIND, BY_NAME, Description, Size
from amortized.recipes.site import Site

Widths = list[Size]


class HierarchyDescription(Description, ABC):
    """What the hierarchies have in common."""

    latent_dims: Annotated[list[Size], Field(min_length=1)] = [20]
    """Latent dimensions of each group above the first, which has `model.latent_dim`."""
    hidden: list[Widths] | None = None
    """Widths of the networks between each group and the next, upwards; downwards they are reversed. One hidden layer, as wide as
    the last of `model.network`, where none are given."""
    skip: bool = False
    """Whether the decoder sees all groups, not the first alone."""

    @model_validator(mode="after")
    def _one_network_for_each(self) -> "HierarchyDescription":
        if self.hidden is not None and len(self.hidden) != len(self.latent_dims):
            raise PydanticCustomError(
                "hidden", "hidden has {hidden} lists of widths for {groups} latent_dims; give one for each",
                {"hidden": len(self.hidden), "groups": len(self.latent_dims)},
            )  # fmt: skip
        return self

    @abstractmethod
    def inference(
        self, in_shape: tuple[int, ...], latent_dim: int, network: Network, posterior: Posterior, context_features: int
    ) -> Factorization:
        """q(z_1, ..., z_L | x)."""

    def links(self, latent_dim: int, network: Network, context_features: int) -> list[nn.Module]:
        """p(z_{L-1} | z_L), ..., p(z_1 | z_2)."""
        dims = [latent_dim, *self.latent_dims]
        return [
            DiagonalGaussian(between(network, above, widths[::-1], context_features), below)
            for below, above, widths in reversed(list(zip(dims, dims[1:], self.widths(network), strict=False)))
        ]

    def decoder(self, latent_dim: int, network: Network, context_features: int) -> nn.Module | None:
        """The decoder's network where it sees all groups through layers of their own; None where it is the model's own."""
        if not self.skip or not isinstance(network, MLPDescription) or not network.hidden:
            return None
        first, *rest = network.hidden[::-1]
        branches = [between(network, dim, [first]) for dim in (latent_dim, *self.latent_dims)]
        return Joined(branches, between(network, first * len(branches), rest or [first], context_features))

    def widths(self, network: Network) -> list[Widths]:
        """Of the networks between each group and the next."""
        own = getattr(network, "hidden", None) or [128]
        return self.hidden or [[own[-1]] for _ in self.latent_dims]

    def top(self, inference: Factorization, site: Site) -> Site:
        """Where the prior of the top group is put, given where it would be if its posterior saw the data."""
        return site


class BottomUpHierarchy(HierarchyDescription):
    """Inferred from the data up: q(z_1 | x) q(z_2 | z_1) ... (Burda et al. 2016)."""

    kind: Literal["bottom-up"] = "bottom-up"

    def inference(
        self, in_shape: tuple[int, ...], latent_dim: int, network: Network, posterior: Posterior, context_features: int
    ) -> Factorization:
        """q(z_1, ..., z_L | x)."""
        dims = [latent_dim, *self.latent_dims]
        upper = [
            posterior.over(between(network, below, widths, context_features), above)
            for below, above, widths in zip(dims, dims[1:], self.widths(network), strict=False)
        ]
        return BottomUp([posterior.build(in_shape, latent_dim, network, context_features), *upper])

    def top(self, inference: Factorization, site: Site) -> Site:
        """Where the prior of the top group is put: its posterior sees the group below, not the data."""
        return replace(site, in_shape=tuple(inference.event_shapes[-2]), rows=None, is_bounded=False)


class TopDownHierarchy(HierarchyDescription):
    """Inferred from the top down, all from the data: q(z_2 | x) q(z_1 | x, z_2) (Tomczak and Welling 2018)."""

    kind: Literal["top-down"] = "top-down"

    def inference(
        self, in_shape: tuple[int, ...], latent_dim: int, network: Network, posterior: Posterior, context_features: int
    ) -> Factorization:
        """q(z_1, ..., z_L | x)."""
        dims = [latent_dim, *self.latent_dims]
        drawn: list[nn.Module] = [posterior.build(in_shape, dims[-1], network, context_features)]
        features: list[nn.Module | None] = []
        for below, above, widths in reversed(list(zip(dims, dims[1:], self.widths(network), strict=False))):
            first, rest = widths[0], widths[1:] or widths
            features.append(between(network, in_shape, [first], context_features))
            beside = Joined(
                [MLP(first, []), between(network, above, [first])], between(network, 2 * first, rest, context_features)
            )
            drawn.append(posterior.over(beside, below))
        return TopDown(drawn, features)


class LadderHierarchy(HierarchyDescription):
    """A deterministic way up; down, what it says times the model's own prior of each group (Sonderby et al. 2016)."""

    kind: Literal["ladder"] = "ladder"

    def inference(
        self, in_shape: tuple[int, ...], latent_dim: int, network: Network, posterior: Posterior, context_features: int
    ) -> Factorization:
        """q(z_1, ..., z_L | x)."""
        networks: list[Any] = [(posterior.network or network).encoder(in_shape, context_features)]
        for widths in self.widths(network):
            networks.append(between(network, networks[-1].out_features, widths))
        return Ladder(networks, [latent_dim, *self.latent_dims])

    def top(self, inference: Factorization, site: Site) -> Site:
        """Where the prior of the top group is put: its posterior is the whole way up."""
        assert isinstance(inference, Ladder)
        return replace(site, posterior=inference.top)


class MeanHierarchy(BottomUpHierarchy):
    """A second latent that is the mean of the first: the hyperprior of the prior 'gaussian'."""

    def inference(
        self, in_shape: tuple[int, ...], latent_dim: int, network: Network, posterior: Posterior, context_features: int
    ) -> Factorization:
        """q(z | x) q(mu | z), the latter linear in z, as the conjugate one is."""
        q = posterior.build(in_shape, latent_dim, network, context_features)
        return BottomUp([q, DiagonalGaussian(MLP(latent_dim, [], context_features=context_features), latent_dim)])

    def links(self, latent_dim: int, network: Network, context_features: int) -> list[nn.Module]:
        """p(z | mu)."""
        return [priors.Centered(latent_dim)]


def hierarchy_of(hierarchy: HierarchyDescription | None, prior: Description | None) -> HierarchyDescription | None:
    """The hierarchy of a model: its own, or that of a prior with a hyperprior; None for one latent.

    Raises:
        InputError: There are both.
    """
    if not getattr(prior, "hyperprior", False):
        return hierarchy
    if hierarchy is not None:
        raise InputError(
            "model.prior.hyperprior makes a hierarchy of its own, and model.hierarchy asks for another; leave one of the two out."
        )
    return MeanHierarchy()


def between(network: Network, in_shape: int | tuple[int, ...], hidden: Widths, context_features: int = 0) -> MLP:
    """A multilayer perceptron in the style of the model's network."""
    style = MLPDescription() if not isinstance(network, MLPDescription) else network
    shape = (in_shape,) if isinstance(in_shape, int) else in_shape
    return style.model_copy(update={"hidden": hidden}).encoder(shape, context_features)  # pyright: ignore[reportReturnType]


Hierarchy = Annotated[BottomUpHierarchy | TopDownHierarchy | LadderHierarchy, BY_KIND, BY_NAME]

"""Descriptions of priors; each builds its part. The kinds are those of the architecture's table."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from amortized import priors
from amortized.errors import InputError
from amortized.recipes.networks import MLPDescription, Network
from amortized.recipes.schema import BY_KIND, BY_NAME, Description, PositiveFloat, Size
from amortized.recipes.site import Site

DEFAULT_PRIOR = {"real": "normal", "sphere": "uniform", "binary": "uniform", "categorical": "uniform"}
"""The prior that a posterior brings, by its space."""

MOST_COMPONENTS = 500
"""Pseudo-inputs of a VampPrior where no number is given (Tomczak and Welling 2018, section 5.1)."""


class PriorDescription(Description, ABC):
    """What the priors have in common."""

    @abstractmethod
    def build(self, site: Site) -> nn.Module:
        """The prior p(z), or p(z | y)."""

    def _refuse_condition(self, site: Site) -> None:
        if site.context_features and not site.has_links:  # links see it, if the prior above them does not
            kind = self.kind  # pyright: ignore[reportAttributeAccessIssue]
            raise InputError(
                f"prior '{kind}' takes no condition; use one that does, such as 'gaussian', or leave 'prior' out of"
                " model.condition."
            )


class NormalPrior(PriorDescription):
    """The standard normal."""

    kind: Literal["normal"] = "normal"

    def build(self, site: Site) -> nn.Module:
        """The prior p(z)."""
        self._refuse_condition(site)
        return priors.StandardNormal(site.event)


class GaussianPrior(PriorDescription):
    """A Gaussian with learned moments, predicted from the condition where `model.condition` names the prior."""

    kind: Literal["gaussian"] = "gaussian"
    hyperprior: bool = False
    """Whether its mean is a second latent, mu ~ N(tau, theta^2), inferred for each datum."""
    network: Network | None = None
    """Of the condition; the model's own where none is given."""

    def build(self, site: Site) -> nn.Module:
        """The prior p(z), or p(z | y)."""
        return priors.Gaussian(site.event, condition_network(self.network, site))


class UniformPrior(PriorDescription):
    """The uniform distribution of a sphere, of bits or of classes."""

    kind: Literal["uniform"] = "uniform"

    def build(self, site: Site) -> nn.Module:
        """The prior p(z)."""
        self._refuse_condition(site)
        return priors.Uniform(site.event, space=site.space)


class MixturePrior(PriorDescription):
    """A mixture of Gaussians, learned."""

    kind: Literal["mixture"] = "mixture"
    components: Size = 10
    """Number of Gaussians."""
    network: Network | None = None
    """Of the condition; the model's own where none is given."""

    def build(self, site: Site) -> nn.Module:
        """The prior p(z), or p(z | y)."""
        return priors.Mixture(site.event, components=self.components, network=condition_network(self.network, site))


class VampPrior(PriorDescription):
    """The mean of q(z | u) over pseudo-inputs u (Tomczak and Welling 2018)."""

    kind: Literal["vamp"] = "vamp"
    components: Size | None = None
    """Number of pseudo-inputs; 500 where none is given, or as many as there are training data."""
    start: Literal["data", "random"] = "data"
    """The pseudo-inputs before training: rows of the training data, or Gaussian noise."""
    mean: float = 0.05
    """Of the random start, in what the encoder sees."""
    std: PositiveFloat = 0.01
    """Of the random start."""
    learn_weights: bool = False
    """Whether the components' weights are learned; all weigh the same otherwise."""

    def build(self, site: Site) -> nn.Module:
        """The prior p(z), or p(z | y) through the posterior's condition."""
        if site.context_features and not site.posterior_context:
            raise InputError(
                "prior 'vamp' sees a condition through the posterior, and model.condition names the prior only; name both, or"
                " leave the prior out."
            )
        pseudo_inputs, low, high = self._start(site)
        own_context = 0 if site.context_features else site.posterior_context
        return priors.Vamp(site.posterior, pseudo_inputs, low, high, pseudo_context=own_context, learn_weights=self.learn_weights)

    def _start(self, site: Site) -> tuple[Tensor, Tensor, Tensor]:
        """The pseudo-inputs before training, and the range that they are kept in."""
        assert self.components is not None  # chosen with the data
        if not site.is_bounded:
            return torch.randn(self.components, *site.in_shape), torch.tensor(-torch.inf), torch.tensor(torch.inf)
        is_mask = torch.tensor(False) if site.mask is None else site.mask
        if site.rows is None:  # what is loaded next brings its own
            low, high = torch.zeros(is_mask.shape), torch.ones(is_mask.shape)
            return torch.zeros(self.components, *site.in_shape), low, high
        values = (rows if site.mask is None else rows[:, ~is_mask] for rows in site.rows())
        extremes = [torch.stack((rows.min(), rows.max(), torch.tensor(float(len(rows))))) for rows in values]
        low, high, count = torch.stack(extremes).unbind(1)
        count = int(count.sum())
        low, high = torch.where(is_mask, 0.0, low.min()), torch.where(is_mask, 1.0, high.max())
        if self.start == "random":
            mean = torch.where(is_mask, 1.0, self.mean)
            return priors.random_pseudo_inputs(self.components, site.in_shape, mean=mean, std=self.std), low, high
        if count < self.components:
            raise InputError(
                f"prior 'vamp' starts its {self.components} components at training data, of which there are {count}; lower"
                " model.prior.components, or take start='random'."
            )
        chosen = torch.randperm(count)[: self.components].sort().values  # data may come sorted by class
        pseudo_inputs, first = [], 0
        for rows in site.rows():
            pseudo_inputs.append(rows[chosen[(chosen >= first) & (chosen < first + len(rows))] - first])
            first += len(rows)
        return torch.cat(pseudo_inputs), low, high


class FlowPrior(PriorDescription):
    """A normalizing flow (zuko)."""

    kind: Literal["flow"] = "flow"
    flow: Literal["coupling", "spline", "maf"] = "coupling"
    """Affine coupling layers, neural splines, or masked autoregressive layers."""
    transforms: Size = 3
    """Number of layers."""
    hidden: list[Size] = [64, 64]
    """Widths of the network of each layer."""
    bins: Size = 8
    """Bins of each spline."""

    def build(self, site: Site) -> nn.Module:
        """The prior p(z), or p(z | y)."""
        return priors.Flow(
            site.event,
            kind=self.flow,
            transforms=self.transforms,
            hidden=self.hidden,
            bins=self.bins,
            context_features=site.context_features,
        )


class AutoregressivePrior(PriorDescription):
    """A product of conditionals over latent dimensions, or groups of them."""

    kind: Literal["autoregressive"] = "autoregressive"
    hidden: list[Size] = [128, 128]
    """Widths of the masked network."""
    groups: Size | None = None
    """Number of groups, whose members are independent given those before; one for each dimension where none is given."""
    components: Size = 1
    """Gaussians in the mixture of each conditional, for real latents."""

    def build(self, site: Site) -> nn.Module:
        """The prior p(z), or p(z | y)."""
        return priors.Autoregressive(
            site.event,
            space=site.space,  # pyright: ignore[reportArgumentType]
            hidden=self.hidden,
            groups=self.groups,
            components=self.components,
            context_features=site.context_features,
        )


def condition_network(own: Network | None, site: Site) -> nn.Module | None:
    """The network of a prior's condition; None where it is called with none."""
    if not site.context_features:
        return None
    of_vectors = site.network if isinstance(site.network, MLPDescription) else MLPDescription()  # a condition is no image
    return (own or of_vectors).encoder((site.context_features,))


Prior = Annotated[
    NormalPrior | GaussianPrior | UniformPrior | MixturePrior | VampPrior | FlowPrior | AutoregressivePrior, BY_KIND, BY_NAME
]

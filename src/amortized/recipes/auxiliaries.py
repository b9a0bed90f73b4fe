"""Descriptions of objectives that have a network of their own, trained beside the model."""

import math
from abc import ABC
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import Field
from torch import Tensor

from amortized import objectives
from amortized.errors import InputError
from amortized.recipes.objective import ObjectiveDescription, Setting
from amortized.recipes.schedules import Weight
from amortized.recipes.schema import PositiveFloat, Probability, Size

Value = TypeVar("Value")


class AuxiliaryDescription(ObjectiveDescription, ABC):
    """What they have in common: the network and its optimizer; the other fields are hyper-parameters of the function."""

    of_network: ClassVar[frozenset[str]] = frozenset({"hidden", "lr", "betas"})

    hidden: Annotated[list[Size], Field(min_length=1)]
    """Widths of the objective's own network."""
    lr: PositiveFloat
    """The learning rate of the objective's own network, which is constant."""
    betas: tuple[Probability, Probability]
    """Decay rates of the two moments of the optimizer of the objective's own network."""

    def _values(self, setting: Setting) -> dict[str, Any]:
        return {name: value for name, value in super()._values(setting).items() if name not in self.of_network}


def _told(value: Value | None, kind: str, name: str) -> Value:
    """What the model tells of itself.

    Raises:
        InputError: It does not.
    """
    if value is None:
        raise InputError(
            f"objective '{kind}' has a network of its own, whose input this model does not tell by a `{name}`; give the model"
            f" that attribute, or give an Objective in place of the name '{kind}'."
        )
    return value


class Factor(AuxiliaryDescription):
    """FactorVAE: the evidence lower bound less the total correlation of the aggregate posterior (Kim and Mnih 2018)."""

    kind: Literal["factor"] = "factor"
    function: ClassVar[Any] = objectives.FactorVAE
    gamma: Weight = 35.0
    """Weight of the total correlation; the paper's on dSprites."""
    hidden: Annotated[list[Size], Field(min_length=1)] = [1000] * 6
    """Widths of the discriminator."""
    lr: PositiveFloat = 1e-4
    """Learning rate of the discriminator, which is constant."""
    betas: tuple[Probability, Probability] = (0.5, 0.9)
    """Decay rates of the two moments of the discriminator's optimizer."""

    def _function(self, setting: Setting) -> Callable[..., Tensor]:
        latent_size = _told(setting.latent_size, self.kind, "latent_size")
        return objectives.FactorVAE(latent_size, self.hidden, lr=self.lr, betas=self.betas)


class InfoMax(AuxiliaryDescription):
    """InfoMax-VAE: the evidence lower bound and a bound of the mutual information (Rezaabad and Vishwanath 2020)."""

    kind: Literal["infomax"] = "infomax"
    function: ClassVar[Any] = objectives.InfoMaxVAE
    alpha: Weight = 20.0
    """Weight of the mutual information of data and latents."""
    beta: Weight = 1.0
    """Weight of the KL."""
    hidden: Annotated[list[Size], Field(min_length=1)] = [1000, 400, 100]
    """Widths of the critic."""
    lr: PositiveFloat = 1e-5
    """Learning rate of the critic, which is constant."""
    betas: tuple[Probability, Probability] = (0.9, 0.999)
    """Decay rates of the two moments of the critic's optimizer."""

    def _function(self, setting: Setting) -> Callable[..., Tensor]:
        entries = math.prod(_told(setting.seen_shape, self.kind, "seen_shape"))
        latent_size = _told(setting.latent_size, self.kind, "latent_size")
        return objectives.InfoMaxVAE(latent_size, entries, self.hidden, lr=self.lr, betas=self.betas)

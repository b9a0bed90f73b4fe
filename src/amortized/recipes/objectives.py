"""Descriptions of objectives: bounds, their gradients, and the rate.

Those with a regularizer are in `regularizers`, and those with a network of their own in `auxiliaries`.
"""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field
from torch import Tensor

from amortized import objectives
from amortized.errors import InputError
from amortized.objectives import Objective, Schedule
from amortized.recipes.auxiliaries import Factor, InfoMax
from amortized.recipes.objective import ObjectiveDescription, Setting, scheduled
from amortized.recipes.regularizers import DIPI, DIPII, WAE, BetaTCVAE, InfoVAE
from amortized.recipes.schedules import Hyper, LinearSchedule, ScheduleDescription, Share, Weight
from amortized.recipes.schema import BY_KIND, BY_NAME, Size


class ELBO(ObjectiveDescription):
    """The evidence lower bound."""

    kind: Literal["elbo"] = "elbo"
    beta: Weight = 1.0
    """Weight of the KL; 1 is the bound."""
    kl: Literal["exact", "sampled"] = "exact"
    """The closed form of the KL where there is one, or its Monte Carlo value."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which beta rises linearly from 0."""
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """The same in steps; takes precedence."""

    def _function(self, setting: Setting) -> Callable[..., Tensor]:
        return objectives.elbo if self.kl == "exact" else objectives.elbo_sampled

    def _values(self, setting: Setting) -> dict[str, Any]:
        return {"beta": warmed_up(self.beta, self.warmup_epochs, self.warmup_steps, setting)}


class Beta(ELBO):
    """The beta-VAE's objective (Higgins et al. 2017, equation 4)."""

    kind: Literal["beta"] = "beta"  # pyright: ignore[reportIncompatibleVariableOverride]
    beta: Weight = 4.0
    """Weight of the KL; above 1 the value is below the bound."""


class STL(ELBO):
    """The evidence lower bound by sticking the landing (Roeder et al. 2017): no gradient of the score function."""

    kind: Literal["stl"] = "stl"  # pyright: ignore[reportIncompatibleVariableOverride]
    kl: Literal["sampled"] = "sampled"  # pyright: ignore[reportIncompatibleVariableOverride]
    """Its Monte Carlo value: a closed form has no path through z."""

    def _function(self, setting: Setting) -> Callable[..., Tensor]:
        return objectives.stl


class Capacity(ObjectiveDescription):
    """The KL held to a capacity that grows (Burgess et al. 2018, equation 8)."""

    kind: Literal["capacity"] = "capacity"
    function: ClassVar[Any] = objectives.capacity
    gamma: Weight = 1000.0
    """Weight of the distance from the capacity."""
    capacity: Weight = LinearSchedule(end=25.0)
    """The capacity C, in nats."""


class FreeBits(ObjectiveDescription):
    """The evidence lower bound in which every KL costs at least so much (Kingma et al. 2016, equation 15)."""

    kind: Literal["free-bits"] = "free-bits"
    bits: Weight = 0.5
    """What a KL costs at least, in nats, in the mean over a minibatch."""
    per: Literal["latent", "dimension"] = "latent"
    """Of each latent variable, or of each of its entries."""

    def _function(self, setting: Setting) -> Callable[..., Tensor]:
        return objectives.free_bits if self.per == "latent" else objectives.free_bits_per_dimension

    def _values(self, setting: Setting) -> dict[str, Any]:
        return {"bits": scheduled(self.bits, setting)}


class IWAE(ObjectiveDescription):
    """The importance-weighted bound (Burda et al. 2016)."""

    kind: Literal["iwae"] = "iwae"
    function: ClassVar[Any] = objectives.iwae
    samples: Size = 5
    """Posterior samples per datum in training, the bound's K."""


class DReG(IWAE):
    """The importance-weighted bound with its doubly reparameterized gradient (Tucker et al. 2019)."""

    kind: Literal["dreg"] = "dreg"  # pyright: ignore[reportIncompatibleVariableOverride]
    function: ClassVar[Any] = objectives.dreg


class CIWAE(IWAE):
    """Between the evidence lower bound and the importance-weighted one (Rainforth et al. 2018)."""

    kind: Literal["ciwae"] = "ciwae"  # pyright: ignore[reportIncompatibleVariableOverride]
    function: ClassVar[Any] = objectives.ciwae
    samples: Size = 64
    """Posterior samples per datum in training."""
    beta: Share = 0.5
    """Weight of the evidence lower bound."""


class MIWAE(IWAE):
    """The mean of several importance-weighted bounds (Rainforth et al. 2018)."""

    kind: Literal["miwae"] = "miwae"  # pyright: ignore[reportIncompatibleVariableOverride]
    function: ClassVar[Any] = objectives.miwae
    fixed: ClassVar[frozenset[str]] = frozenset({"groups"})
    samples: Size = 64
    """Posterior samples per datum in training, M K in all."""
    groups: Size = 8
    """The number M of bounds; a divisor of the samples."""

    def build(self, setting: Setting) -> Objective:
        """The objective."""
        if self.samples % self.groups:
            raise InputError(
                f"objective.samples is {self.samples}, which {self.groups} groups do not divide; give a multiple of"
                " objective.groups."
            )
        return super().build(setting)


class PIWAE(MIWAE):
    """The importance-weighted bound for the decoder, several smaller ones for the encoder (Rainforth et al. 2018)."""

    kind: Literal["piwae"] = "piwae"  # pyright: ignore[reportIncompatibleVariableOverride]
    function: ClassVar[Any] = objectives.piwae


class Renyi(IWAE):
    """The variational Renyi bound (Li and Turner 2016)."""

    kind: Literal["renyi"] = "renyi"  # pyright: ignore[reportIncompatibleVariableOverride]
    function: ClassVar[Any] = objectives.renyi
    samples: Size = 50
    """Posterior samples per datum in training."""
    alpha: Hyper = 0.5
    """The order: 0 is the importance-weighted bound, 1 the evidence lower bound."""


class RLOO(ELBO):
    """The evidence lower bound by the score function, each sample against the mean of the others (Kool et al. 2019)."""

    kind: Literal["rloo"] = "rloo"  # pyright: ignore[reportIncompatibleVariableOverride]
    samples: Annotated[int, Field(ge=2)] = 4
    """Posterior samples per datum in training."""
    kl: Literal["exact"] = "exact"  # pyright: ignore[reportIncompatibleVariableOverride]
    """The closed form of the KL where there is one."""

    def _function(self, setting: Setting) -> Callable[..., Tensor]:
        return objectives.rloo


class VIMCO(ObjectiveDescription):
    """The importance-weighted bound by the score function, each sample against the others (Mnih and Rezende 2016)."""

    kind: Literal["vimco"] = "vimco"
    function: ClassVar[Any] = objectives.vimco
    samples: Annotated[int, Field(ge=2)] = 5
    """Posterior samples per datum in training, the bound's K."""


def warmed_up(value: Any, epochs: float, steps: int | None, setting: Setting) -> float | Schedule:
    """A number that rises linearly from 0 in so many epochs, or steps; a schedule as it is.

    Raises:
        InputError: A schedule is to be warmed up as well.
    """
    length = round(epochs * setting.steps_per_epoch) if steps is None else steps
    if length and isinstance(value, ScheduleDescription):
        raise InputError("objective.beta is a schedule, and has a warm-up besides; leave out warmup_epochs and warmup_steps.")
    return objectives.Linear(0.0, value, length) if length else scheduled(value, setting)


ObjectiveKind = Annotated[
    ELBO
    | Beta
    | Capacity
    | FreeBits
    | IWAE
    | MIWAE
    | CIWAE
    | PIWAE
    | DReG
    | STL
    | Renyi
    | RLOO
    | VIMCO
    | BetaTCVAE
    | DIPI
    | DIPII
    | InfoVAE
    | WAE
    | Factor
    | InfoMax,
    BY_KIND,
    BY_NAME,
]

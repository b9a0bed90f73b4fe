"""Descriptions of objectives; each builds its `Objective` once the length of an epoch is known."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from amortized.objectives import Linear, Objective, Schedule, elbo, elbo_sampled, iwae
from amortized.recipes.schema import BY_KIND, BY_NAME, Description, Size


class ObjectiveDescription(Description, ABC):
    """What the objectives have in common."""

    samples: Size = 1
    """Posterior samples per datum in training."""

    @abstractmethod
    def build(self, steps_per_epoch: int) -> Objective:
        """The objective."""


class ELBO(ObjectiveDescription):
    """The evidence lower bound."""

    kind: Literal["elbo"] = "elbo"
    beta: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the KL; 1 is the bound."""
    kl: Literal["exact", "sampled"] = "exact"
    """The closed form of the KL where there is one, or its Monte Carlo value."""
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    """Epochs over which beta rises linearly from 0."""
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """The same in steps; takes precedence."""

    def build(self, steps_per_epoch: int) -> Objective:
        """The objective."""
        steps = round(self.warmup_epochs * steps_per_epoch) if self.warmup_steps is None else self.warmup_steps
        beta: float | Schedule = Linear(0.0, self.beta, steps) if steps else self.beta
        return Objective(elbo if self.kl == "exact" else elbo_sampled, self.samples, {"beta": beta})


class Beta(ELBO):
    """The beta-VAE's objective (Higgins et al. 2017, equation 4)."""

    kind: Literal["beta"] = "beta"  # pyright: ignore[reportIncompatibleVariableOverride]
    beta: Annotated[float, Field(ge=0)] = 4.0
    """Weight of the KL; above 1 the value is below the bound."""


class IWAE(ObjectiveDescription):
    """The importance-weighted bound (Burda et al. 2016)."""

    kind: Literal["iwae"] = "iwae"
    samples: Size = 5
    """Posterior samples per datum in training, the bound's K."""

    def build(self, steps_per_epoch: int) -> Objective:
        """The objective."""
        return Objective(iwae, self.samples)


ObjectiveKind = Annotated[ELBO | Beta | IWAE, BY_KIND, BY_NAME]

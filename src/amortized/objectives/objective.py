"""What an objective is: a function of the terms, the hyper-parameters it takes, and what it needs of a model.

An objective returns (B,) values in nats and is *maximized*; the batch mean is taken once, last, by the training loop. A function
of the record becomes an objective by `Objective(function)`. What it needs beyond the KL it declares with `@needs(...)`; a model
says what it offers, and a pair that cannot work is refused before anything is computed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from torch import Tensor

from amortized.errors import InputError
from amortized.objectives.schedules import Schedule
from amortized.terms import Terms

NEEDS: Mapping[str, str] = {
    "log_w": "complete importance weights log p(x, z) - log q(z | x)",
    "density": "the density of the posterior at the values drawn in training",
}
"""What an objective can need of a model and not every model offers, in words."""

Function = TypeVar("Function", bound=Callable[..., Tensor])


def needs(*names: str, samples: int = 1) -> Callable[[Function], Function]:
    """Declare what an objective's function needs beyond the KL.

    Args:
        *names: Of a model, names of `NEEDS`.
        samples: Posterior samples to train with, unless told otherwise.
    """

    def declare(function: Function) -> Function:
        function.needs = frozenset(names)  # pyright: ignore[reportFunctionMemberAccess]
        function.samples = samples  # pyright: ignore[reportFunctionMemberAccess]
        return function

    return declare


@dataclass(frozen=True)
class Objective:
    """A function of the terms with its hyper-parameters, each a number or a schedule over the steps.

    Attributes:
        function: Takes `Terms` and the hyper-parameters by name, returns (B,) nats to be maximized.
        samples: The number K of posterior samples it is trained with; by default what the function declared.
        hyper: Hyper-parameters by name.
        gradient: "total", or "path" to hold the parameters of q constant where it is scored.

    Example:
        >>> from amortized.objectives import Linear, Objective, elbo
        >>> warm_up = Objective(elbo, hyper={"beta": Linear(0.0, 1.0, steps=100)})
        >>> warm_up.values(step=25), warm_up.values()
        ({'beta': 0.25}, {'beta': 1.0})
    """

    function: Callable[..., Tensor]
    samples: int = None  # pyright: ignore[reportAssignmentType] __post_init__ asks the function
    hyper: Mapping[str, float | Schedule] = field(default_factory=dict)
    gradient: Literal["total", "path"] = "total"

    def __post_init__(self):
        if self.samples is None:
            object.__setattr__(self, "samples", getattr(self.function, "samples", 1))
        if not isinstance(self.samples, int) or self.samples < 1:
            raise InputError(f"objective.samples must be a positive integer; it is {self.samples}; 1 is the usual choice.")
        if self.gradient == "path" and "log_w" in self.needs:
            raise InputError(
                f"objective '{self.name}' has gradient 'path', which is biased for importance weights; take 'total', or 'elbo'."
            )

    @property
    def name(self) -> str:
        """The name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def needs(self) -> frozenset[str]:
        """What the function declared that it needs of a model; the path gradient needs the posterior's density."""
        own: frozenset[str] = getattr(self.function, "needs", frozenset())
        return own | {"density"} if self.gradient == "path" else own

    def values(self, step: int | None = None) -> dict[str, float]:
        """The hyper-parameters at a step, or at the end of every schedule."""
        return {name: value.at(step) if isinstance(value, Schedule) else value for name, value in self.hyper.items()}

    def is_settled(self, step: int) -> bool:
        """Whether every schedule has come to its end."""
        return self.values(step) == self.values()

    def __call__(self, terms: Terms, **values: float | Tensor) -> Tensor:
        """Score the terms: (B,) nats. Hyper-parameters not given in `values` stand at the end of their schedule."""
        return self.function(terms, **{**self.values(), **values})


def check_compatible(objective: Objective, offers: frozenset[str], model: str) -> None:
    """Refuse an objective that needs what a model does not offer.

    Args:
        objective: The objective.
        offers: The names of `NEEDS` that the model offers.
        model: The model in words, for the message.

    Raises:
        InputError: Something needed is not offered.
    """
    for name in sorted(objective.needs - offers):
        raise InputError(
            f"objective '{objective.name}' needs {NEEDS[name]}, which {model} does not have."
            " Take the objective 'elbo' with the closed form of the KL, a posterior with a density such as 'gaussian', or the"
            " estimator 'enumerate' of a discrete one."
        )

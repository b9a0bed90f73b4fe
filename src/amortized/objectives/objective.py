"""What an objective is: a function of the terms, the hyper-parameters it takes, and what it needs of a model.

An objective returns (B,) values in nats and is *maximized*; the batch mean is taken once, last, by the training loop. A function
of the record becomes an objective by `Objective(function)`. What it needs beyond the KL it declares with `@needs(...)`; a model
says what it offers, and a pair that cannot work is refused before anything is computed. A function that has a network of its own,
such as the discriminator of FactorVAE, is an `Auxiliary`.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeVar

from torch import Tensor

from amortized.errors import InputError
from amortized.objectives.auxiliary import Auxiliary
from amortized.objectives.schedules import Schedule, is_number, is_whole
from amortized.terms import Terms


class Need(NamedTuple):
    """What an objective can need of a model and not every model offers.

    Attributes:
        words: What it is.
        way_out: What to take where a model does not have it.
    """

    words: str
    way_out: str


_WITH_DENSITY = (
    "Take the objective 'elbo' with the closed form of the KL, a posterior with a density such as 'gaussian', or for a discrete"
    " one the estimator 'enumerate', or 'sample' with the objectives 'rloo' and 'vimco'."
)
NEEDS: Mapping[str, Need] = {
    "log_w": Need("complete importance weights log p(x, z) - log q(z | x)", _WITH_DENSITY),
    "density": Need("the density of the posterior at the values drawn in training", _WITH_DENSITY),
    "pathwise": Need(
        "draws of the posterior that have a gradient",
        "Take the objective 'rloo' or 'vimco', or another estimator of the discrete posterior.",
    ),
    "alike": Need(
        "posterior samples that are drawn alike and weigh the same",
        "Take the objective 'iwae', or a posterior without strata that does not enumerate its values.",
    ),
    "bound": Need(
        "a KL to hold to a value",
        "Take the objective 'elbo', or a posterior with a density, such as 'gaussian'.",
    ),
    "separate": Need(
        "a log joint of each datum that does not depend on the draws of others",
        "Take the norm 'layer' in the place of 'batch' and a scale other than 'optimal', or the objective 'elbo' or 'iwae'.",
    ),
    "entrywise": Need(
        "a KL of every latent that is a sum over its entries",
        "Take free bits per latent, or the posterior 'gaussian' or 'semi-amortized' with the prior 'normal' or 'gaussian',"
        " inferred from the top down where there is a hierarchy; parts of your own declare `is_mean_field = True`.",
    ),
    "free": Need(
        "latents whose entries do not determine each other, as those of a one-hot or a unit vector do",
        "Take a posterior over real numbers or bits, such as 'gaussian', or the objective 'elbo' or 'infomax'.",
    ),
    "mean_field": Need(
        "one latent variable whose posterior is a Gaussian with independent entries",
        "Take the posterior 'gaussian' or 'semi-amortized' without a hierarchy; one of your own declares `is_mean_field = True`.",
    ),
    "moments": Need(
        "one latent variable whose posterior has a mean and a covariance in closed form",
        "Take the posterior 'gaussian', 'full-gaussian', 'semi-amortized' or 'delta' without a hierarchy; one of your own"
        " declares `has_moments = True`.",
    ),
    "prior_draws": Need(
        "one latent variable whose prior has draws with a gradient",
        "Take the prior 'normal', 'gaussian', 'flow' or 'uniform' without a hierarchy, or the objective 'elbo'.",
    ),
}
"""What an objective can need of a model, by name."""

Gradient = Literal["total", "path", "split", "score"]
Function = TypeVar("Function", bound=Callable[..., Tensor])


def needs(
    *names: str, samples: int = 1, least: int = 1, gradient: Gradient = "total", rows: int = 1
) -> Callable[[Function], Function]:
    """Declare what an objective's function needs beyond the KL.

    Args:
        *names: Of a model, names of `NEEDS`.
        samples: Posterior samples to train with, unless told otherwise.
        least: The smallest number that it works with.
        gradient: How the terms must depend on the parameters of the posterior (`amortized.models.Gradient`).
        rows: The smallest number of data in a minibatch of all processes.
    """
    declared = {"needs": frozenset(names), "samples": samples, "least": least, "gradient": gradient, "rows": rows}

    def declare(function: Function) -> Function:
        for name, value in declared.items():
            setattr(function, name, value)
        return function

    return declare


@dataclass(frozen=True)
class Objective:
    """A function of the terms with its hyper-parameters, each a number or a schedule over the steps.

    Attributes:
        function: Takes `Terms` and the hyper-parameters by name, returns (B,) nats to be maximized.
        samples: The number K of posterior samples it is trained with; by default what the function declared.
        hyper: Hyper-parameters by name.
        gradient: How the terms depend on the parameters of the posterior (`amortized.models.Gradient`), by default as the
            function declared. A function of "total" terms may be given "path", which holds the parameters of q constant where
            it is scored.
        fixed: What else the function takes by name, the same at every step: a number of groups, the size of the data set.
        kind: What a recipe calls it, for messages; the name of the function where none is given.

    Example:
        >>> from amortized.objectives import Linear, Objective, elbo
        >>> warm_up = Objective(elbo, hyper={"beta": Linear(0.0, 1.0, steps=100)})
        >>> warm_up.values(step=25), warm_up.values()
        ({'beta': 0.25}, {'beta': 1.0})
    """

    function: Callable[..., Tensor]
    samples: int = None  # pyright: ignore[reportAssignmentType] __post_init__ asks the function
    hyper: Mapping[str, float | Schedule] = field(default_factory=dict)
    gradient: Gradient = None  # pyright: ignore[reportAssignmentType] __post_init__ asks the function
    fixed: Mapping[str, Any] = field(default_factory=dict)
    kind: str | None = None

    def __post_init__(self):
        self._check_function()
        declared, least = self._declared("gradient", "total"), self._declared("least", 1)
        if self.samples is None:
            object.__setattr__(self, "samples", self._declared("samples", 1))
        if not is_whole(self.samples, least=1):
            raise InputError(f"objective.samples must be a positive integer; it is {self.samples}; {least} or more will do.")
        if self.samples < least:
            raise InputError(f"objective '{self.name}' compares {least} posterior samples or more; samples is {self.samples}.")
        if self.gradient is None:
            object.__setattr__(self, "gradient", declared)
        if self.gradient != declared and (declared != "total" or self.gradient != "path"):
            raise InputError(
                f"objective '{self.name}' has gradient '{declared}', and '{self.gradient}' is another; leave it out."
            )
        if self.gradient == "path" and self.needs & {"log_w", "mean_field"}:
            biased = "importance weights; take 'dreg'" if "log_w" in self.needs else "an estimate of q(z); leave it out"
            raise InputError(f"objective '{self.name}' has gradient 'path', which is biased for {biased}, or take 'elbo'.")

    def _check_function(self) -> None:
        """Refuse what is no function of the terms, and hyper-parameters that it does not take, or that are no numbers."""
        if not callable(self.function) or isinstance(self.function, type):
            raise InputError(
                f"an objective is a function of Terms, or an Auxiliary that was built; it is {self.function!r};"
                " give e.g. amortized.objectives.elbo."
            )
        called = self.function.forward if isinstance(self.function, Auxiliary) else self.function
        taken = inspect.signature(called).parameters
        is_open = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
        known = list(taken)[1:]
        for name, value in {**self.hyper, **self.fixed}.items():
            if name not in known and not is_open:
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                raise InputError(f"objective '{self.name}' has no hyper-parameter '{name}'; {takes}.")
            if name in self.hyper and not isinstance(value, Schedule | Tensor) and not is_number(value):
                raise InputError(f"objective.{name} must be a number or a schedule; it is {value!r}; give e.g. 1.0.")

    def _declared(self, name: str, default: Any) -> Any:
        """What the function declared by `needs`, also where some of its arguments are bound by `functools.partial`."""
        return getattr(_unbound(self.function), name, default)

    @property
    def name(self) -> str:
        """What it is called in messages."""
        function = _unbound(self.function)
        return self.kind or getattr(function, "__name__", type(function).__name__)

    @property
    def needs(self) -> frozenset[str]:
        """What the function declared that it needs of a model, and what its gradient needs."""
        own: frozenset[str] = self._declared("needs", frozenset())
        density = frozenset({"density"}) if self.gradient in ("path", "score") else frozenset()
        return own | density if self.gradient == "score" else own | density | {"pathwise"}

    @property
    def rows(self) -> int:
        """The smallest number of data in a minibatch of all processes."""
        return self._declared("rows", 1)

    @property
    def auxiliary(self) -> Auxiliary | None:
        """The function, where it has a network of its own."""
        return self.function if isinstance(self.function, Auxiliary) else None

    def with_data_size(self, rows: int) -> "Objective":
        """The same, told the number of training data where its function takes that as `data_size` and was not told."""
        takes = not isinstance(self.function, Auxiliary) and "data_size" in inspect.signature(self.function).parameters
        is_told = "data_size" in {**self.hyper, **self.fixed, **getattr(self.function, "keywords", {})}
        return replace(self, fixed={**self.fixed, "data_size": rows}) if takes and not is_told else self

    def values(self, step: int | None = None) -> dict[str, float]:
        """The hyper-parameters at a step, or at the end of every schedule."""
        return {name: value.at(step) if isinstance(value, Schedule) else value for name, value in self.hyper.items()}

    def is_settled(self, step: int) -> bool:
        """Whether every schedule has come to its end."""
        return all(value.is_settled(step) for value in self.hyper.values() if isinstance(value, Schedule))

    def __call__(self, terms: Terms, **values: float | Tensor) -> Tensor:
        """Score the terms: (B,) nats. Hyper-parameters not given in `values` stand at the end of their schedule."""
        return self.function(terms, **{**self.fixed, **self.values(), **values})


def _unbound(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def check_compatible(objective: Objective, offers: frozenset[str], model: str) -> None:
    """Refuse an objective that needs what a model does not offer.

    Args:
        objective: The objective.
        offers: The names of `NEEDS` that the model offers.
        model: The model in words, for the message.

    Raises:
        InputError: Something needed is not offered.
    """
    for name in NEEDS:
        if name in objective.needs - offers:
            need = NEEDS[name]
            raise InputError(f"objective '{objective.name}' needs {need.words}, which {model} does not have. {need.way_out}")

r"""Discrete posteriors q(z | x): independent classes, or independent bits.

    Categorical    q(z | x) = prod_d Cat(z_d; softmax(l_d(x)))         z (D, C) one-hot
    Bernoulli      q(z | x) = prod_d Bernoulli(z_d; sigmoid(l_d(x)))   z (D,) in {0, 1}

What a gradient can follow, the `estimator`, is one of

* "gumbel": relaxed draws at a temperature (Jang, Gu and Poole 2017, arXiv 1611.01144; Maddison, Mnih and Teh 2017, arXiv
  1611.00712), whose terms are no bound;
* "straight-through": hard draws with the gradient of the relaxed ones, which is biased;
* "sample": hard draws without a gradient, for objectives that take that of the score function (RLOO, VIMCO);
* "enumerate": every value, weighing q(z | x): the exact ELBO and its exact gradient, where the values are few.

In evaluation mode the first two draw hard values, without a gradient: then the terms are those of the bound. The temperature
goes from t_0 to t_1 over N training steps, and stays there: t = t_0 (t_1 / t_0)^min(step / N, 1), the exponential schedule of
Jang et al., section 4.
"""

import math
from typing import Any, Literal

from torch import Tensor, nn
from torch.distributions import Distribution

from amortized import distributions as families
from amortized.errors import InputError, is_count, nearest
from amortized.networks import Head

Estimator = Literal["gumbel", "straight-through", "sample", "enumerate"]
ESTIMATORS = ("gumbel", "straight-through", "sample", "enumerate")
MOST_VALUES = 1024  # each is a row that the decoder computes, for every datum


class _Discrete(nn.Module):
    """The choice among three families that draw the same variables, and the temperature's schedule."""

    has_density = True
    hard: type[Any]
    relaxed: type[Any]
    enumerated: type[Any]

    def __init__(
        self,
        head: Head,
        values: int,
        estimator: Estimator,
        temperature: float,
        final_temperature: float | None,
        temperature_steps: int,
    ):
        super().__init__()
        _check_estimator(estimator, values, tuple(head.event_shape))
        _check_schedule(temperature, final_temperature, temperature_steps)
        self.head = head
        self.event_shape = head.event_shape
        self.estimator = estimator
        self.temperature = self.initial_temperature = float(temperature)
        self.final_temperature = self.temperature if final_temperature is None else float(final_temperature)
        self.temperature_steps = temperature_steps
        self.enumerates = estimator == "enumerate"
        self.values_per_sample = values if self.enumerates else 1

    @property
    def is_relaxed(self) -> bool:
        """Whether what is drawn in training only approximates q, so that the terms are no bound."""
        return self.estimator in ("gumbel", "straight-through")

    @property
    def has_gradient(self) -> bool:
        """Whether what is drawn in training has a gradient."""
        return self.estimator != "sample"

    @property
    def is_annealed(self) -> bool:
        """Whether the temperature changes from step to step."""
        return self.is_relaxed and self.temperature_steps > 0

    def at_step(self, step: int) -> None:
        """Set the temperature of a training step."""
        if self.temperature_steps:
            progress = min(step / self.temperature_steps, 1.0)
            self.temperature = self.initial_temperature ** (1 - progress) * self.final_temperature**progress

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """Return q(z | x, context) with batch (B,): in training as the estimator draws it, in evaluation exact."""
        (logits,) = self.head(x, context)
        if self.estimator == "enumerate":
            return self.enumerated(logits)
        if self.estimator == "sample" or not self.training:
            return self.hard(logits)
        return self.relaxed(logits, self.temperature, self.estimator == "straight-through")


class Categorical(_Discrete):
    """q(z | x) of D independent variables of C classes, one-hot.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: The number D of variables.
        classes: The number C of classes of each, 2 or more.
        estimator: "gumbel", "straight-through", "sample", or "enumerate" where C^D is at most 1,024.
        temperature: Of the relaxed draws, positive.
        final_temperature: What it becomes in the course of training; None leaves it.
        temperature_steps: Over how many training steps.

    Attributes:
        temperature: That of the present step.

    Raises:
        InputError: An option is not one of these, a temperature is not positive, or there are too many values to enumerate.

    Example:
        >>> import torch
        >>> from amortized.networks import MLP
        >>> q = Categorical(MLP(784, [300]), event=20, classes=10)(torch.zeros(7, 784))
        >>> q.rsample((5,)).shape
        torch.Size([5, 7, 20, 10])
    """

    space = "categorical"
    hard, relaxed, enumerated = families.OneHot, families.RelaxedOneHot, families.EnumeratedOneHot

    def __init__(
        self,
        network: nn.Module,
        event: int,
        classes: int,
        estimator: Estimator = "gumbel",
        temperature: float = 1.0,
        final_temperature: float | None = None,
        temperature_steps: int = 0,
    ):
        _check_count("classes", classes, least=2)
        _check_count("event", event, least=1)
        head = Head(network, (event, classes), 1)
        super().__init__(head, classes**event, estimator, temperature, final_temperature, temperature_steps)


class Bernoulli(_Discrete):
    """q(z | x) of D independent bits.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: The number D of bits.
        estimator: "gumbel", "straight-through", "sample", or "enumerate" where 2^D is at most 1,024.
        temperature: Of the relaxed draws, positive.
        final_temperature: What it becomes in the course of training; None leaves it.
        temperature_steps: Over how many training steps.

    Attributes:
        temperature: That of the present step.

    Raises:
        InputError: An option is not one of these, a temperature is not positive, or there are too many values to enumerate.
    """

    space = "binary"
    hard, relaxed, enumerated = families.Bits, families.RelaxedBits, families.EnumeratedBits

    def __init__(
        self,
        network: nn.Module,
        event: int,
        estimator: Estimator = "gumbel",
        temperature: float = 1.0,
        final_temperature: float | None = None,
        temperature_steps: int = 0,
    ):
        _check_count("event", event, least=1)
        head = Head(network, event, 1)
        super().__init__(head, 2**event, estimator, temperature, final_temperature, temperature_steps)


def _check_count(name: str, value: Any, least: int) -> None:
    if not is_count(value, least):
        raise InputError(f"{name} must be an integer of {least} or more; it is {value!r}; give e.g. {name}=10.")


def _check_estimator(estimator: str, values: int, event: tuple[int, ...]) -> None:
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator '{estimator}' is unknown; {nearest(estimator, ESTIMATORS)}")
    if estimator == "enumerate" and values > MOST_VALUES:
        count = f"{values:,}" if values < 10**15 else f"10^{math.log10(values):.0f}"
        raise InputError(
            f"estimator 'enumerate' takes at most {MOST_VALUES:,} values of z; an event of shape {event} has {count};"
            " take estimator='gumbel', or a smaller event."
        )


def _check_schedule(temperature: float, final: float | None, steps: int) -> None:
    for name, value in (("temperature", temperature), ("final_temperature", final)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} must be positive and finite; it is {value}; give e.g. {name}=0.5.")
    if not isinstance(steps, int) or steps < 0 or (final is None) != (steps == 0):
        raise InputError(
            f"final_temperature={final} and temperature_steps={steps} do not go together; give both, with a positive number of"
            " steps, or neither."
        )

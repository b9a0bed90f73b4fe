"""Objectives with a network of their own.

A discriminator or a critic is trained beside the model, on a loss of its own: the loop takes one step for both, from one
evaluation of the terms. What the objective makes of the network must not move the network, and what the network learns from must
not move the model; so the one holds the weights constant (`held`), and the other detaches the terms.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn
from torch.func import functional_call

from amortized.errors import InputError
from amortized.objectives.schedules import is_finite, is_whole
from amortized.terms import Terms


class Auxiliary(nn.Module, ABC):
    """A function of the terms that has a network of its own, trained beside the model.

    Args:
        lr: The network's own learning rate, constant.
        betas: The decay rates of its optimizer's two moments.

    Attributes:
        rows: The smallest number of data in a minibatch: those that there are compare data with each other.

    Raises:
        InputError: The learning rate is no positive number.
    """

    rows: ClassVar[int] = 2

    def __init__(self, lr: float, betas: tuple[float, float] = (0.9, 0.999)):
        super().__init__()
        if not (is_finite(lr) and lr > 0):
            raise InputError(f"an auxiliary network's lr must be a positive number; it is {lr!r}; give e.g. 1e-4.")
        self.lr, self.betas = lr, betas

    @abstractmethod
    def forward(self, t: Terms, **hyper: float | Tensor) -> Tensor:
        """What the model maximizes, (B,) nats; without gradient for the network's own weights."""

    @abstractmethod
    def loss(self, t: Terms) -> Tensor:
        """What the network's own weights minimize, (B,); without gradient for the model."""


def held(network: nn.Module, *given: Tensor) -> Tensor:
    """What a network computes, with its weights held constant: only what it is given has a gradient."""
    return functional_call(network, {name: weight.detach() for name, weight in network.named_parameters()}, given)


def scorer(entries: int, hidden: Sequence[int], activation: nn.Module) -> nn.Sequential:
    """A perceptron from (*lead, entries) to one number, (*lead, 1).

    Raises:
        InputError: A size is no positive integer.
    """
    for size in (entries, *hidden):
        if not is_whole(size, least=1):
            raise InputError(f"a layer of an auxiliary network takes 1 entry or more; it is given {size!r}; give e.g. 50.")
    layers = [layer for sizes in pairwise((entries, *hidden)) for layer in (nn.Linear(*sizes), activation)]
    return nn.Sequential(*layers, nn.Linear((entries, *hidden)[-1], 1))


def as_vector(value: Tensor | None, lead: int, size: int, name: str) -> Tensor:
    """A part of the terms with its event as one vector, (*lead, size).

    Args:
        value: (*lead, *event).
        lead: The number of dimensions before the event.
        size: The entries that the event must have.
        name: Of the part, for the message.

    Raises:
        InputError: The model does not give it, or it has another size.
    """
    if value is None:
        raise InputError(f"this objective looks at Terms.{name}, which the model leaves at None; let its `terms` set it.")
    vector = value.reshape(*value.shape[:lead], -1)
    if vector.shape[-1] != size:
        raise InputError(
            f"the objective's network takes {size} entries of Terms.{name}, and the model gives {vector.shape[-1]}; build it with"
            f" {vector.shape[-1]}."
        )
    return vector

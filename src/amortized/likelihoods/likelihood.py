"""What the likelihoods p(x | z) share.

A likelihood owns a `Head`: a network that turns z into features, and an affine map from these to the parameters of a family,
one set for every entry of x. Given z the entries are independent in most families, so that log p(x | z) is a sum over them. In
some they are not (a multinomial's share a total): these say so, and a datum with missing entries is refused to them, because
the density of what remains is no part of that sum.
"""

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from amortized.likelihoods.support import KINDS, check_support
from amortized.networks import Head


class Likelihood(nn.Module, ABC):
    """A conditional distribution of x given z.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        count: The number of parameters that the head gives to each entry of x.
        sizes: As the attribute.

    Attributes:
        kind: Its name in recipes and on the command line.
        factorizes: Whether the entries of x are independent given z, so that missing ones can be left out.
        event_shape: Shape of x.
        sizes: What bounds its support: `levels` or `classes`, for the families that have them.
    """

    kind: ClassVar[str]
    factorizes: bool = True

    def __init__(self, network: nn.Module, event: int | tuple[int, ...], count: int, sizes: dict[str, int] | None = None):
        super().__init__()
        self.sizes = sizes or {}
        self.head = Head(network, event, count)
        self.event_shape = self.head.event_shape

    def forward(self, z: Tensor, context: Tensor | None = None) -> Distribution:
        """Return p(x | z, context).

        Args:
            z: (*lead, *zevent), lead being (B,) or (K, B).
            context: (B, C) the encoded condition.

        Returns:
            A distribution of batch (*lead) and event (*event). Its parameters have float32 at least, in which its
            log-probabilities are then computed, whatever precision the network has.
        """
        parameters = (_at_least_float32(parameter) for parameter in self.head(z, context))
        family = self._family(*parameters)
        missing = len(self.event_shape) - len(family.event_shape)
        return Independent(family, missing, validate_args=False) if missing else family

    @property
    def needs_calibration(self) -> bool:
        """Whether a scale is to be computed over the training data before evaluation."""
        return False

    def check(self, x: Tensor, *, name: str = "x", observed: Tensor | None = None) -> None:
        """Raise an `InputError` that names the first value of x outside the support.

        A likelihood of one's own, whose kind the library does not know, takes every value unless it overrides this.

        Args:
            x: (N, *event) data.
            name: What to call the array.
            observed: Of the shape of x, true where the value counts.
        """
        if self.kind in KINDS:
            check_support(self.kind, x, name=name, observed=observed, rows=None, **self.sizes)

    @abstractmethod
    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data (Burda et al. 2016, arXiv 1509.00519).

        A scale that the decoder predicts starts at its initial value.

        Args:
            mean: (*event) the mean of the training data, in their own units.
        """

    @abstractmethod
    def _family(self, *parameters: Tensor) -> Distribution:
        """The family, given the head's tensors, each (*lead, *event).

        Its event is that of x, or the last dimensions of it, or none; over the rest of them it is independent.
        """


def _at_least_float32(parameter: Tensor) -> Tensor:
    return parameter.float() if parameter.dtype in (torch.bfloat16, torch.float16) else parameter

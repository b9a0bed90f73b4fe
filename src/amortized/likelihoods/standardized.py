"""What the likelihoods of real numbers share: the network and its scale live in standardized units.

With a the `shift` and u the `unit` of an entry of x, the data in standardized units are (x - a) / u, with mean about 0 and
deviation about 1. The density is that of the data in their own units: log p(x) = log p((x - a) / u) - log u comes out of a family
whose center is a + u mu(z) and whose scale is u times the standardized one.
"""

import torch
from torch import Tensor, nn

from amortized.errors import InputError
from amortized.likelihoods.likelihood import Likelihood


class Standardized(Likelihood):
    """A likelihood whose parameters are in standardized units.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        count: The number of parameters that the head gives to each entry of x.
        shift: What standardized 0 is in the data's own units, one number or one per entry.
        unit: What standardized 1 is in them, positive.

    Attributes:
        shift: (*event) as above.
        unit: (*event) as above.

    Raises:
        InputError: `unit` is not positive, or one of the two does not fit the event.
    """

    shift: Tensor
    unit: Tensor

    def __init__(self, network: nn.Module, event: int | tuple[int, ...], count: int, shift: Tensor | float, unit: Tensor | float):
        super().__init__(network, event, count)
        self.register_buffer("shift", self._over_event("shift", shift))
        self.register_buffer("unit", self._over_event("unit", unit))
        if not ((self.unit > 0) & self.unit.isfinite()).all():
            raise InputError(f"unit must be positive and finite; its smallest value is {self.unit.min().item():g}.")

    def standardize(self, mean: Tensor) -> Tensor:
        """(*event) data in their own units, in standardized ones."""
        return (mean.to(self.shift) - self.shift) / self.unit

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data.

        Args:
            mean: (*event) in the data's own units.
        """
        self.head.set_bias(0, self.standardize(mean))
        for position in range(1, self.head.count):
            self.head.set_bias(position, torch.zeros(()))

    def _over_event(self, name: str, value: Tensor | float) -> Tensor:
        tensor = torch.as_tensor(value, dtype=torch.get_default_dtype())
        try:
            return tensor.expand(self.event_shape).clone()
        except RuntimeError as error:
            raise InputError(
                f"{name} has shape {tuple(tensor.shape)}, which does not broadcast to the event {tuple(self.event_shape)};"
                " give one number, or one per entry."
            ) from error

"""Exponential moving average of the weights (Polyak and Juditsky 1992; the constant-decay form)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Averaging:
    """The moving average of a module's parameters; its buffers are taken as they are.

    The decay is lowered at first, to (1 + n) / (10 + n) after n updates, so that the initial weights are soon forgotten.

    Args:
        module: The module whose parameters are averaged.
        decay: The weight of the old average in an update, in (0, 1).
    """

    def __init__(self, module: nn.Module, decay: float):
        self.decay = decay
        self.parameters: list[Tensor] = list(module.parameters())
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the average towards the parameters after step `step`, which counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.average, self.parameters, 1.0 - decay)

    def apply(self) -> None:
        """Write the average over the parameters, for good."""
        self._write(self.average)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the parameters while the context lasts."""
        current = [parameter.detach().clone() for parameter in self.parameters]
        self.apply()
        try:
            yield
        finally:
            self._write(current)

    @torch.no_grad()
    def _write(self, values: list[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

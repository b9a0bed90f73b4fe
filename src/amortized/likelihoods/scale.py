"""Scales, and other positive parameters that the decoder may predict or leave to be learned.

    value = floor + softplus(raw)

is smooth, and never below the floor: a column that does not vary would drive a learned scale to zero and its log-density to
infinity. `raw` is one number ("learned"), one per entry of x ("per-entry") or an output of the decoder ("predicted"); a number in
their place is the value itself, fixed.
"""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from amortized.errors import InputError, nearest

How = Literal["learned", "per-entry", "predicted"] | float
LEARNED = ("learned", "per-entry", "predicted")


class Scale(nn.Module):
    """A positive parameter of the family.

    Args:
        how: "learned", "per-entry", "predicted", or a number: its fixed value.
        event_shape: Shape of x.
        floor: What it never goes below.
        initial: Its value before training; for "predicted", at a raw output of zero.
        name: What to call it in a message.

    Attributes:
        predicted: Whether the head gives one more number per entry, for `forward`.

    Raises:
        InputError: The floor is not positive, or a fixed value is below it, or `how` is none of these.
    """

    fixed: Tensor

    def __init__(self, how: How, event_shape: torch.Size, *, floor: float, initial: float = 1.0, name: str = "scale"):
        super().__init__()
        check_floor(floor, name)
        self.floor = floor
        self.how = how
        self.predicted = how == "predicted"
        self.offset = inverse_softplus(max(initial - floor, 0.01 * initial))
        if how in ("learned", "per-entry"):
            self.raw = nn.Parameter(torch.full(event_shape if how == "per-entry" else (), self.offset))
        elif isinstance(how, str):
            if how != "predicted":
                raise InputError(f"{name} cannot be '{how}'; {nearest(how, LEARNED)} or give a number")
        else:
            _check_fixed(how, floor, name)
            self.register_buffer("fixed", torch.tensor(float(how)))

    def forward(self, raw: Tensor | None = None) -> Tensor:
        """The value, which broadcasts to (*lead, *event); `raw` (*lead, *event) is the decoder's output where predicted."""
        if raw is not None:
            return self.floor + softplus(raw + self.offset)
        return self.floor + softplus(self.raw) if self.how in ("learned", "per-entry") else self.fixed

    def take(self, outputs: Iterator[Tensor]) -> Tensor:
        """The value, from the next of the decoder's outputs where it is predicted, and from none of them elsewhere."""
        return self(next(outputs)) if self.predicted else self()


def check_floor(floor: float, name: str = "scale") -> None:
    """Raise an `InputError` unless the floor is positive and finite."""
    if not (math.isfinite(floor) and floor > 0):
        raise InputError(f"the floor of the {name} must be positive; it is {floor}; give e.g. floor=1e-3.")


def _check_fixed(value: float, floor: float, name: str) -> None:
    if not (math.isfinite(value) and value >= floor):
        raise InputError(f"{name} {value} is not a number from its floor {floor} up; raise it, or lower the floor with floor=.")


def inverse_softplus(value: float) -> float:
    """The number whose softplus is `value`, which is positive."""
    return value + math.log(-math.expm1(-value))

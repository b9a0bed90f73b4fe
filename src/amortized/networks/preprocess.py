"""What an encoder sees in the place of the data, where their own scale does not suit a network.

The likelihood still scores the data themselves, so none of these changes the bound's meaning: they are part of q(z | x).
"""

import torch
from torch import Tensor, nn

from amortized.errors import InputError
from amortized.networks.context import one_hot


class Standardize(nn.Module):
    """(x - loc) / scale entry by entry; an entry that never varies has a scale of 0, taken as 1, and so becomes 0.

    Args:
        loc: (*event) mean over the training data, or what broadcasts to it.
        scale: (*event) standard deviation over the training data, likewise.

    Raises:
        InputError: A scale is negative or a value is not finite.
    """

    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor | float, scale: Tensor | float):
        super().__init__()
        location, width = (torch.as_tensor(value, dtype=torch.get_default_dtype()) for value in (loc, scale))
        if not bool(location.isfinite().all()) or not bool((width.isfinite() & (width >= 0)).all()):
            raise InputError(
                f"standardization needs a finite loc and a finite scale of 0 or more; the smallest scale is {width.min().item()}"
                f" and the sum of loc {location.sum().item()}; compute both over entries that are not missing."
            )
        self.register_buffer("loc", location.clone())
        self.register_buffer("scale", torch.where(width > 0, width, torch.ones_like(width)))

    def forward(self, x: Tensor) -> Tensor:
        """Standardize (*lead, *event)."""
        return (x.to(self.loc.dtype) - self.loc) / self.scale


class OneHot(nn.Module):
    """Codes (*lead, *event) of 0 to classes - 1 to (*lead, *event, classes) of zeros and ones.

    Args:
        classes: Number of classes.

    Raises:
        InputError: `classes` is not a positive integer.
    """

    unit: Tensor

    def __init__(self, classes: int):
        super().__init__()
        if not isinstance(classes, int) or classes < 1:
            raise InputError(f"one-hot codes need a positive integer for classes; it is {classes!r}; give e.g. classes=10.")
        self.classes = classes
        self.register_buffer("unit", torch.ones(()), persistent=False)  # it has the type that the result takes

    def forward(self, x: Tensor) -> Tensor:
        """Encode codes, integers or floats of integer value.

        Raises:
            InputError: A value is no code; looked at on the CPU only, where that costs nothing.
        """
        if x.device.type == "cpu" and not torch.compiler.is_compiling():
            wrong = (
                (x < 0)
                | (x >= self.classes)
                | (x != x.round() if x.is_floating_point() else torch.zeros_like(x, dtype=torch.bool))
            )
            if bool(wrong.any()):
                raise InputError(
                    f"one-hot codes are integers of 0 to {self.classes - 1}; there is {x[wrong][0].item():g}; give codes."
                )
        return one_hot(x, self.classes, self.unit.dtype)


class LogCounts(nn.Module):
    """log(1 + x), which brings counts of all sizes to one scale."""

    def forward(self, x: Tensor) -> Tensor:
        """Map counts (*lead, *event)."""
        return x.log1p()

"""What an encoder sees in the place of the data, where their own scale does not suit a network, or some are missing.

The likelihood still scores the data themselves, so none of these changes the bound's meaning: they are part of q(z | x). With
missing entries q(z | x_o) is given the observed ones and, in the place of the others, 0 (Nazabal et al. 2020, arXiv 1807.03653;
Mattei and Frellsen 2019, arXiv 1812.02633): of standardized data the mean, of one-hot codes no class. With the mask beside them
a network can tell a 0 that was observed from a hole.
"""

from collections.abc import Callable

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


class Fill(nn.Module):
    """Zeros for what is missing, and beside the values, by choice, the mask of what is not.

    Args:
        mask: Whether the encoder sees the mask, 1 where an entry was observed: along the last axis, (D,) becomes (2D,), (H, W)
            becomes (H, W, 2), (H, W, C) becomes (H, W, 2C), and one-hot codes (*event, classes) become (*event, classes + 1).
    """

    def __init__(self, mask: bool = False):
        super().__init__()
        self.mask = mask

    def forward(self, x: Tensor, observed: Tensor | None, given: Tensor | None, preprocess: Callable[[Tensor], Tensor]) -> Tensor:
        """Show B data to an encoder.

        Args:
            x: (B, *event) data; what their holes hold has no part in the result.
            observed: (B, *event) true where an entry of x is not missing; None where all are there.
            given: (B, *event) in the place of x, or None; it has holes where it is NaN, and is taken as filled elsewhere.
            preprocess: Applied to the values before they are put beside the mask, with zeros for holes before and after it.

        Raises:
            InputError: `preprocess` gives another shape than that of the data, with or without one axis more.
        """
        values = x if given is None else given
        if observed is None:
            values = preprocess(values)
            return beside(values, torch.ones_like(x, dtype=torch.bool)) if self.mask else values
        shown = observed if given is None else ~given.isnan()
        values = preprocess(torch.where(shown, values, torch.zeros_like(values)))
        values = torch.where(_over(values, shown), values, torch.zeros_like(values))
        return beside(values, observed) if self.mask else values


def beside(values: Tensor, observed: Tensor) -> Tensor:
    """Values (B, *event), or (B, *event, classes), with the mask (B, *event) along the last axis."""
    mask = _over(values, observed).to(values.dtype)
    if values.ndim == 3 and values.shape == observed.shape:  # a grey image gets a second channel
        values, mask = values.unsqueeze(-1), mask.unsqueeze(-1)
    return torch.cat((values, mask), -1)


def _over(values: Tensor, observed: Tensor) -> Tensor:
    """The mask of the shape of the values, but for a last axis that one-hot codes have more."""
    if values.shape == observed.shape:
        return observed
    if values.shape[:-1] == observed.shape:
        return observed.unsqueeze(-1)
    raise InputError(
        f"what the encoder sees of data of shape {tuple(observed.shape[1:])} has shape {tuple(values.shape[1:])}, in which the"
        " missing entries cannot be told; let preprocess keep the shape, or add one last axis to it."
    )

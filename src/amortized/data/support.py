"""The support of data: which values can occur, and so which likelihoods can score them.

The likelihood's default follows from the support, so the support is a judgment that is announced with its reason: {0, 1} is
binary; whole numbers are grey levels in an image and counts in a table; fractions are real, and an image of fractions within
[0, 1] is a scaled one. A whole number stored as a float counts as whole.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from amortized.errors import InputError

Kind = Literal["binary", "levels", "counts", "unit", "real"]


MOST_LEVELS = 4096
"""Images with more levels than this (12 bits) are taken for real numbers."""


@dataclass(frozen=True)
class Support:
    """Which values the data take.

    Attributes:
        kind: `binary` {0, 1}; `levels` 0..levels-1 of an image; `counts` 0, 1, 2, ...; `unit` [0, 1]; `real`.
        levels: The number of levels of `binary` and `levels`, else None.
        low: The smallest value seen.
        high: The largest value seen.
        reason: The sentence that says why, for the announcement.
    """

    kind: Kind
    levels: int | None
    low: float
    high: float
    reason: str

    @property
    def maximum_level(self) -> float | None:
        """The value that means 'full': levels - 1, or 1 for values in [0, 1]; None where there is none."""
        if self.kind in ("unit", "real"):
            return 1.0 if self.low >= 0 and self.high <= 1 else None
        return None if self.levels is None else self.levels - 1.0


def is_image_shape(event_shape: tuple[int, ...]) -> bool:
    """Whether data of this shape are taken for images: (H, W), or (H, W, C) with 1, 3 or 4 channels."""
    return len(event_shape) == 2 or (len(event_shape) == 3 and event_shape[2] in (1, 3, 4))


def describe(*arrays: Tensor, image: bool | None = None) -> Support:
    """Judge the support of data from their values.

    Args:
        *arrays: Each (N, *event), not all empty: the splits of one data set. NaN, a missing entry, has no part in it.
        image: Whether the events are images; by default, judged by their shape.

    Returns:
        The support, with the reason.

    Raises:
        InputError: No entry is observed.
    """
    if image is None:
        image = is_image_shape(tuple(arrays[0].shape[1:]))
    arrays = tuple(seen for array in arrays if (seen := _observed(array)).numel())
    if not arrays:
        raise InputError("every entry of the data is missing (NaN); give data of which some were observed.")
    extremes = [torch.aminmax(array) for array in arrays]
    low, high = min(float(pair.min) for pair in extremes), max(float(pair.max) for pair in extremes)
    whole = all(_is_whole(array) for array in arrays)
    return judge(low, high, whole, image)


def judge(low: float, high: float, whole: bool, image: bool) -> Support:
    """The support of values from `low` to `high`, `whole` numbers or not, of an `image` or a table."""
    span = f"{low:g} to {high:g}"
    if whole and low >= 0 and high <= 1:
        return Support("binary", 2, low, high, "every value is 0 or 1")
    if whole and low >= 0 and image:
        # A photograph need not reach 255, but 8-bit data that exceed half their range have no other natural end.
        levels = 256 if 127 < high <= 255 else int(high) + 1
        if levels > MOST_LEVELS:
            return Support("real", None, low, high, f"the images hold whole numbers from {span}, too many levels to tell apart")
        end = "8-bit grey levels" if levels == 256 else "the largest value is the last level"
        return Support("levels", levels, low, high, f"the images hold whole numbers from {span}: {levels} levels ({end})")
    if whole and low >= 0:
        return Support("counts", None, low, high, f"the table holds whole numbers from {span}")
    if image and low >= 0 and high <= 1:
        return Support("unit", None, low, high, f"the images hold fractions within [0, 1], from {span}")
    numbers = "whole numbers, some negative," if whole else "fractions"
    return Support("real", None, low, high, f"the values are {numbers} from {span}")


def _observed(array: Tensor) -> Tensor:
    # The minimum of what holds NaN is NaN, so that data without any are not copied.
    is_full = not array.is_floating_point() or not array.numel() or not bool(array.min().isnan())
    return array if is_full else array[~array.isnan()]


def _is_whole(array: Tensor) -> bool:
    if not array.is_floating_point():
        return True
    return all(bool((rows == rows.round()).all()) for rows in array.split(4096))

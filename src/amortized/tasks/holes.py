"""Holes in data: where they are, and how some are made to see how well they are filled."""

from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from amortized.errors import InputError, nearest
from amortized.seeds import derive_seed
from amortized.terms import Batch

Half = Literal["left", "right", "top", "bottom"]
"""The half of an image that is hidden."""


def with_mask(batch: Batch) -> Batch:
    """The batch with a mask of what is observed: its own, or all that is not NaN."""
    return batch if batch.observed is not None else replace(batch, observed=~batch.x.isnan())


def hide(batch: Batch | Tensor, how: float | str, *, seed: int = 0) -> Batch:
    """Hide entries of data, so that they can be imputed and compared.

    Args:
        batch: B data; what is missing already stays so.
        how: The probability with which each entry is hidden, or the half of an image: "left", "right", "top" or "bottom".
        seed: Of the choice of entries.

    Returns:
        The data with NaN where an entry is missing or hidden, for the encoder too, and a mask of the others.

    Raises:
        InputError: The probability is not between 0 and 1, the half has another name, or the data are no images (H, W) or
            (H, W, C).

    Example:
        >>> hide(torch.ones(1, 2, 4), "left").x
        tensor([[[nan, nan, 1., 1.],
                 [nan, nan, 1., 1.]]])
    """
    batch = with_mask(Batch.of(batch))
    assert batch.observed is not None
    observed = batch.observed & ~_hidden(batch.x, how, seed)
    seen = {name: None if (value := getattr(batch, name)) is None else _with_holes(value, observed) for name in ("x", "input")}
    return replace(batch, observed=observed, **seen)


def _with_holes(x: Tensor, observed: Tensor) -> Tensor:
    return torch.where(observed, x if x.is_floating_point() else x.float(), torch.nan)


def _hidden(x: Tensor, how: float | str, seed: int) -> Tensor:
    probability = _probability(how)
    if probability is not None:
        noise = torch.Generator().manual_seed(derive_seed(seed, "hide"))
        return (torch.rand(x.shape, generator=noise) < probability).to(x.device)
    if x.ndim not in (3, 4):
        raise InputError(f"the data have shape {tuple(x.shape[1:])}, no image with a {how} half; hide a fraction, such as 0.5.")
    axis = 2 if how in ("left", "right") else 1
    middle = x.shape[axis] // 2
    hidden = torch.zeros_like(x, dtype=torch.bool)
    first = how in ("left", "top")
    hidden.narrow(axis, 0 if first else middle, middle if first else x.shape[axis] - middle).fill_(True)
    return hidden


def _probability(how: float | str) -> float | None:
    """The fraction to hide; None for a half."""
    if how in get_args(Half):
        return None
    try:
        value = float(how)
    except (TypeError, ValueError):
        raise InputError(
            f"cannot hide '{how}'; {nearest(str(how), get_args(Half))} A fraction, such as 0.5, will do too."
        ) from None
    if not 0 < value < 1:
        raise InputError(f"the fraction to hide lies between 0 and 1; it is {value:g}; half of the entries is 0.5.")
    return value

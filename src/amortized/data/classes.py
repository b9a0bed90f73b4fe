"""Classes as codes: labels and conditions, whatever they were written as, become integers that index a list of names.

Text is coded in sorted order. Whole numbers 0..C-1 are their own codes; others (gaps, negative numbers) are coded in order, so
that C classes never need more than twice C codes. Fractions are no classes, and stay numbers.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from amortized.data.arrays import compact
from amortized.errors import InputError


def encode(
    name: str, arrays: Mapping[str, np.ndarray], class_names: Sequence[str] = ()
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Code one variable alike in every split.

    Args:
        name: Of the variable, for messages.
        arrays: For each split, (N,) classes, or (N,) or (N, c) floats.
        class_names: Names of the codes 0, 1, ..., if the source has them.

    Returns:
        For each split int64 codes, with the names of the codes; or float32 values, with no names.
    """
    whole = {split: _whole(value) for split, value in arrays.items()}
    if any(value is None for value in whole.values()):
        return {split: _floats(name, value) for split, value in arrays.items()}, ()
    kept = {split: value for split, value in whole.items() if value is not None}
    if len({value.dtype.kind in "US" for value in kept.values()}) > 1:
        raise InputError(f"array '{name}' is text in one split and numbers in another; give one kind in all.")
    distinct = np.unique(np.concatenate(list(kept.values())))
    if distinct.dtype.kind == "i":
        top = int(distinct[-1]) + 1
        if distinct[0] >= 0 and (top <= len(class_names) or top <= 2 * len(distinct)):
            names = tuple(class_names) if top <= len(class_names) else tuple(map(str, range(top)))
            return {split: torch.tensor(value) for split, value in kept.items()}, names
    codes = {split: torch.tensor(np.searchsorted(distinct, value)) for split, value in kept.items()}
    return codes, tuple(map(str, distinct))


def _whole(value: np.ndarray) -> np.ndarray | None:
    """The classes of one split as text or int64; None where they are numbers that are no classes."""
    if value.ndim == 2 and value.shape[1] == 1:
        value = value[:, 0]
    if value.dtype.kind in "OUS":
        return np.asarray([item.decode() if isinstance(item, bytes) else str(item) for item in value], dtype=np.str_)
    if value.ndim != 1 or value.dtype.kind not in "buif":
        return None
    if value.dtype.kind == "f" and not (np.isfinite(value).all() and (value == np.rint(value)).all()):
        return None
    return value.astype(np.int64)


def _floats(name: str, value: np.ndarray) -> Tensor:
    if value.ndim not in (1, 2):
        raise InputError(f"array '{name}' needs one value or one vector per row; its shape is {value.shape}.")
    return compact(value, name).to(torch.float32)

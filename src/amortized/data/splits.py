"""Splits: every row in exactly one, by seed, in the same proportions within each class.

Sizes are those of the largest remainder: N f_s rounded down, the rows left over going to the largest fractions. Within a
class of n rows each split takes floor(n f_s) rows; what is left over goes to whichever split is furthest below its
share of that class, among those whose size is not reached. So sizes are exact, a class whose shares are whole numbers is divided
exactly, and a class of a single row goes to the largest split.
"""

from collections.abc import Sequence

import numpy as np
import torch

from amortized.data.randomness import generator
from amortized.errors import InputError
from amortized.seeds import derive_seed

_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996 in floating point


def check_fractions(splits: Sequence[float]) -> tuple[float, float, float]:
    """The three fractions of train, valid and test, checked.

    Raises:
        InputError: They are not three nonnegative numbers that sum to one with a part for training.
    """
    values = tuple(float(value) for value in splits)
    if len(values) != 3 or not all(value >= 0 for value in values) or abs(sum(values) - 1) > 1e-6 or values[0] == 0:
        raise InputError(
            f"splits needs three fractions (train, valid, test), none negative, train above 0,"
            f" that sum to 1; it is {tuple(splits)}. For example splits=(0.8, 0.1, 0.1)."
        )
    return values[0], values[1], values[2]


def sizes_of(n: int, fractions: Sequence[float]) -> list[int]:
    """How many of `n` rows each split gets, by largest remainder."""
    shares = np.asarray(fractions) * n
    counts = np.floor(shares + _ROUNDING).astype(int)
    for split in np.argsort(-(shares - counts), kind="stable")[: n - counts.sum()]:
        counts[split] += 1
    return counts.tolist()


def divide(n: int, fractions: Sequence[float], seed: int, labels: np.ndarray | None = None) -> list[np.ndarray]:
    """The row numbers of each split, ascending.

    Args:
        n: How many rows there are.
        fractions: The part of each split; they sum to one.
        seed: Which division.
        labels: (n,) class of each row, to divide each class alike; None takes all rows for one class.
    """
    classes = np.zeros(n, dtype=int) if labels is None else np.unique(labels, return_inverse=True)[1]
    members = [np.flatnonzero(classes == code) for code in range(classes.max() + 1)]
    counts = _counts_per_class([len(rows) for rows in members], fractions)
    parts: list[list[np.ndarray]] = [[] for _ in fractions]
    for code, rows in enumerate(members):
        order = torch.randperm(len(rows), generator=generator(derive_seed(seed, "split", code))).numpy()
        cuts = np.cumsum(counts[code])[:-1]
        for part, chosen in zip(parts, np.split(rows[order], cuts), strict=True):
            part.append(chosen)
    return [np.sort(np.concatenate(part)) for part in parts]


def _counts_per_class(sizes: Sequence[int], fractions: Sequence[float]) -> np.ndarray:
    shares = np.outer(sizes, fractions)
    counts = np.floor(shares + _ROUNDING).astype(int)
    room = np.asarray(sizes_of(sum(sizes), fractions)) - counts.sum(0)
    for code in np.argsort(sizes, kind="stable"):  # the smallest classes choose first
        for _ in range(sizes[code] - counts[code].sum()):
            split = np.argmax(np.where(room > 0, shares[code] - counts[code], -np.inf))
            counts[code, split] += 1
            room[split] -= 1
    return counts

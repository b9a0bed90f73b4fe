"""Representations beside the factors that the data were made from: the table that scores of disentanglement read.

The table groups rows by the value of each factor. So "data that share factor k" can be drawn from it as from the process that
made them: of a full grid of factors exactly, of any data with repeats in the proportions in which they occur.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.representations import as_array, as_points

FEWEST = 50
"""Rows of which scores can be told."""


@dataclass(frozen=True, eq=False)
class FactorTable:
    """N representations and the values of F factors that vary.

    Attributes:
        z: (N, D) the representations.
        codes: (N, F) the values of each factor, renumbered as 0..V-1 in their order.
        names: The names of the factors.
        constant: The names of the factors that do not vary, which are left out.
        active: (D,) true where a dimension of the code varies by more than a threshold.
    """

    z: NDArray[np.float64]
    codes: NDArray[np.int64]
    names: tuple[str, ...]
    constant: tuple[str, ...]
    active: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        z: ArrayLike | Tensor,
        factors: ArrayLike | Tensor,
        *,
        names: Sequence[str] | None = None,
        active_variance: float = 0.05,
    ) -> "FactorTable":
        """The table of some data.

        Args:
            z: (N, *event) their representations.
            factors: (N, F) the value of each factor, integers.
            names: Of the F factors.
            active_variance: What the variance of a dimension that is not collapsed exceeds.

        Raises:
            InputError: The arrays do not fit together or have values that cannot be used, there are too few rows, or fewer than
                two factors vary.
        """
        points = as_points(z)
        values = _integers(as_array(factors))
        if len(values) != len(points):
            raise InputError(f"there are {len(values):,} rows of factors beside {len(points):,} representations; give one each.")
        if len(points) < FEWEST:
            raise InputError(f"there are {len(points)} rows; scores of disentanglement need at least {FEWEST}.")
        names = tuple(f"factor {column}" for column in range(values.shape[1])) if names is None else tuple(names)
        if len(names) != values.shape[1]:
            raise InputError(f"there are {len(names)} names of {values.shape[1]} factors; give one each.")
        coded = {name: np.unique(column, return_inverse=True)[1].ravel() for name, column in zip(names, values.T, strict=True)}
        varying = {name: codes for name, codes in coded.items() if codes.any()}
        _check(varying, len(points))
        constant = tuple(name for name in names if name not in varying)
        active = points.var(0) > active_variance
        return cls(points, np.stack(list(varying.values()), 1), tuple(varying), constant, active)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """(F,) the number of values of each factor."""
        return self.codes.max(0) + 1

    @cached_property
    def entropy(self) -> NDArray[np.float64]:
        """(F,) the entropy of each factor, nats."""
        shares = [np.bincount(codes) / len(codes) for codes in self.codes.T]
        return np.array([-(share * np.log(share)).sum() for share in shares])

    def alike(self, rows: NDArray[np.int64], factor: int, noise: np.random.Generator) -> NDArray[np.int64]:
        """For each of these rows (of any shape) one, drawn at random, that has the same value of a factor."""
        order, start, count = self._groups[factor]
        value = self.codes[rows, factor]
        return order[start[value] + (noise.random(rows.shape) * count[value]).astype(np.int64)]

    @cached_property
    def _groups(self) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        """Of each factor the rows in the order of its values, where each value begins, and how often it occurs."""
        counts = [np.bincount(codes) for codes in self.codes.T]
        orders = [np.argsort(codes, kind="stable") for codes in self.codes.T]
        return [(order, count.cumsum() - count, count) for order, count in zip(orders, counts, strict=True)]


def _integers(factors: NDArray[Any]) -> NDArray[np.int64]:
    if factors.ndim != 2:
        raise InputError(f"factors have shape {factors.shape}; give (N, F), a row for each datum and a column for each factor.")
    if not np.issubdtype(factors.dtype, np.number):
        raise InputError(f"factors are {factors.dtype}; give their values as integer codes.")
    broken = np.argwhere(factors != np.round(factors))  # NaN differs from itself
    if len(broken):
        row, column = broken[0]
        raise InputError(
            f"factors have {factors[row, column]} at row {row}, column {column}; they are integer codes: bin continuous ones."
        )
    return factors.astype(np.int64)


def _check(varying: dict[str, NDArray[Any]], rows: int) -> None:
    if len(varying) < 2:
        raise InputError(
            f"{len(varying)} of the factors vary; disentanglement needs at least two (for one label, use probes and clusters)."
        )
    for name, codes in varying.items():
        if 2 * (codes.max() + 1) > rows:
            raise InputError(f"factor '{name}' has {codes.max() + 1:,} values in {rows:,} rows, few of which repeat; bin it.")

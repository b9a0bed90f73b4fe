r"""The standard error of a statistic that is no mean, by leaving out a part of the data at a time.

    var(t) ~ (G - 1)/G sum_g (t_g - mean t)^2          the delete-a-group jackknife (Shao and Tu 1995, section 5.1)

where t_g is the statistic without the g-th of G equal groups of the data, drawn at random. A bias that falls with the number of
data, as that of a mutual information does, is the same in every t_g and so does not count; resampled data, which have repeats,
would add to it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUPS = 20


@dataclass(frozen=True)
class Score:
    """A number, and its standard error; NaN where that cannot be told."""

    value: float
    stderr: float


def groups_of(rows: int, seed: int) -> NDArray[np.int64]:
    """(N,) the group of each of N rows, drawn at random, of nearly equal sizes."""
    return np.random.default_rng(seed).permutation(rows) % GROUPS


def jackknife(statistic: Callable[[NDArray[np.bool_]], float], rows: int, *, seed: int) -> float:
    """The standard error of a statistic of N rows.

    Args:
        statistic: Its value on the rows where the (N,) mask is true.
        rows: N.
        seed: Of the groups.

    Returns:
        The standard error; NaN for fewer than two rows a group.
    """
    if rows < 2 * GROUPS:
        return math.nan
    group = groups_of(rows, seed)
    return error_without(np.array([statistic(group != left_out) for left_out in range(GROUPS)]))


def scored(statistic: Callable[[NDArray[np.bool_]], float], rows: int, *, seed: int) -> Score:
    """A statistic of all N rows, with its standard error by the jackknife."""
    return Score(float(statistic(np.ones(rows, dtype=bool))), jackknife(statistic, rows, seed=seed))


def error_without(values: NDArray[np.float64]) -> float:
    """The standard error from the statistic without each of the G groups, (G,)."""
    return float(np.sqrt((len(values) - 1) * values.var()))

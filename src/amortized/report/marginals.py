"""How far samples are from data, one column at a time: numbers for pages, and what a figure draws."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from amortized.report.entries import flat, means, variances
from amortized.report.view import View

if TYPE_CHECKING:
    from amortized.runs import Run

Array = NDArray[np.float64]

MOST_PAIRED = 300
"""Columns among which pairs are looked for."""


@dataclass(frozen=True, eq=False)
class Marginals:
    """The columns of data beside those of samples, D of them.

    Attributes:
        mean: (D,) of the data, NaN for a column without any; likewise all below.
        mean_of_samples: (D,).
        variance: (D,).
        variance_of_samples: (D,).
        zeros: (D,) the share of zeros.
        zeros_of_samples: (D,).
        distance: (D,) the largest difference of the two cumulative distribution functions, from 0 to 1 (Kolmogorov-Smirnov).
    """

    mean: Array
    mean_of_samples: Array
    variance: Array
    variance_of_samples: Array
    zeros: Array
    zeros_of_samples: Array
    distance: Array


def marginals(run: "Run | View") -> Marginals:
    """Compare the columns of the data shown with those of as many samples.

    Raises:
        InputError: The data are not there.
    """
    view = View.of(run)
    return compare_columns(flat(view.shown_x), flat(view.draws))


def compare_columns(data: Array, samples: Array) -> Marginals:
    """Compare the columns of data (N, D) with those of samples (M, D); NaN is a missing entry."""
    (mean, variance, zeros), of_samples = [(means(x), variances(x), share_of_zeros(x)) for x in (data, samples)]
    distance = [largest_difference(a, b) for a, b in zip(data.T, samples.T, strict=True)]
    return Marginals(mean, of_samples[0], variance, of_samples[1], zeros, of_samples[2], np.array(distance))


def share_of_zeros(x: Array) -> Array:
    """(D,) the share of the observed entries of each column of (N, D) that are 0; NaN for a column without any."""
    return means(np.where(np.isnan(x), np.nan, x == 0))


def largest_difference(a: Array, b: Array) -> float:
    """The largest difference of the cumulative distribution functions of two samples (N,) and (M,); NaN where one is empty."""
    a, b = np.sort(a[~np.isnan(a)]), np.sort(b[~np.isnan(b)])
    if not len(a) or not len(b):
        return float("nan")
    at = np.concatenate((a, b))
    shares = [np.searchsorted(values, at, side="right") / len(values) for values in (a, b)]
    return float(np.abs(shares[0] - shares[1]).max())


def most_correlated(x: Array, count: int) -> list[tuple[int, int, float]]:
    """The pairs of columns of (N, D) with the largest correlations, each entry in at most two of them; NaN left out.

    Returns:
        First column, second column and their correlation, the largest in size first.
    """
    columns = np.sort(np.argsort(-np.nan_to_num(variances(x)), kind="stable")[:MOST_PAIRED])
    known = ~np.isnan(x[:, columns])
    centered = np.where(known, x[:, columns] - means(x[:, columns]), 0.0)
    weight = known.astype(np.float64)
    with np.errstate(all="ignore"):
        squares = centered.T**2 @ weight
        r = np.nan_to_num(centered.T @ centered / np.sqrt(squares * squares.T))
    r[np.tril_indices(len(columns))] = 0.0
    found: list[tuple[int, int, float]] = []
    uses = np.zeros(len(columns), int)
    for place in np.argsort(-np.abs(r), axis=None, kind="stable"):
        i, j = divmod(int(place), len(columns))
        if len(found) == count or r[i, j] == 0:
            break
        if uses[i] < 2 and uses[j] < 2:
            found.append((int(columns[i]), int(columns[j]), float(r[i, j])))
            uses[[i, j]] += 1
    return found

r"""Whether near in the latent space is alike in the labels.

    clusters    k-means with as many clusters as classes, compared with the classes by the adjusted Rand index (Hubert and Arabie
                1985; 0 by chance, 1 where they agree) and the normalized mutual information 2 I / (H + H'), above 0 by chance
    silhouette  (b - a) / max(a, b) with a the mean distance to the others of one's class, b that to the nearest other class
                (Rousseeuw 1987): 1 for classes far apart, near 0 for classes that overlap
    triplets    P(d(z, z') < d(z, z'') | z' of the class of z, z'' of another), ties by half: 0.5 by chance
    ranks       Spearman's correlation of d(z, z') with |y - y'|, for labels with an order

The last two are had per anchor z, against all other rows, and averaged over anchors. Distances are Euclidean in the units of the
latent, which are those of the prior. Rows are compared with each other, so that none of these is a mean of independent values:
standard errors are the jackknife's, over the rows, k-means held as it is.
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.records import Found, Metric, as_metrics, as_text
from amortized.evaluation.representations import as_labels, as_points, is_continuous, some
from amortized.evaluation.resampling import Score, scored

MOST = 10_000
"""Rows that are clustered, drawn at random."""
MOST_PAIRED = 500
"""Rows of which all distances are taken."""


@dataclass(frozen=True, eq=False)
class Clusters(Found):
    """How the labels lie in a representation; what they have no place for is None.

    Attributes:
        ari: Adjusted Rand index of k-means and the classes.
        nmi: Normalized mutual information of the two.
        silhouette: Mean silhouette of the rows in their classes.
        triplets: Probability that a row of the same class is nearer than one of another.
        ranks: Rank correlation of distances with those of the labels.
        classes: The number of classes.
        rows: The number of rows.
        split: The data.
    """

    ari: Score | None
    nmi: Score | None
    silhouette: Score | None
    triplets: Score | None
    ranks: Score | None
    classes: int | None
    rows: int
    split: str = "test"

    @property
    def metrics(self) -> dict[str, Metric]:
        """The numbers by name, each with its standard error."""
        scores = {
            "kmeans_ari": self.ari,
            "kmeans_nmi": self.nmi,
            "silhouette": self.silhouette,
            "triplet_agreement": self.triplets,
            "distance_correlation": self.ranks,
        }
        table = {}
        for name, score in scores.items():
            if score is not None:
                table[name], table[f"{name}_stderr"] = score.value, score.stderr
        return as_metrics(table, self.split, 0)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        if self.triplets is None or not self.triplets.value - 0.5 <= 2 * self.triplets.stderr:
            return []
        return ["Data of one class lie no nearer to each other than to those of others: distances say nothing of these labels."]

    def __str__(self) -> str:
        """The numbers as a small table."""
        kind = "labels in order" if self.classes is None else f"{self.classes} classes"
        return as_text(f"{self.split} split, {self.rows:,} data, {kind}", self.metrics, self.notes)


def clusters(
    z: ArrayLike | Tensor, y: ArrayLike | Tensor, *, ordinal: bool = False, seed: int = 0, split: str = "test"
) -> Clusters:
    """Hold the distances of a representation against labels.

    Args:
        z: (N, *event) representations; at most 10,000 rows are clustered, and of at most 500 all distances are taken.
        y: (N,) their labels: real numbers have an order, anything else is a class.
        ordinal: Whether integer classes have an order too, such as ages.
        seed: Of k-means, and of the choice of rows.
        split: The name of the data, for the record.

    Returns:
        The agreement, by each measure that the labels allow.

    Raises:
        InputError: The arrays do not fit together, have fewer than two rows or values that are not finite; the labels are all the
            same, or all different though they are classes.

    Example:
        >>> found = clusters([[0.0], [0.1], [9.0], [9.1]], ["a", "a", "b", "b"])
        >>> found.metrics["kmeans_ari"].value, found.metrics["triplet_agreement"].value
        (1.0, 1.0)
    """
    points = as_points(z)
    labels = as_labels(y, len(points))
    _check(labels, ordinal)
    continuous = is_continuous(labels)
    paired = some(len(points), MOST_PAIRED, seed)
    distances, values = _distances(points[paired]), labels[paired]
    over_pairs = partial(_over_pairs, distances, seed=seed)
    ranks = over_pairs(values.astype(float), _ranks) if continuous or ordinal else None
    if continuous:
        return Clusters(None, None, None, None, ranks, None, len(points), split)
    rows = some(len(points), MOST, seed)
    ari, nmi = _agreement(points[rows], labels[rows], seed)
    codes = np.unique(values, return_inverse=True)[1]
    classes = len(np.unique(labels))
    return Clusters(ari, nmi, over_pairs(codes, _silhouette), over_pairs(codes, _triplets), ranks, classes, len(rows), split)


def _check(labels: NDArray[Any], ordinal: bool) -> None:
    values = len(np.unique(labels))
    if values < 2:
        raise InputError(f"all {len(labels):,} labels are {labels[0]}; clusters need at least two classes.")
    if not is_continuous(labels) and values == len(labels):
        raise InputError(f"all {values:,} labels differ; give classes that repeat, or real numbers (float) for labels in order.")
    if ordinal and not is_continuous(labels) and not np.issubdtype(labels.dtype, np.number):
        raise InputError(f"labels of type {labels.dtype} have no order; give their ranks as integers, or leave ordinal out.")


def _distances(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n, n), with exact zeros between equal rows."""
    from scipy.spatial.distance import pdist, squareform

    return squareform(pdist(points))


def _agreement(points: NDArray[Any], labels: NDArray[Any], seed: int) -> tuple[Score, Score]:
    """ARI and NMI of k-means and the classes."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    count = min(len(np.unique(labels)), len(np.unique(points, axis=0)))
    means = KMeans(count, n_init=5, random_state=seed)  # pyright: ignore[reportArgumentType]
    codes, found = np.unique(labels, return_inverse=True)[1], means.fit_predict(points)
    return (
        scored(lambda kept: adjusted_rand_score(codes[kept], found[kept]), len(codes), seed=seed),
        scored(lambda kept: float(normalized_mutual_info_score(codes[kept], found[kept])), len(codes), seed=seed),
    )


def _over_pairs(distances: NDArray[np.float64], y: NDArray[Any], statistic: Any, *, seed: int) -> Score | None:
    """A statistic of distances (n, n) and labels (n,); None where it cannot be told."""
    found = scored(lambda kept: statistic(distances[np.ix_(kept, kept)], y[kept]), len(y), seed=seed)
    return None if math.isnan(found.value) else found


def _silhouette(distances: NDArray[np.float64], codes: NDArray[Any]) -> float:
    """The mean silhouette; NaN where the rows are of one class, or each of its own."""
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(codes)) < len(codes):
        return math.nan
    return float(silhouette_score(distances, codes, metric="precomputed"))


def _triplets(distances: NDArray[np.float64], codes: NDArray[Any]) -> float:
    """The agreement, over anchors that have others of their class and of another; NaN where none has."""
    found = []
    for anchor, row in enumerate(distances):
        same = codes == codes[anchor]
        others = np.sort(row[~same])
        same[anchor] = False
        if same.any() and len(others):
            nearer = np.searchsorted(others, row[same], "left") + np.searchsorted(others, row[same], "right")
            found.append(1 - nearer.mean() / (2 * len(others)))
    return float(np.mean(found)) if found else math.nan


def _ranks(distances: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """The mean of Spearman's correlation over anchors; of one to which all distances are the same it is 0."""
    from scipy.stats import rankdata

    others = ~np.eye(len(y), dtype=bool)
    apart = (values[others].reshape(len(y), -1) for values in (distances, np.abs(y[:, None] - y)))
    one, other = (ranks - ranks.mean(1, keepdims=True) for ranks in (rankdata(values, axis=1) for values in apart))
    spread = np.sqrt((one**2).sum(1) * (other**2).sum(1))
    return float(np.mean((one * other).sum(1) / np.where(spread > 0, spread, 1.0)))

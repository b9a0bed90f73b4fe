r"""Whether near in the latent space is alike in the labels.

    clusters    k-means with as many clusters as classes, compared with the classes by the adjusted Rand index (Hubert and Arabie
                1985; 0 by chance, 1 where they agree) and the normalized mutual information 2 I / (H + H'), above 0 by chance
    silhouette  (b - a) / max(a, b) with a the mean distance to the others of one's class, b that to the nearest other class
                (Rousseeuw 1987): 1 for classes far apart, near 0 for classes that overlap
    triplets    P(d(z, z') < d(z, z'') | z' of the class of z, z'' of another), ties by half: 0.5 by chance
    ranks       Spearman's correlation of d(z, z') with |y - y'|, for labels with an order

The last two are had per anchor z, against all other rows, and averaged over anchors. Distances are Euclidean in the units of the
latent, which are those of the prior.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.records import Metric, as_text, standard_error
from amortized.evaluation.representations import as_labels, as_points, is_continuous, some
from amortized.evaluation.resampling import jackknife

MOST = 10_000
"""Rows that are clustered, drawn at random."""
MOST_PAIRED = 2_000
"""Rows of which all distances are taken."""


@dataclass(frozen=True, eq=False)
class Clusters:
    """How the classes lie in a representation; what the labels have no place for is None.

    Attributes:
        ari: Adjusted Rand index of k-means and the classes, with its standard error (jackknife over rows, clusters held).
        nmi: Normalized mutual information of the two, likewise.
        silhouette: (n,) that of each row, by its class.
        triplets: (n,) of each anchor, the probability that a row of its class is nearer than one of another.
        ranks: (n,) of each anchor, the rank correlation of distances with those of the labels.
        classes: The number of classes.
        rows: The number of rows that were clustered.
        split: The data.
    """

    ari: tuple[float, float] | None
    nmi: tuple[float, float] | None
    silhouette: Tensor | None
    triplets: Tensor | None
    ranks: Tensor | None
    classes: int | None
    rows: int
    split: str = "test"

    @property
    def metrics(self) -> dict[str, Metric]:
        """The numbers by name, each with its standard error."""
        pairs = {"kmeans_ari": self.ari, "kmeans_nmi": self.nmi}
        means = {"silhouette": self.silhouette, "triplet_agreement": self.triplets, "distance_correlation": self.ranks}
        pairs |= {name: (float(values.mean()), standard_error(values)) for name, values in means.items() if values is not None}
        table = {}
        for name, pair in pairs.items():
            if pair is not None:
                table[name], table[f"{name}_stderr"] = pair
        return {name: Metric(value, self.split, 0, "estimate") for name, value in table.items() if not math.isnan(value)}

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        if self.triplets is None or float(self.triplets.mean()) - 0.5 > 2 * standard_error(self.triplets):
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
        z: (N, *event) representations; at most 10,000 rows are clustered, and of at most 2,000 all distances are taken.
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
    distances = _distances(points[paired])
    ranks = _ranks(distances, labels[paired].astype(float)) if continuous or ordinal else None
    if continuous:
        return Clusters(None, None, None, None, ranks, None, len(points), split)
    rows = some(len(points), MOST, seed)
    codes = np.unique(labels, return_inverse=True)[1]
    ari, nmi = _agreement(points[rows], codes[rows], seed)
    silhouette, triplets = _silhouette(distances, codes[paired]), _triplets(distances, codes[paired])
    return Clusters(ari, nmi, silhouette, triplets, ranks, int(codes.max()) + 1, len(rows), split)


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


def _agreement(points: NDArray[Any], codes: NDArray[Any], seed: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """ARI and NMI of k-means and the classes, each with its standard error."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    count = min(len(np.unique(codes)), len(np.unique(points, axis=0)))
    means = KMeans(count, n_init=5, random_state=seed)  # pyright: ignore[reportArgumentType]
    found = means.fit_predict(points)

    def measured(score: Any) -> tuple[float, float]:
        return float(score(codes, found)), jackknife(lambda kept: score(codes[kept], found[kept]), len(codes), seed=seed)

    return measured(adjusted_rand_score), measured(normalized_mutual_info_score)


def _silhouette(distances: NDArray[np.float64], codes: NDArray[Any]) -> Tensor | None:
    """(n,) that of each row; None where the rows are of one class."""
    from sklearn.metrics import silhouette_samples

    if not 1 < len(np.unique(codes)) < len(codes):
        return None
    return torch.from_numpy(silhouette_samples(distances, codes, metric="precomputed"))


def _triplets(distances: NDArray[np.float64], codes: NDArray[Any]) -> Tensor | None:
    """(n,) of each anchor that has others of its class and of another; None where none has."""
    found = []
    for anchor, row in enumerate(distances):
        same = codes == codes[anchor]
        others = np.sort(row[~same])
        same[anchor] = False
        if same.any() and len(others):
            farther = 2 * len(others) - np.searchsorted(others, row[same], "left") - np.searchsorted(others, row[same], "right")
            found.append(farther.mean() / (2 * len(others)))
    return torch.tensor(found, dtype=torch.float64) if found else None


def _ranks(distances: NDArray[np.float64], y: NDArray[np.float64]) -> Tensor:
    """(n,) Spearman's correlation of each row of distances with those of the labels; 0 where all distances are the same."""
    from scipy.stats import rankdata

    found = []
    for anchor, row in enumerate(distances):
        one = rankdata(np.delete(row, anchor))
        other = rankdata(np.delete(np.abs(y - y[anchor]), anchor))
        spread = one.std() * other.std()
        found.append(0.0 if spread == 0 else np.mean((one - one.mean()) * (other - other.mean())) / spread)
    return torch.tensor(found, dtype=torch.float64)

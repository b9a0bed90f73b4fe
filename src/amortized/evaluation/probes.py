r"""What a simple reader finds in a representation: linear and nearest-neighbor probes.

A probe is fitted on representations of training data and scored on test data: what it finds, the code holds in a form that is
easy to use; what it misses may be there all the same (Alain and Bengio 2017, arXiv 1610.01644). It means something beside two
others: the chance level, which a constant code reaches, and the same probe on the data themselves.

    classes       multinomial logistic regression; k nearest neighbors by vote        accuracy: share of test data read right
    real labels   ridge regression; the mean of k nearest neighbors                   R^2 = 1 - sum e^2 / sum (y - mean y)^2

The linear probe sees standardized columns, with a penalty of |w|^2 / 2 for classes and one chosen by leave-one-out for ridge. The
nearest-neighbor probe sees the distances as they are: scaled up, a dimension that carries nothing would count as much as one
that does. The standard error of an accuracy is the binomial one over the test data, that of R^2 is the jackknife's.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.records import Found, Metric, as_metrics, as_text
from amortized.evaluation.representations import as_labels, as_points, is_continuous, some
from amortized.evaluation.resampling import Score, scored

MOST = 10_000
"""Training rows that a probe is fitted on, drawn at random."""
NEIGHBORS = 5


@dataclass(frozen=True, eq=False)
class Probes(Found):
    """What probes read in a representation.

    Attributes:
        linear: The linear probe.
        neighbors: The nearest-neighbor probe.
        chance: What a constant code reaches: the most frequent training label, or the training mean.
        linear_on_data: The linear probe on the data themselves; None where they were not given.
        neighbors_on_data: The nearest-neighbor probe on the data themselves; None likewise.
        measure: "accuracy" or "r2".
        train: The number of training rows that the probes were fitted on.
        test: The number of test rows.
        split: The test data.
    """

    linear: Score
    neighbors: Score
    chance: Score
    linear_on_data: Score | None
    neighbors_on_data: Score | None
    measure: str
    train: int
    test: int
    split: str = "test"

    @property
    def metrics(self) -> dict[str, Metric]:
        """The scores by name, each with its standard error over the test data."""
        named = {
            "linear_probe": self.linear,
            "neighbor_probe": self.neighbors,
            "chance": self.chance,
            "data_linear_probe": self.linear_on_data,
            "data_neighbor_probe": self.neighbors_on_data,
        }
        table = {}
        for name, score in named.items():
            if score is not None:
                table[f"{name}_{self.measure}"] = score.value
                table[f"{name}_{self.measure}_stderr"] = score.stderr
        return as_metrics(table, self.split, 0)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        found = []
        if self.linear.value - self.chance.value <= 2 * self.linear.stderr:
            found.append("The linear probe does no better than chance: the labels cannot be read off the latents by a line.")
        if self.linear_on_data is not None and _is_worse(self.linear, self.linear_on_data):
            found.append(
                "The data themselves tell the labels better than the latents do, by the same linear probe; more latent"
                " dimensions, or a smaller weight of the KL, keep more of them."
            )
        return found

    def __str__(self) -> str:
        """The scores as a small table."""
        head = f"{self.split} split, {self.test:,} data, probes fitted on {self.train:,}"
        return as_text(head, self.metrics, self.notes)


def _is_worse(one: Score, other: Score) -> bool:
    return other.value - one.value > 2 * math.hypot(one.stderr, other.stderr)


def probes(
    train_z: ArrayLike | Tensor,
    train_y: ArrayLike | Tensor,
    test_z: ArrayLike | Tensor,
    test_y: ArrayLike | Tensor,
    *,
    train_x: ArrayLike | Tensor | None = None,
    test_x: ArrayLike | Tensor | None = None,
    seed: int = 0,
    split: str = "test",
) -> Probes:
    """Read labels off representations.

    Args:
        train_z: (N, *event) representations of training data; at most 10,000 of them, drawn at random, are used.
        train_y: (N,) their labels: real numbers are regressed on, anything else is a class.
        test_z: (M, *event) representations of test data.
        test_y: (M,) their labels.
        train_x: (N, *event) the training data themselves, for the reference.
        test_x: (M, *event) the test data themselves.
        seed: Of the choice of training rows.
        split: The name of the test data, for the record.

    Returns:
        The probes' scores, the chance level, and the scores on the data themselves.

    Raises:
        InputError: The arrays do not fit together, have no rows or values that are not finite, or the labels are all the same.

    Example:
        >>> codes = [[0.0], [0.1], [0.9], [1.0]]
        >>> probes(codes, [0, 0, 1, 1], codes, [0, 0, 1, 1]).metrics["linear_probe_accuracy"].value
        1.0
    """
    z, test = as_points(train_z, "train_z"), as_points(test_z, "test_z")
    y, test_labels = as_labels(train_y, len(z), "train_y"), as_labels(test_y, len(test), "test_y")
    if (train_x is None) != (test_x is None):
        raise InputError("the reference needs 'train_x' and 'test_x', and one of them is missing; give both, or none.")
    if is_continuous(y) != is_continuous(test_labels):
        raise InputError(f"'train_y' is {y.dtype} and 'test_y' is {test_labels.dtype}; give both as classes or both as reals.")
    if (y == y[0]).all():
        raise InputError(f"all of 'train_y' is {y[0]}; a probe needs labels that differ.")
    rows = some(len(z), MOST, seed)
    scores = _both(z[rows], y[rows], test, test_labels, seed)
    reference: tuple[Score | None, Score | None] = (None, None)
    if train_x is not None and test_x is not None:
        x, unseen = _beside(train_x, len(z), "train_x"), _beside(test_x, len(test), "test_x")
        reference = _both(x[rows], y[rows], unseen, test_labels, seed)
    chance = _score(np.full(len(test), _constant(y)), test_labels, seed)
    measure = "r2" if is_continuous(y) else "accuracy"
    return Probes(*scores, chance, *reference, measure, len(rows), len(test), split)


def _beside(x: ArrayLike | Tensor, rows: int, name: str) -> NDArray[np.float64]:
    points = as_points(x, name)
    if len(points) != rows:
        raise InputError(f"'{name}' has {len(points):,} rows beside {rows:,} representations; give the same data.")
    return points


def _both(z: NDArray[Any], y: NDArray[Any], test: NDArray[Any], test_y: NDArray[Any], seed: int) -> tuple[Score, Score]:
    """The scores of the linear and the nearest-neighbor probe."""
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

    if z.shape[1] != test.shape[1]:
        raise InputError(f"training rows have {z.shape[1]} columns and test rows {test.shape[1]}; give both of the same code.")
    regress, count = is_continuous(y), min(NEIGHBORS, len(z))
    linear = RidgeCV(np.logspace(-4, 4, 17)) if regress else LogisticRegression(max_iter=2000, tol=1e-3)
    nearest = KNeighborsRegressor(count) if regress else KNeighborsClassifier(count)
    low, span = z.mean(0), z.std(0)
    span[span == 0] = 1.0
    lines = linear.fit((z - low) / span, y).predict((test - low) / span)
    return _score(lines, test_y, seed), _score(nearest.fit(z, y).predict(test), test_y, seed)


def _constant(y: NDArray[Any]) -> Any:
    """What is best said of a label without looking: the mean, or the most frequent class."""
    if is_continuous(y):
        return y.mean()
    values, counts = np.unique(y, return_counts=True)
    return values[counts.argmax()]


def _score(found: NDArray[Any], y: NDArray[Any], seed: int) -> Score:
    if not is_continuous(y):
        share = float((found == y).mean())
        return Score(share, math.sqrt(share * (1 - share) / len(y)))
    error, spread = (found - y) ** 2, (y - y.mean()) ** 2
    if not spread.any():
        raise InputError(f"all of 'test_y' is {y[0]}; R^2 needs labels that differ.")
    return scored(lambda kept: 1 - error[kept].sum() / spread[kept].sum(), len(y), seed=seed)

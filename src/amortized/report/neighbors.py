"""Whether a model has memorized: how near its samples are to training data, beside how near new data are.

With d_1 and d_2 the distances of a point to its nearest and second nearest training datum, two shares are looked at:

    nearer    P( d_1(sample) < d_1(new datum) ), a tie counted half: 1/2 for samples that are as far as new data are
    copies    the share of samples whose ratio d_1 / d_2 is among the lowest 1% that new data have

A copy lies much nearer to one training datum than to all others, so its ratio is near 0. Samples that are smoother than data, or of
the common kinds only, are nearer to all of them, which the ratio does not take for copying: it knows the density where it looks
(the ratio is that of Lowe 2004, as Carlini et al. 2023 (arXiv 2301.13188) use it on samples).
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.two_samples import share_nearer
from amortized.report.entries import flat, is_image, means, spreads
from amortized.report.view import View
from amortized.terms import Batch

if TYPE_CHECKING:
    from amortized.runs import Run

QUERIES = 1000
"""Samples, and new data, at most."""

TRAINING = 20_000
"""Training data among which neighbors are looked for, at most."""

PRODUCTS = 4 * 10**10
"""Multiplications, at most: among as few training data are neighbors looked for where data are large."""

ROWS = 500
"""Queries at once."""

RARE = 0.01
"""The share of new data whose ratio counts as that of a copy."""

CLEAR, SHORTFALL = 3.0, 0.05
"""Standard errors beyond which a share differs from what is expected, and the difference that is worth naming."""


@dataclass(frozen=True, eq=False)
class Neighbors:
    """The nearest training data of samples and of new data.

    Attributes:
        samples: (M, *event) the samples.
        nearest: (M, 2) the places among `training` of the nearest two of each sample.
        training: The training data that were looked through.
        distance: (M,) d_1 of the samples, in `unit`.
        distance_of_data: (N,) that of new data; None where all data were trained on.
        nearer: The share of samples that are nearer than new data, and its standard error; None likewise.
        copies: The share of samples with a ratio as low as the lowest 1% of new data; None likewise.
        copies_of_data: The share of new data with one, 1% but for ties; None likewise.
        whole: How many training data there are.
        unit: Of the distances.
    """

    samples: NDArray[Any]
    nearest: NDArray[np.int64]
    training: Batch
    distance: NDArray[np.float64]
    distance_of_data: NDArray[np.float64] | None
    nearer: tuple[float, float] | None
    copies: float | None
    copies_of_data: float | None
    whole: int
    unit: str

    @property
    def is_memorizing(self) -> bool:
        """Whether clearly more samples are copies than chance makes of new data."""
        if self.copies is None or self.copies_of_data is None or self.distance_of_data is None:
            return False
        expected = max(self.copies_of_data, RARE)
        error = math.sqrt(expected * (1 - expected) * (1 / len(self.distance) + 1 / len(self.distance_of_data)))
        return self.copies - expected > max(CLEAR * error, SHORTFALL)

    @property
    def sentence(self) -> str:
        """What this says of memorizing."""
        if self.nearer is None or self.copies is None:
            return "All data were trained on, so there is nothing to compare with: whether samples are copies is not known."
        (share, error), said = self.nearer, f"{self.nearer[0]:.0%} of samples are nearer to training data than new data are"
        if self.is_memorizing:
            return (
                f"Memorizing: {self.copies:.0%} of samples lie at one training datum as closely as only {self.copies_of_data:.0%}"
                f" of new data do ({said}; 50% expected)."
            )
        if abs(share - 0.5) <= max(CLEAR * error, SHORTFALL):
            return f"No sign of memorizing: {said}, where 50% are expected."
        if share > 0.5:
            return f"{said}, but no more are copies of one ({self.copies:.1%}): samples vary less than data, and do not memorize."
        return f"No sign of memorizing: only {said}; samples are less like data than data themselves."


def neighbors(run: "Run | View") -> Neighbors:
    """Find the training data that are nearest to samples, and to new data.

    Distances are Euclidean, of a table's columns in units of their standard deviations, and over the entries that are observed,
    as the root of the mean square times the number of entries.

    Raises:
        InputError: The data are not there, or there are fewer than two of training.
    """
    view = View.of(run)
    queries = min(QUERIES, len(view.draws), len(view.batch))
    entries = math.prod(view.spec.event_shape)
    training = view.train(max(2, min(TRAINING, PRODUCTS // (2 * queries * entries))))
    if len(training) < 2:
        raise InputError(f"neighbors are looked for among training data, and there are {len(training)}.")
    whole = view.material.train_count
    data, samples = flat(view.shown_x[:queries]), flat(view.draws[:queries])
    points = flat(_seen(training))
    # What a datum lacks its sample lacks too, so that both are compared with the training data over as many entries.
    samples = np.where(np.isnan(data), np.nan, samples)
    middle = np.nan_to_num(means(points))
    spread = np.ones(entries) if is_image(view.spec) else spreads(points)
    scaled = [torch.from_numpy(((x - middle) / spread).astype(np.float32)) for x in (points, samples, data)]
    first, nearest = nearest_two(scaled[1], scaled[0])
    unit = "" if is_image(view.spec) else ", columns in standard deviations"
    found = {"samples": view.draws[:queries], "nearest": nearest.numpy(), "training": training, "whole": whole, "unit": unit}
    known: dict[str, Any] = {"distance_of_data": None, "nearer": None, "copies": None, "copies_of_data": None}
    if view.split not in ("train", "all"):
        known = _compared(first, nearest_two(scaled[2], scaled[0])[0])
    return Neighbors(**found, distance=first[:, 0].double().numpy(), **known)


def nearest_two(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest two of others.

    Args:
        points: (N, D) float32, NaN where an entry is missing.
        others: (M, D) likewise, of which there are at least two.

    Returns:
        Distances (N, 2), the nearest first, and the places of these among others, (N, 2).
    """
    distances, places = [], []
    holes = bool(points.isnan().any()) or bool(others.isnan().any())
    known, filled = (~others.isnan()).float(), others.nan_to_num()
    squares = filled.square()
    sums = squares.sum(1)
    for rows in points.split(ROWS):
        seen, x = (~rows.isnan()).float(), rows.nan_to_num()
        if holes:
            shared = seen @ known.T
            total = x.square() @ known.T - 2 * x @ filled.T + seen @ squares.T
            square = torch.where(shared > 0, total / shared.clamp(min=1) * rows.shape[1], torch.inf)
        else:
            square = torch.addmm(sums, x, filled.T, alpha=-2)  # less |x|^2, which has no part in the order
        place = square.topk(2, largest=False).indices
        # Again by differences: products leave of a distance of 0 what rounding makes of the square of its points.
        difference = rows[:, None] - others[place]
        shared = (~difference.isnan()).sum(-1)
        exact = difference.nan_to_num().square().sum(-1) * rows.shape[1] / shared
        order = exact.argsort(1)
        distances.append(exact.gather(1, order).sqrt())
        places.append(place.gather(1, order))
    return torch.cat(distances), torch.cat(places)


def _compared(samples: Tensor, data: Tensor) -> dict[str, Any]:
    """The attributes of `Neighbors` that compare distances (M, 2) of samples with those of new data (N, 2)."""
    samples, data = (each[each.isfinite().all(1)] for each in (samples, data))
    ratios = [torch.where(each[:, 1] > 0, each[:, 0] / each[:, 1], 1.0) for each in (samples, data)]
    lowest = ratios[1].sort().values[max(0, math.ceil(RARE * len(data)) - 1)]
    copies = [float((ratio <= lowest).double().mean()) for ratio in ratios]
    return {
        "distance_of_data": data[:, 0].double().numpy(),
        "nearer": share_nearer(samples[:, 0].double(), data[:, 0].double()),
        "copies": copies[0],
        "copies_of_data": copies[1],
    }


def _seen(batch: Batch) -> NDArray[Any]:
    x = batch.x.cpu().numpy()
    return x if batch.observed is None else np.where(batch.observed.cpu().numpy(), x, np.nan)

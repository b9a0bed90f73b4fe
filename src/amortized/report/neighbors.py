"""Whether a model has memorized: how near its samples are to training data, beside how near new data are.

With d_1 and d_2 the distances of a point to its nearest and second nearest training datum, two shares are looked at:

    nearer    P( d_1(sample) < d_1(new datum) ), a tie counted half: 1/2 for samples that are as far as new data are
    copies    the share of samples whose ratio d_1 / d_2 is among the lowest 1% that new data have

A copy lies much nearer to one training datum than to all others, so its ratio is near 0. Samples that are smoother than data, or
of the common kinds only, are nearer to all of them, which the ratio does not take for copying: it is in units of how dense the
training data are there (the ratio by which Lowe 2004 tells matches from chance).
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
from amortized.report.entries import is_image
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

FEWEST = 20
"""New data and samples that are compared."""

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
        distance_of_data: (N,) that of new data; None where there are none, or too few.
        nearer: The share of samples that are nearer than new data, and its standard error; None likewise.
        copies: The share of samples with a ratio as low as the lowest 1% of new data; None likewise.
        copies_of_data: The share of new data with one, 1% but for ties; None likewise.
        repeated: The share of new data that equal a training datum in every entry; 0 where there are none to compare.
        whole: How many training data there are.
        unit: Of the distances.
        why_unknown: Why there is no such comparison, where there is none.
    """

    samples: NDArray[Any]
    nearest: NDArray[np.int64]
    training: Batch
    distance: NDArray[np.float64]
    distance_of_data: NDArray[np.float64] | None
    nearer: tuple[float, float] | None
    copies: float | None
    copies_of_data: float | None
    repeated: float
    whole: int
    unit: str
    why_unknown: str = ""

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
        """What this says of memorizing, and of new data that are not new."""
        said = self._memorizing
        if self.repeated < RARE:
            return said
        return f"{said} Of the new data {self.repeated:.0%} equal a training datum in every entry: those are not new."

    @property
    def _memorizing(self) -> str:
        if self.nearer is None or self.copies is None:
            return f"Whether samples are copies is not known: {self.why_unknown}."
        (share, error), said = self.nearer, f"{self.nearer[0]:.0%} of samples are nearer to training data than new data are"
        if self.is_memorizing:
            return (
                f"Memorizing: {self.copies:.0%} of samples lie at one training datum as closely as only {self.copies_of_data:.0%}"
                f" of new data do ({said}; 50% expected)."
            )
        if abs(share - 0.5) <= max(CLEAR * error, SHORTFALL):
            return f"No sign of memorizing: {said}, where 50% are expected."
        if share > 0.5:
            return (
                f"No sign of memorizing: {said}, where 50% are expected, but only {self.copies:.1%} are as close to a single one"
                f" as {self.copies_of_data:.1%} of new data are; samples vary less than data."
            )
        return f"No sign of memorizing: only {said}; samples are less like data than data themselves."


def neighbors(run: "Run | View") -> Neighbors:
    """Find the training data that are nearest to samples, and to new data.

    Distances are Euclidean, of a table's columns in units of their standard deviations. An entry that one of two data lacks
    counts with the mean squared difference of two training data, or those that lack most would be the nearest.

    Raises:
        InputError: The data are not there, or there are fewer than two of training.
    """
    return View.of(run).neighbors


def find_neighbors(view: View) -> Neighbors:
    """What `neighbors` returns, computed; a view keeps it."""
    queries = min(QUERIES, len(view.draws), len(view.batch))
    entries = math.prod(view.spec.event_shape)
    training = view.train(max(2, min(TRAINING, PRODUCTS // (2 * queries * entries))))
    if len(training) < 2:
        raise InputError(f"neighbors are looked for among training data, and there are {len(training)}.")
    points = _seen(training.x, training.observed)
    data = _seen(view.batch.x[:queries], None if view.batch.observed is None else view.batch.observed[:queries])
    # What a datum lacks its sample lacks too, so that both are compared with the training data over as many entries.
    samples = torch.where(data.isnan(), torch.nan, torch.from_numpy(view.draws[:queries]).flatten(1).float())
    unit = ""
    if not is_image(view.spec):
        unit = ", columns in standard deviations"
        middle, spread = _moments(points)
        points, samples, data = ((x - middle) / spread for x in (points, samples, data))
    first, nearest = nearest_two(samples, points)
    found = {
        "samples": view.draws[:queries],
        "nearest": nearest.numpy(),
        "training": training,
        "whole": view.material.train_count,
        "unit": unit,
    }
    known: dict[str, Any] = {"distance_of_data": None, "nearer": None, "copies": None, "copies_of_data": None, "repeated": 0.0}
    if view.split in ("train", "all"):
        known["why_unknown"] = "all data were trained on"
    elif queries < FEWEST:
        known["why_unknown"] = f"there are {queries} new data to compare with, and a comparison needs {FEWEST}"
    else:
        known = _compared(first, nearest_two(data, points)[0])
    return Neighbors(**found, distance=first[:, 0].double().numpy(), **known)


def nearest_two(points: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest two of others.

    Args:
        points: (N, D) float32, NaN where an entry is missing, which counts with the mean squared difference of two others.
        others: (M, D) likewise, of which there are at least two.

    Returns:
        Distances (N, 2), the nearest first, and the places of these among others, (N, 2).
    """
    distances, places = [], []
    has_holes = bool(points.isnan().any() or others.isnan().any())
    filled = others.nan_to_num()
    squares = filled.square()
    sums = squares.sum(1)
    known, typical = ((~others.isnan()).float(), 2 * _moments(others)[1].square()) if has_holes else (None, sums.new_zeros(()))
    for rows in points.split(ROWS):
        if known is None:
            square = torch.addmm(sums, rows, filled.T, alpha=-2)  # less |x|^2, which has no part in the order
        else:
            seen, x = (~rows.isnan()).float(), rows.nan_to_num()
            square = (x.square() - typical * seen) @ known.T - 2 * x @ filled.T + seen @ squares.T
        place = square.topk(2, largest=False).indices
        # Again by differences: products leave of a distance of 0 what rounding makes of the square of its points.
        difference = (rows[:, None] - others[place]).square()
        exact = torch.where(difference.isnan(), typical, difference).sum(-1)
        order = exact.argsort(dim=1, stable=True)
        distances.append(exact.gather(1, order).sqrt())
        places.append(place.gather(1, order))
    return torch.cat(distances), torch.cat(places)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """(D,) each: mean and standard deviation of columns (N, D), NaN left out; 0 and 1 where nothing tells them."""
    middle = x.nanmean(0).nan_to_num()
    spread = (x - middle).square().nanmean(0).sqrt()
    return middle, torch.where(spread > 0, spread, 1.0)


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
        "repeated": float((data[:, 0] == 0).double().mean()) if len(data) else 0.0,
    }


def _seen(x: Tensor, observed: Tensor | None) -> Tensor:
    """(N, D) float32, NaN where an entry is missing."""
    x = x.cpu().flatten(1).float()
    return x if observed is None else torch.where(observed.cpu().flatten(1), x, torch.nan)

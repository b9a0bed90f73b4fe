"""Where a model puts data, as arrays for what looks at representations alone.

    z_n = E[z | x_n] under q(z | x_n)

Probes, clusters and scores of disentanglement need nothing of the model but these points and what is known of the data: their
labels or factors. Where the posterior is Gaussian, its standard deviations are kept too: how much of z_n is noise.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from amortized.distributions import center
from amortized.errors import InputError
from amortized.evaluation.chunks import cut, joined
from amortized.models.model import Model, device_of, evaluating
from amortized.terms import Batch


@dataclass(frozen=True, eq=False)
class Representations:
    """N encoded data, on the CPU, in their order.

    Attributes:
        z: (N, D) float64, the posterior means, the event of a latent as one vector.
        labels: (N, ...) what is known of the data; None where nothing is.
        scales: (N, D) float64, the standard deviations of the posterior's marginals; None where these are not Gaussian.
    """

    z: Tensor
    labels: Tensor | None
    scales: Tensor | None


def representations(
    model: Model, batches: Iterable[Batch | Tensor], *, seed: int = 0, progress: Callable[[int], Any] | None = None
) -> Representations:
    """Encode data by the mean of their posterior (its mode, or one draw, where there is no mean).

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        batches: The data, all with labels or none.
        seed: Of the draws, for a posterior of which neither mean nor mode is known.
        progress: Called with the number of data done, after each chunk.

    Returns:
        The encoded data.

    Raises:
        InputError: There are no data, or some have labels and others have not.
    """
    means, scales, labels = [], [], []
    with evaluating(model, seed, "representations"):
        for batch, _ in cut(model, batches, 1):
            q = model.posterior(batch.to(device_of(model)))
            means.append(center(q).flatten(1).cpu().double())
            scales.append(_scale(q))
            labels.append(None if batch.labels is None else batch.labels.cpu())
            if progress is not None:
                progress(len(batch))
    if not means:
        raise InputError("there are no data to encode; give a split that has some.")
    if len({label is None for label in labels}) > 1:
        raise InputError("some of the data have labels and others have none; give them to all, or to none.")
    return Representations(torch.cat(means), joined(labels), joined(scales))


def _scale(q: Distribution) -> Tensor | None:
    while isinstance(q, Independent):
        q = q.base_dist
    return q.stddev.flatten(1).cpu().double() if isinstance(q, Normal | MultivariateNormal) else None


def as_points(z: ArrayLike | Tensor, name: str = "z") -> NDArray[np.float64]:
    """A representation as an array (N, D) of finite numbers, its events flattened.

    Raises:
        InputError: There are none, or one is not finite.
    """
    points = as_array(z).astype(np.float64)
    if points.ndim < 2 or 0 in points.shape:
        raise InputError(f"'{name}' has shape {points.shape}; representations have a row for each datum: (N, D).")
    points = points.reshape(len(points), -1)
    broken = np.argwhere(~np.isfinite(points))
    if len(broken):
        row, column = broken[0]
        raise InputError(f"'{name}' has {points[row, column]} at row {row}, column {column}; leave such rows out.")
    return points


def as_labels(y: ArrayLike | Tensor, rows: int, name: str = "y") -> NDArray[Any]:
    """Labels as an array (N,): real numbers as they are, anything else (integers, words) as classes.

    Raises:
        InputError: There is not one for each row, or one is not finite.
    """
    labels = as_array(y)
    if labels.shape != (rows,):
        raise InputError(f"'{name}' has shape {labels.shape} beside {rows:,} rows; give one label for each row.")
    if is_continuous(labels) and not np.isfinite(labels).all():
        place = int(np.flatnonzero(~np.isfinite(labels))[0])
        raise InputError(f"'{name}' has {labels[place]} at row {place}; leave rows without a label out.")
    return labels


def is_continuous(labels: NDArray[Any]) -> bool:
    """Whether labels are real numbers, not classes."""
    return np.issubdtype(labels.dtype, np.floating)


def as_array(values: ArrayLike | Tensor) -> NDArray[Any]:
    """An array of what may be a tensor on a device."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def some(rows: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most so many of N rows, drawn at random; in their own order where these are all."""
    return np.arange(rows) if rows <= most else np.random.default_rng(seed).permutation(rows)[:most]

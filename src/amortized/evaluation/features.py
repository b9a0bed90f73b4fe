r"""Spaces of features in which data are compared: of our own, deterministic, with nothing downloaded.

    phi(x) = V^T ( f(x) - m ) / s,    m the mean of f, V its D first principal axes, s^2 = sum_d Var[ (V^T f)_d ]

with m, V and s those of real data alone. So the features of real data have the mean 0 and the total variance 1, whatever the
data's units: two of them drawn at random are at a mean squared distance of 2. What f is depends on the data:

    random-conv     images: what `LAYERS` convolutions with fixed random weights see, averaged over a grid of 4 x 4
    log-counts      numbers 0, 1, 2, ... of a vector: log(1 + x), each entry less its mean
    columns         all others: each entry less its mean, over its standard deviation, or over 1 where it never varies

Random networks see edges, strokes and where they lie; Naeem et al. 2020 (arXiv 2002.09797) advise random embeddings where the
images are unlike the photographs that others are trained on. The Frechet distance in such a space is not the FID, which is that
in one layer of one trained Inception network.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, conv2d

from amortized.seeds import derive_seed

DIMENSIONS = 64
"""The most features that are kept."""

LAYERS, CHANNELS, GRID = 3, 16, 4
"""Of the random convolutions; an image is halved between layers, down to the grid."""

SMALLEST_IMAGE = 8
"""Events that are smaller along one of their last two axes are vectors."""

ROWS = 2**11
"""Data at once, and at most `FITTED` of them to find the axes."""

FITTED = 2**13


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """A space of features, in which distances between data are meant to say how alike they are.

    Attributes:
        name: What it is called wherever a number is quoted.
        description: What it is, a clause.
        function: Maps data (N, *event), float64, to features (N, D).
        fill: (*event) what stands for missing entries, float64; None where none may be missing.

    Example:
        >>> space = FeatureSpace("raw", "the entries of x", lambda x: x.flatten(1))
        >>> space(torch.zeros(5, 2, 3)).shape
        torch.Size([5, 6])
    """

    name: str
    description: str
    function: Callable[[Tensor], Tensor]
    fill: Tensor | None = None

    def __call__(self, x: Tensor, observed: Tensor | None = None) -> Tensor:
        """The features (N, D), float64, of data (N, *event), of which `observed` entries are not missing."""
        x = x.double() if self.fill is None else filled(x, observed, self.fill)
        return torch.cat([self.function(rows).double() for rows in x.split(ROWS)])


def feature_space(x: Tensor, observed: Tensor | None = None) -> FeatureSpace:
    """The space in which data like these are compared: by convolutions, logarithms or columns, as the module says.

    Args:
        x: (N, *event) real data.
        observed: (N, *event) which entries are not missing; None when all are there.
    """
    given = None if observed is None else observed.double()
    total, count = (x.double() if given is None else torch.where(given > 0, x.double(), 0.0)).sum(0), len(x)
    fill = total / (count if given is None else given.sum(0).clamp(min=1.0))
    x = filled(x, observed, fill)
    if x.ndim in (3, 4) and min(x.shape[-2:]) >= SMALLEST_IMAGE:
        name, description, function = "random-conv", "random convolutions of the image", _random_convolutions(x)
    elif x.ndim == 2 and _are_counts(x if observed is None else x[observed]):
        name, description, function = "log-counts", "the logarithms of 1 + x", _logarithms
    else:
        name, description, function = "columns", "the entries of x, standardized", _standardization(x)
    project, kept = _principal(function, x[_spread(len(x))])
    return FeatureSpace(
        f"{name}-{kept}", f"{description}, in {kept} dimensions, real data with a total variance of 1", project, fill
    )


def filled(x: Tensor, observed: Tensor | None, fill: Tensor) -> Tensor:
    """The data (N, *event), float64, with `fill` in place of missing entries."""
    return x.double() if observed is None else torch.where(observed, x.double(), fill)


def _spread(count: int) -> Tensor:
    """At most `FITTED` positions among `count`, evenly spread: data may be sorted."""
    return torch.linspace(0, count - 1, min(count, FITTED), dtype=torch.float64).round().long()


def _principal(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Callable[[Tensor], Tensor], int]:
    """The projection on the first principal axes of f(x), scaled to a total variance of 1; and how many there are."""
    features = torch.cat([function(rows) for rows in x.split(ROWS)])
    mean = features.mean(0)
    covariance = (features - mean).T @ (features - mean) / len(x)
    axes = torch.eye(features.shape[1], dtype=torch.float64)
    if features.shape[1] > DIMENSIONS:
        axes = torch.linalg.eigh(covariance).eigenvectors[:, -DIMENSIONS:]
    variance = float((axes * (covariance @ axes)).sum())
    scale = math.sqrt(variance) if variance > 0 else 1.0
    return lambda x: (function(x) - mean) @ axes / scale, axes.shape[1]


def _are_counts(x: Tensor) -> bool:
    return bool((x >= 0).all()) and bool((x == x.round()).all()) and bool((x > 1).any())


def _logarithms(x: Tensor) -> Tensor:
    return x.clamp(min=0.0).log1p()


def _standardization(x: Tensor) -> Callable[[Tensor], Tensor]:
    mean, deviation = x.mean(0), x.std(0, correction=0)
    # A sum of equal numbers is not always a multiple of them: what is left then is rounding, and no scale.
    deviation = torch.where(deviation > 1e-9 * mean.abs(), deviation, 1.0)
    return lambda x: ((x - mean) / deviation).flatten(1)


def _random_convolutions(x: Tensor) -> Callable[[Tensor], Tensor]:
    """Maps images to what all layers see; weights with the variance 2 / fan-in keep the size of what passes through a ReLU."""
    axes = [axis for axis in range(x.ndim) if x.ndim == 3 or axis != 1]
    mean, deviation = x.mean(axes, keepdim=True), x.std(axes, keepdim=True, correction=0)
    deviation = torch.where(deviation > 1e-9 * mean.abs(), deviation, 1.0)
    noise = torch.Generator().manual_seed(derive_seed(0, "features", "random-conv"))
    channels, weights = x.shape[1] if x.ndim == 4 else 1, []
    for _ in range(LAYERS):
        weight = torch.randn(CHANNELS, channels, 3, 3, generator=noise, dtype=torch.float64)
        weights.append(weight * math.sqrt(2 / (9 * channels)))
        channels = CHANNELS

    def see(x: Tensor) -> Tensor:
        maps = (x - mean) / deviation
        maps, seen = maps.unsqueeze(1) if maps.ndim == 3 else maps, []
        for weight in weights:
            maps = conv2d(maps, weight, padding=1).relu()
            seen.append(adaptive_avg_pool2d(maps, GRID).flatten(1))
            maps = avg_pool2d(maps, 2) if min(maps.shape[-2:]) >= 2 * GRID else maps
        return torch.cat(seen, 1)

    return see

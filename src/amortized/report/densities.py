"""Densities of draws: curves on a line, contours in a plane, by a Gaussian kernel (Scott's rule)."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELD = (0.95, 0.5)
"""What contours hold of the mass."""

POINTS = 61
"""Of the grid, on each edge."""


def curve(axes: "Axes", draws: NDArray[Any], color: str, label: str, *, filled: bool = False) -> None:
    """Draw the density of draws (M,): a curve, or a histogram where all are alike or too few for a kernel."""
    draws = draws[np.isfinite(draws)].astype(np.float64)
    density = _density(draws[None])
    if density is None:
        axes.hist(draws, bins=40, density=True, color=color, alpha=0.4 if filled else 0.8, label=label)
        return
    reach = 3 * draws.std() / len(draws) ** 0.2
    grid = np.linspace(draws.min() - reach, draws.max() + reach, 400)
    if filled:
        axes.fill_between(grid, density(grid), color=color, alpha=0.35, linewidth=0, label=label)
    else:
        axes.plot(grid, density(grid), color=color, label=label)


def contours(axes: "Axes", draws: NDArray[Any], color: str, *, filled: bool = False) -> NDArray[np.float64]:
    """Draw the contours that hold 50% and 95% of draws (M, 2) that have a density: lines, or areas.

    Returns:
        (2, 2) the lower left and the upper right corner of what holds 95%.
    """
    draws = _finite(draws)
    density = _density(draws.T)
    reach = 3 * draws.std(0) / len(draws) ** (1 / 6)
    first, second = (np.linspace(*ends, POINTS) for ends in zip(draws.min(0) - reach, draws.max(0) + reach, strict=True))
    heights = density(np.stack(np.meshgrid(first, second)).reshape(2, -1)).reshape(POINTS, POINTS)
    levels = _levels(heights)
    if filled:
        axes.contourf(first, second, heights, levels=[*levels, np.inf], colors=[color, color], alpha=0.22)
        axes.contourf(first, second, heights, levels=[levels[-1], np.inf], colors=[color], alpha=0.22)
    else:
        axes.contour(first, second, heights, levels=levels, colors=[color], linewidths=1.3)
    inside = heights >= levels[0]
    return np.stack([ends[np.flatnonzero(held)[[0, -1]]] for ends, held in ((first, inside.any(0)), (second, inside.any(1)))], 1)


def spots(axes: "Axes", draws: NDArray[Any], color: str, *, filled: bool = False) -> NDArray[np.float64]:
    """Draw draws (M, 2) as circles, or disks, whose area is the share of the draws that lie there.

    Returns:
        (n, 2) their places.
    """
    places, counts = np.unique(_finite(draws).round(5), axis=0, return_counts=True)
    areas = 8 + 900 * counts / counts.sum()
    face = color if filled else "none"
    axes.scatter(
        *places.T, s=areas, facecolor=face, edgecolor=color, alpha=0.5 if filled else 0.8, linewidth=0.8, rasterized=True
    )
    return places


def has_density(draws: NDArray[Any]) -> bool:
    """Whether a kernel fits draws (M, 2): they do not lie on a line or on a few spots."""
    return _density(_finite(draws).T) is not None


def _finite(draws: NDArray[Any]) -> NDArray[np.float64]:
    return draws[np.isfinite(draws).all(1)].astype(np.float64)


def _density(draws: NDArray[np.float64]) -> Any:
    """The density of draws (D, M); None where they lie on fewer dimensions, or on a few spots."""
    from scipy.stats import gaussian_kde

    size = draws.shape[1]
    if size < 10 or len(np.unique(draws.round(6), axis=1).T) < size / 4:
        return None
    covariance = np.atleast_2d(np.cov(draws))
    if not np.isfinite(covariance).all() or np.linalg.cond(covariance) > 1e12 or np.linalg.det(covariance) < 1e-24:
        return None
    return gaussian_kde(draws)


def _levels(heights: NDArray[np.float64]) -> list[float]:
    """The densities above which lie the shares `HELD` of the mass, ascending."""
    values = np.sort(heights.ravel())[::-1]
    mass = values.cumsum() / values.sum()
    levels = [float(values[int((mass < share).sum())]) for share in HELD]
    return levels if levels[0] < levels[1] else [levels[1] / 2, levels[1]]

"""Densities of draws: curves on a line, contours in a plane, by a Gaussian kernel (Scott's rule)."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HELD = (0.95, 0.5)
"""What contours hold of the mass."""

POINTS = 81
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


def contours(axes: "Axes", draws: NDArray[Any], color: str, *, filled: bool = False) -> None:
    """Draw the contours that hold 50% and 95% of draws (M, 2): lines, or areas; the draws where no kernel fits them."""
    draws = draws[np.isfinite(draws).all(1)].astype(np.float64)
    density = _density(draws.T)
    if density is None:
        axes.scatter(*draws.T, s=8, color=color, alpha=0.5, linewidth=0)
        return
    reach = 3 * draws.std(0) / len(draws) ** (1 / 6)
    first, second = (np.linspace(*ends, POINTS) for ends in zip(draws.min(0) - reach, draws.max(0) + reach, strict=True))
    heights = density(np.stack(np.meshgrid(first, second)).reshape(2, -1)).reshape(POINTS, POINTS)
    levels = _levels(heights)
    if filled:
        axes.contourf(first, second, heights, levels=[*levels, np.inf], colors=[color, color], alpha=0.22)
        axes.contourf(first, second, heights, levels=[levels[-1], np.inf], colors=[color], alpha=0.22)
    else:
        axes.contour(first, second, heights, levels=levels, colors=[color], linewidths=1.3)


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

r"""How alike two samples are, as points of one space: N real ones x_i, and M that were made, y_j.

With r_k(x_i) the distance from x_i to the k-th nearest other real point, and B_i the closed ball about x_i of that radius,

    precision = 1/M sum_j 1[ y_j in some B_i ]                 recall: the same with x and y exchanged
    density   = 1/(kM) sum_j sum_i 1[ y_j in B_i ]             coverage = 1/N sum_i 1[ some y_j in B_i ]

(precision and recall: Kynkaanniemi et al. 2019, arXiv 1904.06991, equations 1 and 2; density and coverage: Naeem et al. 2020,
arXiv 2002.09797). Where both samples are of one continuous distribution, y_j falls into B_i with probability k/N, and so

    E[density] = 1,    E[coverage] = 1 - prod_{l=1..k} (N - l) / (M + N - l),   which is about 1 - 2^-k for M = N

because B_i holds no y only if the k nearest of all other points are all real. Of the Gaussians that have the moments of the two,

    Frechet distance = |m_x - m_y|^2 + tr( S_x + S_y - 2 (S_x^1/2 S_y S_x^1/2)^1/2 )        Dowson and Landau 1982

whose last trace is the sum of the singular values of S_x^1/2 S_y^1/2, which singular covariances leave well defined.

The errors are jackknife ones: the G estimates t_g made without one group of points of both samples each, as the balls are of the
points that are left, have the variance (G - 1)/G sum_g (t_g - mean t)^2. They take off, too, the bias of order 1/N by which the
Frechet distance of finite samples is too large: G t - (G - 1) mean t. Without that, two samples of one distribution would differ.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from amortized.errors import InputError

NAMES: tuple[str, ...] = ("precision", "recall", "density", "coverage", "frechet_distance")

GROUPS = 10
"""Of the jackknife."""

ENTRIES = 2**23
"""Distances at once."""

TOLERANCE = 1e-9
"""Of a distance, as a share of the spread of the data: equal points must not lie outside a ball of radius 0 by rounding."""


@dataclass(frozen=True, eq=False)
class Agreement:
    """How alike two samples are.

    Attributes:
        values: By name, for each of `NAMES`; the Frechet distance less its bias, so that it can be a little below 0.
        stderrs: Their jackknife standard errors.
        frechet_bias: What was taken off the Frechet distance.
    """

    values: dict[str, float]
    stderrs: dict[str, float]
    frechet_bias: float


def compare(real: Tensor, made: Tensor, *, neighbors: int = 5) -> Agreement:
    """Compare two samples.

    Args:
        real: (N, D) points, float64.
        made: (M, D) points.
        neighbors: The k of the balls.

    Raises:
        InputError: There are too few points for as many neighbors.
    """
    fewest = min(len(real), len(made))
    if fewest < least(neighbors):
        raise InputError(
            f"a comparison by {neighbors} neighbors needs at least {least(neighbors)} data and samples; there are {fewest}."
        )
    kept_real, kept_made = (_kept(len(points), min(GROUPS, fewest)) for points in (real, made))
    counts = _ball_counts(real, made, kept_real, kept_made, neighbors)
    found = torch.cat((counts, _frechet_distances(real, made, kept_real, kept_made)))
    whole, without = found[:, 0], found[:, 1:]
    groups = without.shape[1]
    mean = without.mean(1)
    variance = (groups - 1) / groups * (without - mean[:, None]).square().sum(1)
    bias = (groups - 1) * float(mean[-1] - whole[-1])
    values: dict[str, float] = dict(zip(NAMES, whole.tolist(), strict=True))
    values["frechet_distance"] -= bias
    stderrs: dict[str, float] = dict(zip(NAMES, variance.sqrt().tolist(), strict=True))
    return Agreement(values, stderrs, bias)


def least(neighbors: int) -> int:
    """The fewest points with which every point has so many neighbors besides itself when a group is left out."""
    return max(neighbors + 2, -(-(neighbors + 1) * GROUPS // (GROUPS - 1)))


def frechet(mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor) -> float:
    """The Frechet distance between two Gaussians, squared as usual: means (D,), covariances (D, D), singular ones included."""
    product = torch.linalg.svdvals(_root(covariance_a) @ _root(covariance_b)).sum()
    return float((mean_a - mean_b).square().sum() + covariance_a.trace() + covariance_b.trace() - 2 * product)


def nearest_distances(points: Tensor, others: Tensor) -> Tensor:
    """(N,) distances from points (N, D) to the nearest of others (M, D)."""
    return torch.cat([_distances(block, others).amin(1) for block in points.split(_rows(others))])


def share_nearer(first: Tensor, second: Tensor) -> tuple[float, float]:
    """P(a < b) + P(a = b) / 2 for a of `first` (N,) and b of `second` (M,), and its standard error.

    The error is that of the Mann-Whitney statistic: Var[ P(a < b | a) ] / N + Var[ P(a < b | b) ] / M.
    """
    below, above = _share_above(first, second), 1 - _share_above(second, first)
    variance = below.var() / len(below) + above.var() / len(above)
    return float(below.mean()), math.sqrt(float(variance))


def _share_above(values: Tensor, others: Tensor) -> Tensor:
    """(N,) for each value the share of others that are larger, the equal ones counted half."""
    ranked = others.sort().values
    return 1 - (torch.searchsorted(ranked, values) + torch.searchsorted(ranked, values, right=True)) / (2 * len(others))


def _kept(count: int, groups: int) -> Tensor:
    """(1 + G, count) which points are in each estimate: all in the first, and then all but one group."""
    group = torch.arange(count) % groups
    return torch.cat((torch.ones(1, count, dtype=torch.bool), group != torch.arange(groups)[:, None]))


def _ball_counts(real: Tensor, made: Tensor, kept_real: Tensor, kept_made: Tensor, k: int) -> Tensor:
    """(4, 1 + G) precision, recall, density and coverage of each estimate, a block of real points at a time."""
    tolerance = TOLERANCE * math.sqrt(float(real.var(0).sum()))
    radius_real, radius_made = (_radii(points, kept, k) + tolerance for points, kept in ((real, kept_real), (made, kept_made)))
    held, covered, reached = torch.zeros(kept_made.shape, dtype=torch.long), [], []
    for rows in torch.arange(len(real)).split(_rows(made)):
        distances = _distances(real[rows], made)
        each = list(zip(kept_real[:, rows, None], kept_made, radius_real[:, rows, None], radius_made, strict=True))
        inside = [(distances <= radius) & row & column for row, column, radius, _ in each]
        held += torch.stack([block.sum(0) for block in inside])
        covered.append(torch.stack([block.any(1) for block in inside]))
        reached.append(torch.stack([((distances <= radius) & row & column).any(1) for row, column, _, radius in each]))
    of_real, of_made = kept_real.double().sum(1), kept_made.double().sum(1)
    counts = (held > 0).sum(1) / of_made, torch.cat(reached, 1).sum(1) / of_real
    return torch.stack([*counts, held.sum(1) / (k * of_made), torch.cat(covered, 1).sum(1) / of_real])


def _radii(points: Tensor, kept: Tensor, k: int) -> Tensor:
    """(1 + G, N) the distance of each point to its k-th nearest other one among those kept."""
    blocks = []
    for rows in torch.arange(len(points)).split(_rows(points)):
        distances = _distances(points[rows], points)
        distances[torch.arange(len(rows)), rows] = torch.inf
        of = [distances.masked_fill(~columns, torch.inf).topk(k, largest=False).values[:, -1] for columns in kept]
        blocks.append(torch.stack(of))
    return torch.cat(blocks, 1)


def _frechet_distances(real: Tensor, made: Tensor, kept_real: Tensor, kept_made: Tensor) -> Tensor:
    """(1, 1 + G) the Frechet distance of each estimate."""
    moments = [[_moments(points[rows]) for rows in kept] for points, kept in ((real, kept_real), (made, kept_made))]
    return torch.tensor([[frechet(*a, *b) for a, b in zip(*moments, strict=True)]], dtype=torch.float64)


def _moments(points: Tensor) -> tuple[Tensor, Tensor]:
    return points.mean(0), torch.atleast_2d(points.T.cov())


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0.0).sqrt() @ vectors.T


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """(N, M) distances by differences: by products, those between equal points would not be 0."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _rows(others: Tensor) -> int:
    return max(1, ENTRIES // len(others))

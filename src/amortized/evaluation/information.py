r"""Scores from the mutual information of each latent dimension with each factor: MIG and modularity.

    I(z_j; v_k) = H(z_j) - H(z_j | v_k),  nats

    MIG         mean_k ( I(z_j1; v_k) - I(z_j2; v_k) ) / H(v_k)     Chen et al. 2018, arXiv 1802.04942, equation 6
    modularity  mean_j 1 - sum_{k != k*} I(z_j; v_k)^2 / ( (F - 1) I(z_j; v_k*)^2 )      Ridgeway and Mozer 2018, arXiv 1802.05312

where j1 and j2 are the two dimensions that know most of factor k, and k* is the factor of which dimension j knows most.

The information is had in two ways. Binned: the posterior means are cut into 20 bins of equal width, as Locatello et al. 2019
(arXiv 1811.12359) do, and the information is that of the table of counts. It is too large by about (B - 1)(V - 1) / 2N for B
bins and V values of N independent data (Miller 1955), which cancels in MIG's difference but for chance. Sampled, as by Chen:

    I(z_j; v_k) = E_{n, z_j ~ q(z_j | x_n)} [ log q(z_j | v_k = v_nk) - log q(z_j) ]

where q(z_j) is the mean of q(z_j | x_m) over all data x_m, and q(z_j | v) that over the data which have v. Here a dimension that
is drowned in its posterior's noise knows nothing, however regular its means are.

A dimension that knows nothing of any factor has no modularity: the quotient is one of noise. Counted are those whose largest
information is beyond what independent data would show in one of a hundred such tables (2 N I is then chi-squared).
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amortized.evaluation.factors import FactorTable
from amortized.evaluation.resampling import GROUPS, error_without, groups_of

BINS = 20
SAMPLES = 640
"""Draws per dimension of the sampled information."""
ROWS_AT_ONCE = 64
LEAST = -60.0
"""Log-density beside that of the own datum below which a datum adds nothing, and products are slow."""
LEVEL = 0.01


def binned(z: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N, D) each dimension in bins of equal width from its least to its largest value; one that is constant in one bin."""
    low, span = z.min(0), np.ptp(z, axis=0)
    span[span == 0] = 1.0
    return np.minimum((z - low) / span * BINS, BINS - 1).astype(np.int64)


def count(table: FactorTable, seed: int) -> NDArray[np.int64]:
    """(G, D, F, B, V) how often each bin meets each value, in each of G random groups of the rows."""
    bins, group, values = binned(table.z), groups_of(len(table.z), seed), int(table.sizes.max())
    counts = np.empty((GROUPS, bins.shape[1], len(table.names), BINS, values), dtype=np.int64)
    for dimension, factor in np.ndindex(counts.shape[1:3]):
        cell = (group * BINS + bins[:, dimension]) * values + table.codes[:, factor]
        counts[:, dimension, factor] = np.bincount(cell, minlength=GROUPS * BINS * values).reshape(GROUPS, BINS, values)
    return counts


def entropy(counts: NDArray[Any], axes: tuple[int, ...]) -> NDArray[np.float64]:
    """The entropy of the distribution that counts over some axes stand for, nats."""
    shares = counts / counts.sum(axes, keepdims=True)
    return -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axes)


def mutual_information(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(..., D, F) the information of tables of counts (..., D, F, B, V), nats."""
    return entropy(counts.sum(-1), (-1,)) + entropy(counts.sum(-2), (-1,)) - entropy(counts, (-2, -1))


def gap(information: NDArray[np.float64], entropies: NDArray[np.float64]) -> float:
    """MIG of the information (D, F) and the entropies (F,); of one dimension alone the second is nothing."""
    ordered = np.sort(np.concatenate([np.zeros((1, len(entropies))), information]), axis=0)
    return float(((ordered[-1] - ordered[-2]) / entropies).mean())


def modularity(counts: NDArray[np.int64]) -> float:
    """The modularity of tables of counts (D, F, B, V); 0 where no dimension knows of any factor."""
    information = mutual_information(counts)
    information = information[(information > chance(counts)).any(1)]
    if not len(information):
        return 0.0
    shares = (information / information.max(1, keepdims=True)) ** 2
    return float(1 - ((shares.sum(1) - 1) / (shares.shape[1] - 1)).mean())


def chance(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """(D, F) the information that independent data exceed somewhere in one of a hundred such tables, nats."""
    from scipy.stats import chi2

    size = counts.shape[0] * counts.shape[1]
    return chi2.isf(LEVEL / size, np.maximum(freedom(counts), 1)) / (2 * counts[0, 0].sum())


def freedom(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(D, F) the degrees of freedom (B - 1)(V - 1), over what occurs."""
    return ((counts.sum(-1) > 0).sum(-1) - 1) * ((counts.sum(-2) > 0).sum(-1) - 1)


def error_of(score: Any, counts: NDArray[np.int64]) -> float:
    """The jackknife's standard error of a score of counts (D, F, B, V), from the counts of each group."""
    whole = counts.sum(0)
    return error_without(np.array([score(whole - part) for part in counts]))


def sampled_information(table: FactorTable, scales: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """(D, F) the information of draws from Gaussian posteriors of these standard deviations (N, D), nats."""
    noise = np.random.default_rng(seed)
    first = table.sizes.cumsum() - table.sizes
    values = torch.from_numpy(table.codes + first)
    member = torch.zeros(len(values), int(table.sizes.sum())).scatter_(1, values, 1.0)
    share = member / member.sum(0)
    found = []
    for loc, scale in zip(table.z.T, scales.T, strict=True):
        rows = torch.from_numpy(noise.integers(len(loc), size=SAMPLES))
        draws = torch.from_numpy(noise.standard_normal(SAMPLES)), torch.from_numpy(loc - loc.mean()), torch.from_numpy(scale)
        given = [_densities(*draws, rows, place, share) for place in torch.arange(SAMPLES).split(ROWS_AT_ONCE)]
        density = torch.cat(given).double()
        overall = (density[:, : table.sizes[0]] * member.mean(0)[: table.sizes[0]]).sum(1, keepdim=True)
        found.append((density.gather(1, values[rows]) / overall).log().mean(0))
    return torch.stack(found).numpy()


def _densities(noise: Tensor, loc: Tensor, scale: Tensor, rows: Tensor, place: Tensor, share: Tensor) -> Tensor:
    """(n, values) the density of draws given each value of each factor, in units of that under the datum they were drawn for."""
    own = rows[place]
    precision = 1 / (scale * math.sqrt(2))
    draws = loc[own] + scale[own] * noise[place]
    log_q = torch.addcmul(-(loc * precision).float(), draws[:, None].float(), precision.float()).square_().neg_()
    log_q += (noise[place].square()[:, None] / 2 + scale[own].log()[:, None]).float()
    log_q -= scale.log().float()
    return log_q.clamp_(min=LEAST).exp_() @ share

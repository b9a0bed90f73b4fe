r"""Gaussians and data with missing entries.

The observed entries o of a datum have the marginal N(m_o, C_oo). Its terms are those of D entries with the matrix

    A = M C M + I - M,      M = diag(1 where observed)

whose factor is that of C_oo, and 1 for the missing ones: so that all data of a chunk are one batch of matrices.

Mean and covariance are fitted by EM (Little and Rubin 2002, Statistical Analysis with Missing Data, section 11.2): with the
regression G = C M A^-1 M on what was observed,

    E    y_i = m + G_i (E[y | x_i] - m),       R_i = C - G_i C + G_i diag(Var[y | x_i]) G_i^T
    M    m = mean_i y_i,       C = mean_i [ (y_i - m) (y_i - m)^T + R_i ]

where E[y | x] and Var[y | x] are those of dequantization (baseline_rows.py). To C is added a millionth of the variances that it
starts from, so that it has an inverse whatever entries determine each other.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from amortized.evaluation.baseline_entries import FLOOR
from amortized.evaluation.baseline_rows import Relaxed

CHUNK = 2**22  # entries of a batch of matrices: 32 MiB
STEPS = 50
TOLERANCE_NATS = 1e-2
"""Gain per datum below which EM stops."""


def log_density_of_observed(y: Relaxed, observed: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """(N,) the expected log-density of the observed entries of y, in the measure of x."""
    parts = []
    for rows, inverse, log_determinant in _chunks(observed, covariance):
        seen = observed[rows].double()
        centered = seen * (y.mean[rows] - mean)
        square = torch.einsum("nd,nde,ne->n", centered, inverse, centered)
        spread = (seen * y.variance[rows] * inverse.diagonal(dim1=1, dim2=2)).sum(1)
        normalizer = seen.sum(1) * math.log(2 * math.pi) + log_determinant
        parts.append((seen * y.log_slope[rows]).sum(1) - (square + spread + normalizer) / 2)
    return torch.cat(parts)


def moments_of_observed(y: Relaxed, observed: Tensor) -> tuple[Tensor, Tensor]:
    """The maximum-likelihood mean (D) and covariance (D, D)."""
    number = observed.sum(0).clamp(min=1)
    mean = torch.where(observed, y.mean, 0.0).sum(0) / number
    spread = torch.where(observed, (y.mean - mean).square() + y.variance, 0.0).sum(0) / number
    spread = torch.where(spread > 0, spread, FLOOR**2)
    covariance, before = spread.diag(), -math.inf
    for _ in range(STEPS):
        after = float(log_density_of_observed(y, observed, mean, covariance).mean())
        if after - before < TOLERANCE_NATS:
            break
        before = after
        mean, covariance = em_step(y, observed, mean, covariance)
        covariance = covariance + FLOOR**2 * spread.diag()
    return mean, covariance


def em_step(y: Relaxed, observed: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """One step of EM."""
    filled, rest = torch.empty_like(y.mean), torch.zeros_like(covariance)
    for rows, inverse, _ in _chunks(observed, covariance):
        seen = observed[rows].double()
        gain = covariance @ (seen[:, :, None] * inverse * seen[:, None, :])
        filled[rows] = mean + torch.einsum("nde,ne->nd", gain, y.mean[rows] - mean)
        rest += len(gain) * covariance - gain.sum(0) @ covariance
        rest += torch.einsum("nde,ne,nfe->df", gain, y.variance[rows], gain)
    mean = filled.mean(0)
    centered = filled - mean
    covariance = (centered.T @ centered + rest) / len(filled)
    return mean, (covariance + covariance.T) / 2


def _chunks(observed: Tensor, covariance: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows, with the inverse (B, D, D) of their A and the logarithm of its determinant (B,)."""
    number, entries = observed.shape
    size = max(1, CHUNK // entries**2)
    for start in range(0, number, size):
        rows = slice(start, start + size)
        seen = observed[rows].double()
        matrices = seen[:, :, None] * covariance * seen[:, None, :] + torch.diag_embed(1 - seen)
        factor = torch.linalg.cholesky(matrices)
        yield rows, torch.cholesky_inverse(factor), 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)

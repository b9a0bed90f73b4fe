r"""Matrices Q (D, M) with orthonormal columns, from parameters without a constraint: three ways.

van den Berg, Hasenclever, Tomczak and Welling 2018 (arXiv 1803.05649) take

    orthogonal    Q_0 = A / |A|,   Q_{k+1} = Q_k (I + (I - Q_k^T Q_k) / 2)     until Q_k^T Q_k = I
    Householder   Q = H_1 ... H_h,   H_i = I - 2 v_i v_i^T / |v_i|^2
    permutation   Q = I and Q = the reversal of the entries, in turn

The iteration (Bjorck and Bowie 1971) maps a singular value x in (0, 1] of Q_k to x (3 - x^2) / 2: it grows by half each time,
then converges quadratically to 1. Here A = E + V, where E (ones on the diagonal) needs no step and V is what a network
predicts, and |A| is the bound sqrt(|A|_1 |A|_inf) on the largest singular value, which is tight for E. So a small V is done
in few steps.
"""

from typing import Protocol

import torch
from torch import Tensor

# Enough for a ratio of singular values of 1e-9; a matrix with less is singular in its own digits.
MAX_STEPS = 60


class Columns:
    """Q as it is.

    Args:
        matrix: (*batch, D, M) with orthonormal columns.
    """

    def __init__(self, matrix: Tensor):
        self.matrix = matrix

    def __call__(self, y: Tensor) -> Tensor:
        """Q y, (*lead, D), of y (*lead, M)."""
        return times(self.matrix, y)

    def transpose(self, z: Tensor) -> Tensor:
        """Q^T z, (*lead, M), of z (*lead, D)."""
        return times(self.matrix.mT, z)


class Reflections:
    """Q = H_1 ... H_h, D x D, one reflection after the other.

    Args:
        vectors: (*batch, H, D) the v_i, of any length; a zero vector reflects nothing.
    """

    def __init__(self, vectors: Tensor):
        norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp_min(torch.finfo(vectors.dtype).tiny)
        self.units = (vectors / norm).unbind(-2)

    def __call__(self, y: Tensor) -> Tensor:
        """Q y, of y (*lead, D)."""
        return self._reflect(y, self.units[::-1])

    def transpose(self, z: Tensor) -> Tensor:
        """Q^T z, of z (*lead, D)."""
        return self._reflect(z, self.units)

    def _reflect(self, z: Tensor, units: tuple[Tensor, ...]) -> Tensor:
        for v in units:
            z = z - 2 * (z * v).sum(-1, keepdim=True) * v
        return z


class Permutation:
    """Q the identity, or the reversal of the D entries.

    Args:
        reverse: Which of the two.
    """

    def __init__(self, reverse: bool):
        self.reverse = reverse

    def __call__(self, y: Tensor) -> Tensor:
        """Q y, of y (*lead, D)."""
        return y.flip(-1) if self.reverse else y

    def transpose(self, z: Tensor) -> Tensor:
        """Q^T z, of z (*lead, D)."""
        return self(z)


class Orthonormal(Protocol):
    """A matrix with orthonormal columns, by what it does to vectors."""

    def __call__(self, y: Tensor) -> Tensor:
        """Q y."""
        ...

    def transpose(self, z: Tensor) -> Tensor:
        """Q^T z."""
        ...


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """(*lead, N) the matrix (*batch, N, M) times the vectors (*lead, M), their leading dimensions broadcast without a copy."""
    return torch.einsum("...nm,...m->...n", matrix, vector)


def orthogonalize(deviation: Tensor) -> Tensor:
    """Orthonormal columns that span those of E + V, by the iteration above.

    Args:
        deviation: (*batch, D, M) the matrices V, M <= D.

    Returns:
        (*batch, D, M) with orthonormal columns; E itself for a matrix E + V that has no full rank in the digits of its type.
    """
    identity = torch.eye(deviation.shape[-1], dtype=deviation.dtype, device=deviation.device)
    start = torch.eye(*deviation.shape[-2:], dtype=deviation.dtype, device=deviation.device)
    matrix = start + deviation
    size = matrix.abs()
    bound = (size.sum(-1).amax(-1) * size.sum(-2).amax(-1)).sqrt().clamp_min(torch.finfo(matrix.dtype).tiny)
    q = matrix / bound[..., None, None]
    enough = torch.finfo(q.dtype).eps ** 0.5  # the error is squared by the step that follows
    done = torch.zeros((), dtype=torch.bool, device=q.device)
    # A graph to be exported has no values to look at: it takes all steps, those after convergence without effect.
    is_traced = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)()
    for _ in range(MAX_STEPS):
        defect = identity - q.mT @ q
        q = q + q @ defect / 2
        done = defect.detach().abs().amax((-2, -1), keepdim=True) <= enough
        if not is_traced and done.all():
            break
    return torch.where(done, q, start)

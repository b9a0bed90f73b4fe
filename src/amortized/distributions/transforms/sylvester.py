r"""The Sylvester flow of van den Berg, Hasenclever, Tomczak and Welling 2018 (arXiv 1803.05649, section 3).

    f(z) = z + Q R tanh(R~ Q^T z + b)

with Q (D, M) of orthonormal columns and R, R~ (M, M) upper triangular. By Sylvester's identity the determinant is that of an
M x M matrix, which is triangular:

    log |det df/dz| = sum_i log(1 + R_ii R~_ii / cosh(t_i)^2),        t = R~ Q^T z + b

f is invertible where R_ii R~_ii > -1 (their theorem 2), which the diagonals ensure as hyperbolic tangents of what a network
predicts, here times a factor just below 1, so that there is a least slope. The inverse is exact: with y = Q^T z and y' = Q^T
f(z), y' = y + R tanh(R~ y + b) is solved from the last entry to the first, each a monotone equation in t_i alone:

    t_i + R_ii R~_ii tanh(t_i) = R~_ii d_i + k_i,    d_i = y'_i - sum_{j>i} R_ij tanh(t_j),    k_i = b_i + sum_{j>i} R~_ij y_j
    y_i = d_i - R_ii tanh(t_i)
"""

import torch
from torch import Tensor

from amortized.distributions.transforms.monotone import MIN_SLOPE, log_slope, solve
from amortized.distributions.transforms.orthogonal import Orthonormal, times


class Sylvester:
    """z -> z + Q R tanh(R~ Q^T z + b).

    Args:
        q: The matrix Q.
        diagonals: Two of (*batch, M), those of R and R~ before the hyperbolic tangent.
        above: Two of (*batch, M (M - 1) / 2), what R and R~ have above their diagonals, row by row.
        b: (*batch, M).
    """

    def __init__(self, q: Orthonormal, diagonals: tuple[Tensor, Tensor], above: tuple[Tensor, Tensor], b: Tensor):
        first, second = ((1 - MIN_SLOPE) ** 0.5 * diagonal.tanh() for diagonal in diagonals)
        self.q, self.b = q, b
        self.r, self.r_tilde = _upper(first, above[0]), _upper(second, above[1])
        self.m = first * second

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f(z), and give log |det df/dz| (*lead)."""
        t = times(self.r_tilde, self.q.transpose(z)) + self.b
        return z + self._shift(t), log_slope(t, 1 + self.m).sum(-1)

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f^-1(z), and give log |det df^-1/dz| (*lead)."""
        d, k, found = self.q.transpose(z), self.b, []
        for i in reversed(range(self.b.shape[-1])):
            t = solve(self.r_tilde[..., i, i] * d[..., i] + k[..., i], self.m[..., i])
            h = t.tanh()
            y = d[..., i] - self.r[..., i, i] * h
            k = k[..., :i] + self.r_tilde[..., :i, i] * y.unsqueeze(-1)
            d = d[..., :i] - self.r[..., :i, i] * h.unsqueeze(-1)
            found.append(t)
        t = torch.stack(found[::-1], -1)
        return z - self._shift(t), -log_slope(t, 1 + self.m).sum(-1)

    def _shift(self, t: Tensor) -> Tensor:
        return self.q(times(self.r, t.tanh()))


def _upper(diagonal: Tensor, above: Tensor) -> Tensor:
    """(*batch, M, M) upper triangular matrices."""
    rows, columns = torch.triu_indices(diagonal.shape[-1], diagonal.shape[-1], offset=1, device=diagonal.device)
    matrix = torch.diag_embed(diagonal)
    matrix[..., rows, columns] = above
    return matrix

r"""Bijections of which every datum has its own: what the flow of `local` is made of.

    triangular    e -> loc + L e
    bend          u -> u + (s - 1) tanh(u - b)                                  entry by entry
    coupling      (u, v) -> (u, v exp(a(u)) + c(u))                             Dinh et al. 2017, arXiv 1605.08803, equations 7, 8

Parameters have a batch (B, ...), and values are (K, B, D). All inverses are exact; that of a bend is a root
(`distributions.transforms.monotone`).
"""

import torch
from torch import Tensor

from amortized.distributions.transforms.monotone import log_slope, positive, solve

MAX_LOG_FACTOR = 3.0
"""The most by which the logarithm of a coupling's factor differs from 0."""


class Triangular:
    """e -> loc + L e.

    Args:
        loc: (B, D).
        tril: (B, D, D) lower triangular L.
    """

    def __init__(self, loc: Tensor, tril: Tensor):
        self.loc, self.tril = loc, tril

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (K, B, D) to f(z), and give log |det df/dz| (B,)."""
        return self.loc + times(z, self.tril.mT), self._ladj

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (K, B, D) to f^-1(z), and give log |det df^-1/dz| (B,)."""
        columns = (z - self.loc).movedim(0, -1)
        return torch.linalg.solve_triangular(self.tril, columns, upper=False).movedim(-1, 0), -self._ladj

    @property
    def _ladj(self) -> Tensor:
        return self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class Bend:
    """u -> b + t + (s - 1) tanh t, t = u - b, entry by entry: what lies about b is spread (s > 1) or gathered.

    Args:
        slope: (B, D) the slope s at b, by an increasing function that takes 0 to 1.
        center: (B, D) b.
    """

    def __init__(self, slope: Tensor, center: Tensor):
        self.slope, self.center = positive(slope), center

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (K, B, D) to f(z), and give log |det df/dz| (K, B)."""
        t = z - self.center
        return z + (self.slope - 1) * t.tanh(), log_slope(t, self.slope).sum(-1)

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (K, B, D) to f^-1(z), and give log |det df^-1/dz| (K, B)."""
        t = solve(z - self.center, self.slope - 1)
        return t + self.center, -log_slope(t, self.slope).sum(-1)


class Coupling:
    """Some entries are scaled and moved by a network of one hidden layer of the others, which are kept.

    Args:
        kept: Positions of the entries that are kept.
        moved: Positions of the others.
        first: (B, len(kept), H) weights of the hidden units.
        bias: (B, H) their biases.
        second: (B, H, 2 len(moved)) weights of shift and log-factor.
        constant: (B, 2 len(moved)) their biases.
    """

    def __init__(self, kept: Tensor, moved: Tensor, first: Tensor, bias: Tensor, second: Tensor, constant: Tensor):
        self.kept, self.moved, self.order = kept, moved, torch.cat((kept, moved)).argsort()
        self.first, self.bias, self.second, self.constant = first, bias, second, constant

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (K, B, D) to f(z), and give log |det df/dz| (K, B)."""
        kept = z[..., self.kept]
        shift, log_factor = self._network(kept)
        return self._join(kept, z[..., self.moved] * log_factor.exp() + shift), log_factor.sum(-1)

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (K, B, D) to f^-1(z), and give log |det df^-1/dz| (K, B)."""
        kept = z[..., self.kept]
        shift, log_factor = self._network(kept)
        return self._join(kept, (z[..., self.moved] - shift) * (-log_factor).exp()), -log_factor.sum(-1)

    def _network(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        hidden = (times(kept, self.first) + self.bias).tanh()
        shift, raw = (times(hidden, self.second) + self.constant).chunk(2, -1)
        return shift, MAX_LOG_FACTOR * (raw / MAX_LOG_FACTOR).tanh()

    def _join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat((kept, moved), -1)[..., self.order]


def times(rows: Tensor, matrix: Tensor) -> Tensor:
    """Rows (K, B, I) times a matrix (B, I, J) of each datum: (K, B, J)."""
    return torch.einsum("kbi,bij->kbj", rows, matrix)

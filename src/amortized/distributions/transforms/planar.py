r"""The planar flow of Rezende and Mohamed 2015 (arXiv 1505.05770, equations 10 to 13).

    f(z) = z + u^ tanh(w^T z + b),        log |det df/dz| = log(1 + w^T u^ / cosh(w^T z + b)^2)

is invertible where w^T u^ > -1, which their appendix A.1 ensures by moving u along w:

    u^ = u + (m(w^T u) - w^T u) w / |w|^2,        m(x) = -1 + softplus(x)

Here m(x) = -1 + s(x) with s = `positive`: it has a least slope, and m(0) = 0, so that u = 0 is the identity. The inverse is
that of one scalar, t = w^T z + b, since w^T f(z) + b = t + (w^T u^) tanh(t); then z = f(z) - u^ tanh(t).
"""

import torch
from torch import Tensor

from amortized.distributions.transforms.monotone import log_slope, positive, solve


class Planar:
    """z -> z + u^ tanh(w^T z + b).

    Args:
        u: (*batch, D) before the constraint.
        w: (*batch, D).
        b: (*batch).
    """

    def __init__(self, u: Tensor, w: Tensor, b: Tensor):
        along = (w * u).sum(-1)
        self.slope = positive(along)
        self.m = self.slope - 1
        norm = w.square().sum(-1).clamp_min(torch.finfo(w.dtype).tiny)
        self.u = u + ((self.m - along) / norm).unsqueeze(-1) * w
        self.w, self.b = w, b

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f(z), and give log |det df/dz| (*lead)."""
        t = (z * self.w).sum(-1) + self.b
        return z + self.u * t.tanh().unsqueeze(-1), log_slope(t, self.slope)

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f^-1(z), and give log |det df^-1/dz| (*lead)."""
        t = solve((z * self.w).sum(-1) + self.b, self.m)
        return z - self.u * t.tanh().unsqueeze(-1), -log_slope(t, self.slope)

"""What an invertible map of vectors is, and two of them: an affine one, and several one after the other.

    f = f_T o ... o f_1,        log |det df/dz| = sum_t log |det df_t/dz_{t-1}|,        z_t = f_t(z_{t-1})

"ladj" is the logarithm of the absolute value of that determinant, as zuko writes it.
"""

from typing import Protocol

import torch
from torch import Tensor


class Bijection(Protocol):
    """An invertible, differentiable map of vectors of D entries, its parameters among its attributes.

    The parameters may have a batch shape; values broadcast against it.
    """

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f(z) (*lead, D), and give log |det df/dz| (*lead) in nats."""
        ...

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f^-1(z) (*lead, D), and give log |det df^-1/dz| (*lead) in nats: minus that of f there."""
        ...


class Chain:
    """Bijections one after the other.

    Args:
        *steps: f_1, ..., f_T, the first to be applied first.
    """

    def __init__(self, *steps: Bijection):
        self.steps = steps

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f(z), and give log |det df/dz| (*lead)."""
        total = z.new_zeros(z.shape[:-1])
        for step in self.steps:
            z, ladj = step.call_and_ladj(z)
            total = total + ladj
        return z, total

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f^-1(z), and give log |det df^-1/dz| (*lead)."""
        total = z.new_zeros(z.shape[:-1])
        for step in reversed(self.steps):
            z, ladj = step.inverse_and_ladj(z)
            total = total + ladj
        return z, total


class Affine:
    """z -> loc + scale * z, entry by entry.

    Args:
        loc: (*batch, D).
        log_scale: (*batch, D) logarithm of the factor.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor):
        self.loc, self.log_scale = loc, log_scale

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f(z), and give log |det df/dz| (*lead)."""
        return torch.addcmul(self.loc, self.log_scale.exp(), z), self.log_scale.sum(-1)

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f^-1(z), and give log |det df^-1/dz| (*lead)."""
        return (z - self.loc) * (-self.log_scale).exp(), -self.log_scale.sum(-1)

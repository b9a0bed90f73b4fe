"""The panels of quadrature: cubes in (-1, 1)^D that are split in halves of each edge."""

from dataclasses import dataclass

import torch
from torch import Tensor

SHARE = 0.25
"""Of the draws from q, that a panel holds at most before it is evaluated."""

STEPS = 16
"""Of those at which a top is resolved, in the panel that holds it."""

NARROWEST = 2.0**-40
"""Panels of this width are not split."""


@dataclass(frozen=True, eq=False)
class Panels:
    """P of them: their low corners (P, D) and their widths (P,)."""

    low: Tensor
    width: Tensor

    @classmethod
    def all_over(cls, dimension: int, side: int, device: torch.device) -> "Panels":
        """Equal ones, so many on each edge of the whole."""
        edge = torch.linspace(-1, 1, side + 1, dtype=torch.float64, device=device)[:-1]
        low = product(edge, dimension)
        return cls(low, low.new_full((len(low),), 2 / side))

    def split(self) -> "Panels":
        """Each in 2^D."""
        half = self.width / 2
        corners = product(torch.tensor([0.0, 1.0], dtype=torch.float64, device=half.device), self.low.shape[1])
        low = (self.low[:, None] + corners * half[:, None, None]).flatten(0, 1)
        return Panels(low, half.repeat_interleave(len(corners)))

    def rows(self, rows: Tensor) -> "Panels":
        """Some of them."""
        return Panels(self.low[rows], self.width[rows])

    def join(self, other: "Panels") -> "Panels":
        """With others after them."""
        return Panels(torch.cat((self.low, other.low)), torch.cat((self.width, other.width)))

    def count(self, points: Tensor) -> Tensor:
        """(P,) how many of the points (n, D) each holds."""
        inside = (points >= self.low[:, None]) & (points < (self.low + self.width[:, None])[:, None])
        return inside.all(-1).sum(-1)

    def is_coarse(self, draws: Tensor, tops: Tensor, steps: Tensor) -> Tensor:
        """(P,) which hold more than their share of the draws (n, D), or are wide for the steps (M,) of a top (M, D) in them."""
        outside = torch.maximum(self.low[:, None] - tops, tops - (self.low + self.width[:, None])[:, None]).amax(-1)
        holds_top = (outside <= steps) & (self.width[:, None] > STEPS * steps)
        is_coarse = (self.count(draws) > SHARE * len(draws)) | holds_top.any(-1)
        return is_coarse & (self.width > NARROWEST)


def refined(panels: Panels, draws: Tensor, tops: Tensor, steps: Tensor) -> Panels:
    """The panels, split until none is coarse."""
    done = panels.rows(panels.width < 0)
    while len(panels.width):
        is_coarse = panels.is_coarse(draws, tops, steps)
        done, panels = done.join(panels.rows(~is_coarse)), panels.rows(is_coarse).split()
    return done


def product(values: Tensor, dimension: int) -> Tensor:
    """(n^D, D) all vectors of D such values (n,)."""
    return torch.cartesian_prod(*[values] * dimension).reshape(-1, dimension)

"""Mean and variance of each entry over the rows in which it is observed, in float64.

Of rows in memory two passes are made: squares about the mean lose no digits to cancellation. Rows that stream are looked through
once: the moments of each chunk are those of two passes, and two sets of moments are joined by (Chan, Golub and LeVeque 1979)

    M = M_a + M_b + (m_b - m_a)^2 n_a n_b / (n_a + n_b),    m = m_a + (m_b - m_a) n_b / (n_a + n_b),

with n the count, m the mean and M the sum of squares about it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from amortized.data.record import Rows, in_order

EXACT_ROWS = 256
"""So many squares of bytes have a sum that float32 holds exactly."""


@dataclass(frozen=True, eq=False)
class Moments:
    """Of N rows; all float64 of the shape of an event.

    Attributes:
        count: In how many rows each entry is observed.
        mean: 0 where it is in none.
        squares: The sum of squares about the mean.
    """

    count: Tensor
    mean: Tensor
    squares: Tensor

    @staticmethod
    def of(x: Tensor) -> "Moments":
        """The moments of (N, *event) numbers, NaN where one is missing."""
        if x.dtype == torch.uint8:
            return _of_bytes(x)
        x = x.to(torch.float64)
        missing = x.isnan()
        if not missing.any():
            mean = x.mean(0) if len(x) else torch.zeros(x.shape[1:], dtype=torch.float64)
            return Moments(torch.full_like(mean, len(x)), mean, (x - mean).square_().sum(0))
        count = (~missing).sum(0).double()
        mean = x.nansum(0) / count.clamp(min=1)
        return Moments(count, mean, (x - mean).square_().nansum(0))

    def joined(self, other: "Moments") -> "Moments":
        """The moments of the rows of both."""
        count = self.count + other.count
        share, step = other.count / count.clamp(min=1), other.mean - self.mean
        return Moments(count, self.mean + step * share, self.squares + other.squares + step.square() * self.count * share)

    def over_all(self) -> "Moments":
        """The same for every entry: the moments of all entries together."""
        count = self.count.sum()
        mean = (self.count * self.mean).sum() / count.clamp(min=1)
        squares = (self.squares + self.count * (self.mean - mean).square()).sum()
        return Moments(*(value.expand(self.mean.shape) for value in (count, mean, squares)))


def mean_and_scale(split: Rows, how: Literal["columns", "global", "none"]) -> tuple[Tensor, Tensor]:
    """The shift and the unit that standardize the observed entries of a training split: (x - shift) / unit.

    Args:
        split: The training split.
        how: `columns` gives each entry its own mean and standard deviation; `global` gives all entries one of each;
            `none` gives 0 and 1.

    Returns:
        shift and unit, float32 of the event's shape, computed in float64. The unit of what never varies is 1; the shift of what
        is never observed is 0.
    """
    shape = split.event_shape
    if how == "none":
        return torch.zeros(shape), torch.ones(shape)
    known: Moments | None = getattr(split, "moments", None)
    if known is not None:
        known = known.over_all() if how == "global" else known
        mean, squares, count = known.mean, known.squares, known.count
    else:
        total, count = _sums(split, shape)
        if how == "global":
            total, count = total.sum().expand(shape), count.sum().expand(shape)
        mean = total / count.clamp(min=1)
        squares, _ = _sums(split, shape, lambda x: (x - mean).square())
        squares = squares.sum().expand(shape) if how == "global" else squares
    variance = squares / count.clamp(min=1)
    unit = torch.where(variance > 0, variance.sqrt(), 1.0)
    return mean.to(torch.float32).contiguous(), unit.to(torch.float32).contiguous()


def never_observed(split: Rows) -> Tensor:
    """The entries that no row has, true or false of the event's shape."""
    known: Moments | None = getattr(split, "moments", None)
    return (_sums(split, split.event_shape)[1] if known is None else known.count) == 0


def _of_bytes(x: Tensor) -> Moments:
    """Exact, and as fast as the rows are read: sums of bytes and of their squares are whole numbers."""
    total, squares = (torch.zeros(x.shape[1:], dtype=torch.float64) for _ in range(2))
    for rows in x.split(EXACT_ROWS):
        values = rows.to(torch.float32)
        total += values.sum(0)
        squares += values.square_().sum(0)
    mean = total / max(1, len(x))
    return Moments(torch.full_like(mean, len(x)), mean, (squares - total * mean).clamp_(min=0))


def _sums(split: Rows, shape: torch.Size, function: Callable[[Tensor], Tensor] = lambda x: x) -> tuple[Tensor, Tensor]:
    """The sum over the rows in which an entry is observed, and their number, both float64 of the event's shape."""
    total, count = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    for x in map(function, _chunks(split)):
        part = x.sum(0)
        if part.isnan().any():
            observed = ~x.isnan()
            total, count = total + torch.where(observed, x, 0.0).sum(0), count + observed.sum(0)
        else:
            total, count = total + part, count + len(x)
    return total, count


def _chunks(split: Rows, size: int = 4096):
    for batch in in_order(split, size):
        yield batch["x"].to("cpu", torch.float64)

"""One look through all of the data that stream: their range, what is missing, and their moments."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from amortized.data.ahead import ahead
from amortized.data.memory import in_words
from amortized.data.moments import Moments
from amortized.data.support import Support, judge
from amortized.data.windows import StreamedSplit, plan_windows
from amortized.errors import InputError

Say = Callable[[str], None]
PATIENCE_SECONDS = 1.5
"""A look that takes longer is announced."""
ROWS = 4096
"""Rows that are looked at together."""


@dataclass(frozen=True, eq=False)
class Findings:
    """What is known of rows.

    Attributes:
        moments: Of x.
        low: The smallest observed value of each entry, float32 of the event's shape; infinite where none is observed.
        high: The largest.
        is_whole: Whether all values are whole numbers.
        missing: How many entries are missing.
    """

    moments: Moments
    low: Tensor
    high: Tensor
    is_whole: bool
    missing: int

    @staticmethod
    def of(x: Tensor, *, may_be_whole: bool = True) -> "Findings":
        """What (N, *event) rows are found to be; `may_be_whole` is False where others have fractions already."""
        if not x.is_floating_point():
            return Findings(Moments.of(x), x.amin(0).float(), x.amax(0).float(), True, 0)
        holes = x.isnan()
        missing = int(holes.sum())
        is_whole = may_be_whole and bool(((x == x.round()) | holes).all())
        low, high = (x, x) if not missing else (torch.where(holes, torch.inf, x), torch.where(holes, -torch.inf, x))
        return Findings(Moments.of(x), low.amin(0), high.amax(0), is_whole, missing)

    def joined(self, other: "Findings") -> "Findings":
        """What is known of the rows of both."""
        return Findings(
            self.moments.joined(other.moments),
            torch.minimum(self.low, other.low),
            torch.maximum(self.high, other.high),
            self.is_whole and other.is_whole,
            self.missing + other.missing,
        )

    @property
    def still(self) -> Tensor:
        """Which entries have one value in all rows in which they are observed."""
        return self.low == self.high

    def support(self, *, image: bool) -> Support:
        """Which values occur.

        Raises:
            InputError: No entry is observed.
        """
        low, high = float(self.low.min()), float(self.high.max())
        if low > high:
            raise InputError("every entry of the data is missing (NaN); give data of which some were observed.")
        return judge(low, high, self.is_whole, image)


def look(splits: Iterable[StreamedSplit], size: int, say: Say | None) -> list[Findings]:
    """Look through all rows of splits.

    Args:
        splits: None of them empty.
        size: How many bytes they take together.
        say: Is told how long it takes, if that is more than a moment.
    """
    splits = list(splits)
    total, done, began, found = sum(map(len, splits)), 0, time.monotonic(), []
    for split in splits:
        parts: list[Findings] = []
        for window in ahead(map(split.read, plan_windows(split, None)[0])):
            for x in window.x.split(ROWS):
                part = Findings.of(x, may_be_whole=not parts or parts[0].is_whole)
                parts = [reduce(Findings.joined, [*parts, part])]
            done += len(window)
            if say is not None and (passed := time.monotonic() - began) > PATIENCE_SECONDS:
                left = passed * (total - done) / done
                say(f"Looking through all of the data ({in_words(size)}) for their range and mean; about {left:.0f} s more.")
                say = None
        found += parts
    return found

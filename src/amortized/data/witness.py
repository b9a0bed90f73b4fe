"""What is seen of rows as they lie on the disk, while they are read for a look through all of them.

A checksum tells later whether a value changed: the sum of a CRC-32 of each read, begun with its first row, so that neither the
order in which runs are read nor the split that they belong to matters. It is computed where rows are read, ahead of the look.
"""

import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from amortized.data.arrays import first_rounded
from amortized.data.stores import Store

_MOST = 2**64


class Witness:
    """A store that keeps in mind what was read of it.

    Args:
        store: What is read.

    Attributes:
        checksum: Of all that was read.
        rounded: The place of the first whole number that float32 rounds, and that number; None where there is none.
    """

    def __init__(self, store: Store):
        self.store, self.checksum = store, 0
        self.rounded: tuple[tuple[int, ...], Any] | None = None

    def __getattr__(self, name: str) -> Any:
        """What the store knows of itself."""
        return getattr(self.store, name)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.store)

    def read(self, begin: int, end: int) -> np.ndarray:
        """The rows that the store reads."""
        rows = self.store.read(begin, end)
        self.checksum += zlib.crc32(np.ascontiguousarray(rows).data, begin)
        if self.rounded is None and (position := first_rounded(rows)) is not None:
            self.rounded = (begin + position[0], *position[1:]), rows[position]
        return rows


def checksum(witnesses: Iterable[Witness]) -> str:
    """Of all that was read of the stores, in 16 digits; several of one store each saw a part of it."""
    sums: dict[int, int] = {}
    for witness in witnesses:
        sums[id(witness.store)] = sums.get(id(witness.store), 0) + witness.checksum
    return f"{sum(number * total for number, total in enumerate(sums.values(), 1)) % _MOST:016x}"


def first_of(witnesses: Iterable[Witness], store: Store) -> tuple[tuple[int, ...], Any] | None:
    """The first whole number of a store that float32 rounds, with its place."""
    found = [witness.rounded for witness in witnesses if witness.store is store and witness.rounded is not None]
    return min(found, key=lambda each: each[0], default=None)

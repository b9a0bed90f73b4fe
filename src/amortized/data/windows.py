"""Data larger than memory: rows on the disk, seen through windows that are read ahead.

The rows of a store are cut into runs of neighbors, and the runs, not the rows, are divided into training, validation and test
data. Reading neighbors together is what a disk is good at; but training needs a random order. Both are had by two shuffles: an
epoch permutes the runs, takes as many as fill a *window* into memory, and permutes the rows within the window. So the rows of a
batch come from random runs all over the file. The order is a pure function of (seed, epoch) and of the window's size, and is
known without reading anything: a run that resumes in the middle begins to read there, and processes that share the batches
see together what one would see.

A window is a `Split` in memory, and batches are cut from it as from any other; while it is used, the next one is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amortized.data.ahead import ahead
from amortized.data.arrays import as_finite
from amortized.data.moments import Moments
from amortized.data.randomness import generator
from amortized.data.record import Rows, Split, concatenated
from amortized.data.stores import Store, row_bytes
from amortized.seeds import derive_seed

IN_ORDER_BYTES = 2**23
"""The size of windows that are not shuffled: no more than reading needs."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs of neighboring rows, in the order of their store.

    Attributes:
        begin: (R,) the first row of each.
        end: (R,) one more than the last.
        piece: (R,) the part of the store that is read for it.
    """

    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    piece: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of runs."""
        return len(self.begin)

    def take(self, chosen: NDArray[np.int64]) -> "Runs":
        """The runs of these numbers."""
        return Runs(self.begin[chosen], self.end[chosen], self.piece[chosen])

    @cached_property
    def places(self) -> NDArray[np.int64]:
        """(R + 1,) where each run begins among the rows of all."""
        return np.concatenate(([0], np.cumsum(self.end - self.begin)))


@dataclass(frozen=True, eq=False)
class StreamedSplit:
    """A part of a data set, on the disk.

    Attributes:
        store: Where its rows lie.
        runs: Which rows.
        window: How many rows are shuffled together.
        context: Named conditions of all rows of the store, in memory, codes in the smallest type that holds them.
        labels: Class codes, or None.
        order: The positions of the columns of a table in the order in which they are wanted; None for that of the store.
        has_missing: Whether entries are missing, here or in another split of the same data.
        moments: Of x, over all rows, where these were looked through.
    """

    store: Store
    runs: Runs
    window: int
    context: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    order: tuple[int, ...] | None = None
    has_missing: bool = False
    moments: Moments | None = None

    def __len__(self) -> int:
        """The number of rows."""
        return int(self.runs.places[-1])

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one row's `x`."""
        return torch.Size(self.store.event_shape)

    def fetch(self, rows: Tensor) -> dict[str, Any]:
        """The rows of these numbers; what lies between two in one piece of the store is read with them."""
        wanted, back = np.unique(rows.numpy(), return_inverse=True)
        places = self.runs.places
        run = np.searchsorted(places, wanted, side="right") - 1
        source = self.runs.begin[run] + wanted - places[run]
        cuts = np.flatnonzero(np.diff(self.runs.piece[run])) + 1
        parts = [self._held(part) for part in np.split(source, cuts)] if len(source) else [self.read(wanted)]
        whole = Split(**concatenated([part.fetch(torch.arange(len(part))) for part in parts]))
        return whole.fetch(torch.from_numpy(back.reshape(-1)))

    def visit(self, seed: int | None, *, start: int = 0, device: torch.device | str | None = None) -> "Visit":
        """One pass over all rows, in the order that `seed` draws or, without one, in that of the store.

        Args:
            seed: Of the order.
            start: How many rows of the order are passed over, unread.
            device: Where the windows are put.
        """
        return Visit(self, seed, start, device)

    def merged(self, others: Sequence[Rows]) -> "StreamedSplit | None":
        """The rows of all in the order of their store; None where that is not one."""
        same = [self, *(other for other in others if isinstance(other, StreamedSplit) and other.store is self.store)]
        if len(same) <= len(others):
            return None
        begin, end, piece = (np.concatenate([getattr(each.runs, name) for each in same]) for name in ("begin", "end", "piece"))
        return replace(self, runs=Runs(begin, end, piece).take(np.argsort(begin)), moments=None)

    def own_context(self) -> dict[str, Tensor]:
        """The conditions of its rows."""
        is_own = torch.zeros(len(self.store), dtype=torch.bool)
        for begin, end in zip(self.runs.begin.tolist(), self.runs.end.tolist(), strict=True):
            is_own[begin:end] = True
        return {name: _widened(values[is_own]) for name, values in self.context.items()}

    def with_columns(self, order: list[int]) -> "StreamedSplit":
        """The split with the columns of these positions."""
        own = range(len(order)) if self.order is None else self.order
        return replace(self, order=tuple(own[position] for position in order), moments=None)

    def read(self, chosen: NDArray[np.int64]) -> Split:
        """The rows of the pieces of these numbers, in memory, piece by piece in that order."""
        first = np.searchsorted(self.runs.piece, chosen, side="left")
        last = np.searchsorted(self.runs.piece, chosen, side="right")
        numbers = [np.arange(*pair) for pair in zip(first, last, strict=True)]
        count = sum(int(self.runs.places[b] - self.runs.places[a]) for a, b in zip(first, last, strict=True))
        x = np.empty((count, *self.store.event_shape), self.store.dtype)
        index = np.empty(count, np.int64)
        filled = 0
        for runs in numbers:
            for begin, end, rows in self._runs_of_piece(runs):
                if not np.can_cast(rows.dtype, x.dtype):
                    x = x.astype(rows.dtype)  # a column of whole numbers had no holes until here
                x[filled : filled + len(rows)] = rows
                index[filled : filled + len(rows)] = np.arange(begin, end)
                filled += len(rows)
        return self._split(x, index)

    def _runs_of_piece(self, runs: NDArray[np.int64]) -> Iterator[tuple[int, int, np.ndarray]]:
        begins, ends = self.runs.begin[runs].tolist(), self.runs.end[runs].tolist()
        if not self.store.is_whole:
            for begin, end in zip(begins, ends, strict=True):
                yield begin, end, self._rows(begin, end)
            return
        offset, whole = begins[0], self._rows(begins[0], ends[-1])
        for begin, end in zip(begins, ends, strict=True):
            yield begin, end, whole[begin - offset : end - offset]

    def _held(self, rows: NDArray[np.int64]) -> Split:
        """Rows of one piece."""
        begin = int(rows[0])
        return self._split(self._rows(begin, int(rows[-1]) + 1)[rows - begin], rows)

    def _rows(self, begin: int, end: int) -> np.ndarray:
        rows = as_finite(self.store.read(begin, end), self.store.columns, begin, self.store.dtype)
        return rows if self.order is None else rows[:, list(self.order)]

    def _split(self, x: np.ndarray, index: NDArray[np.int64]) -> Split:
        context = {name: _widened(values[torch.from_numpy(index)]) for name, values in self.context.items()}
        labels = None if self.labels is None else _widened(self.labels[torch.from_numpy(index)])
        return Split(torch.from_numpy(x), torch.from_numpy(index), context, labels, self.has_missing)


class Visit:
    """One pass over a split, whose rows are numbered by their places in the order of the pass.

    Rows are fetched in ascending places, each window while it is there; `close` ends the reading ahead.
    """

    def __init__(self, split: StreamedSplit, seed: int | None, start: int, device: torch.device | str | None):
        self.split, self.seed, self.device = split, seed, device
        windows, self._ends = plan_windows(split, seed)
        self._number = int(np.searchsorted(self._ends, start, side="right")) - 1
        self._coming = ahead(map(split.read, windows[self._number + 1 :]))
        self._window, self._order = split.read(np.empty(0, np.int64)), torch.empty(0, dtype=torch.int64)
        self._begin = self._end = int(self._ends[self._number]) if self._number >= 0 else 0

    def fetch(self, places: Tensor) -> dict[str, Any]:
        """The rows at neighboring places of the order, none of them before those fetched last."""
        first, last = int(places[0]), int(places[-1]) + 1
        parts = []
        while first < last:
            if first >= self._end:
                self._advance()
            else:
                until = min(last, self._end)
                parts.append(self._window.fetch(self._order[first - self._begin : until - self._begin]))
                first = until
        return parts[0] if len(parts) == 1 else concatenated(parts)

    def close(self) -> None:
        """End the reading ahead."""
        self._coming.close()  # pyright: ignore[reportAttributeAccessIssue]

    def __enter__(self) -> "Visit":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _advance(self) -> None:
        del self._window  # before the next one but one is read
        window = next(self._coming)
        self._window = window if self.device is None else window.to(self.device)
        self._number += 1
        self._begin, self._end = self._end, int(self._ends[self._number])
        self._order = torch.arange(len(window))
        if self.seed is not None:
            draws = generator(derive_seed(self.seed, "window", self._number))
            self._order = torch.randperm(len(window), generator=draws)
        self._order = self._order.to(self._window.x.device)


def plan_windows(split: StreamedSplit, seed: int | None) -> tuple[list[NDArray[np.int64]], NDArray[np.int64]]:
    """The pieces of each window of a pass, and the place in the order at which each window ends.

    Windows are as even as their pieces let them be, so that the last one is no short one, within which little is shuffled.

    Args:
        split: The rows.
        seed: Of the order; without one the pieces come as they lie, in small windows.
    """
    pieces, first = np.unique(split.runs.piece, return_index=True)
    sizes = np.diff(np.append(split.runs.places[first], len(split)))
    most = max(1, IN_ORDER_BYTES // row_bytes(split.store))
    if seed is not None:
        order = torch.randperm(len(pieces), generator=generator(derive_seed(seed, "pieces"))).numpy()
        pieces, sizes, most = pieces[order], sizes[order], split.window
    before = np.cumsum(sizes) - sizes
    number = before * max(1, -(-len(split) // most)) // max(1, len(split))
    cuts = np.flatnonzero(np.diff(number)) + 1
    ends = np.append(before[cuts], len(split)) if len(pieces) else np.empty(0, np.int64)
    return np.split(pieces, cuts) if len(pieces) else [], ends


def _widened(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.to(torch.int64)

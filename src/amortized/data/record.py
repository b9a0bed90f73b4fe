"""The record of a data set: its splits in memory, and what is known about it.

A split is (x, context, labels, index), each of N rows; x stays in the compact type that it came in (8-bit images stay 8-bit)
and becomes float32 when a batch is cut; NaN is a missing entry. Whatever offers `len`, `event_shape` and `fetch` is a split as
well: that of a user's `Dataset` does, and that of data on the disk, without holding all of it in memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from amortized.data.missing import has_missing
from amortized.data.randomness import generator
from amortized.data.support import Support, describe
from amortized.seeds import derive_seed


class Rows(Protocol):
    """What batches can be cut from by row number."""

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one row's `x`."""
        ...

    def __len__(self) -> int:
        """The number of rows."""
        ...

    def fetch(self, rows: Tensor) -> dict[str, Any]:
        """The rows of these numbers: `x`, `index` and, where there are any, `context` and `labels`."""
        ...


@dataclass(frozen=True)
class Split:
    """A part of a data set, in memory.

    Attributes:
        x: (N, *event) in a compact type; NaN where an entry is missing.
        index: (N,) position of each row in the array that it came from.
        context: Named conditions, (N,) integer codes or (N,) or (N, c) floats.
        labels: (N,) class codes, or None. Real-valued labels are kept as floats.
        has_missing: Whether entries are missing, here or in another split of the same data: batches then say which are observed.
    """

    x: Tensor
    index: Tensor
    context: Mapping[str, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    has_missing: bool = False

    def __len__(self) -> int:
        """The number N of rows."""
        return len(self.x)

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one row's `x`."""
        return self.x.shape[1:]

    def fetch(self, rows: Tensor) -> dict[str, Any]:
        """The rows of these numbers, (B,) of the split's device, as a dict with the keys of a batch."""
        batch: dict[str, Any] = {"x": self.x.index_select(0, rows), "index": self.index.index_select(0, rows)}
        if self.context:
            batch["context"] = {name: value.index_select(0, rows) for name, value in self.context.items()}
        if self.labels is not None:
            batch["labels"] = self.labels.index_select(0, rows)
        return batch

    def merged(self, others: Sequence[Rows]) -> "Split | None":
        """The rows of all in the order of the array that they were cut from; None where that was not one."""
        splits = [self, *(other for other in others if isinstance(other, Split))]
        index = torch.cat([split.index for split in splits])
        if len(splits) <= len(others) or len(index.unique()) < len(index):
            return None
        fields = [split.fetch(torch.arange(len(split), device=split.x.device)) for split in splits]
        whole = Split(**concatenated(fields), has_missing=self.has_missing)
        return Split(**whole.fetch(index.argsort()), has_missing=self.has_missing)

    def to(self, device: torch.device | str) -> "Split":
        """The split with every tensor on `device`."""
        labels = None if self.labels is None else self.labels.to(device)
        context = {name: value.to(device) for name, value in self.context.items()}
        return Split(self.x.to(device), self.index.to(device), context, labels, self.has_missing)


@dataclass(frozen=True)
class Data:
    """A data set.

    Attributes:
        name: What to call it.
        train: The training split; has rows.
        valid: The validation split; may be empty.
        test: The test split; may be empty.
        is_image: Whether an event is an image, (H, W) or (H, W, C).
        columns: The names of a table's columns; empty for other events.
        label_names: The name of each class code; empty where there are no classes.
        context_names: For each condition that is a class, the name of each code.
        constant: The names of the columns (or pixels) whose observed values never vary in the training split.
        notes: Sentences that a user should see.
        fingerprint: The start of the SHA-256 of the content, for the record of a run; of data on the disk, of a sample of it, and
            after a colon a checksum of all, where these were looked through.
        rows_seen: Rows by which the support is judged where not all data are in memory.
        judged: The support of data on the disk, by all of them.
        window_mib: How many MiB of data on the disk are shuffled together; None of data that are not there.
    """

    name: str
    train: Rows
    valid: Rows
    test: Rows
    is_image: bool
    columns: tuple[str, ...] = ()
    label_names: tuple[str, ...] = ()
    context_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fingerprint: str = ""
    rows_seen: Tensor | None = None
    judged: Support | None = None
    window_mib: int | None = None

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one datum."""
        return self.train.event_shape

    @property
    def splits(self) -> dict[str, Rows]:
        """The three splits by name."""
        return {"train": self.train, "valid": self.valid, "test": self.test}

    def parts(self, split: str) -> list[Rows]:
        """The rows of a split by name, or of "all", in the order of their source if they were cut from one; no empty ones."""
        some = [rows for name, rows in self.splits.items() if split in (name, "all") and len(rows)]
        merged = getattr(some[0], "merged", None) if len(some) > 1 else None
        whole = None if merged is None else merged(some[1:])
        return some if whole is None else [whole]

    @cached_property
    def has_missing(self) -> bool:
        """Whether entries are missing in any split (of a `Dataset` or `DataLoader`: in the first rows)."""
        return any(map(is_incomplete, self.splits.values()))

    @cached_property
    def support(self) -> Support:
        """Which values occur, in all splits together (of a `Dataset` or `DataLoader`: in the first rows)."""
        if self.judged is not None:
            return self.judged
        if self.rows_seen is not None:
            return describe(self.rows_seen, image=self.is_image)
        return describe(*(split.x for split in self.splits.values() if isinstance(split, Split)), image=self.is_image)


def concatenated(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Raw batches, one after the other, as one."""
    first = batches[0]
    joined: dict[str, Any] = {name: torch.cat([batch[name] for batch in batches]) for name in first if name != "context"}
    if "context" in first:
        joined["context"] = {name: torch.cat([batch["context"][name] for batch in batches]) for name in first["context"]}
    return joined


def is_incomplete(split: Rows) -> bool:
    """Whether every batch of a split says which entries are observed; of streamed data, those with holes do in any case."""
    return getattr(split, "has_missing", False) or (isinstance(split, Split) and has_missing(split.x))


def in_order(split: Rows, size: int = 4096) -> Iterator[dict[str, Any]]:
    """The rows of a split in its order, raw (no transform), `size` at a time; what is on the disk is read once, and ahead."""
    visit = getattr(split, "visit", None)
    with nullcontext(split) if visit is None else visit(None) as source:
        for begin in range(0, len(split), size):
            rows = torch.arange(begin, min(begin + size, len(split)))
            yield source.fetch(rows.to(split.x.device) if isinstance(split, Split) else rows)


def sample_rows(split: Rows, n: int, seed: int = 0) -> dict[str, Any]:
    """At most `n` rows of a split, drawn without replacement by `seed`, in the split's order, raw (no transform)."""
    rows = torch.randperm(len(split), generator=generator(derive_seed(seed, "sample_rows")))[:n].sort().values
    return split.fetch(rows.to(split.x.device) if isinstance(split, Split) else rows)

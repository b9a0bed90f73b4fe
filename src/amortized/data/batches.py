"""Batches: which rows a training step sees, as a pure function of (seed, epoch, step, rank).

The order of an epoch is a permutation drawn from a generator seeded by (seed, epoch); step s takes its s-th run of `batch_size`
rows, and rank r of w processes the r-th contiguous w-th of that run. So a run that resumes at step s skips s runs at no cost and
sees the same batches, and w processes together see what one process sees. Fresh noise comes from a generator
of its own, seeded by (seed, epoch, step, rank); torch's global generator is left alone.

Rows on the disk have an order of their own (`windows.py`), of which the same holds.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

from amortized.data.missing import has_missing, mark
from amortized.data.randomness import Stream, generator
from amortized.data.record import Rows, Split, is_incomplete
from amortized.data.transforms import Transform
from amortized.data.windows import StreamedSplit
from amortized.errors import InputError
from amortized.seeds import derive_seed


class Batches:
    """Cuts the batches of a split.

    Args:
        split: Where rows come from; a `Split` is kept on `device` whole.
        batch_size: Rows per step, over all processes together.
        transform: What is done to each batch; None makes `x` float32 and nothing else.
        seed: Of the order and of fresh noise.
        shuffle: Whether each epoch has its own random order.
        drop_last: Whether the ragged last batch is left out (a split smaller than one batch is one batch in any case).
        device: Where batches are made.
        frozen: Whether noise is that of evaluation, the same at every visit; by default where `shuffle` is False.
    """

    def __init__(
        self,
        split: Rows,
        *,
        batch_size: int,
        transform: Transform | None = None,
        seed: int = 0,
        shuffle: bool = True,
        drop_last: bool = True,
        device: torch.device | str | None = None,
        frozen: bool | None = None,
    ):
        check_batch_size(batch_size)
        self.batch_size, self.seed, self.shuffle, self.device = batch_size, seed, shuffle, device
        self.drop_last = drop_last and len(split) >= batch_size
        self.frozen = not shuffle if frozen is None else frozen
        self._in_memory = isinstance(split, Split)
        self.has_missing = is_incomplete(split)
        if isinstance(split, Split):
            split = split if device is None else split.to(device)
            if self.frozen and transform is not None:
                split, transform = transform.freeze(split)
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        """Steps per epoch."""
        full, rest = divmod(len(self.split), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def epoch(self, number: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[dict[str, Any]]:
        """The batches of one epoch, as dicts with the keys of `amortized.Batch`.

        Args:
            number: Which epoch.
            start: How many steps to skip.
            rank: Which process this is.
            world: How many processes share each batch. Where they do not divide a ragged last batch of evaluation, the first
                ranks have a row more, and a rank without rows has no batch for it.

        Raises:
            InputError: `batch_size` is no multiple of `world`.
        """
        check_world(self.batch_size, world)
        size, total = self.batch_size, len(self.split)
        with self._pass(number, start * size) as (source, order):
            for step in range(start, len(self)):
                rows = share(order(step * size, min((step + 1) * size, total)), rank, world, equal=self.shuffle)
                if len(rows):
                    yield self._cut(source, rows, derive_seed(self.seed, "noise", number, step, rank))

    @contextmanager
    def _pass(self, number: int, start: int) -> Iterator[tuple[Any, Callable[[int, int], Tensor]]]:
        """What rows are fetched from in an epoch, and by which numbers those at two places of the order, and between, are."""
        seed = derive_seed(self.seed, "order", number) if self.shuffle else None
        if isinstance(self.split, StreamedSplit):
            with self.split.visit(seed, start=start, device=self.device) as visit:
                yield visit, torch.arange  # the rows of a visit are numbered by their places
            return
        n = len(self.split)
        order = torch.arange(n) if seed is None else torch.randperm(n, generator=generator(seed))
        order = order.to(self.split.x.device) if isinstance(self.split, Split) else order
        yield self.split, lambda begin, end: order[begin:end]

    def _cut(self, source: Any, rows: Tensor, seed: int) -> dict[str, Any]:
        fresh = None if self.frozen else seed
        if self._in_memory:
            batch = source.fetch(rows)
            return finish(mark(batch) if self.has_missing else batch, self.transform, fresh, None)
        with nullcontext() if isinstance(self.split, StreamedSplit) else Stream(seed).active():
            batch = source.fetch(rows)
        batch = mark(batch) if self.has_missing or has_missing(batch["x"]) else batch
        return finish(batch, self.transform, fresh, self.device)


def finish(
    batch: dict[str, Any], transform: Transform | None, seed: int | None, device: torch.device | str | None
) -> dict[str, Any]:
    """Move a raw batch to its device and transform it, with fresh noise if there is a `seed`; `x` becomes float32."""
    if device is not None:
        batch = {key: _moved(value, device) for key, value in batch.items()}
    if transform is None:
        return {**batch, "x": batch["x"].to(torch.float32)}
    fresh = None if seed is None else generator(seed, batch["x"].device)
    return transform(batch, fresh)


def share(rows: Tensor, rank: int, world: int, *, equal: bool) -> Tensor:
    """The contiguous part of `rows` that belongs to one process; `equal` leaves out rows that do not divide evenly."""
    if world == 1:
        return rows
    if equal:
        rows = rows[: len(rows) - len(rows) % world]
    return rows.tensor_split(world)[rank]


def check_batch_size(batch_size: int) -> None:
    """Refuse a batch size below 1."""
    if batch_size < 1:
        raise InputError(f"batch_size needs at least 1 row; it is {batch_size}.")


def check_world(batch_size: int, world: int) -> None:
    """Refuse a batch that `world` processes cannot share evenly."""
    if batch_size % world:
        near = max(world, round(batch_size / world) * world)
        raise InputError(
            f"batch_size {batch_size} cannot be shared evenly by {world} processes; choose a multiple, such as {near}."
        )


def _moved(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, dict):
        return {name: item.to(device) for name, item in value.items()}
    return value.to(device)

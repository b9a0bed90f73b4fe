"""Data for a task, in bounded pieces on the model's device."""

from collections.abc import Iterable, Iterator
from numbers import Integral

from torch import Tensor

from amortized.errors import InputError
from amortized.models.model import Model, device_of
from amortized.terms import Batch

CHUNK_ENTRIES = 2**22
"""Entries of x made at once: 16 MiB of float32, and a few times that in the network."""


def chunks(batches: Batch | Tensor | Iterable[Batch | Tensor], model: Model, copies: int = 1) -> Iterator[Batch]:
    """The data in their order, on the model's device, in pieces of which `copies` fit in memory."""
    if isinstance(batches, Batch | Tensor):
        batches = (batches,)
    size, device = rows_at_once(model, copies), device_of(model)
    for batch in map(Batch.of, batches):
        for start in range(0, len(batch), size):
            yield batch.rows(slice(start, start + size)).to(device)


def pick(batches: Iterable[Batch], places: Tensor) -> Batch:
    """The data at these places, in the order of the places; of the others no more than a batch is held."""
    (ascending, order), first, taken = places.sort(), 0, []
    for batch in batches:
        chosen = ascending[(ascending >= first) & (ascending < first + len(batch))] - first
        taken.append(batch.rows(chosen.to(batch.x.device)))
        first += len(batch)
    joined = Batch.join(taken)
    return joined.rows(order.argsort().to(joined.x.device))


def check_count(name: str, count: object, way_out: str) -> None:
    """Refuse what is no positive integer."""
    if not isinstance(count, Integral) or isinstance(count, bool) or count < 1:  # pyright: ignore[reportOperatorIssue]
        raise InputError(f"{name} must be a positive integer; it is {count!r}; {way_out}.")


def rows_at_once(model: Model, copies: int = 1) -> int:
    """How many data, each `copies` times, are handled at once."""
    return max(1, CHUNK_ENTRIES // (model.event_shape.numel() * copies))

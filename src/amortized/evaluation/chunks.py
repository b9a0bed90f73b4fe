"""How much of an evaluation is computed at once.

K posterior samples of N data are K N rows for the decoder. Matrix products are near their full rate from about 1,000 rows on; on
a processor more rows only leave its cache, on an accelerator they fill it. So rows are counted by the entries of x that they
make: what fits the cache, or a share of the device's memory. How much a network needs besides is not known before it runs: where
memory runs out, the samples are halved.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from amortized.models.model import Model, device_of
from amortized.terms import Batch

CACHE_ENTRIES = 2**20
"""Entries of x at once on a processor, 4 MiB of float32."""

MOST_ROWS = {"cpu": 2**12, "cuda": 2**16}
"""Beyond these, more rows are no faster."""

SHARE = 1 / 64
"""Of an accelerator's memory for x alone; what the decoder keeps beside it is many times as large."""


def cut(model: Model, batches: Iterable[Batch | Tensor], samples: int) -> Iterator[tuple[Batch, int]]:
    """Cut the data so that all samples of a chunk are scored at once, or a chunk is one datum; with each, samples at once."""
    rows = rows_at_once(model, device_of(model))
    for batch in map(Batch.of, batches):
        size = max(1, rows // samples)
        for start in range(0, len(batch), size):
            chunk = batch.rows(slice(start, start + size))
            times = -(-samples * len(chunk) // rows)
            yield chunk, -(-samples // times)  # parts of the same size, not one that is nearly empty


def rows_at_once(model: Model, device: torch.device) -> int:
    """How many rows the decoder gets at once."""
    entries = model.event_shape.numel() * getattr(model, "values_per_sample", 1)
    held = CACHE_ENTRIES
    if device.type == "cuda":
        held = int(torch.cuda.get_device_properties(device).total_memory * SHARE) // 4
    return max(1, min(held // entries, MOST_ROWS.get(device.type, MOST_ROWS["cpu"])))


def take(samples: int, at_once: int, add: Callable[[int], None]) -> None:
    """Call `add` with numbers of samples that sum to `samples`, `at_once` each, and half of it whenever memory runs out."""
    done = 0
    while done < samples:
        count = min(at_once, samples - done)
        try:
            add(count)
        except RuntimeError as error:
            if count == 1 or not _tells_of_memory(error):
                raise
            at_once = -(-count // 2)
        else:
            done += count


def joined(pieces: Sequence[Tensor | None], dimension: int = 0) -> Tensor | None:
    """What each chunk has of a value, one after the other; None where one of them, or all, have none of it."""
    known = [piece for piece in pieces if piece is not None]
    return torch.cat(known, dimension) if known and len(known) == len(pieces) else None


def _tells_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "can't allocate memory" in str(error)

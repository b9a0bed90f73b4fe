"""What all tasks share: a model held in evaluation mode, noise of their own, data in bounded pieces, a distribution's center.

A task leaves the model's mode and torch's generators as it found them, and gives its results on the CPU.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from amortized.models.model import Model
from amortized.precision import fast_matmul
from amortized.seeds import derive_seed
from amortized.terms import Batch

CHUNK_ENTRIES = 2**22
"""Entries of x made at once: 16 MiB of float32, and a few times that in the network."""


@contextmanager
def evaluating(model: Model, seed: int, purpose: str) -> Iterator[None]:
    """Hold the model in evaluation mode, without gradients, its noise drawn from the stream of (seed, purpose)."""
    assert isinstance(model, nn.Module)
    was_training, device = model.training, device_of(model)
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices), fast_matmul(device):
        torch.manual_seed(derive_seed(seed, purpose))
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)


def device_of(model: Model) -> torch.device:
    """Where the model's parameters lie; the CPU for a model without any."""
    assert isinstance(model, nn.Module)
    parameter = next(model.parameters(), None)
    return torch.device("cpu") if parameter is None else parameter.device


def chunks(batches: Batch | Tensor | Iterable[Batch | Tensor], model: Model, copies: int = 1) -> Iterator[Batch]:
    """The data in their order, on the model's device, in pieces of which `copies` fit in memory."""
    if isinstance(batches, Batch | Tensor):
        batches = (batches,)
    size, device = rows_at_once(model, copies), device_of(model)
    for batch in map(Batch.of, batches):
        for start in range(0, len(batch), size):
            yield batch.rows(slice(start, start + size)).to(device)


def rows_at_once(model: Model, copies: int = 1) -> int:
    """How many data, each `copies` times, are handled at once."""
    return max(1, CHUNK_ENTRIES // (model.event_shape.numel() * copies))

"""Sharing out weights on the processors of one machine, through memory that all processes see.

Torch's collectives send through sockets, also from one process to another of the same machine; on processors that costs as much
as a small step itself. Here every process writes its gradients into a row of its own of one piece of memory, waits until all have
written, and takes the mean over the rows of its share, in the order of the ranks. Updated shares come back in the same way.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from amortized.errors import InputError
from amortized.processes import ProcessLostError
from amortized.training.sharding import Flat, ShardedStrategy

SMALL = 4096
"""Bytes: the most that is reduced besides gradients, such as the signals that a process has heard."""

REDUCE: dict[Any, Callable[[Tensor], Tensor]] = {
    "sum": lambda rows: rows.sum(0),
    "mean": lambda rows: rows.mean(0),
    "min": lambda rows: rows.amin(0),
}


def is_offered() -> bool:
    """Whether this system has what it takes: pipes with a name, and room that can be reserved."""
    return hasattr(os, "mkfifo") and hasattr(os, "posix_fallocate")


class SharedMemoryStrategy(ShardedStrategy):
    """Fabric's strategy for processes of one machine."""

    def setup_module_and_optimizers(self, module: Any, optimizers: list[Any], scheduler: Any = None) -> Any:
        """Give all processes the weights of the first, and a place to meet."""
        made = super().setup_module_and_optimizers(module, optimizers, scheduler)
        meeting = Meeting(self.global_rank, self.world_size)
        self._places = {flat: _Places(flat, meeting) for flat in self.shares.flats}
        self._small = [Table(SMALL, meeting) for _ in range(2)]
        return made

    def reduce(self, flat: Flat) -> None:
        """Put the mean over the processes of the gradients of a share into `flat.gradient`."""
        places = self._places[flat]
        flat.take_gradients(places.views)
        first, second, *others = places.gradients.meet()[:, flat.own]
        torch.add(first, second, out=flat.gradient)
        for other in others:
            flat.gradient.add_(other)
        flat.gradient.div_(self.world_size)
        flat.share.grad = flat.gradient

    def gather(self, flat: Flat) -> None:
        """Put the shares of all processes into `flat.weights`."""
        shares, rank = self._places[flat].shares, self.global_rank
        shares.own.copy_(flat.share)
        rows, parts = shares.meet(), flat.weights.view(self.world_size, -1)
        for other in (*range(rank), *range(rank + 1, self.world_size)):
            parts[other].copy_(rows[other])

    def all_reduce(self, tensor: Tensor, group: Any = None, reduce_op: Any = "mean") -> Tensor:
        """Reduce a tensor over the processes, one that is small without a socket."""
        size = tensor.numel() * tensor.element_size()
        if size > SMALL or reduce_op not in REDUCE:
            return super().all_reduce(tensor, group, reduce_op)
        table = self._small[0]
        self._small.reverse()  # two in turn: there is no second meeting after which the first could be written to again
        table.own[:size] = tensor.contiguous().view(-1).view(torch.uint8)
        rows = table.meet()[:, :size].contiguous().view(tensor.dtype)
        return REDUCE[reduce_op](rows).view_as(tensor)


class _Places:
    """Where the processes write the gradients, and then the shares, of one vector; each waits for the other."""

    def __init__(self, flat: Flat, meeting: "Meeting"):
        self.gradients = Table(flat.weights.numel(), meeting, flat.weights.dtype)
        self.shares = Table(flat.share.numel(), meeting, flat.weights.dtype)
        self.views = flat.views(self.gradients.own)


class Meeting:
    """Where processes wait for each other: a pipe leads from each of them to each.

    A pipe orders memory too: what was written before a meeting is seen after it.

    Args:
        rank: Which process this is.
        world: How many there are.
    """

    def __init__(self, rank: int, world: int):
        self.rank, self.world = rank, world
        others = [other for other in range(world) if other != rank]
        with _common_folder(rank) as folder:
            for other in others:
                os.mkfifo(folder / f"{other}-{rank}")
            self._incoming = [os.open(folder / f"{other}-{rank}", os.O_RDONLY | os.O_NONBLOCK) for other in others]
            distributed.barrier()
            self._outgoing = [os.open(folder / f"{rank}-{other}", os.O_WRONLY) for other in others]
            distributed.barrier()
        for pipe in self._incoming:
            os.set_blocking(pipe, True)

    def wait(self) -> None:
        """Wait until all are here.

        Raises:
            ProcessLostError: One of them has ended.
        """
        try:
            for pipe in self._outgoing:
                os.write(pipe, b".")
        except BrokenPipeError:
            raise ProcessLostError from None
        if not all(os.read(pipe, 1) for pipe in self._incoming):  # the end of a pipe: nobody holds its other end
            raise ProcessLostError

    def __del__(self) -> None:
        for pipe in (*getattr(self, "_incoming", ()), *getattr(self, "_outgoing", ())):
            os.close(pipe)


class Table:
    """A row of memory for each process, which all of them read.

    Args:
        length: Of a row.
        meeting: Of the processes.
        dtype: Of its numbers.

    Attributes:
        own: The row that this process writes to.
    """

    def __init__(self, length: int, meeting: Meeting, dtype: torch.dtype = torch.uint8):
        memory = _common_memory(meeting.world * length * dtype.itemsize, meeting.rank)
        self._rows, self._meeting = memory.view(dtype).view(meeting.world, length), meeting
        self.own = self._rows[meeting.rank]

    def meet(self) -> Tensor:
        """Wait until all have written; the rows of all, which nobody may write to before another meeting."""
        self._meeting.wait()
        return self._rows


def _tell(value: str | None) -> str | None:
    """What the first process has to say, in all processes."""
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


@contextmanager
def _common_folder(rank: int) -> Iterator[Path]:
    """A folder that all processes see; it goes with all that is in it when the first has left."""
    if rank:
        yield Path(str(_tell(None)))
        return
    with tempfile.TemporaryDirectory(prefix="amortized-") as folder:
        _tell(folder)
        yield Path(folder)


def _common_memory(size: int, rank: int) -> Tensor:
    """Bytes that all processes see, zero at first; they go with the last process."""
    name = _tell(None if rank else _reserve(size))
    if name is None:
        raise InputError(
            f"there is no room for the {size / 2**20:,.0f} MiB that the processes share, neither in /dev/shm nor in"
            f" '{tempfile.gettempdir()}'; make some, or use strategy 'ddp'."
        )
    memory = torch.from_file(name, shared=True, size=size, dtype=torch.uint8)
    distributed.barrier()
    if rank == 0:
        os.unlink(name)
    return memory


def _reserve(size: int) -> str | None:
    """A new file of that size, in memory where there is room, else on disk; None where there is none."""
    for folder in ("/dev/shm", tempfile.gettempdir()):
        if not os.access(folder, os.W_OK):
            continue
        descriptor, name = tempfile.mkstemp(prefix="amortized-", dir=folder)
        try:
            os.posix_fallocate(descriptor, 0, size)  # a file that only claims its size would kill who writes to it
        except OSError:
            os.unlink(name)
            continue
        finally:
            os.close(descriptor)
        return name
    return None

"""Data parallelism on the processors of one machine, through memory that all processes see.

Torch's data parallelism sends gradients through sockets, also from one process to another of the same machine; that costs as much as
a small step itself. Here every process writes its gradients into a row of its own of one piece of memory, waits until all have
written, and takes the mean over the rows, in the order of the ranks: all processes find the same bits.

There are two such pieces, used in turn. What a process wrote at one step the others read before they meet at the next, so it may be
written over at the one after: one meeting per step is enough.
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, distributed, nn

from amortized.errors import InputError
from amortized.processes import ProcessLostError, from_first

ALIGNMENT = 64
"""Bytes: a cache line, which two processes should not write to at once."""

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


class SharedMemoryStrategy(DDPStrategy):
    """Fabric's strategy for processes of one machine, without torch's wrapper around the module."""

    def setup_module(self, module: nn.Module) -> nn.Module:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Give all processes the weights of the first, and this module's gradients a place."""
        from_first([*module.parameters(), *module.buffers()])
        meeting = Meeting(self.global_rank, self.world_size)
        self._small, self._buffers = Table(SMALL, meeting), _Buffers(module)
        self._gradients = Gradients([parameter for parameter in module.parameters() if parameter.requires_grad], meeting)
        return module

    def backward(self, tensor: Tensor, module: nn.Module | None, *args: Any, **kwargs: Any) -> None:
        """Take the gradients, and their mean over the processes."""
        super().backward(tensor, module, *args, **kwargs)
        self._gradients.average()
        self._buffers.share()

    def all_reduce(self, tensor: Tensor, group: Any = None, reduce_op: Any = "mean") -> Tensor:
        """Reduce a tensor over the processes, one that is small without a socket."""
        size = tensor.numel() * tensor.element_size()
        if size > SMALL or reduce_op not in REDUCE:
            return super().all_reduce(tensor, group, reduce_op)
        self._small.own[:size] = tensor.contiguous().view(-1).view(torch.uint8)
        rows = self._small.meet()[:, :size].contiguous().view(tensor.dtype)
        return REDUCE[reduce_op](rows).view_as(tensor)


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
        size: Bytes of a row.
        meeting: Of the processes.
    """

    def __init__(self, size: int, meeting: Meeting):
        size = _aligned(size)
        self.memory = _common_memory(2 * meeting.world * size, meeting.rank).view(2, meeting.world, size)
        self.turn, self._meeting = 0, meeting

    @property
    def own(self) -> Tensor:
        """The row that this process may write to now."""
        return self.memory[self.turn, self._meeting.rank]

    def meet(self) -> Tensor:
        """Wait until all have written; the rows of all, which stay until the next meeting."""
        self._meeting.wait()
        rows = self.memory[self.turn]
        self.turn = 1 - self.turn
        return rows


class Gradients:
    """The gradients of parameters, averaged over processes.

    A row holds for each parameter whether it has a gradient, and then the gradients, those of one type together.

    Args:
        parameters: The same in all processes.
        meeting: Of the processes.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], meeting: Meeting):
        types = list(dict.fromkeys(parameter.dtype for parameter in parameters))
        self.parameters = sorted(parameters, key=lambda parameter: types.index(parameter.dtype))
        self._regions: list[tuple[slice, torch.dtype]] = []
        places, end = [], _aligned(len(parameters))
        for dtype in types:
            begin = end
            for parameter in (member for member in self.parameters if member.dtype == dtype):
                places.append(end)
                end += _aligned(parameter.numel() * parameter.element_size())
            self._regions.append((slice(begin, end), dtype))
        self._table = Table(end, meeting)
        self._slots = [self._views(memory[meeting.rank], places) for memory in self._table.memory]
        self._mean = torch.zeros(end, dtype=torch.uint8)
        self._means = self._views(self._mean, places)

    def _views(self, row: Tensor, places: Sequence[int]) -> list[Tensor]:
        """The places of the parameters in a row, as tensors like them."""
        return [
            row[place : place + parameter.numel() * parameter.element_size()].view(parameter.dtype).view(parameter.shape)
            for place, parameter in zip(places, self.parameters, strict=True)
        ]

    @torch.no_grad()
    def average(self) -> None:
        """Put the mean over the processes in the place of every gradient; where a process has none it counts as zero."""
        gradients, slots = [parameter.grad for parameter in self.parameters], self._slots[self._table.turn]
        present = [gradient is not None for gradient in gradients]
        torch._foreach_copy_(
            slots,
            [torch.zeros_like(slot) if own is None else own for slot, own in zip(slots, gradients, strict=True)],
        )
        self._table.own[: len(present)] = torch.tensor(present, dtype=torch.uint8)
        rows = self._table.meet()
        for region, dtype in self._regions:
            mean, (first, second, *others) = self._mean[region].view(dtype), rows[:, region].view(dtype)
            torch.add(first, second, out=mean)
            for other in others:
                mean.add_(other)
            mean.div_(len(rows))
        somewhere = rows[:, : len(present)].amax(0).tolist()
        for parameter, mean, is_present in zip(self.parameters, self._means, somewhere, strict=True):
            parameter.grad = mean if is_present else None


class _Buffers:
    """What a module keeps besides parameters; where it changes, such as the moments of batch normalization, the first process's
    counts for all.
    """

    def __init__(self, module: nn.Module):
        self._module = module
        self._seen = self._versions()

    def _versions(self) -> list[tuple[int, int]]:
        return [(id(buffer), buffer._version) for buffer in self._module.buffers()]

    def share(self) -> None:
        versions = self._versions()
        if versions != self._seen:
            changed = [new != old for new, old in zip(versions, self._seen, strict=True)]
            from_first([buffer for buffer, is_new in zip(self._module.buffers(), changed, strict=True) if is_new])
            self._seen = self._versions()


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


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

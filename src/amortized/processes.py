"""What several processes see together.

Data-parallel processes each see their share of a batch, and average their gradients. A function of moments of the whole batch,
such as a clamped mean, is another on a share: so the values that moments are made of are gathered first, with their gradient.
Every process then computes the same function of the same values, and the average of their gradients is that of one process which
has the whole batch.

With W processes, L_r the mean that process r takes of its own values and g_s what process s gives to be gathered, the gradient
of the whole, mean_r L_r, is 1/W sum_s [ sum_r dL_r/dg_s ] dg_s/dtheta, besides what parameters do outside of the g. The sum over
r is the backward pass of gathering, and the mean over s is that of the gradients, which data parallelism takes.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable

from amortized.errors import InputError


class ProcessLostError(RuntimeError):
    """Another process has ended, and what was to be done together cannot be done."""


_IS_ALONE: ContextVar[bool] = ContextVar("_IS_ALONE", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """What is done within is done by this process alone, which waits for no other."""
    token = _IS_ALONE.set(True)
    try:
        yield
    finally:
        _IS_ALONE.reset(token)


def world() -> int:
    """How many processes work together."""
    if _IS_ALONE.get():
        return 1
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def rank() -> int:
    """Which of them this is."""
    return distributed.get_rank() if world() > 1 else 0


def is_first() -> bool:
    """Whether this is the process that writes and prints."""
    return rank() == 0


def is_own(number: int) -> bool:
    """Whether this process does the work of that number; they take them in turn."""
    return number % world() == rank()


def from_first(tensors: Iterable[Tensor]) -> None:
    """Copy the tensors of the first process into those of the others."""
    if world() == 1:
        return
    for tensor in tensors:
        value = tensor.detach().contiguous()
        distributed.broadcast(value.view(-1).view(torch.uint8), 0)  # as bytes, which are of a type that all backends know
        if value.data_ptr() != tensor.data_ptr():
            tensor.detach().copy_(value)


def sum_of_all(tensor: Tensor) -> Tensor:
    """The sum over the processes, without a gradient; where all but one have zeros its bits are those of that one."""
    if world() == 1:
        return tensor
    device = torch.device("cuda", torch.cuda.current_device()) if distributed.get_backend() == "nccl" else tensor.device
    total = tensor.detach().to(device, copy=True)
    distributed.all_reduce(total)
    return total.to(tensor.device)


@contextmanager
def working_together() -> Iterator[None]:
    """Share the cores with the other processes of this machine, and say in plain words where one of them has ended.

    A number of threads that the user set, by OMP_NUM_THREADS or lower than the share, is kept.
    """
    before = torch.get_num_threads()
    if world() > 1 and "OMP_NUM_THREADS" not in os.environ:
        neighbors = int(os.environ.get("LOCAL_WORLD_SIZE", world()))
        torch.set_num_threads(max(1, min(before, _cores() // neighbors)))
    try:
        yield
    except RuntimeError as error:
        if world() == 1 or not _tells_of_loss(error):
            raise
        raise InputError(
            "another process of this program has ended, and this one cannot go on without it; see what that one said, and start"
            " all of them again; a fit goes on with --resume."
        ) from error
    finally:
        torch.set_num_threads(before)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tells_of_loss(error: RuntimeError) -> bool:
    if isinstance(error, ProcessLostError | distributed.DistBackendError | distributed.DistNetworkError):
        return True
    return any(words in str(error) for words in ("Connection closed by peer", "Connection reset by peer", "Broken pipe"))


def of_all(value: Tensor, dim: int = 0) -> Tensor:
    """The values of all processes, side by side along a dimension; with one process, or without gradients, the value itself.

    In evaluation, where no gradient is taken, every process sees all of the data.

    Args:
        value: Of the same shape in all processes.
        dim: The dimension of the data.
    """
    return _Gather.apply(value, dim) if _are_several() else value  # pyright: ignore[reportReturnType]


def first_of_own(rows: int) -> int:
    """Where the `rows` data of this process begin among those that `of_all` gathers."""
    return rank() * rows if _are_several() else 0


def _are_several() -> bool:
    return torch.is_grad_enabled() and world() > 1


class _Gather(torch.autograd.Function):
    """Gathers forward; backward, each process takes its share of the sum of all processes' gradients."""

    @staticmethod
    def forward(ctx, value: Tensor, dim: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.dim, ctx.rows = dim, value.shape[dim]
        gathered = [torch.empty_like(value, memory_format=torch.contiguous_format) for _ in range(distributed.get_world_size())]
        distributed.all_gather(gathered, value.contiguous())
        return torch.cat(gathered, dim)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grad_outputs: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = grad_outputs
        total = gradient.clone(memory_format=torch.contiguous_format)  # it may be the gradient of another tensor as well
        distributed.all_reduce(total)
        return total.narrow(ctx.dim, distributed.get_rank() * ctx.rows, ctx.rows), None

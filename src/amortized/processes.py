"""What several processes see together.

Data-parallel processes each see their share of a batch, and average their gradients. A function of moments of the whole batch,
such as a clamped mean, is another on a share: so the values that moments are made of are gathered first, with their gradient.
Every process then computes the same function of the same values, and the average of their gradients is that of one process which
has the whole batch.

With W processes, L_r the mean that process r takes of its own values and g_s what process s gives to be gathered, the gradient
of the whole, mean_r L_r, is 1/W sum_s [ sum_r dL_r/dg_s ] dg_s/dtheta, besides what parameters do outside of the g. The sum over
r is the backward pass of gathering, and the mean over s is that of the gradients, which data parallelism takes.
"""

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable


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
    return distributed.get_rank() * rows if _are_several() else 0


def _are_several() -> bool:
    if not (torch.is_grad_enabled() and distributed.is_available() and distributed.is_initialized()):
        return False
    return distributed.get_world_size() > 1


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

"""Where a log-mass is computed by a kernel of ours, and where by the formula that is its specification.

A kernel does in few passes over memory, with its gradient in closed form, what a formula says plainly. It is for processors: on a
GPU many short operations wait for each other, and picking entries out waits for their number. A compiler fuses the formula by
itself, the transforms of `torch.func` differentiate and batch it in ways of their own, and it has a gradient in x.
"""

import torch
from torch import Tensor

PRECISE = (torch.float32, torch.float64)


def takes_kernel(value: Tensor, *parameters: Tensor) -> bool:
    """Whether the log-mass of `value` under these parameters is computed by a kernel.

    Args:
        value: What is scored.
        parameters: Those of the family.
    """
    if torch.compiler.is_compiling() or value.requires_grad or value.device.type != "cpu" or not value.numel():
        return False
    if torch._C._are_functorch_transforms_active():  # pyright: ignore[reportPrivateUsage]
        return False
    dtype = parameters[0].dtype
    return dtype in PRECISE and all(each.dtype == dtype and each.device.type == "cpu" for each in parameters)

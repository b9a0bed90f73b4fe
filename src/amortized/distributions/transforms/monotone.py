r"""The scalar map that planar and Sylvester flows consist of, and its inverse.

    c = t + m tanh(t),        dc/dt = 1 + m / cosh(t)^2 = tanh(t)^2 + s / cosh(t)^2,        s = 1 + m

increases wherever s > 0; s is its slope at 0, and s and 1 bound its slope. The second form of the slope adds what is
positive, and so keeps its digits where m is close to -1; 1 / cosh(t)^2 = 4 sigmoid(2t) sigmoid(-2t) can neither overflow nor
cancel, and is smooth at 0.

There is no closed form of t. The map is odd, and on t >= 0 it is concave for m > 0 and convex for m < 0. So Newton's method
comes monotonically from below for m > 0 and from above for m < 0, from any start on that side of the root: max resp. min of c
- m and c / s. It can neither leave its bracket nor cycle. The gradient is that of the implicit function,

    dt = (dc - tanh(t) dm) / (dc/dt),

made of the root itself, so that it has a gradient in its turn: derivatives of every order are right.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import softplus

# The least slope of a map, which is the same for zuko's: below it an inverse has lost half the digits of float32.
MIN_SLOPE = 1e-3
# Newton's method needs about 10 steps; the more, the larger log m, and float32 holds no m that needs as many as these.
MAX_STEPS = 100


def positive(value: Tensor) -> Tensor:
    """An increasing map of the reals to (MIN_SLOPE, inf) that is 1 at 0, so that parameters of zero give the identity."""
    return MIN_SLOPE + (1 - MIN_SLOPE) * softplus(value + math.log(math.e - 1))


def log_slope(t: Tensor, s: Tensor) -> Tensor:
    """The logarithm of dc/dt at t, where s is the slope at 0; the shapes broadcast."""
    return _slope(t, s).log()


def solve(c: Tensor, m: Tensor) -> Tensor:
    """The t at which t + m tanh(t) = c.

    Args:
        c: Any values.
        m: More than -1; its shape broadcasts against that of c.

    Returns:
        t, of the shape of both, with its gradient with respect to both.
    """
    return _Root.apply(*torch.broadcast_tensors(c, m))  # pyright: ignore[reportReturnType]


class _Root(Function):
    """The root at every entry of c and m, which have one shape."""

    @staticmethod
    def forward(c: Tensor, m: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        size, s = c.abs(), 1 + m
        t = torch.where(m > 0, torch.maximum(size - m, size / s), torch.minimum(size - m, size / s))
        tolerance = 4 * torch.finfo(t.dtype).eps * (size + m.abs())
        for _ in range(MAX_STEPS):
            excess = t + m * t.tanh() - size
            t = t - excess / (1 + m / t.cosh().square())  # without its last digits, which the steps that follow do not need
            if not (excess.abs() > tolerance).any():
                break
        return t.copysign(c)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1], output)
        ctx.save_for_forward(inputs[1], output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        m, t = ctx.saved_tensors
        in_c = grads[0] / _slope(t, 1 + m)
        return in_c, -t.tanh() * in_c

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        m, t = ctx.saved_tensors
        return (tangents[0] - t.tanh() * tangents[1]) / _slope(t, 1 + m)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, int | None], *values: Tensor) -> tuple[Tensor, int]:
        rows = (v.unsqueeze(0) if d is None else v.movedim(d, 0) for v, d in zip(values, in_dims, strict=True))
        return _Root.apply(*torch.broadcast_tensors(*rows)), 0  # pyright: ignore[reportReturnType]


def _slope(t: Tensor, s: Tensor) -> Tensor:
    return t.tanh().square() + s * 4 * (2 * t).sigmoid() * (-2 * t).sigmoid()

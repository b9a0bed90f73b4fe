r"""The scalar map that planar and Sylvester flows consist of, and its inverse.

    c = t + m tanh(t),        dc/dt = 1 + m / cosh(t)^2 = tanh(t)^2 + s / cosh(t)^2,        s = 1 + m

increases wherever s > 0; s is its slope at 0, and s and 1 bound its slope. The second form of the slope adds what is
positive, and so keeps its digits where m is close to -1.

There is no closed form of t. The map is odd, and on t >= 0 it is concave for m > 0 and convex for m < 0. So Newton's method
comes monotonically from below for m > 0 and from above for m < 0, from any start on that side of the root: max resp. min of c
- m and c / s. It can neither leave its bracket nor cycle. The gradient comes by the implicit function theorem: one more step
of Newton's method, from the root as a constant.
"""

import math

import torch
from torch import Tensor
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
    small = (-2 * t.abs()).exp()
    return (t.tanh().square() + s * 4 * small / (1 + small).square()).log()


def solve(c: Tensor, m: Tensor) -> Tensor:
    """The t at which t + m tanh(t) = c.

    Args:
        c: Any values.
        m: More than -1; its shape broadcasts against that of c.

    Returns:
        t, of the shape of both, with its gradient with respect to both.
    """
    with torch.no_grad():
        size, s = c.abs(), 1 + m
        t = torch.where(m > 0, torch.maximum(size - m, size / s), torch.minimum(size - m, size / s))
        tolerance = 4 * torch.finfo(t.dtype).eps * (size + m.abs())
        for _ in range(MAX_STEPS):
            excess = t + m * t.tanh() - size
            if not (excess.abs() > tolerance).any():
                break
            t = t - excess / (1 + m / t.cosh().square())
        t = t.copysign(c)
        slope = 1 + m / t.cosh().square()
    return t - (t + m * t.tanh() - c) / slope

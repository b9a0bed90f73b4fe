"""The uniform prior on a space that can hold one: every value as probable as any other.

    sphere         p(z) = 1 / |S^{D-1}|, with respect to the surface measure        Davidson et al. 2018, arXiv 1804.00891
    binary         P(z) = 2^-D
    categorical    P(z) = C^-D        Jang, Gu and Poole 2017, arXiv 1611.01144; van den Oord et al. 2017, arXiv 1711.00937

There is nothing to learn. `temperature` changes nothing: no value is more typical than another, so there is nowhere to gather.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.distributions.discrete import Bits, OneHot
from amortized.distributions.sphere import SphereUniform, check_dimension
from amortized.errors import InputError, nearest

DIMENSIONS = {"sphere": 1, "binary": 1, "categorical": 2}


class Uniform(nn.Module):
    """The uniform prior on the unit sphere, on bits, or on classes.

    Args:
        event: Shape of z: the number D of entries, or (D, C) for D variables of C classes.
        space: 'sphere', 'binary' or 'categorical'.

    Raises:
        InputError: The space is the real one, which holds no uniform distribution, or the event is not of its form.
    """

    zero: Tensor

    def __init__(self, event: int | tuple[int, ...], space: str):
        super().__init__()
        if space == "real":
            raise InputError(
                "prior Uniform has no space 'real': a uniform density there ends at a box, and a posterior such as a Gaussian"
                " never lies within one; use a spherical or discrete posterior, or the prior StandardNormal."
            )
        if space not in DIMENSIONS:
            raise InputError(f"prior Uniform has no space '{space}'; {nearest(space, DIMENSIONS)}")
        self.space = space
        self.event_shape = torch.Size((event,) if isinstance(event, int) else event)
        if len(self.event_shape) != DIMENSIONS[space]:
            form = "(D, C), D variables of C classes" if space == "categorical" else "(D,)"
            raise InputError(f"the event of prior Uniform on space '{space}' is {form}; it is {tuple(self.event_shape)}.")
        if space == "sphere":
            check_dimension(self.event_shape[0])
        # A buffer, so that the prior follows the model to its device and precision; a constant, so that no file stores it.
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)

    def forward(self, context: Tensor | None = None, *, temperature: float = 1.0) -> Distribution:
        """Return the uniform distribution with event (*event); neither a condition nor a temperature changes it."""
        if self.space == "sphere":
            return SphereUniform(self.event_shape[0], dtype=self.zero.dtype, device=self.zero.device)
        return Bits(self.zero) if self.space == "binary" else OneHot(self.zero)

"""The one type that every part has: a conditional distribution.

The prior p(z), the likelihood p(x | z) and the posterior q(z | x) are called with what they are conditioned on and return
a `torch.distributions.Distribution`. The protocol is structural: a zuko flow, or any module of one's own whose call
returns a `Distribution`, is a part as it stands.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributions import Distribution


@runtime_checkable
class Conditional(Protocol):
    """A conditional distribution: call it with what it is conditioned on, get a `Distribution`."""

    def __call__(self, *given: Tensor) -> Distribution:
        """Return the distribution given the tensors `given`."""
        ...


def call_detached(part: nn.Module, *given: Tensor) -> Distribution:
    """Call `part` with its parameters held constant: the distribution of the path gradient.

    Gradients still flow through `given` and through the point at which the result is scored, but none reaches the
    parameters of `part`. The random state is that of the moment of the call, so a caller that wants the dropout masks of
    an earlier call restores the state of then first.

    Args:
        part: The conditional distribution, any module.
        *given: What it is conditioned on.

    Returns:
        The distribution, a constant as far as the parameters of `part` are concerned.
    """
    constants = {name: parameter.detach() for name, parameter in part.named_parameters()}
    buffers = {name: buffer.clone() for name, buffer in part.named_buffers()}  # a second call must not update statistics twice
    return torch.func.functional_call(part, {**constants, **buffers}, given)

r"""What the flow posteriors share: a Gaussian that is pushed through maps whose parameters depend on x.

    q(z | x):    e ~ N(m(x), diag(s(x)^2)),    z = f_T(... f_1(e; a_1(x)) ...; a_T(x))

(Rezende and Mohamed 2015, arXiv 1505.05770). One head predicts m, log s and all that the maps depend on: the flows are
amortized, as in van den Berg et al. 2018 (arXiv 1803.05649, section 4). Those of its outputs by which a map differs from the
identity start near zero, so that training starts as that of a `DiagonalGaussian`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from amortized.distributions import Transformed
from amortized.errors import InputError
from amortized.networks import Head
from amortized.posteriors.gaussian import MAX_LOG_SCALE, MIN_LOG_SCALE

START = 0.1  # the factor on the initial weights of outputs by which a map differs from the identity


class Flow(nn.Module, ABC):
    """A posterior that pushes a Gaussian through maps, its parameters from one head.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
        flows: The number T of maps.
        shared: The number of outputs of the head that all maps see.
        each: The numbers of outputs of the head that each map has of its own, part by part.
        small: Which of these parts start near zero.

    Raises:
        InputError: There is no map.
    """

    has_density = True
    space = "real"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        flows: int,
        *,
        shared: int = 0,
        each: Sequence[int] = (),
        small: Sequence[int] = (),
    ):
        super().__init__()
        if flows < 1:
            raise InputError(f"a flow posterior needs one map or more; flows is {flows}; without a map it is DiagonalGaussian.")
        self.event_shape = torch.Size((event,) if isinstance(event, int) else event)
        self.flows, self.each = flows, tuple(each)
        dimension = self.event_shape.numel()
        self.sizes = (dimension, dimension, shared + flows * sum(each))
        self.head = Head(network, sum(self.sizes), 1)
        self._start_near_the_identity(2 * dimension + shared, small)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Transformed:
        """Return q(z | x, context) with batch (B,) and event (*event)."""
        (parameters,) = self.head(x, context)
        loc, log_scale, rest = parameters.split(self.sizes, dim=-1)
        # A map must be that of its parameters to the last digit, also where the network computes in bfloat16.
        with torch.autocast(parameters.device.type, enabled=False):
            return self._push(loc, log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE), rest)

    @abstractmethod
    def _push(self, loc: Tensor, log_scale: Tensor, rest: Tensor) -> Transformed:
        """The distribution, from the Gaussian's parameters (*lead, D) and all other outputs of the head (*lead, ...)."""

    def _gaussian(self, loc: Tensor, log_scale: Tensor) -> Independent:
        shape = self.event_shape
        normal = Normal(loc.unflatten(-1, shape), log_scale.exp().unflatten(-1, shape), validate_args=False)
        return Independent(normal, len(shape), validate_args=False)

    def _parts(self, rest: Tensor) -> list[tuple[Tensor, ...]]:
        """For each map, the parts `each` of the head's outputs, (*lead, size)."""
        return [own.split(self.each, dim=-1) for own in rest.unflatten(-1, (self.flows, -1)).unbind(-2)]

    @torch.no_grad()
    def _start_near_the_identity(self, before: int, small: Sequence[int]) -> None:
        factors = [torch.full((size,), START if part in small else 1.0) for part, size in enumerate(self.each)]
        factor = torch.cat([torch.ones(before), *factors * self.flows])
        self.head.output.get_parameter("weight").mul_(factor.unsqueeze(-1))
        self.head.output.get_parameter("bias").mul_(factor)

"""The posterior of planar flows (Rezende and Mohamed 2015, arXiv 1505.05770, section 4.1).

Each map moves z along one direction by an amount that depends on w^T z; `distributions.transforms.planar` has the equations.
A map so simple does little: the paper takes up to 80 of them.
"""

import math

from torch import Tensor, nn

from amortized.distributions import Transformed
from amortized.distributions import transforms as maps
from amortized.posteriors.flow import Flow


class Planar(Flow):
    """q(z | x) by planar maps z + u tanh(w^T z + b), with u, w, b of each depending on x.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
        flows: The number of maps.
    """

    def __init__(self, network: nn.Module, event: int | tuple[int, ...], flows: int = 4):
        dimension = event if isinstance(event, int) else math.prod(event)
        super().__init__(network, event, flows, each=(dimension, dimension, 1), small=(0,))

    def _push(self, loc: Tensor, log_scale: Tensor, rest: Tensor) -> Transformed:
        steps = [maps.Planar(u, w, b.squeeze(-1)) for u, w, b in self._parts(rest)]
        return Transformed(self._gaussian(loc, log_scale), maps.Chain(*steps), validate_args=False)

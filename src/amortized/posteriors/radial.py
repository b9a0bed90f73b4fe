"""The posterior of radial flows (Rezende and Mohamed 2015, arXiv 1505.05770, section 4.1).

Each map moves z towards one point, or away from it, by a factor that depends on the distance;
`distributions.transforms.radial` has the equations.
"""

import math

from torch import Tensor, nn

from amortized.distributions import Transformed
from amortized.distributions import transforms as maps
from amortized.posteriors.flow import Flow


class Radial(Flow):
    """q(z | x) by radial maps z + beta (z - z0) / (alpha + |z - z0|), with z0, alpha, beta of each depending on x.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
        flows: The number of maps.
    """

    def __init__(self, network: nn.Module, event: int | tuple[int, ...], flows: int = 4):
        dimension = event if isinstance(event, int) else math.prod(event)
        super().__init__(network, event, flows, each=(dimension, 1, 1), small=(2,))

    def _push(self, loc: Tensor, log_scale: Tensor, rest: Tensor) -> Transformed:
        steps = [maps.Radial(point, alpha.squeeze(-1), beta.squeeze(-1)) for point, alpha, beta in self._parts(rest)]
        return Transformed(self._gaussian(loc, log_scale), maps.Chain(*steps), validate_args=False)

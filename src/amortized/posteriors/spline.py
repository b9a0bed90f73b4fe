r"""The posterior of neural spline flows (Durkan, Bekasov, Murray and Papamakarios 2019, arXiv 1906.04032).

    z = m(x) + s(x) * f_T(... f_1(e; h(x)) ...; h(x)),        e ~ N(0, I)

Each f_t moves every entry by a monotone spline of rational quadratics (their equation 4) on [-5, 5], and leaves alone what is
outside. The splines of the first half of the entries depend on the summary h(x); those of the second half also on the first
half. The order of the entries is reversed from one map to the next. Coupling maps of this sort take two passes of a network
to invert, whatever the number of entries, so that points that were not just drawn are scored quickly too. The networks are
those of zuko.

The splines act before the mean and the scale of the Gaussian do: their box is then ten standard deviations wide for every x,
however narrow the posterior is.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from amortized.distributions import Transformed
from amortized.distributions import transforms as maps
from amortized.errors import InputError
from amortized.networks.layers import check_widths
from amortized.networks.masked import load_zuko
from amortized.posteriors.autoregressive import LEAST_SLOPE, steps_of
from amortized.posteriors.flow import Flow


class Spline(Flow):
    """q(z | x) by coupling maps of monotone rational-quadratic splines.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
        flows: The number of maps.
        bins: The number of pieces of each spline.
        hidden: Width of each hidden layer of each map's network.
        summary: Width of the summary h(x) that each map's network sees.

    Raises:
        InputError: A width, the number of bins or that of maps is too small.
    """

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        flows: int = 4,
        bins: int = 8,
        hidden: Sequence[int] = (128,),
        *,
        summary: int = 64,
    ):
        if bins < 2:
            raise InputError(f"a spline needs two bins or more; bins is {bins}; give e.g. bins=8.")
        (summary,) = check_widths("summary", [summary])
        widths = list(check_widths("hidden", hidden, least=1))
        super().__init__(network, event, flows, shared=summary)
        flow = load_zuko().flows.NSF(
            self.event_shape.numel(),
            summary,
            bins=bins,
            slope=LEAST_SLOPE,
            transforms=flows,
            passes=2,
            hidden_features=widths,
            activation=nn.SiLU,
        )
        self.steps = steps_of(flow)

    def _push(self, loc: Tensor, log_scale: Tensor, rest: Tensor) -> Transformed:
        standard = self._gaussian(torch.zeros_like(loc), torch.zeros_like(log_scale))
        steps = maps.Chain(maps.Conditioned(self.steps, rest), maps.Affine(loc, log_scale))
        return Transformed(standard, steps, validate_args=False)

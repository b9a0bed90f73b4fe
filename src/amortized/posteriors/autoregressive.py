r"""The posterior of inverse autoregressive flows.

Kingma, Salimans, Jozefowicz, Chen, Sutskever and Welling 2016 (arXiv 1606.04934, section 3 and algorithm 1):

    z_0 = m(x) + s(x) e,        z_t = shift_t(z_{t-1}, h) + scale_t(z_{t-1}, h) * z_{t-1},        t = 1, ..., T

Entry i of shift and scale depends on the entries before i alone, and on a summary h(x), so that the determinant is the product
of the scales. The order of the entries is reversed from one step to the next.

The networks are those of zuko's masked autoregressive flow. There the same map goes from data to noise; here it goes from
noise to z, so that a draw takes one pass of each network, where the other direction takes one for each entry. To score a
point that was not just drawn takes those D passes.

This departs from the paper in one detail: its scale is a sigmoid, while that of zuko is the exponential of a bounded value,
which is 1 at the start. It lies between 1/100 and 100: the inverse of a map, and above all that of several, loses the digits
that its slope takes, and zuko's own 1/1000 leaves none of float64's after four extreme maps.
"""

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from amortized.distributions import Transformed
from amortized.distributions import transforms as maps
from amortized.networks.layers import check_widths
from amortized.networks.masked import calm, forget_constants, load_zuko
from amortized.posteriors.flow import Flow

LEAST_SLOPE = 0.01


class InverseAutoregressive(Flow):
    """q(z | x) by inverse autoregressive maps.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
        flows: The number of maps.
        hidden: Width of each hidden layer of each map's network.
        summary: Width of the summary h(x) that each map's network sees.

    Raises:
        InputError: A width or the number of maps is not positive.
    """

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        flows: int = 4,
        hidden: Sequence[int] = (320,),
        *,
        summary: int = 64,
    ):
        (summary,) = check_widths("summary", [summary])
        widths = list(check_widths("hidden", hidden, least=1))
        super().__init__(network, event, flows, shared=summary)
        zuko = load_zuko()
        flow = zuko.flows.MAF(
            self.event_shape.numel(),
            summary,
            transforms=flows,
            hidden_features=widths,
            activation=nn.ELU,
            univariate=partial(zuko.transforms.MonotonicAffineTransform, slope=LEAST_SLOPE),
        )
        self.steps = steps_of(flow)

    def _push(self, loc: Tensor, log_scale: Tensor, rest: Tensor) -> Transformed:
        return Transformed(self._gaussian(loc, log_scale), maps.Conditioned(self.steps, rest), validate_args=False)


def steps_of(flow: nn.Module) -> maps.Steps:
    """The maps of a zuko flow with autoregressive transforms, moved near the identity."""
    composed = flow.get_submodule("transform")
    for lazy in composed.get_submodule("transforms").children():
        calm(lazy.get_submodule("hyper"))
    forget_constants(composed)
    return maps.Steps(composed)

r"""The ladder: inference from the top down that corrects what the model says by what the data say.

    q(z_1, ..., z_L | x) = q(z_L | x) prod_l N(z_l; m_l, s_l^2)    Sonderby et al. 2016, arXiv 1602.02282, equations 11 to 19

A way up without drawing, d_l = f_l(d_{l-1}) with d_0 = x, gives a Gaussian (mu^_l, s^_l) at each d_l. On the way down its
density is multiplied with that of the model's own p(z_l | z_{l+1}) = N(mu_l, t_l^2): the precisions add up,

    1 / s_l^2 = 1 / s^_l^2 + 1 / t_l^2,        m_l = s_l^2 ( mu^_l / s^_l^2 + mu_l / t_l^2 )

and q(z_L | x) = N(mu^_L, s^_L^2). In the code (mu^_l, s^_l) is `evidence`, and what the link of z_l gives is `p`. The link is a
part of q here: for the path gradient its parameters are held constant in q, and not in p.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from amortized.errors import InputError
from amortized.models.factorizations import Factor, Factorization, Links, Step
from amortized.models.inference import Value, call_again, random_state, with_path
from amortized.models.model import Gradient
from amortized.networks import MLP, apply
from amortized.posteriors import DiagonalGaussian


class Ladder(Factorization):
    """A deterministic way up, and down the product of what each step of it says and the model's own p(z_l | z_{l+1}).

    Every link of the model must give a Gaussian with independent entries, such as `posteriors.DiagonalGaussian` or
    `priors.Centered`.

    Args:
        networks: f_1, ..., f_L, each with `out_features`; the first is called with x, and the condition where there is one for
            the posterior; each other with what the one before gives. What reads z_L off d_L is `posteriors[-1]`.
        events: Shapes of z_1, ..., z_L, integers for vectors.

    Raises:
        InputError: There are not as many networks as events; in use, a link gives something other than a Gaussian.

    Example:
        >>> from amortized.networks import MLP
        >>> inference = Ladder([MLP(784, [512, 512]), MLP(512, [256, 256])], [64, 32])
        >>> inference.event_shapes
        (torch.Size([64]), torch.Size([32]))
    """

    upward = False

    def __init__(self, networks: Sequence[nn.Module], events: Sequence[int | tuple[int, ...]]):
        if len(networks) != len(events):
            raise InputError(
                f"Ladder takes a network for each group; it was given {len(networks)} networks and {len(events)} events;"
                " make the two agree."
            )
        super().__init__([_readout(*pair) for pair in zip(networks, events, strict=True)][::-1])
        self.networks = nn.ModuleList(networks)

    @property
    def of_data_alone(self) -> tuple[nn.Module, ...]:
        """All of it: what is given what was drawn are the links, which are the model's."""
        return (self,)

    @property
    def top(self) -> nn.Module:
        """q(z_L | x) as a part of its own, which a `Vamp` prior can hold: the whole way up."""
        return LadderTop(self.networks, self.posteriors[-1])

    def begin(self, x: Tensor, given: tuple[Tensor, ...], links: Links, gradient: Gradient) -> tuple[Factor, list[Step]]:
        """q(z_L | x), and q(z_l | x, z_{l+1}) as functions of z_{l+1}."""
        evidence = self._evidence(x, given)

        def step(level: int) -> Step:
            def at(above: Value) -> Factor:
                link, state = links.parts[level], random_state(above.z.device)
                p, p_path = with_path(
                    lambda part, hold: part(hold.group(above), *map(hold, links.given)), link, gradient, device=above.z.device
                )
                q_path = None if p_path is None else _product(_held(evidence[level]), p_path, link)
                q = _product(evidence[level], p, link)
                if above.draw is not above.z:  # what is drawn is drawn given the draw, and p is scored given the leaf
                    p = call_again(link, (above.z, *links.given), state, above.z.device)
                return Factor(q, q_path, p)

            return at

        top = evidence[-1]
        event = len(self.event_shapes[-1])
        first = Factor(_independent(*top, event), _independent(*_held(top), event) if gradient in ("path", "split") else None)
        return first, [step(level) for level in reversed(range(len(evidence) - 1))]

    def _evidence(self, x: Tensor, given: tuple[Tensor, ...]) -> list[tuple[Tensor, Tensor]]:
        """(mu^_l, s^_l), each (B, *event), from z_1 to z_L."""
        found, d = [], x
        for level, (network, part) in enumerate(zip(self.networks, self.posteriors, strict=True)):
            d = apply(network, d, *given) if level == 0 else apply(network, d)
            found.append(_moments(part(d)))
        return found


class LadderTop(nn.Module):
    """q(z_L | x) of a ladder: its deterministic way up, and the Gaussian read off the end of it.

    Args:
        networks: f_1, ..., f_L.
        readout: The Gaussian given d_L.
    """

    has_density = True
    space = "real"

    def __init__(self, networks: nn.ModuleList, readout: nn.Module):
        super().__init__()
        self.networks, self.readout = networks, readout
        self.event_shape = readout.event_shape

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """Return q(z_L | x, context), with batch (B,)."""
        first, *others = self.networks
        d = apply(first, x, context)
        for network in others:
            d = apply(network, d)
        return self.readout(d)


def _readout(network: nn.Module, event: int | tuple[int, ...]) -> DiagonalGaussian:
    return DiagonalGaussian(MLP(network.out_features, []), event)  # pyright: ignore[reportArgumentType]


def _product(evidence: tuple[Tensor, Tensor], p: Distribution, link: nn.Module) -> Independent:
    """The normalized product of two Gaussian densities, by ratios that neither a tiny nor a large scale overflows."""
    if not (type(p) is Independent and type(p.base_dist) is Normal):
        raise InputError(
            f"Ladder adds the precisions of Gaussians with independent entries, and link {type(link).__name__} gave another"
            f" {type(p).__name__}; use a link such as DiagonalGaussian, or TopDown."
        )
    loc, scale = evidence
    p_loc, p_scale = _moments(p)
    both = torch.hypot(scale, p_scale)
    share = (p_scale / both).square()
    return _independent(p_loc + share * (loc - p_loc), scale * (p_scale / both), len(p.event_shape))


def _independent(loc: Tensor, scale: Tensor, event_dim: int) -> Independent:
    return Independent(Normal(loc, scale, validate_args=False), event_dim, validate_args=False)


def _moments(gaussian: Distribution) -> tuple[Tensor, Tensor]:
    base = gaussian.base_dist  # pyright: ignore[reportAttributeAccessIssue]
    return base.loc, base.scale


def _held(moments: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return moments[0].detach(), moments[1].detach()

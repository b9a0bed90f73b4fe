r"""The orders in which the groups of a hierarchy are inferred: factorizations of q(z_1, ..., z_L | x).

    BottomUp    q(z_1 | x) prod_l q(z_{l+1} | z_l)                  Burda et al. 2016, arXiv 1509.00519, section 2
    TopDown     q(z_L | x) prod_l q(z_l | x, z_{l+1})               Tomczak and Welling 2018, arXiv 1705.07120, section 4

A third, `Ladder`, goes down as well, and makes use of the model on its way. In the code a `Factor` is the posterior of one
group. For the path gradient all parameters that it is made of are held constant where it is scored, those of the features of x
among them; values of other groups are not, since the path goes through them.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.errors import InputError
from amortized.models.inference import Hold, Value, refuse_weights, with_path
from amortized.models.model import Gradient
from amortized.networks import apply


@dataclass(frozen=True)
class Factor:
    """The posterior of one group, given the group drawn before it.

    Attributes:
        q: The distribution.
        q_path: The same with its parameters held constant, where the path gradient is asked for, or the split one.
        p: The group's distribution in the model, where q was made of it.
    """

    q: Distribution
    q_path: Distribution | None = None
    p: Distribution | None = None


Step = Callable[[Value], Factor]
"""From the value of the group drawn before, (*lead, *event), to the posterior of the next."""


@dataclass(frozen=True)
class Links:
    """What the model says of each group given the one above.

    Attributes:
        parts: p(z_1 | z_2), ..., p(z_{L-1} | z_L).
        given: What they are called with besides: the condition, or nothing.
    """

    parts: Sequence[nn.Module]
    given: tuple[Tensor, ...]

    def __call__(self, level: int, above: Tensor) -> Distribution:
        """The distribution of the group `level`, counted from 0 at the data, given the one above."""
        return self.parts[level](above, *self.given)


class Factorization(nn.Module, ABC):
    """An order of inference.

    Args:
        drawn: The posteriors of the groups in the order in which they are drawn, each with an `event_shape`.

    Raises:
        InputError: There are fewer than two; or one is drawn in a way that no other can follow, or be followed by.
    """

    upward: ClassVar[bool]
    """Whether z_1 is drawn first, not z_L."""

    def __init__(self, drawn: Sequence[nn.Module]):
        super().__init__()
        _check_posteriors(drawn, type(self).__name__)
        self.drawn = nn.ModuleList(drawn)

    @property
    def posteriors(self) -> tuple[nn.Module, ...]:
        """The groups' posteriors, from z_1 to z_L."""
        return tuple(self.drawn) if self.upward else tuple(self.drawn)[::-1]

    @property
    def event_shapes(self) -> tuple[torch.Size, ...]:
        """The groups' events, from z_1 to z_L."""
        return tuple(torch.Size(part.event_shape) for part in self.posteriors)  # pyright: ignore[reportArgumentType]

    @property
    def of_data_alone(self) -> tuple[nn.Module, ...]:
        """The parts that are given no latent that was drawn: the posterior of the first group, unless there are more."""
        return (self.drawn[0],)

    @abstractmethod
    def begin(self, x: Tensor, given: tuple[Tensor, ...], links: Links, gradient: Gradient) -> tuple[Factor, list[Step]]:
        """The posterior of the group drawn first, and what gives those of the others, in the order of drawing.

        Args:
            x: (B, *event) what the encoder sees.
            given: The encoded condition (B, C), or nothing.
            links: The model's distributions of all groups but z_L.
            gradient: How the terms depend on the parameters of q.
        """


class BottomUp(Factorization):
    """From the data up: q(z_1 | x), q(z_2 | z_1), ..., q(z_L | z_{L-1}).

    Args:
        posteriors: These, in this order. The first is called with x, each other with the group below it, (K, B, *event); all of
            them also with the condition, where the model has one for its posterior.

    Example:
        >>> from amortized.networks import MLP
        >>> from amortized.posteriors import DiagonalGaussian
        >>> inference = BottomUp([DiagonalGaussian(MLP(784, [200, 200]), 100), DiagonalGaussian(MLP(100, [100, 100]), 50)])
        >>> inference.event_shapes
        (torch.Size([100]), torch.Size([50]))
    """

    upward = True

    def __init__(self, posteriors: Sequence[nn.Module]):
        super().__init__(posteriors)

    def begin(self, x: Tensor, given: tuple[Tensor, ...], links: Links, gradient: Gradient) -> tuple[Factor, list[Step]]:
        """q(z_1 | x), and q(z_{l+1} | z_l) as functions of z_l."""

        def step(part: nn.Module) -> Step:
            return lambda below: _factor(part, lambda hold: hold.group(below), given, gradient, x.device)

        first, *others = self.drawn
        return _factor(first, lambda hold: hold(x), given, gradient, x.device), [step(part) for part in others]


class TopDown(Factorization):
    """From the top down, all from the data: q(z_L | x), q(z_{L-1} | x, z_L), ..., q(z_1 | x, z_2).

    Args:
        posteriors: These, in this order. The first is called with x; each other with x and the group above it, flattened, side
            by side, (K, B, X + Z): `networks.Joined` has layers of its own for each.
        features: For each posterior after the first, a network that x goes through before it is put beside z, computed once for
            each datum, however many samples are drawn; None where it is x itself.

    Example:
        >>> from amortized.networks import MLP, Joined
        >>> from amortized.posteriors import DiagonalGaussian
        >>> beside = Joined([MLP(300, []), MLP(40, [300])], MLP(600, [300]))
        >>> top = DiagonalGaussian(MLP(784, [300, 300]), 40)
        >>> inference = TopDown([top, DiagonalGaussian(beside, 40)], features=[MLP(784, [300])])
        >>> inference.posteriors[-1] is top
        True
    """

    upward = False

    def __init__(self, posteriors: Sequence[nn.Module], features: Sequence[nn.Module | None] | None = None):
        super().__init__(posteriors)
        features = [None] * (len(posteriors) - 1) if features is None else features
        if len(features) != len(posteriors) - 1:
            raise InputError(
                f"TopDown takes a network of features for each posterior after the first: {len(posteriors) - 1}; it was given"
                f" {len(features)}; give None where a posterior sees x itself."
            )
        self.features = nn.ModuleList(nn.Identity() if network is None else network for network in features)

    @property
    def of_data_alone(self) -> tuple[nn.Module, ...]:
        """The posterior of z_L, and the features of x."""
        return (self.drawn[0], self.features)

    def begin(self, x: Tensor, given: tuple[Tensor, ...], links: Links, gradient: Gradient) -> tuple[Factor, list[Step]]:
        """q(z_L | x), and q(z_l | x, z_{l+1}) as functions of z_{l+1}."""

        def step(part: nn.Module, network: nn.Module, event: torch.Size) -> Step:
            seen = x if isinstance(network, nn.Identity) else apply(network, x, *given)
            return lambda above: _factor(
                part, lambda hold: _beside(hold(seen), hold.group(above), event), given, gradient, x.device
            )

        first, *others = self.drawn
        above = self.event_shapes[:0:-1]
        steps = [step(*each) for each in zip(others, self.features, above, strict=True)]
        return _factor(first, lambda hold: hold(x), given, gradient, x.device), steps


def _factor(
    part: nn.Module, inputs: Callable[[Hold], Tensor], given: tuple[Tensor, ...], gradient: Gradient, device: torch.device
) -> Factor:
    return Factor(*with_path(lambda part, hold: part(inputs(hold), *map(hold, given)), part, gradient, device))


def _beside(seen: Tensor, above: Tensor, event: torch.Size) -> Tensor:
    lead = above.shape[: above.ndim - len(event)]
    return torch.cat((seen.flatten(1).expand(*lead, -1), above.reshape(*lead, -1)), -1)


def _check_posteriors(drawn: Sequence[nn.Module], name: str) -> None:
    if len(drawn) < 2:
        raise InputError(f"{name} infers two groups of latents or more; it was given {len(drawn)}; for one, build a VAE.")
    for position, part in enumerate(drawn):
        kind = type(part).__name__
        if not hasattr(part, "event_shape"):
            raise InputError(f"posterior {kind} in {name} does not say the shape of z; set its attribute 'event_shape'.")
        if hasattr(part, "refine"):
            raise InputError(
                f"posterior {kind} is refined on the log joint of a single latent; use it in a VAE, or another here."
            )
        if position and getattr(part, "values_per_sample", 1) > 1:
            refuse_weights(part)

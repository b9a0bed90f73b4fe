"""A chain of groups of variables, each drawn given the one before, as one distribution of one vector.

    p(z_1, ..., z_n) = p(z_1) p(z_2 | z_1) ... p(z_n | z_{n-1})

The vector holds the groups flattened, one after the other: in the order in which they are drawn, or in the reverse. In the code
`first` is p(z_1), and `links` are what makes p(z_i | z_{i-1}) of z_{i-1}.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from amortized.distributions.center import center

EMPTY = torch.Size()

Link = Callable[[Tensor], Distribution]
"""From the group drawn before, (*lead, *event), to the distribution of the next, of batch (*lead)."""


class Chain(Distribution):
    """The joint distribution of a chain of groups.

    Args:
        first: The distribution of the group that is drawn first, of batch (*batch).
        links: For each further group, in the order of drawing, what gives its distribution.
        event_shapes: The events of all groups, in the order of drawing.
        backward: Whether the vector holds the groups in the reverse order, the one drawn last in front.

    Example:
        >>> from torch.distributions import Independent, Normal
        >>> chain = Chain(Independent(Normal(torch.zeros(5, 2), 1.0), 1), [lambda z: Normal(z.sum(-1), 1.0)], [(2,), ()])
        >>> chain.sample((7,)).shape, chain.log_prob(torch.zeros(7, 5, 3)).shape
        (torch.Size([7, 5, 3]), torch.Size([7, 5]))
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    # A vector of real numbers, in which each group keeps to its own support.
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(
        self, first: Distribution, links: Sequence[Link], event_shapes: Sequence[Sequence[int]], *, backward: bool = False
    ):
        self.first, self.links, self.backward = first, tuple(links), backward
        self.event_shapes = tuple(map(torch.Size, event_shapes))
        entries = sum(shape.numel() for shape in self.event_shapes)
        super().__init__(first.batch_shape, torch.Size((entries,)), validate_args=False)

    @property
    def has_rsample(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the first group has a gradient; the others are known only once they are drawn."""
        return self.first.has_rsample

    @property
    def center(self) -> Tensor:
        """(*batch, D) the center of each group given the center of the one before: of all groups but the first no mean."""
        return self._ancestral([center(self.first)], center)

    def expand(self, batch_shape, _instance=None) -> "Chain":
        """The same over a larger batch."""
        return Chain(self.first.expand(torch.Size(batch_shape)), self.links, self.event_shapes, backward=self.backward)

    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, D) draws, each group given the one before."""
        with torch.no_grad():
            return self._ancestral([self.first.sample(torch.Size(sample_shape))], lambda p: p.sample())

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, D) draws with a gradient.

        Raises:
            NotImplementedError: A group has none.
        """
        return self._ancestral([self.first.rsample(torch.Size(sample_shape))], lambda p: p.rsample())

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-density of (*sample_shape, *batch, D), the sum over the groups, in nats."""
        lead = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        groups = split_groups(value.expand(*lead, -1), self._in_vector)[:: -1 if self.backward else 1]
        log_prob = self.first.log_prob(groups[0])
        for link, before, group in zip(self.links, groups, groups[1:], strict=False):
            log_prob = log_prob + link(before).log_prob(group)
        return log_prob

    def follow(self, value: Tensor, entry: int | Tensor) -> Tensor:
        """The vectors `value` (*lead, D) in which all groups drawn after that of `entry` give way to their centers given it.

        `entry` is one for all vectors, or (*lead) integers. There is no choice by its value, so that a graph can hold this.
        """
        ends = torch.tensor([shape.numel() for shape in self._in_vector], device=value.device).cumsum(0)
        place = (ends <= torch.as_tensor(entry, device=value.device)[..., None]).sum(-1)
        kept = len(ends) - 1 - place if self.backward else place
        first, *others = split_groups(value, self._in_vector)[:: -1 if self.backward else 1]
        groups = [first]
        for number, (link, group) in enumerate(zip(self.links, others, strict=True), start=1):
            is_kept = (number <= kept).reshape(kept.shape + (1,) * (group.ndim - kept.ndim))
            groups.append(torch.where(is_kept, group, center(link(groups[-1]))))
        return join_groups(groups[:: -1 if self.backward else 1], self._in_vector)

    @property
    def _in_vector(self) -> tuple[torch.Size, ...]:
        return self.event_shapes[::-1] if self.backward else self.event_shapes

    def _ancestral(self, groups: Sequence[Tensor], take: Callable[[Distribution], Tensor]) -> Tensor:
        """The vector of the groups drawn first and, for each of the others, what is taken from its distribution."""
        groups = list(groups)
        for link in self.links[len(groups) - 1 :]:
            groups.append(take(link(groups[-1])))
        return join_groups(groups[::-1] if self.backward else groups, self._in_vector)


def join_groups(groups: Sequence[Tensor], event_shapes: Sequence[torch.Size]) -> Tensor:
    """The groups (*lead, *event_i), flattened, as one vector (*lead, D)."""
    pairs = zip(groups, event_shapes, strict=True)
    return torch.cat([group.reshape(*group.shape[: group.ndim - len(event)], -1) for group, event in pairs], -1)


def split_groups(vector: Tensor, event_shapes: Sequence[torch.Size]) -> list[Tensor]:
    """The vector (*lead, D) as its groups, each (*lead, *event_i)."""
    pieces = vector.split([event.numel() for event in event_shapes], -1)
    return [piece.reshape((*piece.shape[:-1], *event)) for piece, event in zip(pieces, event_shapes, strict=True)]

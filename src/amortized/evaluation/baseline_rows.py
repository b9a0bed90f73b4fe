r"""The data that baselines are fitted to and scored on, and the measure that their log p(x) is taken against.

A density cannot be compared with a mass. Which of the two a model's log p(x) is, and over which values, follows from the support
of p(x | z), and every baseline is scored in the same measure. Whole numbers get a density by uniform dequantization (Theis, van
den Oord and Bethge 2016, arXiv 1511.01844, section 3.1): with y = f(x + u), u uniform on [0, 1)^D,

    log P(x) >= E_u[ log p(y) + sum_d log f'(x_d + u_d) ]

For a Gaussian p the expectation needs no draws: log p is quadratic in y, and the entries of u are independent, so that the means
and variances of y_d given x_d are enough. These, and the expected log f', are what `relax` gives. f is the identity for levels,
where the variance is 1/12, and log(1 + .) for counts. One entry alone needs no bound: a count has the mass between the `edges`
f(x) and f(x + 1).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, constraints

from amortized.distributions import Multinomial
from amortized.errors import InputError
from amortized.models.model import Model, device_of, evaluating
from amortized.terms import Batch

NODES = 8  # of the quadrature over u: log is smooth on [1, 2], and exact to 1e-12 there


@dataclass(frozen=True, eq=False)
class Rows:
    """N data of D entries.

    Attributes:
        x: (N, D) float64, 0 where missing.
        observed: (N, D) true where not missing.
        total: How many data they are a random subset of.
    """

    x: Tensor
    observed: Tensor
    total: int

    @classmethod
    def of(cls, batches: Iterable[Batch | Tensor], what: str, *, most: int | None = None, seed: int = 0) -> "Rows":
        """All of the data in their order; or at most `most` of them, in a random one.

        Raises:
            InputError: There are no data, or a value is not finite.
        """
        noise = torch.Generator().manual_seed(seed)
        parts, keys, total = [], torch.empty(0), 0
        for batch in map(Batch.of, batches):
            total += len(batch)
            parts.append(_entries(batch, what))
            keys = torch.cat((keys, torch.rand(len(batch), generator=noise)))
            if most is not None and len(keys) > 2 * most:
                parts, keys = _first(parts, keys, most)
        if not total:
            raise InputError(f"there are no {what} data; baselines need at least one datum.")
        if most is not None:
            parts, keys = _first(parts, keys, most)
        x, observed = (torch.cat(pieces) for pieces in zip(*parts, strict=True))
        return cls(x.double(), observed, total)

    def __len__(self) -> int:
        """The number N of data."""
        return len(self.x)

    @property
    def is_complete(self) -> bool:
        """Whether no entry is missing."""
        return bool(self.observed.all())

    def __getitem__(self, rows: slice) -> "Rows":
        """Some of the data."""
        return Rows(self.x[rows], self.observed[rows], self.total)

    def entries(self, chosen: Tensor) -> "Rows":
        """Some of the entries of each, (D) true where chosen."""
        return Rows(self.x[:, chosen], self.observed[:, chosen], self.total)

    def varies(self) -> Tensor:
        """(D) whether an entry takes more than one value."""
        high = torch.where(self.observed, self.x, -torch.inf).amax(0)
        return high > torch.where(self.observed, self.x, torch.inf).amin(0)


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The entries of x as real numbers y, each (N, D).

    Attributes:
        mean: E[y | x].
        variance: Var[y | x]; 0 where x is a real number as it stands.
        log_slope: E[log f'(x + u) | x].
    """

    mean: Tensor
    variance: Tensor
    log_slope: Tensor


class Measure(ABC):
    """Which values the entries of x can take."""

    is_discrete: ClassVar[bool] = True

    @property
    @abstractmethod
    def values(self) -> str:
        """These, in words."""

    @abstractmethod
    def holds(self, x: Tensor) -> Tensor:
        """(N, D) which values of x (N, D) are in the support."""

    def relax(self, x: Tensor) -> Relaxed:
        """The moments of y given x (N, D)."""
        return Relaxed(x + 0.5, torch.full_like(x, 1 / 12), torch.zeros_like(x))

    def draw(self, x: Tensor, noise: torch.Generator) -> Tensor:
        """(N, D) y at one u per entry."""
        return x + torch.rand(x.shape, generator=noise, dtype=x.dtype)


@dataclass(frozen=True)
class Levels(Measure):
    """Whole numbers 0..count-1.

    Attributes:
        count: How many levels there are.
        is_ordered: Whether near levels are alike; classes are not.
    """

    count: int
    is_ordered: bool = True

    @property
    def values(self) -> str:  # noqa: D102
        return f"whole numbers 0..{self.count - 1}"

    def holds(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x >= 0) & (x < self.count) & (x == x.trunc())


@dataclass(frozen=True)
class Counts(Measure):
    """Whole numbers 0, 1, 2, ... without end.

    Attributes:
        given_total: Whether p(x) is that of how a total is divided (a multinomial).
    """

    given_total: bool = False

    @property
    def values(self) -> str:  # noqa: D102
        return "whole numbers 0, 1, 2, ..."

    def holds(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x >= 0) & (x == x.trunc())

    def relax(self, x: Tensor) -> Relaxed:  # noqa: D102
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        points = [(torch.log1p(node / 2 / (x + 1.5)), weight / 2) for node, weight in zip(nodes, weights, strict=True)]
        shift = sum((weight * point for point, weight in points), torch.zeros_like(x))
        variance = sum((weight * (point - shift).square() for point, weight in points), torch.zeros_like(x))
        mean = (x + 1.5).log() + shift
        return Relaxed(mean, variance, -mean)

    def edges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What of the y-axis belongs to each value of x, from and to; 0 has all that lies below."""
        return torch.where(x > 0, torch.log1p(x), -torch.inf), torch.log1p(x + 1)

    def draw(self, x: Tensor, noise: torch.Generator) -> Tensor:  # noqa: D102
        return torch.log1p(super().draw(x, noise))


@dataclass(frozen=True)
class Reals(Measure):
    """Real numbers, of which p(x) is a density.

    Attributes:
        is_unit: Whether they lie in [0, 1].
    """

    is_unit: bool = False
    is_discrete: ClassVar[bool] = False

    @property
    def values(self) -> str:  # noqa: D102
        return "values in [0, 1]" if self.is_unit else "real numbers"

    def holds(self, x: Tensor) -> Tensor:  # noqa: D102
        return (x >= 0) & (x <= 1) if self.is_unit else torch.ones_like(x, dtype=torch.bool)

    def relax(self, x: Tensor) -> Relaxed:  # noqa: D102
        return Relaxed(x, torch.zeros_like(x), torch.zeros_like(x))

    def draw(self, x: Tensor, noise: torch.Generator) -> Tensor:  # noqa: D102
        return x


def measure_of(model: Model, batch: Batch | Tensor) -> Measure:
    """What a model's log p(x) is taken against, read off p(x | z) at one datum of `batch`.

    Raises:
        InputError: The support is none that a baseline knows.
    """
    datum = Batch.of(batch).rows(slice(1)).to(device_of(model))
    with evaluating(model, 0, "support"):
        px = model.decode(model.posterior(datum).sample(), datum.context)
    while isinstance(px, Independent):
        px = px.base_dist
    try:
        support = px.support
    except NotImplementedError:
        support = None
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return _measure(px, support)


def _measure(px: Distribution, support: constraints.Constraint | None) -> Measure:
    if isinstance(px, Multinomial):
        return Counts(given_total=True)
    if support is constraints.boolean:
        return Levels(2)
    if support is constraints.nonnegative_integer:
        return Counts()
    if isinstance(support, constraints.integer_interval) and support.lower_bound == 0:
        return Levels(int(support.upper_bound) + 1, is_ordered=not isinstance(px, Categorical))
    if support is not None and (support.is_discrete or support.event_dim):
        raise InputError(
            f"baselines know levels from 0, counts and real numbers, and p(x | z) is a {type(px).__name__} over {support};"
            " compare such a model with another model."
        )
    ends = torch.tensor([-0.01, 0.01, 0.99, 1.01])
    return Reals(is_unit=support is not None and support.check(ends).tolist() == [False, True, True, False])


def _first(parts: list[tuple[Tensor, ...]], keys: Tensor, most: int) -> tuple[list[tuple[Tensor, ...]], Tensor]:
    kept = keys.argsort()[:most]
    return [tuple(torch.cat(pieces)[kept] for pieces in zip(*parts, strict=True))], keys[kept]


def _entries(batch: Batch, what: str) -> tuple[Tensor, ...]:
    x = batch.x.detach().cpu().flatten(1) if batch.x.ndim > 1 else batch.x.detach().cpu()[:, None]
    observed = torch.ones_like(x, dtype=torch.bool) if batch.observed is None else batch.observed.cpu().view_as(x).bool()
    bad = observed & ~torch.isfinite(x)
    if bad.any():
        value = x[bad][0].item()
        raise InputError(f"the {what} data have {value} among their observed values; mark it as missing, or remove the datum.")
    return torch.where(observed, x, torch.zeros_like(x)), observed

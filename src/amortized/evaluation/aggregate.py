r"""The aggregate posterior q(z) = 1/N sum_n q(z|x_n), as what it is: a mixture with a component for each of the N data.

Of a value z that was drawn given x_n two sums are kept apart, because the mixture without the component that z came from errs to
the other side than the one with it:

    log_own     log q(z | x_n)
    log_others  log sum_{i != n} q(z | x_i)

The marginals q(z_j) = 1/N sum_n q(z_j|x_n) are mixtures just so, of the marginals of q(z|x_n) where those are known: entries that
are independent, and a Gaussian of any covariance. All is in float64 where the family is one of these; others are scored in their
own type, and summed in float64. In the code M values z are (M, *event), and D counts the entries (one-hot variables as one each).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from amortized.distributions import Bits, EnumeratedBits, EnumeratedOneHot, OneHot
from amortized.kept import kept

AT_ONCE = 2**18
"""Densities, of one entry of one value under one component, that are computed at once: 2 MiB stay in a processor's cache."""


@dataclass(frozen=True, eq=False)
class Components:
    """The posteriors of B data.

    Attributes:
        q: Of batch (B,).
        marginals: Those of its entries, of batch (B, *entries); None where they are not known.
        factorizes: Whether q is their product.
    """

    q: Distribution
    marginals: Distribution | None
    factorizes: bool

    @classmethod
    def of(cls, q: Distribution) -> "Components":
        """Those of a posterior, in float64 where its family is known here."""
        q = _in_float64(q)
        entries = independent_entries(q)
        if entries is None and isinstance(q, MultivariateNormal):
            return cls(q, Normal(q.loc, q.variance.sqrt(), validate_args=False), False)
        return cls(q, entries, entries is not None)

    def __len__(self) -> int:
        """The number B of data."""
        return self.q.batch_shape[0]

    @property
    def densities(self) -> int:
        """How many densities one value asks for."""
        return len(self) * self.q.event_shape.numel()

    def score(self, z: Tensor) -> tuple[Tensor, Tensor | None]:
        """(M, B) log q(z | x_b) and (M, D, B) log q(z_j | x_b), None where it is not known; nats."""
        each = self._score_each(z)
        if each is not None and self.factorizes:
            return each.sum(1), each
        spread = z.unsqueeze(1).expand(len(z), len(self), *z.shape[1:])
        return self.q.log_prob(spread).double(), each

    def _score_each(self, z: Tensor) -> Tensor | None:
        if self.marginals is None:
            return None
        if self._gaussian is not None:
            loc, precision, log_scale = self._gaussian
            return (z.flatten(1).unsqueeze(2) - loc).mul_(precision).square_().mul_(-0.5).sub_(log_scale)
        entries = self.marginals.batch_shape[1:] + self.marginals.event_shape
        return self.marginals.log_prob(z.reshape(len(z), 1, *entries)).double().flatten(2).transpose(1, 2)

    @kept
    def _gaussian(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """(D, B) means, inverse scales, and log-scales with their constant, of Gaussian marginals."""
        if type(self.marginals) is not Normal:
            return None
        loc, scale = (value.flatten(1).T.contiguous() for value in (self.marginals.loc, self.marginals.scale))
        return loc, 1 / scale, scale.log() + 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True, eq=False)
class Densities:
    """Log-densities of M values drawn from the posteriors of N data, in float64 and nats.

    Attributes:
        log_own: (M,) log q(z | x_n) of the datum that z was drawn given.
        log_others: (M,) log sum_{i != n} q(z | x_i).
        log_each: (M, D) log sum_i q(z_j | x_i); None where marginals are not known.
    """

    log_own: Tensor
    log_others: Tensor
    log_each: Tensor | None

    @classmethod
    def of(cls, components: Sequence[Components], z: Tensor, own: Tensor) -> "Densities":
        """Those of values z (M, *event), where z[m] was drawn given datum own[m], counted through all components."""
        rows = max(1, AT_ONCE // max(part.densities for part in components))
        pieces = [_densities(components, *piece) for piece in zip(z.split(rows), own.split(rows), strict=True)]
        log_own, log_others, log_each = zip(*pieces, strict=True)
        known = [each for each in log_each if each is not None]
        return cls(torch.cat(log_own), torch.cat(log_others), torch.cat(known) if len(known) == len(pieces) else None)


def independent_entries(q: Distribution) -> Distribution | None:
    """The entries of q as a batch of distributions, (*batch, *entries), where they are independent; else None."""
    if isinstance(q, Bits | EnumeratedBits):
        return Bits(q.logits.unsqueeze(-1))
    if isinstance(q, OneHot | EnumeratedOneHot):
        return OneHot(q.logits.unsqueeze(-2))
    base = q
    while type(base) is Independent:
        base = base.base_dist
    return None if base.event_shape else base


def _densities(components: Sequence[Components], z: Tensor, own: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    log_own = torch.full((len(z),), -torch.inf, dtype=torch.float64, device=z.device)
    log_others, log_each, first = log_own, None, 0
    for part in components:
        log_q, each = part.score(z)
        inside = ((own >= first) & (own < first + len(part))).nonzero().squeeze(-1)
        position = own[inside] - first
        log_own = log_own.index_put((inside,), log_q[inside, position])
        log_q[inside, position] = -torch.inf
        log_others = torch.logaddexp(log_others, log_q.logsumexp(-1))
        if each is not None:
            summed = each.logsumexp(-1)
            log_each = summed if log_each is None else torch.logaddexp(log_each, summed)
        first += len(part)
    return log_own, log_others, log_each


def _in_float64(q: Distribution) -> Distribution:
    if isinstance(q, Bits | EnumeratedBits):
        return Bits(q.logits.double())
    if isinstance(q, OneHot | EnumeratedOneHot):
        return OneHot(q.logits.double())
    if type(q) is MultivariateNormal:
        return MultivariateNormal(q.loc.double(), scale_tril=q.scale_tril.double(), validate_args=False)
    if type(q) is Independent and type(q.base_dist) is Normal:
        normal = Normal(q.base_dist.loc.double(), q.base_dist.scale.double(), validate_args=False)
        return Independent(normal, q.reinterpreted_batch_ndims, validate_args=False)
    return q

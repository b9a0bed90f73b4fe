r"""What each latent dimension does: E[x | z] while one entry of z goes through the prior's range and the others stay.

    z_j = m_j + t s_j,    t from -span to span,    m and s the mean and the standard deviation of p(z)

as in the figures of Higgins et al. 2017 (beta-VAE). The others stay at the latent of a datum, or at the prior's center.
Dimensions are ranked by what they carry: the mean over data of KL( q(z_j|x) || p(z_j) ), or, where the KL is no sum over the
entries, the variance over data of E_q[z_j | x] - m_j in units of s_j^2 (in the mean over data, where conditions move the prior).

With several groups of latents, those that the prior draws after the group that is moved follow it, each at its center given the
one before: so the top of a hierarchy is seen to act on what is below it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from amortized.distributions import center, in_support, representative
from amortized.distributions.chain import Chain
from amortized.errors import InputError, nearest
from amortized.models.model import Model, evaluating
from amortized.showing import Table, Tabled
from amortized.tasks.running import chunks
from amortized.terms import Batch, Latent, Terms

Start = Literal["data", "prior"]
PRIOR_DRAWS, LEAST_DRAWS = 10_000, 500
"""Draws from which the moments of a prior are taken where they are not known; of one that conditions move, these in all, but no
fewer than so many for each datum."""

LISTED = 20
"""Dimensions that are shown in a table."""


@dataclass(frozen=True, eq=False)
class Ranking(Tabled):
    """D latent dimensions by what they carry, as arrays.

    Attributes:
        dimensions: (D,) their positions in z, flattened, the one that carries most first.
        carried: (D,) what each carries.
        measure: Of what that is: "kl_nats", the mean KL, or "variance", that of the posterior means over that of the prior.
    """

    dimensions: NDArray[np.int64]
    carried: NDArray[np.floating]
    measure: Literal["kl_nats", "variance"]

    def first(self, count: int | None) -> "Ranking":
        """The first of them; all where None is given."""
        return replace(self, dimensions=self.dimensions[:count], carried=self.carried[:count])

    def tables(self) -> list[Table]:
        """The dimensions that carry most."""
        name = "KL, nats" if self.measure == "kl_nats" else "variance of means, in prior variances"
        pairs = list(zip(self.dimensions.tolist(), self.carried.tolist(), strict=True))
        rows = [(str(dimension), f"{carried:.4f}") for dimension, carried in pairs[:LISTED]]
        notes = [f"{len(pairs) - LISTED} more carry less."] if len(pairs) > LISTED else []
        return [Table("Latent dimensions by what they carry", ("dimension", name), rows, notes, right=(0, 1))]


@dataclass(frozen=True, eq=False)
class Traversal(Tabled):
    """N data, with D latent dimensions at S values each, as arrays.

    Attributes:
        x: (N, D, S, *event) E[x | z], in the data's units.
        z: (N, D, S) the values of the dimension that is moved.
        ranking: The D dimensions.
    """

    x: NDArray[Any]
    z: NDArray[Any]
    ranking: Ranking

    def tables(self) -> list[Table]:
        """What was moved, and how far."""
        n, dimensions, steps = self.z.shape
        ends = zip(self.ranking.dimensions.tolist(), self.z.min((0, 2)).tolist(), self.z.max((0, 2)).tolist(), strict=True)
        rows = [(str(dimension), f"{low:.3f}", f"{high:.3f}") for dimension, low, high in ends][:LISTED]
        head = f"Traversal: {n} data, {dimensions} dimensions, {steps} values each; x has shape {self.x.shape}"
        return [Table(head, ("dimension", "from", "to"), rows, right=(0, 1, 2)), *self.ranking.tables()]


def rank_dimensions(model: Model, batches: Batch | Tensor | Iterable[Batch | Tensor], *, seed: int = 0) -> Ranking:
    """Rank the dimensions of the latent by what they carry of the data.

    Args:
        model: The model.
        batches: The data.
        seed: Of the draws.

    Raises:
        InputError: There are no data.
    """
    kls, means, variances = [], [], []
    moments = None
    with evaluating(model, seed, "rank"):
        for batch in chunks(batches, model):
            kl = _kl_by_entry(model.terms(batch))
            if kl is None:
                code, p = center(model.posterior(batch)).flatten(1), model.prior(batch.context)
                if moments is None or p.batch_shape:  # one that no condition moves is the same for all
                    moments = [moment.reshape(-1, code.shape[1]) for moment in _moments(p)]
                means.append(code - moments[0])
                variances.append(moments[1].square().expand_as(code))
            else:
                kls.append(kl)
        if not kls and not means:
            raise InputError("there are no data to rank the latent dimensions by; give a split that has some.")
        if means:
            values = torch.cat(means).var(0, correction=0) / torch.cat(variances).mean(0)
        else:
            values = torch.cat(kls).mean(0)
    order = values.argsort(descending=True, stable=True)
    return Ranking(order.cpu().numpy(), values[order].cpu().numpy(), "variance" if means else "kl_nats")


def traverse(
    model: Model,
    batch: Batch | Tensor,
    ranking: Ranking,
    *,
    steps: int = 8,
    span: float = 3.0,
    start: Start = "data",
    seed: int = 0,
) -> Traversal:
    """Decode latents in which one dimension at a time goes through the prior's range.

    Args:
        model: The model.
        batch: N data, with the conditions under which they are encoded and decoded.
        ranking: The dimensions that are moved, in that order.
        steps: The number S of values, both ends among them.
        span: How far from the prior's mean they go, in its standard deviations.
        start: Where the other entries stay: "data", at E_q[z | x] of each datum (the mode, where the mean is no value of the
            latent), or "prior", at the prior's center.
        seed: Of the draws, where a mean is not known.

    Returns:
        What is decoded, and the values.

    Raises:
        InputError: Fewer than two steps, a span that is not positive, an unknown start, or a dimension that the latent does
            not have; or an entry cannot move alone, as on a sphere or between discrete values.
    """
    if steps < 2:
        raise InputError(f"a traversal needs at least 2 steps, its two ends; steps is {steps}.")
    if not 0 < span < float("inf"):
        raise InputError(f"span must be a positive number of standard deviations; it is {span}; 3 is usual.")
    if start not in get_args(Start):
        raise InputError(f"unknown start '{start}'; {nearest(start, get_args(Start))}")
    pieces = []
    with evaluating(model, seed, "traverse"):
        for piece in chunks(batch, model, steps):
            pieces.append(_traversed(model, piece, ranking.dimensions.tolist(), steps=steps, span=span, start=start))
    if not pieces:
        raise InputError("there are no data to begin at; give a split that has some.")
    x, z = (torch.cat(parts).numpy() for parts in zip(*pieces, strict=True))
    return Traversal(x, z, ranking)


def _traversed(
    model: Model, batch: Batch, dimensions: Sequence[int], *, steps: int, span: float, start: Start
) -> tuple[Tensor, Tensor]:
    q, p, terms = model.posterior(batch), model.prior(batch.context), model.terms(batch.rows(slice(1)))
    mean, spread = (moment.expand(len(batch), *q.event_shape).flatten(1) for moment in _moments(p))
    begin = representative(q) if start == "data" else representative(p).expand(len(batch), *q.event_shape)
    t = torch.linspace(-span, span, steps, dtype=begin.dtype, device=begin.device).unsqueeze(-1)
    images, values = [], []
    for j in dimensions:
        if not 0 <= j < mean.shape[1]:
            raise InputError(f"the latent has dimensions 0 to {mean.shape[1] - 1}; {j} is not one of them.")
        z = begin.flatten(1).repeat(steps, 1, 1)
        z[..., j] = mean[:, j] + t * spread[:, j]
        values.append(z[..., j].T)
        z = z.reshape(steps, *begin.shape)
        _check_values(terms, z[:, :1])
        z = p.follow(z, j) if isinstance(p, Chain) else z
        images.append(center(model.decode(z, batch.context)).transpose(0, 1))
    return torch.stack(images, 1).cpu(), torch.stack(values, 1).cpu()


def _kl_by_entry(terms: Terms) -> Tensor | None:
    """(B, D) the KL of all latents by entry; None where one of them is no sum, or is left out because q is a point mass."""
    if not terms.is_bound:
        return None
    found = [latent.kl_elementwise if isinstance(latent, Latent) else None for latent in terms.latents]
    known = [kl for kl in found if kl is not None]
    return torch.cat([kl.mean(0).flatten(1) for kl in known], 1) if len(known) == len(found) else None


def _moments(p: Distribution) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a prior, each (*batch, *event), by draws where no closed form is known."""
    try:
        mean, spread = p.mean, p.stddev
    except (NotImplementedError, AttributeError):
        drawn = p.sample(torch.Size([max(LEAST_DRAWS, PRIOR_DRAWS // p.batch_shape.numel())]))
        return drawn.mean(0), drawn.std(0)
    return mean, spread


def _check_values(terms: Terms, z: Tensor) -> None:
    """Refuse values (S, 1, *event) that a latent cannot have; of several groups, each by its own posterior."""
    latents = [latent for latent in terms.latents if isinstance(latent, Latent)]
    groups = z.flatten(2).split([latent.q.event_shape.numel() for latent in latents], -1)
    for latent, group in zip(latents, groups, strict=True):
        if not in_support(latent.q, group.reshape(*group.shape[:2], *latent.q.event_shape)):
            raise InputError(
                "a traversal moves one entry of the latent alone, which one on a sphere or of discrete values does not allow;"
                " `interpolate` with the path 'spherical' is for a sphere; a posterior such as 'gaussian' can be traversed."
            )

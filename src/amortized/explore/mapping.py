"""The map of a run, and the order of its sliders: with its data, or without.

Where the data are there, the entries of the latent stand in the order of what they carry of the data, and the map is the view's.
Where they are gone, an entry counts by what it does, its *response*: the mean square change of E[x | z] when it moves by one
standard deviation of the prior, from points drawn from it; and the map is the plane of the first two.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortized.explore.asking import listed
from amortized.explore.held import Held, as_rows, drawn
from amortized.report.view import Plane

PRIOR_POINTS = 500
"""Draws from the prior on the map."""

PRIOR_DRAWS = 10_000
"""From which the moments of a prior are taken where they are not known."""

PROBES = 16
"""Points from which entries of the latent are moved to see what they do."""

DEAD = 1e-4
"""The share of the largest response below which an entry does nothing."""


@dataclass(frozen=True, eq=False)
class Order:
    """The D entries of the latent in the order of their sliders.

    Attributes:
        entries: Their positions, those that are active first.
        active: How many are.
        carried: What each carries, in that order.
        measure: Of what that is: "kl_nats" or "variance", as of `tasks.Ranking`, or "response".
    """

    entries: list[int]
    active: int
    carried: list[float | None]
    measure: str


class Map:
    """The map of a run.

    Args:
        held: The run.
    """

    def __init__(self, held: Held):
        self.held, self.view = held, held.view

    @cached_property
    def order(self) -> Order:
        """The entries of the latent."""
        if self.held.missing is not None:
            return self._by_response
        ranking, active = self.view.ranking, self.view.active
        carried = dict(zip(ranking.dimensions.tolist(), listed(ranking.carried), strict=True))
        entries = active + [entry for entry in carried if entry not in active]
        return Order(entries, len(active), [carried[entry] for entry in entries], ranking.measure)

    @cached_property
    def moments(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """(D,) each: the mean and the standard deviation of the prior, in closed form where one is known."""
        with self.held.working("moments"):
            p = self.held.prior(1)
            try:
                found = p.mean, p.stddev
            except (NotImplementedError, AttributeError):
                draws = as_rows(drawn(p, PRIOR_DRAWS))
                return draws.mean(0), draws.std(0)
            mean, spread = (moment.reshape(1, -1) for moment in found)
            return as_rows(mean)[0], as_rows(spread)[0]

    @cached_property
    def prior_draws(self) -> NDArray[np.float32]:
        """(M, D) draws from the prior."""
        if self.held.missing is None:
            return self.view.prior_draws[:PRIOR_POINTS]
        with self.held.working("prior"):
            return as_rows(drawn(self.held.prior(PRIOR_POINTS), PRIOR_POINTS))

    @cached_property
    def plane(self) -> Plane:
        """That of the map, with two axes in any case; of kind "axes" where it is that of two entries of many."""
        dimensions = self.held.latent_shape.numel()
        if self.held.missing is not None or not np.isfinite(self.view.z).all():
            return _coordinates(dimensions, self.order.entries[:2], self.moments[0])
        found, axes = self.view.plane, np.zeros((2, dimensions), np.float32)
        axes[: len(found.axes)] = found.axes  # of a single datum there is but one
        return Plane(found.origin, axes, found.kind)

    @cached_property
    def _by_response(self) -> Order:
        z, spread = self.prior_draws[:PROBES], self.moments[1]
        with self.held.working("response"):
            context = self.held.conditions(None, len(z))
            before, response = self.held.decoded(self.held.tensor(z), context), np.zeros(len(spread))
            for entry, size in enumerate(spread):
                moved = z.copy()
                moved[:, entry] += size
                response[entry] = np.square(self.held.decoded(self.held.tensor(moved), context) - before).mean()
        response = np.nan_to_num(response, posinf=0.0)
        entries = np.argsort(-response, kind="stable")
        return Order(entries.tolist(), int((response > DEAD * response.max()).sum()), listed(response[entries]), "response")


def _coordinates(dimensions: int, entries: list[int], origin: NDArray[Any]) -> Plane:
    if dimensions <= 2:
        kind = "latent" if dimensions == 2 else "one"
        return Plane(np.zeros(dimensions, np.float32), np.eye(2, dimensions, dtype=np.float32), kind)
    return Plane(origin.astype(np.float32), np.eye(dimensions, dtype=np.float32)[entries], "axes")

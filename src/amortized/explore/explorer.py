"""A run as a page explores it: questions in the words of JSON, answered in them.

Latents are vectors of D numbers and data vectors of as many as an event has, both flattened in C order; what is missing, or is no
finite number, is None; conditions have the names of their classes. All may be asked from several threads at once.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from amortized.distributions import center, representative, spherical
from amortized.distributions.chain import Chain
from amortized.errors import InputError, nearest
from amortized.explore import conditions, scoring
from amortized.explore.asking import FARTHEST, integer, is_integer, listed, number, numbers, rows, shown
from amortized.explore.describing import describe
from amortized.explore.held import Held, as_rows, drawn
from amortized.explore.mapping import Map
from amortized.report.view import DATA, View
from amortized.tasks.running import rows_at_once
from amortized.terms import Batch

if TYPE_CHECKING:
    from amortized.runs import Run

MOST_ROWS = 256
"""Latents that are decoded at once, at most; fewer where data are large."""

SAMPLES, FEW_SAMPLES = 400, 50
"""Posterior samples of a datum's score, and of one whose decoder goes from entry to entry."""

MOST_ENTRIES = 2**26
"""Numbers of all data of the map together."""

HOTTEST = 10.0
"""The highest temperature."""

PATHS = ("linear", "spherical")


class Explorer:
    """A run as a page explores it.

    Args:
        run: The run, or a view of it, whose data are then those of the map.
        samples: Posterior samples of a datum's score; None takes as many as a click can wait for.

    Attributes:
        entries: How many numbers a datum has.
        most_rows: How many latents are decoded at once.

    Example:
        >>> import amortized as am
        >>> explorer = Explorer(am.fit("digits", latent_dim=2, epochs=1, quiet=True))
        >>> explorer.description()["event"]["shape"], len(explorer.decode([[0.0, 0.0]])["x"][0])
        ([8, 8], 64)
    """

    def __init__(self, run: "Run | View", *, samples: int | None = None):
        self.view = run if isinstance(run, View) else view_of(run)
        self._held = Held(self.view)
        self.samples = (SAMPLES if self._held.factorizes else FEW_SAMPLES) if samples is None else samples
        self._map = Map(self._held)
        self.entries = self._held.model.event_shape.numel()
        self.most_rows = max(2, min(MOST_ROWS, rows_at_once(self._held.model)))

    @property
    def missing(self) -> str | None:
        """Why there are no data; None where they are there. All but `datum` is answered without them."""
        return self._held.missing

    @cached_property
    def dimensions(self) -> int:
        """The number D of entries of the latent."""
        return self._held.latent_shape.numel()

    def description(self) -> dict[str, Any]:
        """What a page must know before it asks anything: the forms of data and latent, the data's places, what can be asked."""
        with self._held.working("description"):
            return self._description

    @cached_property
    def _description(self) -> dict[str, Any]:
        return describe(self._map) | {"limits": {"rows": self.most_rows, "temperature": HOTTEST, "latent": FARTHEST}}

    def decode(self, z: Any, context: Mapping[str, Any] | None = None, follow: int | None = None) -> dict[str, Any]:
        """Decode latents.

        Args:
            z: (n, D) the latents.
            context: A value for each condition; the first class, or the mean, of those left out.
            follow: The entry that was moved, of a latent of several groups: those that the prior draws after its group follow it.

        Returns:
            `x` (n, entries) E[x | z]; with `follow`, the `z` (n, D) that came of it too.

        Raises:
            InputError: Something is out of bounds.
        """
        given = rows("z", z, self.dimensions, self.most_rows, most=FARTHEST)
        with self._held.working("decode"):
            context, latents = self._held.conditions(context, len(given)), self._held.tensor(given)
            if follow is None:
                return {"x": self._decoded(latents, context)}
            p, entry = self._held.model.prior(context), integer("follow", follow, 0, self.dimensions - 1)
            latents = p.follow(latents, entry) if isinstance(p, Chain) else latents
            return {"x": self._decoded(latents, context), "z": listed(as_rows(latents))}

    def encode(self, x: Any, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Say where a datum lies in the latent space, and what the model makes of it.

        Args:
            x: (entries) the datum, None where an entry is missing.
            context: A value for each condition.

        Returns:
            The latent `z` (D), at which it is reconstructed; the posterior's `spread` (D), None where its family does not tell
            it; its `place` (2) on the map, and `ellipse`, one standard deviation around its mean; `x` and its `reconstruction`;
            and the `terms` of the bound, in nats, None where there is no bound.

        Raises:
            InputError: It is no datum, or has a value that the likelihood cannot score.
        """
        with self._held.working("encode"):
            return self._encoded(self._held.datum(x, context))

    def datum(self, n: int) -> dict[str, Any]:
        """Tell of the n-th datum of the map what `encode` does, with its `label` and the `context` that it has.

        Raises:
            InputError: There is none.
        """
        with self._held.working("encode"):
            batch = self._held.row(n)
            labels = batch.labels
            label = -1 if labels is None or labels.is_floating_point() or labels.ndim != 1 else int(labels)
            context = {name: values[0] for name, values in conditions.as_given(self.view.spec, batch.context).items()}
            return {"index": int(n), "label": label if label >= 0 else None, "context": context} | self._encoded(batch)

    def terms(self, x: Any, z: Any, context: Mapping[str, Any] | None = None) -> dict[str, float | None]:
        """The terms of the bound of a datum x (entries) at one latent z (D), in nats; None where there is no density.

        Raises:
            InputError: Something is out of bounds, or no datum.
        """
        given = numbers("z", z, self.dimensions, most=FARTHEST)
        with self._held.working("terms"):
            return scoring.terms_at(self._held.model, self._held.datum(x, context), self._held.tensor(given[None]))

    def sample(
        self, n: int = 1, temperature: float = 1.0, seed: int = 0, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Draw latents from the prior, and decode them.

        Args:
            n: How many.
            temperature: Of the prior, from 0 to 10.
            seed: Of the draws.
            context: A value for each condition.

        Returns:
            `z` (n, D), `x` (n, entries) E[x | z], and their `places` (n, 2) on the map.

        Raises:
            InputError: Something is out of bounds, or the prior takes no temperature.
        """
        n, seed = integer("n", n, 1, self.most_rows), integer("seed", seed, 0, 2**53)
        temperature = number("temperature", temperature, 0.0, HOTTEST)
        with self._held.working("sample", seed):
            rows = self._held.conditions(context, n)
            return self._shown(drawn(self._held.model.prior(rows, temperature=temperature), n), rows)

    def path(
        self, begin: Any, end: Any, path: str = "linear", steps: int = 16, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Decode what lies between two latents.

        Args:
            begin: The latent (D), or the number of a datum, whose conditions are then held along the path.
            end: The latent (D), or the number of a datum.
            path: "linear" or "spherical".
            steps: Points, both ends among them.
            context: A value for each condition, in place of those of the datum.

        Returns:
            `z` (steps, D), `x` (steps, entries) E[x | z], and their `places` (steps, 2) on the map.

        Raises:
            InputError: Something is out of bounds, or the path leaves what a latent can be.
        """
        steps = integer("steps", steps, 2, self.most_rows)
        if path not in PATHS:
            raise InputError(f"unknown path {shown(path)}; {nearest(str(path)[:40], PATHS)}")
        with self._held.working("path"):
            rows = self._held.conditions(context, steps)
            if is_integer(begin):
                own = {name: value.expand(steps, *value.shape[1:]) for name, value in self._held.row(begin).context.items()}
                rows |= {name: value for name, value in own.items() if name not in (context or {})}
            z = _between(self._end("begin", begin), self._end("end", end), path, steps)
            if not self._held.can_be(z):
                raise InputError(
                    f"a {path} path leaves what the latent can be: on a sphere take 'spherical'; of classes there is none."
                )
            return self._shown(z, rows)

    def _end(self, name: str, given: Any) -> Tensor:
        """One end of a path, (1, *event)."""
        if is_integer(given):
            return representative(self._held.model.posterior(self._held.row(given)))
        return self._held.tensor(numbers(name, given, self.dimensions, most=FARTHEST)[None])

    def _decoded(self, z: Tensor, context: Mapping[str, Tensor]) -> list[Any]:
        return listed(self._held.decoded(z, context))

    def _shown(self, z: Tensor, context: Mapping[str, Tensor]) -> dict[str, Any]:
        vectors = as_rows(z)
        return {"z": listed(vectors), "x": self._decoded(z, context), "places": listed(self._map.plane.project(vectors))}

    def _encoded(self, batch: Batch) -> dict[str, Any]:
        model, plane = self._held.model, self._map.plane
        q = model.posterior(batch)
        z, spread = representative(q), scoring.spread(q)
        x = batch.x if batch.observed is None else torch.where(batch.observed, batch.x, torch.nan)
        return {
            "z": listed(as_rows(z)[0]),
            "spread": None if spread is None else listed(spread),
            "place": listed(plane.project(as_rows(center(q))[0])),
            "ellipse": scoring.ellipse(q, plane),
            "x": listed(as_rows(x)[0]),
            "reconstruction": self._decoded(z, batch.context)[0],
            "terms": scoring.scores(model, batch, self.samples, self.view.seed),
        }


def view_of(run: "Run", split: str | None = None) -> View:
    """What of a run's data is on the map: a part of a split, smaller where data are large."""
    return View(run, split=split, most=max(1, min(DATA, MOST_ENTRIES // run.model.event_shape.numel())))


def _between(a: Tensor, b: Tensor, path: str, steps: int) -> Tensor:
    """(steps, *event) the points of a path from a to b, each (1, *event)."""
    t = torch.linspace(0.0, 1.0, steps, dtype=a.dtype, device=a.device)
    if path == "spherical":
        return spherical(a, b, t).squeeze(1)
    return torch.lerp(a, b, t.reshape(-1, *(1 for _ in a.shape[1:])))

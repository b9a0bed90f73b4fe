"""A run as a page explores it: questions in the words of JSON, answered in them.

Latents are vectors of D numbers and data vectors of as many as an event has, both flattened in C order; what is missing, or is no
finite number, is None; conditions have the names of their classes. All answers may be asked for from several threads at once: the
model works for one of them at a time, because evaluation holds torch's generators.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from amortized.distributions import center, representative, spherical
from amortized.distributions.center import in_support
from amortized.distributions.chain import Chain
from amortized.errors import InputError, nearest
from amortized.explore import conditions, describing, scoring
from amortized.explore.asking import FARTHEST, integer, listed, number, numbers, rows, shown
from amortized.models import LatentModel
from amortized.models.model import device_of, evaluating
from amortized.report.view import Plane, View
from amortized.tasks.running import rows_at_once
from amortized.tasks.traverse import Ranking
from amortized.terms import Batch

if TYPE_CHECKING:
    from amortized.runs import Run

MOST_ROWS = 256
"""Latents that are decoded at once, at most; fewer where data are large."""

SAMPLES = 500
"""Posterior samples of a datum's score."""

HOTTEST = 10.0
PATHS = ("linear", "spherical")
PRIOR_DRAWS = 10_000


class Explorer:
    """A run as a page explores it.

    Args:
        run: The run, or a view of it, whose data are then those of the map.
        samples: Posterior samples of a datum's score.

    Attributes:
        missing: Why there are no data; None where they are there. All but `datum` is answered without them.

    """

    def __init__(self, run: "Run | View", *, samples: int = SAMPLES):
        self.view, self.samples = View.of(run), samples
        self.run, self.model, self.spec = self.view.run, self.view.model, self.view.spec
        self.entries = self.model.event_shape.numel()
        self.most_rows = max(1, min(MOST_ROWS, rows_at_once(self.model)))
        self._lock = threading.RLock()
        self.missing = self._find_data()

    def _find_data(self) -> str | None:
        try:
            with self._lock:
                _ = self.view.batch
        except InputError as error:
            return str(error)
        return None

    def description(self) -> dict[str, Any]:
        """What a page must know before it asks anything."""
        return self._description

    def decode(self, z: Any, context: Mapping[str, Any] | None = None, follow: int | None = None) -> dict[str, Any]:
        """E[x | z] of latents z (n, D), `{"x": (n, entries)}`.

        Args:
            z: The latents.
            context: A value for each condition; the first class, or the mean, of those left out.
            follow: The entry that was moved, of a latent of several groups: those that the prior draws after its group follow it,
                and the answer has their z too.

        Raises:
            InputError: Something is out of bounds.
        """
        given = rows("z", z, self.dimensions, self.most_rows, most=FARTHEST)
        follow = None if follow is None else integer("follow", follow, 0, self.dimensions - 1)
        with self._working("decode"):
            held = self._conditions(context, len(given))
            latents = self._tensor(given)
            p = self.model.prior(held) if follow is not None else None
            if follow is None or not isinstance(p, Chain):
                return {"x": self._decoded(latents, held)}
            latents = p.follow(latents, follow)
            return {"x": self._decoded(latents, held), "z": listed(latents.flatten(1).cpu().numpy())}

    def encode(self, x: Any, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Where a datum x (entries), None where one is missing, lies in the latent space, and what the model makes of it.

        Raises:
            InputError: It is no datum, or has a value that the likelihood cannot score.
        """
        with self._working("encode"):
            return self._encoded(self._datum_of(x, context))

    def datum(self, n: int) -> dict[str, Any]:
        """The n-th datum of the map, as `encode` tells it, with its label and its conditions.

        Raises:
            InputError: There is none.
        """
        with self._working("encode"):
            batch = self._row(n)
            label = None if batch.labels is None or batch.labels.is_floating_point() else int(batch.labels[0])
            held = {name: values[0] for name, values in conditions.as_given(self.spec, batch.context).items()}
            return {"index": int(n), "label": None if label == -1 else label, "context": held} | self._encoded(batch)

    def terms(self, x: Any, z: Any, context: Mapping[str, Any] | None = None) -> dict[str, float | None]:
        """The terms of the bound of a datum x at one latent z (D), in nats.

        Raises:
            InputError: Something is out of bounds, or no datum.
        """
        given = numbers("z", z, self.dimensions, most=FARTHEST)
        with self._working("terms"):
            return scoring.terms_at(self.model, self._datum_of(x, context), self._tensor(given[None]))

    def sample(
        self, n: int = 1, temperature: float = 1.0, seed: int = 0, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Draw n latents from the prior, and decode each to E[x | z].

        Raises:
            InputError: Something is out of bounds, or the prior takes no temperature.
        """
        n = integer("n", n, 1, self.most_rows)
        temperature = number("temperature", temperature, 0.0, HOTTEST)
        with self._working("sample", integer("seed", seed, 0, 2**53)):
            held = self._conditions(context, n)
            return self._shown(_drawn(self.model.prior(held, temperature=temperature), n), held)

    def path(
        self, begin: Any, end: Any, path: str = "linear", steps: int = 16, context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Decode the path between two latents.

        Args:
            begin: The latent (D), or the number of a datum, whose conditions are then held along the path.
            end: Likewise.
            path: "linear" or "spherical".
            steps: Points, both ends among them.
            context: A value for each condition, in place of the datum's.

        Raises:
            InputError: Something is out of bounds, or the path leaves what a latent can be.
        """
        steps = integer("steps", steps, 2, max(2, self.most_rows))
        if path not in PATHS:
            raise InputError(f"unknown path {shown(path)}; {nearest(str(path)[:40], PATHS)}")
        with self._working("path"):
            own = {} if not _is_number(begin) else {name: values[:1] for name, values in self._row(begin).context.items()}
            ends = self._end("begin", begin), self._end("end", end)
            held = self._conditions(context, steps)
            for name, value in own.items():
                if name not in (context or {}):
                    held[name] = value.expand(steps, *value.shape[1:])
            t = torch.linspace(0.0, 1.0, steps, dtype=ends[0].dtype, device=ends[0].device)
            if path == "spherical":
                z = spherical(*ends, t)
            else:
                z = torch.lerp(*ends, t.reshape(-1, *(1 for _ in ends[0].shape)))
            z = z.squeeze(1)
            if not in_support(self.model.prior(held), z):
                raise InputError(
                    f"a {path} path leaves what the latent can be: take the path 'spherical' on a sphere; between classes there is"
                    " none."
                )
            return self._shown(z, held)

    @cached_property
    def latent_shape(self) -> torch.Size:
        """The shape of one latent, as the model takes it."""
        with self._working("prior"):
            return torch.Size(self.model.prior(self._conditions(None, 1)).event_shape)

    @property
    def dimensions(self) -> int:
        """The number D of entries of the latent."""
        return self.latent_shape.numel()

    @cached_property
    def plane(self) -> Plane:
        """That of the map."""
        with self._lock:
            if self.missing is None:
                return describing.plane(self.view)
            first, second, *_ = [*self._order[0], 0]
            return describing.coordinates(self.dimensions, (first, second), self._moments[0])

    @cached_property
    def _description(self) -> dict[str, Any]:
        with self._lock:
            here = self.missing is None
            order, active, ranking = self._order
            with self._working("prior"):
                p = self.model.prior(self._conditions(None, 1))
                freedom = describing.freedom(p)
            latent = describing.latent(ranking, order, active, self._moments) | freedom | {"follows": isinstance(p, Chain)}
            prior = self.plane.project(self._prior_draws[: describing.PRIOR_POINTS])
            axes = {"origin": listed(self.plane.origin), "axes": listed(self.plane.axes), "prior": listed(prior)}
            return {
                "name": self._name,
                "event": describing.event(self.spec, self.view.x if here else None),
                "latent": latent,
                "conditions": conditions.describe(self.spec),
                "data": describing.data(self.view, self.plane.project) if here else None,
                "plane": {"kind": self.plane.kind} | axes,
                "can": {"decode": True, "encode": True, "score": "bound" in self.model.offers, "sample": True, "datum": here},
                "limits": {"rows": self.most_rows, "temperature": HOTTEST},
                "headline": describing.evidence(self.run, self.view.split if here else None),
                "missing": self.missing,
            }

    @property
    def _name(self) -> str:
        return "model" if self.run.folder is None else str(self.run.folder.path)

    @cached_property
    def _order(self) -> tuple[list[int], int, Ranking]:
        """The entries of the latent, those that are active first; how many these are; and what each carries."""
        if self.missing is None:
            ranking, active = self.view.ranking, self.view.active
            return active + [int(entry) for entry in ranking.dimensions if entry not in active], len(active), ranking
        with self._working("rank"):
            held = self._conditions(None, describing.PROBES)
            found = describing.responses(
                lambda z: np.array(self._decoded(self._tensor(z), held), np.float32), self._prior_draws, self._moments[1]
            )
        order = np.argsort(-found, kind="stable")
        active = int((found > describing.DEAD * found.max()).sum())
        return order.tolist(), active, Ranking(order, found[order], "response")

    @cached_property
    def _moments(self) -> tuple[NDArray[Any], NDArray[Any]]:
        with self._working("moments"):
            p = self.model.prior(self._conditions(None, 1))
            return describing.moments_of(p, lambda: _drawn(p, PRIOR_DRAWS).flatten(1))

    @cached_property
    def _prior_draws(self) -> NDArray[np.float32]:
        if self.missing is None:
            return self.view.prior_draws
        with self._working("prior"):
            p = self.model.prior(self._conditions(None, describing.PRIOR_POINTS))
            return _drawn(p, describing.PRIOR_POINTS).flatten(1).float().cpu().numpy()

    @contextmanager
    def _working(self, purpose: str, seed: int | None = None) -> Iterator[None]:
        """Hold the model for one question; what it cannot do with it is the asker's to hear."""
        with self._lock, evaluating(self.model, self.view.seed if seed is None else seed, purpose):
            try:
                yield
            except InputError:
                raise
            except (ValueError, RuntimeError, ArithmeticError) as error:
                raise InputError(f"the model makes nothing of these values: {str(error).splitlines()[0]}") from error

    def _conditions(self, given: Mapping[str, Any] | None, n: int) -> dict[str, Tensor]:
        device = device_of(self.model)
        return {name: value.to(device) for name, value in conditions.tensors(self.spec, given, n).items()}

    def _tensor(self, z: NDArray[Any]) -> Tensor:
        return self._as_model(z).reshape(-1, *self.latent_shape)

    def _as_model(self, values: NDArray[Any]) -> Tensor:
        weight = next(iter(self.model.parameters()), torch.zeros(()))  # pyright: ignore[reportAttributeAccessIssue]
        return torch.as_tensor(values, dtype=weight.dtype, device=weight.device)

    def _decoded(self, z: Tensor, held: Mapping[str, Tensor]) -> list[list[float | None]]:
        return listed(center(self.model.decode(z, held)).flatten(1).float().cpu().numpy())

    def _shown(self, z: Tensor, held: Mapping[str, Tensor]) -> dict[str, Any]:
        vectors = z.flatten(1).float().cpu().numpy()
        return {"z": listed(vectors), "x": self._decoded(z, held), "places": listed(self.plane.project(vectors))}

    def _end(self, name: str, given: Any) -> Tensor:
        """One end of a path, (1, *event)."""
        if _is_number(given):
            return representative(self.model.posterior(self._row(given)))
        return self._tensor(numbers(name, given, self.dimensions, most=FARTHEST)[None])

    def _row(self, n: Any) -> Batch:
        if self.missing is not None:
            raise InputError(f"there are no data to show: {self.missing}")
        n = integer("the number of a datum", n, 0, len(self.view.batch) - 1)
        return self.view.batch.rows(slice(n, n + 1))

    def _datum_of(self, x: Any, context: Mapping[str, Any] | None) -> Batch:
        given = numbers("x", x, self.entries, holes=True)
        batch = replace(Batch.of(self._as_model(given).reshape(1, *self.model.event_shape)), context=self._conditions(context, 1))
        likelihood: Any = self.model.parts["likelihood"] if isinstance(self.model, LatentModel) else None
        if hasattr(likelihood, "check"):
            likelihood.check(batch.x, observed=batch.observed)
        return batch

    def _encoded(self, batch: Batch) -> dict[str, Any]:
        q = self.model.posterior(batch)
        z, place = representative(q), self.plane.project(center(q).flatten(1).float().cpu().numpy()[0])
        x = batch.x if batch.observed is None else torch.where(batch.observed, batch.x, torch.nan)
        spread = scoring.spread(q)
        return {
            "z": listed(z.flatten().float().cpu().numpy()),
            "spread": None if spread is None else listed(spread),
            "place": listed(place),
            "ellipse": scoring.ellipse(q, self.plane),
            "x": listed(x.flatten().float().cpu().numpy()),
            "reconstruction": self._decoded(z, batch.context)[0],
            "terms": scoring.scores(self.model, batch, self.samples, self.view.seed),
        }


def _drawn(p: Distribution, n: int) -> Tensor:
    """(n, *event) draws from a prior of batch (n,), or of one that is the same for all."""
    if p.batch_shape == (n,):
        return p.sample()
    return p.sample(torch.Size((n,))).reshape(n, *p.event_shape)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)

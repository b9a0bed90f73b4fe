"""What a page must know of a run before it asks anything."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from amortized.distributions.chain import Chain
from amortized.errors import InputError
from amortized.explore import conditions
from amortized.explore.asking import known, listed
from amortized.explore.held import Held, drawn
from amortized.explore.mapping import Map
from amortized.recipes.spec import Spec
from amortized.runs import Run

COLUMNS = 20
"""Of a row that a page shows at once."""

A_MOVE = 0.123
"""By which an entry is moved to see whether it can be; neither a class nor a point of a sphere is that far from another."""


DRAWS = 100
"""From the prior, to see whether a temperature changes them."""


def describe(chart: Map) -> dict[str, Any]:
    """The description of a run: its data's form, its latent, its conditions, its data on the map and what can be asked."""
    held, view = chart.held, chart.held.view
    here, model = held.missing is None, held.model
    plane = chart.plane
    folder = view.run.folder
    return {
        "name": "model" if folder is None else str(folder.path),
        "event": _event(held.spec, view.x if here else None),
        "latent": _latent(chart),
        "conditions": conditions.describe(held.spec),
        "data": _data(chart) if here else None,
        "plane": {
            "kind": plane.kind,
            "origin": listed(plane.origin),
            "axes": listed(plane.axes),
            "prior": listed(plane.project(chart.prior_draws)),
        },
        "can": {
            "decode": True,
            "encode": True,
            "score": "bound" in model.offers,
            "sample": True,
            "temperature": _tempers(held),
            "datum": here,
        },
        "headline": _evidence(view.run, view.split if here else None),
        "missing": held.missing,
    }


def _event(spec: Spec, x: NDArray[Any] | None) -> dict[str, Any]:
    low, high, step = _values(spec, x)
    entries = int(np.prod(spec.event_shape))
    columns = spec.columns or [str(column) for column in range(entries)]
    return {
        "kind": "image" if spec.is_image else "row",
        "shape": list(spec.event_shape),
        "columns": [] if spec.is_image else list(columns),
        "low": low,
        "high": high,
        "support": spec.support,
        "step": step,
        "ranges": None if x is None or spec.is_image else [list(_ends(column)) for column in x.reshape(len(x), -1).T],
        "order": None if x is None or spec.is_image else _order_of_columns(x.reshape(len(x), -1)),
    }


def _latent(chart: Map) -> dict[str, Any]:
    order, (mean, spread) = chart.order, chart.moments
    with chart.held.working("prior"):
        p = chart.held.prior(1)
        freedom = _freedom(chart.held, p)
    return {
        "dimensions": len(order.entries),
        "order": order.entries,
        "active": order.active,
        "carried": order.carried,
        "measure": order.measure,
        "mean": listed(mean),
        "spread": listed(spread),
        "follows": isinstance(p, Chain),
    } | freedom


def _freedom(held: Held, p: Distribution) -> dict[str, Any]:
    """Whether one entry of the latent can be moved alone, and why not."""
    if held.can_be(drawn(p, 1) + A_MOVE):
        return {"movable": True, "reason": None, "spherical": False}
    supports = [q.support for q in held.supports]
    if any(support is not None and support.is_discrete for support in supports):
        reason = "The latent is made of classes, and there is nothing between them."
        return {"movable": False, "reason": reason, "spherical": False}
    reason = "The latent lies on a sphere, on which no entry can move alone."
    return {"movable": False, "reason": reason, "spherical": len(supports) == 1}


def _tempers(held: Held) -> bool:
    """Whether a temperature changes the prior's draws; it does nothing to a prior that is uniform, and some have none."""

    def draws(temperature: float) -> Tensor:
        with held.working("temperature"):
            return drawn(held.model.prior(held.conditions(None, DRAWS), temperature=temperature), DRAWS)

    try:
        return not torch.equal(draws(0.0), draws(1.0))
    except InputError:
        return False


def _data(chart: Map) -> dict[str, Any]:
    view = chart.view
    labels = view.batch.labels
    codes = [] if labels is None or labels.is_floating_point() or labels.ndim != 1 else labels.tolist()
    return {
        "split": view.split,
        "count": len(view.batch),
        "labels": [code if code >= 0 else None for code in codes] or None,
        "label_names": list(view.spec.label_names),
        "places": listed(chart.plane.project(view.z)),
        "conditions": conditions.as_given(view.spec, view.batch.context),
    }


def _evidence(run: Run, split: str | None) -> str | None:
    """The evidence that the run keeps of a split, or of the first that has any."""
    for name in (split, "test", "valid", "train"):
        found = run.metrics.get(name, {}) if name else {}
        nll, elbo = _metric(found, "nll_nats"), _metric(found, "elbo_nats")
        if nll is not None and elbo is not None:
            stderr = _metric(found, "nll_stderr_nats")
            error = "" if stderr is None else f" ± {stderr:.1f}"
            said = f"On the {name} split the mean log p(x) is about {-nll:.1f}{error} nats, and its lower bound {elbo:.1f}."
            return said.replace("-", "\N{MINUS SIGN}")
    return None


def _metric(found: dict[str, Any], name: str) -> float | None:
    value = found.get(name, {}).get("value")
    return known(value) if isinstance(value, int | float) else None


def _values(spec: Spec, x: NDArray[Any] | None) -> tuple[float | None, float | None, float | None]:
    """The least and the largest value of an entry, and the step between two values where there is one."""
    low, high = (None, None) if x is None else _ends(x)
    if spec.support == "binary":
        return 0.0, 1.0, 1.0
    if spec.support == "levels" and spec.levels is not None:
        return 0.0, spec.levels - 1.0, 1.0
    if spec.support == "counts":
        return 0.0, high, 1.0
    return (0.0, 1.0, None) if spec.support == "unit" else (low, high, None)


def _order_of_columns(x: NDArray[Any]) -> list[int]:
    """The columns of x (N, C): as they stand where a page shows them all at once, else those that vary most first."""
    if x.shape[1] <= COLUMNS:
        return list(range(x.shape[1]))
    known = np.isfinite(x)
    variance = np.where(known, x, 0.0).var(0, where=known | ~known.any(0), dtype=np.float64)
    return np.argsort(-variance, kind="stable").tolist()


def _ends(x: NDArray[Any]) -> tuple[float | None, float | None]:
    x = x[np.isfinite(x)]
    return (float(x.min()), float(x.max())) if len(x) else (None, None)

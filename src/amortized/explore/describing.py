"""What a page must know of a run before it asks anything: its data's and its latent's description, and its map.

Where the data are there, the entries of the latent stand in the order of what they carry of the data, and the map is the view's.
Where they are gone, an entry counts by what it does: the mean square change of E[x | z] when it moves by one standard deviation of
the prior, from points drawn from it; and the map is the plane of the first two.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from amortized.distributions import representative
from amortized.distributions.center import in_support
from amortized.explore.asking import known, listed
from amortized.explore.conditions import as_given
from amortized.recipes.spec import Spec
from amortized.report.view import Plane, View
from amortized.tasks.traverse import Ranking

PRIOR_POINTS = 500
"""Draws from the prior on the map."""

PROBES = 16
"""Points from which entries of the latent are moved to see what they do."""

DEAD = 1e-4
"""The share of the largest response below which an entry does nothing."""


def event(spec: Spec, x: NDArray[Any] | None) -> dict[str, Any]:
    """One datum; `x` (N, *event) are the data, where they are there."""
    low, high, step = _values(spec, x)
    columns = spec.columns or tuple(str(column) for column in range(int(np.prod(spec.event_shape))))
    return {
        "kind": "image" if spec.is_image else "row",
        "shape": list(spec.event_shape),
        "columns": [] if spec.is_image else list(columns),
        "low": low,
        "high": high,
        "support": spec.support,
        "step": step,
        "ranges": None if x is None or spec.is_image else [list(_ends(column)) for column in x.reshape(len(x), -1).T],
    }


def latent(ranking: Ranking | None, order: list[int], active: int, moments: tuple[NDArray[Any], NDArray[Any]]) -> dict[str, Any]:
    """The latent, its entries in the order of a ranking."""
    carried = {} if ranking is None else dict(zip(ranking.dimensions.tolist(), listed(ranking.carried), strict=True))
    return {
        "dimensions": len(order),
        "order": order,
        "active": active,
        "carried": [carried.get(entry) for entry in order],
        "measure": None if ranking is None else ranking.measure,
        "mean": listed(moments[0]),
        "spread": listed(moments[1]),
    }


def freedom(p: Distribution) -> dict[str, Any]:
    """Whether one entry of the latent can be moved alone, by its prior, and why not."""
    z = representative(p)
    if in_support(p, z + 0.123):
        return {"movable": True, "reason": None, "spherical": False}
    discrete = bool(getattr(p.support, "is_discrete", False))
    reason = "The latent is made of classes, between which there is nothing." if discrete else (
        "The latent lies on a sphere, on which no entry can move alone."
    )  # fmt: skip
    return {"movable": False, "reason": reason, "spherical": not discrete}


def data(view: View, place: Callable[[NDArray[Any]], NDArray[Any]]) -> dict[str, Any]:
    """The data of the map; `place` tells where latents lie."""
    labels = view.batch.labels
    coded = labels is not None and not labels.is_floating_point() and labels.ndim == 1
    return {
        "split": view.split,
        "count": len(view.batch),
        "labels": [code if code >= 0 else None for code in labels.tolist()] if coded else None,  # pyright: ignore[reportOptionalMemberAccess]
        "label_names": list(view.spec.label_names),
        "places": listed(place(view.z)),
        "conditions": as_given(view.spec, view.batch.context),
    }


def plane(view: View) -> Plane:
    """The view's plane, of two axes even where there are too few data for a second one."""
    if not np.isfinite(view.z).all():
        return coordinates(view.latents, (0, min(1, view.latents - 1)), np.zeros(view.latents, np.float32))
    found = view.plane
    axes = np.zeros((2, view.latents), np.float32)
    axes[: len(found.axes)] = found.axes
    return Plane(found.origin, axes, found.kind)


def coordinates(dimensions: int, entries: tuple[int, int], origin: NDArray[Any]) -> Plane:
    """The plane of two entries of the latent."""
    if dimensions <= 2:
        kind = "latent" if dimensions == 2 else "one"
        return Plane(np.zeros(dimensions, np.float32), np.eye(2, dimensions, dtype=np.float32), kind)
    return Plane(origin.astype(np.float32), np.eye(dimensions, dtype=np.float32)[list(entries)], "axes")


def responses(decode: Callable[[NDArray[Any]], NDArray[Any]], z: NDArray[Any], spread: NDArray[Any]) -> NDArray[np.float32]:
    """(D,) what each entry does to E[x | z], from points z (M, D), when it moves by its `spread` (D,)."""
    z = z[:PROBES]
    before, found = decode(z), []
    for entry, size in enumerate(spread):
        moved = z.copy()
        moved[:, entry] += size
        found.append(np.square(decode(moved) - before).mean())
    return np.nan_to_num(np.array(found, np.float32))


def evidence(run: Any, split: str | None) -> str | None:
    """The evidence that the run keeps of a split, or of the first that has any, in one sentence."""
    for name in (split, "test", "valid", "train"):
        found = run.metrics.get(name, {}) if name else {}
        nll, elbo = _metric(found, "nll_nats"), _metric(found, "elbo_nats")
        if nll is not None:
            bound = "" if elbo is None else f", by the bound it was trained on at least {elbo:.1f} nats"
            return f"A {name} datum has a log p(x) of {-nll:.1f} nats on average{bound}."
    return None


def moments_of(p: Distribution, draw: Callable[[], Tensor]) -> tuple[NDArray[Any], NDArray[Any]]:
    """(D,) each: mean and standard deviation of a prior, in closed form or of draws (M, D)."""
    try:
        mean, spread = p.mean.reshape(-1).cpu().numpy(), p.stddev.reshape(-1).cpu().numpy()
    except (NotImplementedError, AttributeError):
        drawn = draw()
        return drawn.mean(0).cpu().numpy(), drawn.std(0).cpu().numpy()
    return mean, spread


def _metric(found: dict[str, Any], name: str) -> float | None:
    value = found.get(name, {}).get("value")
    return known(value) if isinstance(value, int | float) else None


def _values(spec: Spec, x: NDArray[Any] | None) -> tuple[float | None, float | None, float | None]:
    """The least and the largest value of an entry, and the step between two values where there is one."""
    seen = (None, None) if x is None else _ends(x)
    if spec.support == "binary":
        return 0.0, 1.0, 1.0
    if spec.support == "levels" and spec.levels is not None:
        return 0.0, spec.levels - 1.0, 1.0
    if spec.support == "counts":
        return 0.0, seen[1], 1.0
    return (0.0, 1.0, None) if spec.support == "unit" else (*seen, None)


def _ends(x: NDArray[Any]) -> tuple[float | None, float | None]:
    x = x[np.isfinite(x)]
    return (float(x.min()), float(x.max())) if len(x) else (None, None)

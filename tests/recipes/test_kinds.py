# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
"""Each kind of each part, in a covering array: every kind once with data that it fits."""

import itertools
import math
import typing
from typing import Any

import numpy as np
import pytest

from amortized import InputError, fit
from amortized.recipes import NAMED
from amortized.recipes.messages import _descriptions, _kind
from amortized.recipes.recipe import ModelDescription, Recipe

RNG = np.random.default_rng(0)
BINARY = (RNG.random((40, 6, 5)) < 0.4).astype(np.uint8)
LEVELS = RNG.integers(0, 5, (40, 6, 5)).astype(np.uint8)
LEVELS[0, 0, 0] = 4
REAL = RNG.normal(size=(40, 6, 5)).astype(np.float32)
COUNTS = RNG.poisson(3.0, (40, 7)).astype(np.int64)
FITTING = {
    "bernoulli": BINARY,
    "gaussian": REAL,
    "laplace": REAL,
    "categorical": LEVELS,
    "binomial": LEVELS,
    "discretized-logistic": LEVELS,
    "poisson": COUNTS,
    "negative-binomial": COUNTS,
}


def kinds(owner: Any, name: str) -> list[str]:
    annotation = typing.get_type_hints(owner, include_extras=True)[name]
    return [kind for each in _descriptions(annotation) if (kind := _kind(each))]


def covering() -> list[dict[str, str]]:
    """Rows that hold each kind of likelihood with each posterior, and every other kind in turn."""
    network, prior, objective = (
        itertools.cycle(each)
        for each in (kinds(ModelDescription, "network"), kinds(ModelDescription, "prior"), kinds(Recipe, "objective"))
    )
    rows = []
    for likelihood, posterior in itertools.product(kinds(ModelDescription, "likelihood"), kinds(ModelDescription, "posterior")):
        row = {"likelihood": likelihood, "posterior": posterior, "network": next(network), "prior": next(prior)}
        if FITTING[likelihood].ndim == 2 and row["network"] == "conv":
            row["network"] = "gated-mlp"
        row["objective"] = "elbo" if posterior == "delta" else next(objective)
        rows.append(row)
    return rows


def small(network: str) -> dict[str, Any]:
    return {"channels": [4]} if network == "conv" else {"hidden": [6]}


@pytest.mark.parametrize("row", covering(), ids=lambda row: "-".join(row.values()))
def test_every_kind_is_built_trained_and_evaluated(row: dict[str, str]):
    data = FITTING[row["likelihood"]]
    network = {"kind": row["network"], **small(row["network"])}
    run = fit(data, latent_dim=2, steps=2, batch_size=16, quiet=True, **row | {"network": network})
    metrics = run.evaluate(samples=2).metrics
    assert all(math.isfinite(metric.value) for metric in metrics.values())
    assert run.sample(3).shape == (3, *data.shape[1:])


def test_the_array_covers_every_kind():
    rows = covering()
    for name, owner in (("network", ModelDescription), ("prior", ModelDescription), ("objective", Recipe)):
        assert {row[name] for row in rows} == set(kinds(owner, name))
    assert {row["likelihood"] for row in rows} == set(FITTING)


SCALES = ["learned", "per-entry", "predicted", "optimal", 0.5]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_every_scale_of_real_values_is_built_and_trained(kind: str, scale: str | float):
    likelihood = {"kind": kind, "scale": scale}
    run = fit(REAL, likelihood=likelihood, steps=2, batch_size=16, quiet=True, network={"kind": "mlp", "hidden": [6]})
    assert math.isfinite(run.evaluate(samples=2).metrics["elbo_nats"].value)


@pytest.mark.parametrize("inject", ["input", "layers", "film"])
@pytest.mark.parametrize("encoding", ["one-hot", "embedding"])
def test_conditions_reach_every_part(inject: str, encoding: str):
    rng = np.random.default_rng(1)
    arrays = {"x": rng.normal(size=(40, 4)).astype(np.float32), "y": rng.integers(0, 3, 40)}
    run = fit(
        arrays,
        context=["label"],
        prior="gaussian",
        steps=2,
        batch_size=16,
        quiet=True,
        network={"kind": "mlp", "hidden": [6], "inject": inject},
        **{"data.encoding": encoding, "model.condition": ["prior", "posterior", "likelihood"]},
    )
    assert run.sample(4, context={"label": 2}).shape == (4, 4)
    assert math.isfinite(run.evaluate(samples=2).metrics["elbo_nats"].value)


SUITED = {"vae": REAL, "conv-vae": LEVELS, "burda-vae": LEVELS, "burda-iwae": LEVELS, "linear": REAL}


@pytest.mark.parametrize("name", NAMED)
def test_every_named_recipe_is_built_and_trained(name: str):
    run = fit(SUITED[name], recipe=name, steps=2, quiet=True)
    assert math.isfinite(run.evaluate(samples=2).metrics["elbo_nats"].value)


def test_parts_that_do_not_fit_each_other_are_refused():
    small = {"steps": 1, "quiet": True}
    with pytest.raises(InputError, match="network 'conv' needs images"):
        fit(COUNTS, network="conv", **small)
    with pytest.raises(InputError, match="prior 'normal' takes no condition"):
        fit({"x": REAL, "y": np.arange(40) % 2}, context=["label"], **small, **{"model.condition": ["prior"]})
    with pytest.raises(InputError, match="objective 'iwae' needs"):
        fit(REAL, posterior="delta", objective="iwae", **small)

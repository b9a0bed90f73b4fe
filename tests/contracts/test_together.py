# pyright: reportArgumentType=false
"""Every kind of part with every other: a covering array in which each pair of kinds meets, built, trained and evaluated."""

import itertools
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from amortized import InputError, fit
from amortized.recipes.compatibility import REFUSED, markdown, refusal, roles

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 5, (24, 4, 3)).astype(np.uint8)
IMAGES[0, 0, 0] = 4
BINARY = (IMAGES > 2).astype(np.uint8)
REAL = RNG.normal(size=(24, 4, 3)).astype(np.float32)
LABELS = np.arange(24) % 3
UNIT = RNG.uniform(0.01, 0.99, size=(24, 4, 3)).astype(np.float32)
COUNTS = RNG.poisson(3.0, (24, 4, 3)).astype(np.int64)
DATA = {
    "bernoulli": BINARY,
    "continuous-bernoulli": UNIT,
    "gaussian": REAL,
    "laplace": REAL,
    "student-t": REAL,
    "gaussian-mixture": REAL,
    "categorical": IMAGES,
    "ordinal": IMAGES,
    "binomial": IMAGES,
    "multinomial": COUNTS,
    "discretized-logistic": IMAGES,
    "logistic-mixture": IMAGES,
    "poisson": COUNTS,
    "negative-binomial": COUNTS,
    "zinb": COUNTS,
    "beta": UNIT,
    "pixelcnn": BINARY,
}
SMALL: dict[str, dict[str, Any]] = {
    "prior vamp": {"components": 5},
    "prior flow": {"hidden": [6], "transforms": 2},
    "prior autoregressive": {"hidden": [6]},
    "posterior planar": {"flows": 2},
    "posterior radial": {"flows": 2},
    "posterior sylvester": {"flows": 2},
    "posterior iaf": {"flows": 2, "hidden": [6], "summary": 4},
    "posterior spline": {"flows": 2, "hidden": [6], "summary": 4},
    "posterior mixture": {"components": 2},
    "posterior categorical": {"classes": 3},
    "posterior semi-amortized": {"steps": 2},
    "likelihood pixelcnn": {"channels": 4, "layers": 2, "kernel": 3, "context_channels": 2},
    "likelihood logistic-mixture": {"components": 2},
    "likelihood gaussian-mixture": {"components": 2},
    "hierarchy bottom-up": {"latent_dims": [2]},
    "hierarchy top-down": {"latent_dims": [2]},
    "hierarchy ladder": {"latent_dims": [2]},
    "network mlp": {"hidden": [6]},
    "network gated-mlp": {"hidden": [6]},
    "network conv": {"channels": [4]},
}


ROLES = {**roles(), "network": ["mlp", "gated-mlp", "conv"], "condition": ["none", "label"]}
Row = dict[str, str]


def is_refused(row: Row) -> bool:
    return refusal(row) is not None


def pairs() -> list[Row]:
    """Every pair of kinds of two roles that is not refused."""
    both = [
        {role: kind, other: another}
        for role, other in itertools.combinations(ROLES, 2)
        for kind, another in itertools.product(ROLES[role], ROLES[other])
    ]
    return [pair for pair in both if not is_refused(pair)]


def covering() -> list[Row]:
    """Rows of kinds, none with a refused pair, in which each pair meets: greedily, the pairs that no row has yet first."""
    noise = random.Random(0)
    missing = {tuple(sorted(pair.items())) for pair in pairs()}
    rows = []
    while missing:
        row = dict(noise.choice(sorted(missing)))
        for role in noise.sample(sorted(set(ROLES) - set(row)), len(ROLES) - len(row)):
            fitting = [kind for kind in ROLES[role] if not is_refused({**row, role: kind})]
            if not fitting:
                break
            row[role] = max(fitting, key=lambda kind: (_gain({**row, role: kind}, missing), noise.random()))
        if len(row) < len(ROLES):  # a dead end, because of three kinds none of which goes with the others' rest
            continue
        missing -= _pairs_of(row)
        rows.append(row)
    return rows


def _pairs_of(row: Row) -> set[tuple]:
    return {tuple(sorted(pair)) for pair in itertools.combinations(row.items(), 2)}


def _gain(row: Row, missing: set[tuple]) -> int:
    return len(_pairs_of(row) & missing)


def options(row: Row) -> dict[str, Any]:
    """A row as options of `fit`, with small parts."""
    made: dict[str, Any] = {
        f"model.{role}" if role != "objective" else role: {"kind": kind, **SMALL.get(f"{role} {kind}", {})}
        for role, kind in row.items()
        if kind != "none" and role != "condition"
    }
    if row["objective"] == "iwae":
        made["objective.samples"] = 2
    if row["condition"] != "none":
        takes_it = row["prior"] not in ("normal", "uniform") or row["hierarchy"] != "none"
        condition = ["posterior", "likelihood", *(["prior"] if takes_it else [])]
        made |= {"context": "label", "model.condition": condition}
    return made


COVERING = covering()


@pytest.mark.parametrize("row", COVERING, ids=["-".join(row.values()) for row in COVERING])
def test_kinds_that_go_together_are_built_trained_and_evaluated(row: Row):
    data = DATA[row["likelihood"]]
    run = fit({"x": data, "y": LABELS}, latent_dim=2, steps=2, batch_size=12, quiet=True, **options(row))
    metrics = run.evaluate(samples=2).metrics
    assert metrics
    assert all(math.isfinite(metric.value) for metric in metrics.values())
    assert run.sample(3).shape == (3, *data.shape[1:])


@pytest.mark.parametrize("each", REFUSED, ids=lambda each: " ".join((*each.first, *each.second)))
def test_kinds_that_do_not_go_together_are_refused_in_one_sentence(each):
    asked = dict((each.first, each.second))
    rest = {
        role: next((kind for kind in kinds if not _also_refused({**asked, role: kind}, each)), kinds[0])
        for role, kinds in ROLES.items()
        if role not in asked
    }
    row = {**rest, **asked}
    with pytest.raises(InputError) as error:
        fit({"x": DATA[row["likelihood"]], "y": LABELS}, latent_dim=2, steps=2, batch_size=12, quiet=True, **options(row))
    assert str(error.value).count("\n") == 0
    if "objective" not in asked:  # there the sentence is that of the objective
        found = refusal(row)  # another one, where no row has this pair alone
        assert found is not None
        assert found.reason in str(error.value)


def _also_refused(row: Row, known) -> bool:
    return any(
        other is not known and all(row.get(role) == kind for role, kind in (other.first, other.second)) for other in REFUSED
    )


def test_the_array_covers_every_pair_and_every_kind_has_data():
    met = set().union(*map(_pairs_of, COVERING))
    assert all(tuple(sorted(pair.items())) in met for pair in pairs())
    assert set(DATA) == set(ROLES["likelihood"])
    assert len(COVERING) > 200


def test_the_tables_of_the_documentation_are_those_of_the_list():
    page = Path(__file__).parents[2] / "docs" / "compatibility.md"
    assert page.read_text(encoding="utf-8") == markdown(), "write it anew with `make docs`"

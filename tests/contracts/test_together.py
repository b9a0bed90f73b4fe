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
from amortized.recipes import choices
from amortized.recipes.compatibility import DISCRETE, NOT_DISCRETE, REFUSED, TABLES, markdown, refusal, roles

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
    **{f"objective {kind}": {"samples": 2} for kind in ("iwae", "ciwae", "dreg", "renyi", "rloo", "vimco")},
    "objective miwae": {"samples": 4, "groups": 2},
    "objective piwae": {"samples": 4, "groups": 2},
    "objective factor": {"hidden": [6]},
    "objective infomax": {"hidden": [6]},
}


ROLES = {**roles(), "network": ["mlp", "gated-mlp", "conv"], "condition": ["none", "label"]}
Row = dict[str, str]


def is_refused(row: Row) -> bool:
    """Whether two of its kinds do not go together, or its estimator is one of a posterior that it cannot have."""
    if refusal(row) is not None:
        return True
    if "estimator" not in row:
        return False
    if "posterior" not in row:
        return all(is_refused({**row, "posterior": kind}) for kind in ROLES["posterior"])
    return not suits(row)


def suits(row: Row) -> bool:
    """Whether the estimator is one that the posterior can have, where the row has both."""
    both = "posterior" in row and "estimator" in row
    return not both or (row["posterior"] in DISCRETE) == (row["estimator"] != NOT_DISCRETE)


def can_be_completed(row: Row) -> bool:
    if is_refused(row):
        return False
    role = next((role for role in ROLES if role not in row), None)
    return role is None or any(can_be_completed({**row, role: kind}) for kind in ROLES[role])


def pairs() -> list[Row]:
    """Every pair of kinds of two roles that is in some row."""
    both = [
        {role: kind, other: another}
        for role, other in itertools.combinations(ROLES, 2)
        for kind, another in itertools.product(ROLES[role], ROLES[other])
    ]
    return [pair for pair in both if can_be_completed(pair)]


PAIRS = pairs()


def covering() -> list[Row]:
    """Rows of kinds, none with a refused pair, in which each pair meets: greedily, the pairs that no row has yet first."""
    noise = random.Random(0)
    missing = {tuple(sorted(pair.items())) for pair in PAIRS}
    rows = []
    while missing:
        row = dict(noise.choice(sorted(missing)))
        for role in noise.sample(sorted(set(ROLES) - set(row)), len(ROLES) - len(row)):
            fitting = [kind for kind in ROLES[role] if not is_refused({**row, role: kind})]
            if not fitting:
                break
            row[role] = max(fitting, key=lambda kind: (_gain(row, (role, kind), missing), noise.random()))
        if len(row) < len(ROLES):  # a dead end, because of three kinds none of which goes with the others' rest
            continue
        missing -= _pairs_of(row)
        rows.append(row)
    return rows


def _pairs_of(row: Row) -> set[tuple]:
    return {tuple(sorted(pair)) for pair in itertools.combinations(row.items(), 2)}


def _gain(row: Row, added: tuple[str, str], missing: set[tuple]) -> int:
    """How many pairs that no row has yet a row gets by one more kind."""
    return sum(tuple(sorted((each, added))) in missing for each in row.items())


def options(row: Row) -> dict[str, Any]:
    """A row as options of `fit`, with small parts."""
    made: dict[str, Any] = {
        f"model.{role}" if role != "objective" else role: {"kind": kind, **SMALL.get(f"{role} {kind}", {})}
        for role, kind in row.items()
        if kind != "none" and role not in ("condition", "estimator")
    }
    if row["estimator"] != NOT_DISCRETE:
        made["model.posterior"]["estimator"] = row["estimator"]
    if row["condition"] != "none":
        takes_it = row["prior"] not in ("normal", "uniform") or row["hierarchy"] != "none"
        condition = ["posterior", "likelihood", *(["prior"] if takes_it else [])]
        made |= {"context": "label", "model.condition": condition}
    return made


COVERING = covering()


@pytest.mark.parametrize("row", COVERING, ids=["-".join(row.values()) for row in COVERING])
def test_kinds_that_go_together_are_built_trained_and_evaluated(row: Row):
    run = fitted(row)
    metrics = run.evidence(samples=2).metrics
    assert metrics
    assert all(math.isfinite(metric.value) for metric in metrics.values())
    assert run.sample(3).shape == (3, *DATA[row["likelihood"]].shape[1:])


def row_of(each) -> Row:
    """A row with two kinds that do not go together, and others that go with both where there are some."""
    row = dict((each.first, each.second))
    for role in [role for role in ROLES if role not in row]:
        suited = [kind for kind in ROLES[role] if suits({**row, role: kind})]
        row[role] = min(suited, key=lambda kind, role=role: _also_refused({**row, role: kind}, each))
    return row


def fitted(row: Row):
    data = {"x": DATA[row["likelihood"]], "y": LABELS}
    return fit(data, latent_dim=2, steps=2, batch_size=12, quiet=True, **options(row))


@pytest.mark.parametrize("each", REFUSED, ids=lambda each: " ".join((*each.first, *each.second)))
def test_kinds_that_do_not_go_together_are_refused_in_one_sentence(each):
    row = row_of(each)
    with pytest.raises(InputError) as error:
        fitted(row)
    assert str(error.value).count("\n") == 0
    found = refusal(row)  # another one, where no row has this pair alone
    assert found is not None
    assert found.reason in str(error.value)


BY_SPACE = ("prior", "uniform")  # no posterior that the objective takes has it: what is refused first is another pair
OF_OBJECTIVES = [each for each in REFUSED if each.second[0] == "objective" and each.first != BY_SPACE]


@pytest.mark.parametrize("each", OF_OBJECTIVES, ids=lambda each: " ".join((*each.first, *each.second)))
def test_what_the_table_refuses_an_objective_is_refused_by_what_model_and_objective_declare(each, monkeypatch):
    """So are models that are composed by hand, which no table knows."""
    monkeypatch.setattr(choices, "refuse", lambda _: None)
    with pytest.raises(InputError, match="needs .*, which a (VAE|Hierarchical) with posterior"):
        fitted(row_of(each))


def _also_refused(row: Row, known) -> int:
    """How many pairs besides a known one are refused."""
    return sum(
        other is not known and all(row.get(role) == kind for role, kind in (other.first, other.second)) for other in REFUSED
    )


def test_the_array_covers_every_pair_and_every_kind_has_data():
    met = set().union(*map(_pairs_of, COVERING))
    assert all(tuple(sorted(pair.items())) in met for pair in PAIRS)
    assert set(DATA) == set(ROLES["likelihood"])
    assert len(COVERING) > 200


@pytest.mark.parametrize(("role", "other"), TABLES)
def test_a_pair_that_the_documentation_allows_is_in_some_row(role: str, other: str):
    for kind, another in itertools.product(ROLES[role], ROLES[other]):
        pair = {role: kind, other: another}
        assert refusal(pair) is not None or pair in PAIRS or {other: another, role: kind} in PAIRS


def test_the_tables_of_the_documentation_are_those_of_the_list():
    page = Path(__file__).parents[2] / "docs" / "compatibility.md"
    assert page.read_text(encoding="utf-8") == markdown(), "write it anew with `make docs`"

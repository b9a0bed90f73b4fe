"""The script of the published tables: its configurations are valid, and its table is that of the results in the repository."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from amortized import InputError

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
spec = importlib.util.spec_from_file_location("published", EXPERIMENTS / "published.py")
assert spec is not None
assert spec.loader is not None
published = importlib.util.module_from_spec(spec)
sys.modules["published"] = published
spec.loader.exec_module(published)

SHORT = [row for row in published.ROWS if not row.is_full_only]
RESULTS = sorted(EXPERIMENTS.glob("results/static-mnist-*/seed-*.json"))


@pytest.mark.parametrize("row", SHORT, ids=lambda row: row.name)
def test_rows_of_the_short_schedule_differ_in_the_part_that_they_are_about_and_in_nothing_else(row):
    base = published.configure(SHORT[0], 0, full=False, changes=[]).model_dump()
    recipe = published.configure(row, 0, full=False, changes=[]).model_dump()
    assert recipe["training"] == base["training"]
    assert recipe["objective"] == base["objective"]
    assert recipe["data"] == base["data"]
    different = {name for name, value in recipe["model"].items() if value != base["model"][name]}
    about = {"vae": set(), "vamp": {"prior"}, "hvae-vamp": {"prior", "hierarchy"}}
    assert different == about.get(row.name.removeprefix("static-mnist-"), {"posterior"})


@pytest.mark.parametrize("row", published.ROWS, ids=lambda row: row.name)
def test_the_full_schedule_is_the_named_recipe(row):
    recipe = published.configure(row, 3, full=True, changes=["training.epochs=7"])
    assert recipe.seed == 3
    assert recipe.training.epochs == 7
    assert published.configure(row, 3, full=True, changes=[]).training.epochs == 2000


def test_the_orders_are_of_rows_that_there_are():
    for full, orders in published.ORDERS.items():
        known = {row.name for row in published.chosen([], full=full)}
        assert all(set(names) <= known for _, names in orders)
    with pytest.raises(InputError, match="unknown row 'static-mnist-vamps'"):
        published.chosen(["static-mnist-vamps"], full=False)


def test_an_order_that_does_not_come_out_is_said():
    def result(name, elbo):
        return {"name": name, "seed": 0, "metrics": {"elbo_nats": -elbo, "nll_nats": elbo}}

    names = published.ORDERS[False][1][1]
    right = [result(name, 90.0 - rank) for rank, name in enumerate(names)]
    assert published.orders(False, right) == ["negative ELBO, seed 0: the published order came out."]
    wrong = [result(name, 90.0 + rank) for rank, name in enumerate(names)]
    (sentence,) = published.orders(False, wrong)
    assert f"{names[1]} is not below {names[0]}" in sentence


def test_the_table_is_that_of_the_results(tmp_path):
    for path in RESULTS:
        target = tmp_path / path.relative_to(EXPERIMENTS / "results")
        target.parent.mkdir(exist_ok=True)
        target.write_text(path.read_text())
        assert json.loads(path.read_text())["samples"] == 5000
    assert published.write_table(tmp_path) == (EXPERIMENTS / "results" / "published.md").read_text()

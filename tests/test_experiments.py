"""The scripts of the experiments: their configurations are valid, and their tables are those of the results in the repository."""

import importlib
import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from amortized import InputError

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))
published = importlib.import_module("published")
dsprites = importlib.import_module("dsprites")
record = importlib.import_module("record")
STATIC, DYNAMIC = published.TABLES
SHORT = [row for row in published.ROWS if not row.is_full_only]


def short(row):
    return published.configure(row, 0, full=False, changes=[])


@pytest.mark.parametrize("row", [row for row in SHORT if row in STATIC.rows], ids=lambda row: row.name)
def test_static_rows_of_the_short_schedule_differ_in_the_part_that_they_are_about_and_in_nothing_else(row):
    base, recipe = short(STATIC.rows[0]).model_dump(), short(row).model_dump()
    assert recipe["training"] == base["training"]
    assert recipe["objective"] == base["objective"]
    assert recipe["data"] == base["data"]
    different = {name for name, value in recipe["model"].items() if value != base["model"][name]}
    about = {"vae": set(), "vamp": {"prior"}, "hvae-vamp": {"prior", "hierarchy"}}
    assert different == about.get(row.name.removeprefix("static-mnist-"), {"posterior"})


@pytest.mark.parametrize(
    ("row", "samples"), [*zip(DYNAMIC.rows, (1, 5, 50, 5), strict=True)], ids=lambda value: getattr(value, "name", "")
)
def test_dynamic_rows_of_the_short_schedule_differ_in_the_objective_alone(row, samples):
    base, recipe = short(DYNAMIC.rows[0]).model_dump(), short(row).model_dump()
    objective = recipe.pop("objective")
    base.pop("objective")
    assert recipe == base
    assert objective["samples"] == samples
    assert objective["kind"] in row.name or row is DYNAMIC.rows[0]
    assert recipe["training"]["steps"] * recipe["training"]["batch_size"] == 10 * 60_000
    assert recipe["data"]["binarize"] == "dynamic"


@pytest.mark.parametrize("row", published.ROWS, ids=lambda row: row.name)
def test_the_full_schedule_is_the_named_recipe(row):
    recipe = published.configure(row, 3, full=True, changes=["training.epochs=7"])
    assert recipe.seed == 3
    assert recipe.training.epochs == 7
    full = published.configure(row, 3, full=True, changes=[])
    if row in STATIC.rows:
        assert full.training.epochs == 2000
    else:
        assert full.training.epochs == 3280 or full.training.steps == 5_000_000
        assert full.model == short(row).model
        assert full.data == short(row).data
        assert full.objective == short(row).objective


@pytest.mark.parametrize(("parts", "pages", "status"), [([True, True], 3, 0), ([True, False, True], 1, 1)])
def test_what_was_done_is_on_the_page_also_where_the_rest_is_interrupted(tmp_path, capsys, parts, pages, status):
    written = []

    def write(results):
        written.append(results)
        return "page"

    arguments = Namespace(threads=torch.get_num_threads(), results=tmp_path)
    assert record.carry_out(arguments, lambda _: iter(parts), write) == status
    assert written == [tmp_path] * pages
    assert capsys.readouterr().out == ("page" if status == 0 else "Interrupted; the same command goes on with it.\n")


def test_data_that_are_not_there_end_an_experiment_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AMORTIZED_DATA", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["experiments/dsprites.py", "--results", str(tmp_path), "vae"])
    assert dsprites.main() == 2
    words = f"dsprites.py: there is no '{tmp_path}/dsprites.npz'; set AMORTIZED_DATA to the folder that has dsprites.npz.\n"
    assert capsys.readouterr().err == words


def test_an_unknown_name_is_refused_with_those_that_there_are(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["experiments/dsprites.py", "vea"])
    with pytest.raises(SystemExit, match="2"):
        dsprites.main()
    assert "unknown name 'vea'; choose from vae, beta-vae, beta-tcvae, factor-vae\n" in capsys.readouterr().err


def test_the_orders_are_of_rows_that_there_are():
    for full in (False, True):
        known = {row.name for row in published.chosen([], full=full)}
        assert all(set(names) <= known for table in published.TABLES for _, names in table.orders[full])
    assert published.chosen(["dynamic-mnist"], full=False) == list(DYNAMIC.rows)
    assert published.chosen(["static-mnist-iaf"], full=False) == [row for row in STATIC.rows if row.name == "static-mnist-iaf"]
    with pytest.raises(InputError, match="unknown row 'static-mnist-vamps'"):
        published.chosen(["static-mnist-vamps"], full=False)


def test_an_order_is_that_of_the_papers_numbers():
    for table in published.TABLES:
        papers = {row.name: row.paper for row in table.rows}
        for measure, names in table.orders[True]:
            assert [papers[name] for name in names] == sorted((papers[name] for name in names), reverse=True)
            assert {row.measure for row in table.rows if row.name in names} == {measure}


def test_an_order_that_does_not_come_out_is_said():
    def result(name, elbo):
        return {"name": name, "seed": 0, "metrics": {"elbo_nats": -elbo, "nll_nats": elbo}}

    names = STATIC.orders[False][1][1]
    right = [result(name, 90.0 - rank) for rank, name in enumerate(names)]
    assert published.orders(STATIC, False, right) == ["negative ELBO, seed 0: the published order came out."]
    wrong = [result(name, 90.0 + rank) for rank, name in enumerate(names)]
    (sentence,) = published.orders(STATIC, False, wrong)
    assert f"{names[1]} is not below {names[0]}" in sentence
    first, second = DYNAMIC.orders[False]
    every = [result(row.name, row.paper) for row in DYNAMIC.rows]
    said = [f"NLL of {', '.join(names)}, seed 0: the published order came out." for _, names in (first, second)]
    assert published.orders(DYNAMIC, False, every) == said


@pytest.mark.parametrize("table", published.TABLES, ids=lambda table: table.name)
def test_the_table_is_that_of_the_results(table, tmp_path):
    for path in sorted(EXPERIMENTS.glob(f"results/{table.name}-*/seed-*.json")):
        target = tmp_path / path.relative_to(EXPERIMENTS / "results")
        target.parent.mkdir(exist_ok=True)
        target.write_text(path.read_text())
        result = json.loads(path.read_text())
        assert result["samples"] == 5000
        assert result.get("images", 10_000) == (10_000 if table.images is None or "full" in result["name"] else table.images)
    assert published.write_table(table, tmp_path) == (EXPERIMENTS / "results" / table.file).read_text()


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("results/*-mnist-*/seed-*.json")), ids=lambda path: path.parent.name)
def test_a_result_is_of_the_configuration_that_is_asked_for_now(path):
    result = json.loads(path.read_text())
    row = next(row for row in published.ROWS if row.name == result["name"].removesuffix("-full"))
    recipe = published.configure(row, result["seed"], full=result["name"].endswith("-full"), changes=[])
    assert record.is_asked(result["asked"], recipe)


@pytest.mark.parametrize("name", dsprites.MODELS)
def test_models_of_dsprites_differ_in_the_objective_alone(name):
    base, recipe = dsprites.configure("vae", 3).model_dump(), dsprites.configure(name, 3).model_dump()
    assert (base.pop("objective")["kind"] == recipe.pop("objective")["kind"]) == (name == "vae")
    assert recipe == base
    assert recipe["model"]["posterior"]["network"]["hidden"] == [1200, 1200]
    assert recipe["model"]["likelihood"]["network"]["hidden"] == [1200, 1200, 1200]
    assert (recipe["seed"], recipe["training"]["epochs"]) == (3, 6)


def test_the_page_of_dsprites_is_that_of_its_results_and_shows_its_pictures(tmp_path):
    folder = EXPERIMENTS / "results" / "dsprites"
    (tmp_path / "dsprites").mkdir()
    for path in folder.glob("*.json"):
        (tmp_path / "dsprites" / path.name).write_text(path.read_text())
        picture = folder / json.loads(path.read_text())["picture"]["file"]
        assert picture.stat().st_size < 200_000
    assert dsprites.write_page(tmp_path) == (EXPERIMENTS / "results" / "dsprites.md").read_text()

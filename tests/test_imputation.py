"""The script of the imputation experiment: its protocol, and its table is that of the results in the repository."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from amortized.recipes import make_recipe, named

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))
imputation = importlib.import_module("imputation")
RESULTS = sorted(EXPERIMENTS.glob("results/imputation/*.json"))


def test_half_of_the_entries_are_hidden_whatever_their_values():
    x = np.random.default_rng(0).standard_normal((101, 7))
    seen = imputation.hide(x, 3)
    hidden = np.isnan(seen)
    assert hidden.sum() == x.size // 2
    assert (seen[~hidden] == x[~hidden]).all()
    assert (hidden == np.isnan(imputation.hide(-x, 3))).all()
    assert (hidden != np.isnan(imputation.hide(x, 4))).any()


def test_a_table_is_standardized_by_all_of_its_values(tmp_path, monkeypatch):
    np.savez(tmp_path / "tabular_uci.npz", yeast_x=np.array([[1.0, 5.0], [3.0, 9.0]]))
    monkeypatch.setenv("AMORTIZED_DATA", str(tmp_path))
    assert imputation.load_table("yeast").tolist() == [[-1, -1], [1, 1]]


@pytest.mark.parametrize(("rows", "steps"), [(40, 250), (569, 2000), (1372, 4000)])
def test_the_full_schedule_is_the_named_recipe_and_the_short_one_has_another_likelihood(rows, steps):
    full, short = (imputation.configure(rows, 2, full=full).model_dump() for full in (True, False))
    recipe = make_recipe([named("missing-iwae")]).model_dump()
    for part in ("model", "objective", "training"):
        assert full[part] == recipe[part]
    assert {name for name, value in short["model"].items() if value != recipe["model"][name]} == {"likelihood"}
    assert short["objective"] == recipe["objective"]
    changed = {name: value for name, value in short["training"].items() if value != recipe["training"][name]}
    assert changed == {"steps": steps, "schedule": "cosine"}
    assert full["data"]["splits"] == short["data"]["splits"] == (1.0, 0.0, 0.0)
    assert full["seed"] == short["seed"] == 2


def result(error, other, seed=0):
    mse = {"missing-iwae": error, "iterative": other, "mean": 1.0}
    return {"mse": mse, "seed": seed}


def test_a_comparison_is_by_the_mean_over_masks_and_counts_the_masks():
    first, second, *_ = imputation.TABLES
    found = {first: [result(0.4, 0.5), result(0.6, 0.55, 1)], second: [result(0.9, 0.8)]}
    by_iterative, by_mean = imputation.comparisons(found)
    assert by_iterative == "Below IterativeImputer on 1 of 2 tables (banknote), and on 1 of 3 masks."
    assert by_mean == "Below mean on 2 of 2 tables (banknote, breast cancer), and on 3 of 3 masks."
    assert imputation.summary(found[first], "missing-iwae") == "0.500 ± 0.141"


def test_a_table_is_imputed_and_its_result_is_kept(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "tabular_uci.npz", yeast_x=rng.standard_normal((60, 1)) + 0.1 * rng.standard_normal((60, 4)))
    monkeypatch.setenv("AMORTIZED_DATA", str(tmp_path))
    monkeypatch.setattr(imputation, "MOST_STEPS", 2)
    folders = ["--out", str(tmp_path / "runs"), "--results", str(tmp_path / "results"), "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["imputation.py", "yeast", "--seeds", "0", *folders])
    assert imputation.main() == 0
    made = json.loads((tmp_path / "results" / "imputation" / "yeast-seed-0.json").read_text())
    assert made["hidden"] == 120
    assert 0.5 < made["mse"]["mean"] < 2
    assert made["mse"]["iterative"] < 0.5 * made["mse"]["mean"]  # the columns are nearly one
    assert "| yeast | 60 x 4 | 1 |" in capsys.readouterr().out
    assert imputation.main() == 0
    assert "done already" in capsys.readouterr().out


def test_the_table_is_that_of_the_results(tmp_path):
    if not RESULTS:
        pytest.skip("the experiment has not been run")
    (tmp_path / "imputation").mkdir()
    for path in RESULTS:
        (tmp_path / "imputation" / path.name).write_text(path.read_text())
    assert imputation.write_page(tmp_path) == (EXPERIMENTS / "results" / "imputation.md").read_text()


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_is_of_the_configuration_that_is_asked_for_now(path):
    made = json.loads(path.read_text())
    assert make_recipe([made["asked"]]) == imputation.configure(made["rows"], made["seed"], full=made["name"].endswith("-full"))
    assert made["samples"] == imputation.SAMPLES

# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import csv
import importlib.util
import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import amortized as am
from amortized import InputError
from amortized.cli import main
from amortized.cli.studies import values_of
from amortized.report.rate_distortion_figure import write_rate_distortion
from amortized.sweeping import running
from amortized.training.loop import Loop

SMALL: dict[str, Any] = {"latent_dim": 2, "model.network.hidden": [8], "batch_size": 16, "epochs": 1, "quiet": True}
WORDS = ["--latent-dim", "2", "--model.network.hidden", "[8]", "--batch-size", "16", "--quiet", "--epochs"]


@pytest.fixture(autouse=True)
def _no_picture(monkeypatch):
    """Drawing takes longer than fitting so little."""
    monkeypatch.setattr(running, "write_rate_distortion", lambda path, rows, options: False)


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32)


@pytest.fixture
def file(x: np.ndarray, tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", x=x)
    return tmp_path / "x.npz"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_combination_is_a_run_with_its_values_and_its_evidence(file: Path, tmp_path: Path):
    found = am.sweep(file, over={"objective.beta": [0.5, 2], "latent_dim": [1, 3]}, out=tmp_path / "out", **without("latent_dim"))
    names = ["beta=0.5,latent_dim=1", "beta=0.5,latent_dim=3", "beta=2.0,latent_dim=1", "beta=2.0,latent_dim=3"]
    assert [point.name for point in found.points] == names
    for point in found.points:
        run = am.load_run(tmp_path / "out" / point.name)
        assert run.recipe.model is not None
        assert run.recipe.model.latent_dim == point.values["model.latent_dim"]
        assert run.recipe.objective.beta == point.values["objective.beta"]  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        stated = run.metrics["test"]
        for name, value in point.metrics.items():
            assert name == "active_units" or stated[name]["value"] == value
        assert point.metrics["elbo_nats"] == pytest.approx(-point.metrics["rate_nats"] - point.metrics["distortion_nats"])
        assert stated["nll_nats"]["samples"] == 100


def without(*names: str) -> dict[str, Any]:
    return {name: value for name, value in SMALL.items() if name not in names}


def test_a_larger_weight_of_the_kl_gives_a_smaller_rate(tmp_path: Path):
    options = SMALL | {"epochs": 3, "latent_dim": 4, "model.network.hidden": [32], "batch_size": 64}
    found = am.sweep("digits", over={"objective.beta": [0.1, 1, 30]}, **options)
    rates = [point.metrics["rate_nats"] for point in found.points]
    assert rates == sorted(rates, reverse=True)
    assert found.finished
    assert found.path is None
    assert list(tmp_path.iterdir()) == []


def test_the_files_hold_what_the_record_holds(file: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(running, "write_rate_distortion", write_rate_distortion)
    found = am.sweep(file, over={"objective.beta": [0.5, 2]}, out=tmp_path / "out", samples=7, split="valid", **SMALL)
    record = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert (record["split"], record["samples"]) == ("valid", 7)
    assert [point["metrics"] for point in record["points"]] == [point.metrics for point in found.points]
    with (tmp_path / "out" / "sweep.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [row["name"] for row in rows] == ["beta=0.5", "beta=2.0"]
    assert [float(row["rate_nats"]) for row in rows] == [point.metrics["rate_nats"] for point in found.points]
    assert (tmp_path / "out" / "rate-distortion.png").exists() == (importlib.util.find_spec("matplotlib") is not None)
    assert found.has_figure == (tmp_path / "out" / "rate-distortion.png").exists()


def test_what_is_finished_is_kept_to_the_byte_and_new_values_are_added(file: Path, tmp_path: Path):
    first = am.sweep(file, over={"objective.beta": [0.5, 2]}, out=tmp_path / "out", **SMALL)
    before = contents(tmp_path / "out" / "beta=0.5")
    second = am.sweep(file, over={"objective.beta": [0.5, 1, 2]}, out=tmp_path / "out", **SMALL)
    assert contents(tmp_path / "out" / "beta=0.5") == before
    assert [point.name for point in second.points] == ["beta=0.5", "beta=1.0", "beta=2.0"]
    assert [second.points[0], second.points[2]] == list(first.points)
    assert am.sweep(file, over={"objective.beta": [0.5, 1, 2]}, out=tmp_path / "out", **SMALL).points == second.points


def test_a_point_that_fails_takes_none_of_the_finished_ones_with_it(file: Path, tmp_path: Path, monkeypatch):
    am.sweep(file, over={"objective.beta": [0.5]}, out=tmp_path / "out", **SMALL)
    before, fit = contents(tmp_path / "out" / "beta=0.5"), running.fit

    def failing(data, *, out=None, **given):
        if "beta=8.0" in str(out):
            raise KeyboardInterrupt
        return fit(data, out=out, **given)

    monkeypatch.setattr(running, "fit", failing)
    with pytest.raises(KeyboardInterrupt):
        am.sweep(file, over={"objective.beta": [4, 8, 0.5]}, out=tmp_path / "out", **SMALL)
    points = json.loads((tmp_path / "out" / "sweep.json").read_text())["points"]
    assert [point["name"] for point in points] == ["beta=4.0", "beta=0.5"]
    assert contents(tmp_path / "out" / "beta=0.5") == before


def test_a_sweep_that_a_signal_stopped_goes_on_to_the_same_numbers(file: Path, tmp_path: Path, monkeypatch, capsys):
    whole = am.sweep(file, over={"objective.beta": [0.5, 2]}, out=tmp_path / "whole", **SMALL | {"epochs": 4})
    validate, epochs = Loop._validate, []

    def stopped_in_the_sixth(self, epoch, reporter):
        epochs.append(epoch)
        if len(epochs) == 6:
            signal.raise_signal(signal.SIGINT)
        return validate(self, epoch, reporter)

    monkeypatch.setattr(Loop, "_validate", stopped_in_the_sixth)
    words = ["sweep", str(file), "--over", "objective.beta=0.5,2", "--out", str(tmp_path / "out"), *WORDS, "4"]
    assert main(words) == 128 + signal.SIGINT
    assert "1 of 2 points are finished" in capsys.readouterr().out
    assert main(words) == 0
    assert len(epochs) == 8  # the first point was not fitted again, and the second not from its beginning
    resumed = json.loads((tmp_path / "out" / "sweep.json").read_text())["points"]
    assert [point["metrics"] for point in resumed] == [point.metrics for point in whole.points]


@pytest.mark.parametrize(
    ("over", "options", "message"),
    [
        ({}, {}, "a sweep is over the values of an option"),
        ({"objective.beta": []}, {}, "give a list of one or more"),
        ({"prior": "vamp"}, {}, "give a list of one or more"),
        ({"objective.bta": [1, 2]}, {}, "objective.bta"),
        ({"objective.beta": [1, "much"]}, {}, "objective.beta"),
        ({"prior": ["normal", "vmap"]}, {}, "unknown kind 'vmap'"),
        ({"objective": ["elbo", "iwae"], "posterior": ["gaussian", "delta"]}, {}, "does not go with"),
        ({"likelihood": ["gaussian", "bernoulli"]}, {}, "bernoulli"),
        ({"objective.beta": [1, 2, 1.0]}, {}, "the point 'beta=1.0' twice"),
        ({"objective.beta": [1, 2]}, {"objective.beta": 3}, "given one value besides"),
        ({"latent_dim": [1], "model.latent_dim": [2]}, {}, "swept over twice"),
        ({"objective.beta": [1, 2]}, {"samples": 0}, "samples must be a positive integer"),
        ({"objective.beta": [1, 2]}, {"split": "tset"}, "unknown split 'tset'"),
        ({"objective.beta": [1, 2]}, {"devices": 2}, "in one process"),
        ({"objective.beta": [1, 2]}, {"data.splits": [0.9, 0.1, 0.0]}, "the test split of .* is empty"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(x, tmp_path, over, options, message):
    with pytest.raises(InputError, match=message):
        am.sweep(x, over=over, out=tmp_path / "out", **without(*(["latent_dim"] if "latent_dim" in over else [])) | options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_else_is_left_as_it_is(file: Path, tmp_path: Path):
    over = {"objective.beta": [0.5]}
    am.sweep(file, over=over, out=tmp_path / "out", **SMALL)
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"holds a run with training.epochs = 1, and 2 is asked for"):
        am.sweep(file, over=over, out=tmp_path / "out", **SMALL | {"epochs": 2})
    np.savez(file, x=np.ones((80, 4), np.float32) + np.random.default_rng(3).normal(size=(80, 4)).astype(np.float32))
    with pytest.raises(InputError, match="holds a run on other data"):
        am.sweep(file, over=over, out=tmp_path / "out", **SMALL)
    assert contents(tmp_path / "out") == before
    with pytest.raises(InputError, match="holds no sweep"):
        am.sweep(file, over=over, out=file.parent, **SMALL)


def test_a_point_that_collapsed_is_named(x: np.ndarray):
    found = am.sweep(x, over={"objective.beta": [1000.0]}, **SMALL | {"epochs": 40, "lr": 0.03})
    assert found.points[0].collapsed
    assert found.points[0].metrics["active_units"] == 0
    assert "Posterior collapse at beta=1000.0" in str(found)


def test_the_command_prints_a_table_and_says_where_the_sweep_is(file: Path, tmp_path: Path, capsys):
    words = ["sweep", str(file), "--over", "objective.beta=0.5,2", "--out", str(tmp_path / "out"), *WORDS, "1"]
    assert main(words) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    header = next(line for line in lines if "objective.beta" in line)
    assert header.split() == ["objective.beta", "rate_nats", "distortion_nats", "elbo_nats", "nll_nats", "active_units"]
    assert [line.split()[0] for line in lines if line.strip().startswith(("0.5 ", "2 "))] == ["0.5", "2"]
    assert f"The sweep is in {tmp_path / 'out'}." in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep", "--over", "objective.beta=1,2"], "sweep needs data"),
        (["sweep", "digits"], "over"),
        (["sweep", "digits", "--over", "objective.beta"], "names no values"),
        (["sweep", "digits", "--over", "objective.beta=1,,2"], "names no values"),
        (["sweep", "digits", "--over", "seed=1", "--over", "seed=2"], "the same option twice"),
        (["sweep", "digits", "--over", "seed=1", "--epcohs", "3"], "did you mean 'epochs'"),
    ],
)
def test_the_command_refuses_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_commas_within_brackets_are_a_values_own():
    assert values_of("a.b=[1,2],[3]") == ("a.b", ["[1,2]", "[3]"])
    assert values_of("a={kind: x, n: 2},y") == ("a", ["{kind: x, n: 2}", "y"])


def test_a_picture_needs_a_rate(tmp_path: Path):
    assert not write_rate_distortion(tmp_path / "out.png", [{"b": 1, "distortion_nats": 2.0}], ["b"])
    assert list(tmp_path.iterdir()) == []


def test_the_picture_shows_every_point_at_its_rate_and_distortion(tmp_path: Path, monkeypatch):
    axes_of = pytest.importorskip("matplotlib.axes").Axes
    drawn = []
    plot = axes_of.plot
    monkeypatch.setattr(
        axes_of, "plot", lambda self, x, y, *a, **k: drawn.append((x, y, k["label"])) or plot(self, x, y, *a, **k)
    )
    rows = [
        {"beta": beta, "seed": seed, "rate_nats": 9.0 / beta + seed, "distortion_nats": 20.0 + beta}
        for beta in (1, 3)
        for seed in (0, 1)
    ]
    assert write_rate_distortion(tmp_path / "out.png", rows, ["beta", "seed"])
    assert drawn == [([3.0, 9.0], [23.0, 21.0], "seed = 0"), ([4.0, 10.0], [23.0, 21.0], "seed = 1")]
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")

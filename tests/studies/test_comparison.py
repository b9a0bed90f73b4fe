import json

import numpy as np
import pytest
import torch

import amortized as am
from amortized import InputError
from amortized.cli import main

QUICK = {"epochs": 1, "model.network.hidden": [16], "accelerator": "cpu", "quiet": True}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs")
    am.fit("digits", out=path / "two", latent_dim=2, **QUICK)
    am.fit("digits", out=path / "eight", latent_dim=8, **QUICK)
    am.fit("digits", out=path / "seed", latent_dim=2, seed=1, **QUICK)
    return path


def test_the_error_of_a_difference_is_that_of_the_differences(folders):
    made = am.compare([folders / "two", folders / "eight"], samples=20)
    first, second = (am.load_run(folders / name).evidence(samples=20).elbo for name in ("two", "eight"))
    assert first is not None
    assert second is not None
    difference = (second - first).numpy()
    found = made.runs[1].differences["elbo_nats"]
    assert found.value == pytest.approx(difference.mean())
    assert found.stderr == pytest.approx(difference.std(ddof=1) / np.sqrt(len(difference)))
    assert made.runs[1].is_paired


def test_a_run_differs_from_itself_by_nothing(folders):
    run = am.load_run(folders / "two")
    made = am.compare([run, run], samples=20)
    assert all(d.value == 0 and d.stderr == 0 for d in made.runs[1].differences.values())


def test_of_other_data_the_errors_add_in_squares_and_a_note_says_so(folders):
    made = am.compare([folders / "two", folders / "seed"], samples=20)
    first, second = (each.evidence.elbo for each in made.runs)
    assert first is not None
    assert second is not None
    stderr = torch.stack([values.var() / len(values) for values in (first, second)]).sum().sqrt()
    assert made.runs[1].differences["elbo_nats"].stderr == pytest.approx(float(stderr))
    assert any("Not paired" in note and "seed" in note for note in made.notes)


def test_data_that_are_given_are_the_same_for_all(folders):
    x = np.random.default_rng(0).integers(0, 17, (30, 8, 8)).astype(np.uint8)
    made = am.compare([folders / "two", folders / "seed"], x, samples=5)
    assert made.runs[1].is_paired
    assert len(made.runs[0].evidence.distortion) == 30


def test_a_point_mass_has_a_distortion_to_compare_and_no_bound(folders, tmp_path):
    am.fit("digits", out=tmp_path / "delta", posterior="delta", latent_dim=2, **QUICK)
    made = am.compare([folders / "two", tmp_path / "delta"], samples=5)
    assert list(made.runs[1].differences) == ["distortion_nats"]
    assert "delta" in str(made)


def test_one_run_is_none_to_compare():
    with pytest.raises(InputError, match="at least two"):
        am.compare(["somewhere"])


def test_the_command_prints_and_writes(folders, tmp_path, capsys):
    out = tmp_path / "compared.json"
    assert main(["compare", str(folders / "two"), str(folders / "eight"), "--samples", "20", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert "difference" in text
    rows = {(row["run"], row["metric"]): row for row in json.loads(out.read_text())}
    made = am.compare([folders / "two", folders / "eight"], samples=20)
    assert rows["eight", "nll_nats"]["difference"] == pytest.approx(made.runs[1].differences["nll_nats"].value)
    assert main(["compare", str(folders / "two"), str(folders / "eight"), "--out", str(tmp_path / "c.npz")]) == 2
    assert main(["compare", str(folders / "two"), str(tmp_path / "nowhere")]) == 2

"""The script of the disentanglement experiment: what it scores, and how its page sums up."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

EXPERIMENTS = Path(__file__).parents[1] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))
disentanglement = importlib.import_module("disentanglement")


def write_results(folder, scores):
    (folder / "disentanglement").mkdir()
    for (name, seed), score in scores.items():
        result = {
            "name": name,
            "seed": seed,
            "metrics": dict.fromkeys(disentanglement.COLUMNS, score),
            "active": [0, 3],
            "commit": "0123456789+changes",
        }
        (folder / "disentanglement" / f"{name}-{seed}.json").write_text(json.dumps(result))


def test_the_factors_are_those_of_the_grid_in_its_order():
    factors = disentanglement.factors()
    assert factors.shape == (46_080, 5)
    assert (factors.reshape(*disentanglement.SHAPE, 5)[2, 4, 1, 8, 9] == [2, 4, 1, 8, 9]).all()


def test_differences_are_paired_by_seed(tmp_path):
    scores = {("vae", 0): 0.1, ("vae", 1): 0.3, ("vae", 2): 0.2, ("factor-vae", 1): 0.5, ("factor-vae", 0): 0.2}
    write_results(tmp_path, scores)
    page = disentanglement.write_page(tmp_path)
    assert "| vae | 3 | 0.200 ± 0.058 |" in page  # sqrt(0.01 / 3)
    assert "| factor-vae | 2 | 0.350 ± 0.150 |" in page
    assert "| factor-vae | 0.150 ± 0.050 |" in page  # of 0.1 and 0.2, whatever the seeds themselves make of it
    assert "| factor-vae | 0.43 | 0.350 ± 0.150 | 0.350 ± 0.150 | 2 2 | 0123456+ |" in page


def test_one_seed_has_no_error_and_no_vae_no_differences(tmp_path):
    write_results(tmp_path, {("beta-vae", 0): 0.25})
    page = disentanglement.write_page(tmp_path)
    assert "| beta-vae | 1 | 0.250 | 0.250 |" in page
    assert "difference from the VAE" not in page


def test_principal_components_are_those_of_the_averaged_images():
    x = (np.random.default_rng(0).uniform(size=(60, 64, 64)) < 0.5).astype(np.uint8)
    small = x.reshape(60, 16, 4, 16, 4).mean((2, 4)).reshape(60, -1)
    spread = np.linalg.svd(small - small.mean(0), compute_uv=False)[:10]
    found = disentanglement.principal_components(x)
    assert np.sqrt((found**2).sum(0)) == pytest.approx(spread, rel=1e-3)


@pytest.mark.skipif(not (EXPERIMENTS / "results" / "disentanglement.md").exists(), reason="there are no results yet")
def test_the_page_is_that_of_the_results(tmp_path):
    (tmp_path / "disentanglement").mkdir()
    for path in (EXPERIMENTS / "results" / "disentanglement").glob("*.json"):
        (tmp_path / "disentanglement" / path.name).write_text(path.read_text())
    assert disentanglement.write_page(tmp_path) == (EXPERIMENTS / "results" / "disentanglement.md").read_text()

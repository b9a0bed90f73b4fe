# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import amortized as am
from amortized import InputError, fit, from_pretrained, train
from amortized.objectives import Objective, iwae
from amortized.recipes import Recipe, make_recipe
from amortized.training.checkpoints import read_tensors

SMALL: dict[str, Any] = {"latent_dim": 2, "model.network.hidden": [8], "batch_size": 16, "epochs": 2, "quiet": True}


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)


def model() -> am.VAE:
    torch.manual_seed(0)
    return am.VAE(
        am.priors.StandardNormal(2),
        am.posteriors.DiagonalGaussian(am.networks.MLP(12, [8]), event=2),
        am.likelihoods.Gaussian(am.networks.MLP(2, [8]), event=12),
    )


def test_the_configuration_of_a_run_makes_the_same_run_again(x: np.ndarray, tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=x)
    options = SMALL | {"prior": "gaussian", "objective": {"kind": "beta", "warmup_epochs": 1}, "training.ema": 0.9, "seed": 3}
    fit(tmp_path / "x.npz", out=tmp_path / "first", **options)
    fit(config=tmp_path / "first" / "config.yaml", out=tmp_path / "second", quiet=True)
    first, second = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("first", "second"))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    for name in ("metrics.json", "config.yaml", "config.json"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "second" / name).read_text()


def test_a_run_folder_holds_all_that_belongs_to_a_run(x: np.ndarray, tmp_path: Path):
    run = fit(x, out=tmp_path / "run", **SMALL)
    names = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    described = {"config.yaml", "config.json", "history.csv", "metrics.json", "environment.json"}
    assert names == described | {"model.safetensors", "checkpoints/last.safetensors"}
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert environment["seed"] == 0
    assert environment["fingerprint"]
    assert run.path == tmp_path / "run"


def test_a_recipe_a_file_and_options_override_each_other_in_this_order(x: np.ndarray, tmp_path: Path):
    (tmp_path / "layer.yaml").write_text("training:\n  epochs: 3\n  lr: 0.02\nmodel:\n  latent_dim: 5\n")
    run = fit(x, recipe="linear", config=tmp_path / "layer.yaml", epochs=1, quiet=True)
    assert run.recipe.model is not None
    assert (run.recipe.training.epochs, run.recipe.training.lr, run.recipe.model.latent_dim) == (1, 0.02, 5)
    assert run.recipe.training.schedule == "cosine"


def test_a_whole_recipe_may_be_given(x: np.ndarray):
    recipe = make_recipe([{"model": {"latent_dim": 3, "network": {"hidden": [4]}}, "training": {"epochs": 1, "batch_size": 16}}])
    assert isinstance(recipe, Recipe)
    assert fit(x, recipe=recipe, quiet=True).encode(x).shape == (60, 3)


def test_an_existing_run_is_left_as_it_is(x: np.ndarray, tmp_path: Path):
    fit(x, out=tmp_path / "run", **SMALL)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="already holds a run"):
        fit(x, out=tmp_path / "run", **SMALL)
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_data_that_do_not_fit_leave_no_folder(tmp_path: Path):
    with pytest.raises(InputError, match="bernoulli"):
        fit(np.full((20, 3), 0.5), likelihood="bernoulli", out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


def test_what_was_chosen_is_said_and_quiet_says_nothing(x: np.ndarray, capsys: pytest.CaptureFixture[str]):
    fit(x, **SMALL | {"quiet": False})
    printed = capsys.readouterr()
    assert "Likelihood 'gaussian':" in printed.out
    assert "Training on" in printed.out
    fit(x, precision="bf16", **SMALL)
    assert capsys.readouterr() == ("", "")


def test_a_function_of_terms_an_objective_and_a_name_all_train_a_model(x: np.ndarray):
    def half(t: am.Terms) -> Tensor:
        return 0.5 * (t.log_px - t.kl.sum(0)).mean(0)

    for objective in (half, Objective(iwae, samples=3), "beta"):
        run = train(model(), x, objective, epochs=2, batch_size=16, quiet=True)
        assert len(run.history) == 2
    assert run.history[0]["beta"] == 4.0


def test_an_objective_of_the_users_own_is_asked_for_when_a_run_goes_on(x: np.ndarray, tmp_path: Path):
    np.savez(tmp_path / "x.npz", x=x)
    train(model(), tmp_path / "x.npz", iwae, out=tmp_path / "run", epochs=1, batch_size=16, quiet=True)
    with pytest.raises(InputError, match="composed by hand; give the model again"):
        fit(resume=tmp_path / "run", epochs=2, quiet=True)
    run = train(model(), None, iwae, resume=tmp_path / "run", epochs=2, quiet=True)
    assert len(run.history) == 2


def test_data_handed_over_are_asked_for_when_a_run_goes_on(x: np.ndarray, tmp_path: Path):
    fit(x, out=tmp_path / "run", **SMALL)
    with pytest.raises(InputError, match="handed over in Python.*give them again"):
        fit(resume=tmp_path / "run", epochs=3, quiet=True)
    assert len(fit(x, resume=tmp_path / "run", epochs=3, quiet=True).history) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dmi": 2}, "unknown option 'latent_dmi'; .*latent_dim"),
        ({"prior": "vmap"}, "unknown kind 'vmap' of model.prior"),
        ({"model.network.hidden": [-3]}, r"model\.network\.hidden.* is -3"),
        ({"training.lr": 0}, "training.lr is 0"),
        ({"recipe": "burda"}, "unknown recipe 'burda'; .*burda-vae"),
        ({"objective": "iwae", "posterior": "delta"}, "posterior 'delta' does not go with objective 'iwae'"),
    ],
)
def test_a_mistake_is_answered_with_the_way_out(options: dict[str, Any], message: str, x: np.ndarray):
    with pytest.raises(InputError, match=message):
        fit(x, quiet=True, **options)


def test_a_shared_model_keeps_the_splits_of_its_seed(tmp_path):
    run = fit("digits", seed=3, latent_dim=2, steps=2, quiet=True, **{"model.network.hidden": [8]})
    run.save_pretrained(tmp_path / "shared")
    shared = from_pretrained(tmp_path / "shared")
    np.testing.assert_array_equal(shared.rows(split="test").x, run.rows(split="test").x)


def test_going_on_with_a_finished_run_keeps_its_evaluation(tmp_path):
    run = fit("digits", latent_dim=2, steps=2, quiet=True, out=tmp_path / "run", **{"model.network.hidden": [8]})
    run.evidence(samples=20)
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    fit(resume=tmp_path / "run", quiet=True)
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before


def test_a_run_evaluates_its_own_source_by_name_on_its_test_split():
    run = fit("digits", latent_dim=2, steps=2, quiet=True, **{"model.network.hidden": [8]})
    assert len(run.evidence("digits", samples=2).distortion) == len(run.evidence(samples=2).distortion)


def test_an_option_without_its_group_is_answered_with_its_full_name():
    with pytest.raises(InputError, match="did you mean 'data.scale'"):
        fit("digits", quiet=True, scale="unit")


def test_conditions_may_be_given_as_text_with_commas():
    x = np.random.default_rng(0).normal(size=(40, 3))
    data = {"x": x, "site": np.arange(40) % 2, "age": np.linspace(0, 1, 40)}
    run = fit(data, context="site,age", latent_dim=2, steps=2, quiet=True, **{"model.network.hidden": [8]})
    assert list(run.spec.conditions) == ["site", "age"]


def test_a_file_goes_over_the_default_recipe_unless_it_names_another_or_none(x: np.ndarray, tmp_path: Path):
    path = tmp_path / "layer.yaml"
    for text, expected in (("", (20, 16)), ("recipe: conv-vae\n", (10, 32)), ("recipe: null\n", (None, 16))):
        path.write_text(f"{text}batch-size: 16\nnetwork: mlp\nsteps: 1\n")
        recipe = fit(x, config=path, quiet=True).recipe
        assert recipe.model is not None
        assert (recipe.training.patience, recipe.model.latent_dim) == expected
        assert (recipe.training.batch_size, recipe.training.steps) == (16, 1)


def test_nothing_in_a_whole_configuration_is_overridden_by_the_default_recipe(x: np.ndarray, tmp_path: Path):
    first = fit(x, out=tmp_path / "run", **SMALL | {"training.patience": None})
    again = fit(x, config=tmp_path / "run" / "config.yaml", quiet=True)
    assert first.recipe == again.recipe
    assert again.recipe.training.patience is None


def test_a_run_goes_on_with_a_lower_rate_and_clipped_gradients(x: np.ndarray, tmp_path: Path):
    fit(x, out=tmp_path / "run", **SMALL)
    run = fit(x, resume=tmp_path / "run", epochs=3, lr=1e-5, quiet=True, **{"training.clip_norm": 1.0})
    assert [row["lr"] for row in run.history] == [1e-3, 1e-3, 1e-5]
    with pytest.raises(InputError, match="'training.batch_size' cannot change"):
        fit(x, resume=tmp_path / "run", batch_size=3, quiet=True)

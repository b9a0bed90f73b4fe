import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import amortized as am
from amortized import InputError, from_pretrained, load_run, train

OPTIONS: dict[str, Any] = {"epochs": 1, "batch_size": 16, "quiet": True}


class Cut(nn.Module):
    """A network of the user's own: no `in_shape`, no context."""

    out_features = 6

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(12, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.layer(x.flatten(1)))


def compose(latent: int = 2) -> am.VAE:
    return am.VAE(
        am.priors.StandardNormal(latent),
        am.posteriors.DiagonalGaussian(Cut(), event=latent),
        am.likelihoods.Gaussian(am.networks.MLP(latent, [8]), event=(12,)),
    )


@pytest.fixture
def x() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32)


def test_a_model_composed_by_hand_is_trained_saved_and_loaded(x: np.ndarray, tmp_path: Path):
    run = train(compose(), x, out=tmp_path / "run", **OPTIONS)
    loaded = load_run(tmp_path / "run", model=compose())
    np.testing.assert_array_equal(loaded.encode(x), run.encode(x))
    np.testing.assert_array_equal(loaded.sample(3, seed=1), run.sample(3, seed=1))
    assert loaded.history == run.history
    assert loaded.metrics == run.metrics
    assert not loaded.model.training  # pyright: ignore[reportAttributeAccessIssue]


def test_a_model_composed_by_hand_cannot_be_loaded_without_it_or_with_another(x: np.ndarray, tmp_path: Path):
    train(compose(), x, out=tmp_path / "run", **OPTIONS)
    with pytest.raises(InputError, match="composed by hand; compose it again and give it as model="):
        load_run(tmp_path / "run")
    with pytest.raises(InputError, match=r"tensor '.*' in '.*' has shape"):
        load_run(tmp_path / "run", model=compose(3))
    other = am.VAE(am.priors.Gaussian(2), *(compose().parts[name] for name in ("posterior", "likelihood")))
    with pytest.raises(InputError, match="lacks tensor 'parts.prior"):
        load_run(tmp_path / "run", model=other)
    with pytest.raises(InputError, match="data of shape"):
        train(compose(), x[:, :5], **OPTIONS)


def test_a_model_is_saved_and_loaded_alone_without_a_network(x: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = am.fit(x, latent_dim=2, **OPTIONS)
    run.save_pretrained(tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("the network was used"))
    loaded = from_pretrained(tmp_path / "model")
    np.testing.assert_array_equal(loaded.encode(x), run.encode(x))
    np.testing.assert_array_equal(loaded.reconstruct(x), run.reconstruct(x))
    with pytest.raises(InputError, match="handed over in Python"):
        loaded.evaluate()


def test_a_name_that_is_no_folder_and_cannot_be_fetched_is_one_sentence(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(InputError, match="there is no folder 'nowhere'; give one that"):
        from_pretrained("nowhere")
    real = builtins.__import__

    def without_hub(name: str, *rest: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_hub)
    with pytest.raises(InputError, match="'owner/model'; to fetch it from the hub, install the extra"):
        from_pretrained("owner/model")


def test_weights_that_are_not_there_or_half_there_are_named(x: np.ndarray, tmp_path: Path):
    am.fit(x, latent_dim=2, out=tmp_path / "run", **OPTIONS)
    weights = tmp_path / "run" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    with pytest.raises(InputError, match="not a whole safetensors file"):
        load_run(tmp_path / "run")
    weights.unlink()
    with pytest.raises(InputError, match="has no weights yet; finish it with `amortized fit --resume`"):
        load_run(tmp_path / "run")


def test_a_run_in_float64_is_loaded_in_float64(x: np.ndarray, tmp_path: Path):
    run = am.fit(x, latent_dim=2, precision="64", out=tmp_path / "run", **OPTIONS)
    loaded = load_run(tmp_path / "run")
    assert loaded.encode(x).dtype == np.float64
    np.testing.assert_array_equal(loaded.encode(x), run.encode(x))


def test_data_of_another_shape_and_unknown_splits_are_refused(x: np.ndarray):
    run = am.fit(x, latent_dim=2, **OPTIONS)
    with pytest.raises(InputError, match=r"the model was fitted on \(12,\)"):
        run.encode(x[:, :4])
    with pytest.raises(InputError, match="unknown split 'tets'.*test"):
        run.evaluate(split="tets")
    with pytest.raises(InputError, match="30 pairs need 60 data"):
        run.interpolate(n=30)

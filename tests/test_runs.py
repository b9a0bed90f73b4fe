import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
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
        loaded.evidence()


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
        run.evidence(split="tets")
    with pytest.raises(InputError, match="30 pairs need 60 data"):
        run.interpolate(n=30)


def test_one_datum_is_encoded_reconstructed_and_evaluated(x: np.ndarray):
    run = am.fit(x, latent_dim=2, **OPTIONS)
    np.testing.assert_allclose(run.encode(x[:1]), run.encode(x)[:1], atol=1e-5)
    assert run.reconstruct(x[:1]).shape == (1, 12)
    assert len(run.evidence(x[:1], samples=2).distortion) == 1
    assert run.encode(torch.utils.data.TensorDataset(torch.tensor(x[:1]))).shape == (1, 2)
    assert run.encode([torch.tensor(row) for row in x[:1]]).shape == (1, 2)
    with pytest.raises(InputError, match="has 1 row; learning"):
        am.fit(x[:1], **OPTIONS)


def test_labels_of_the_fit_do_not_bind_later_data(x: np.ndarray, tmp_path: Path):
    run = am.fit({"x": x, "kind": np.arange(60) % 3}, labels="kind", context="label", latent_dim=2, **OPTIONS)
    assert run.encode((x, np.arange(60) % 3)).shape == (60, 2)
    with pytest.raises(InputError, match="'label' has no class '3'"):
        run.encode((x, np.arange(60) % 4))
    plain = am.fit({"x": x, "kind": np.arange(60) % 3}, labels="kind", latent_dim=2, **OPTIONS)
    assert plain.encode(x).shape == (60, 2)
    assert plain.encode({"x": x, "kind": np.zeros(60, int)}).shape == (60, 2)
    rows = np.column_stack([x, np.arange(60) % 3])
    for name, table in (("all.csv", rows), ("few.csv", rows[:1])):
        np.savetxt(tmp_path / name, table, delimiter=",")
    table = am.fit(tmp_path / "all.csv", labels="12", latent_dim=2, **OPTIONS)
    assert table.encode(tmp_path / "few.csv").shape == (1, 2)


def test_labels_that_cannot_be_read_are_named_and_do_not_become_data(x: np.ndarray):
    frame = pandas.DataFrame(x).add_prefix("c").assign(kind=np.arange(60) % 3)
    run = am.fit(frame, labels="kind", latent_dim=2, **OPTIONS)
    with pytest.raises(InputError, match="array 'labels' .*nan at row 3"):
        run.encode(frame.assign(kind=[float("nan") if row == 3 else row % 3 for row in range(60)]))


def test_data_that_bring_splits_are_used_by_split_and_others_whole(x: np.ndarray):
    run = am.fit(x, latent_dim=2, **OPTIONS)
    parts = {"train_x": x[:40], "valid_x": x[40:47]}
    assert len(run.encode(parts, split="valid")) == 7
    assert len(run.encode(parts, split="train")) == 40
    with pytest.raises(InputError, match="the test split of 'array' is empty; name another split"):
        run.encode(parts)
    assert len(run.encode({"train_x": x[:40]})) == 40


def test_bits_per_dimension_follow_the_support_of_the_likelihood(x: np.ndarray):
    def has_bits(run: am.Run, data: Any) -> bool:
        return "bits_per_dim" in run.evidence(data, samples=2).metrics

    counts = np.random.default_rng(0).poisson(3.0, (60, 12))
    poisson = am.likelihoods.Poisson(am.networks.MLP(2, [8]), event=12)
    parts = compose().parts
    run = train(am.VAE(parts["prior"], parts["posterior"], poisson), counts, **OPTIONS)
    assert has_bits(run, counts)
    assert not has_bits(train(compose(), x, **OPTIONS), x)
    assert not has_bits(am.fit(counts, likelihood="gaussian", latent_dim=2, **OPTIONS), counts)


def test_a_model_is_not_written_over_a_file_or_a_run(x: np.ndarray, tmp_path: Path):
    run = am.fit(x, latent_dim=2, out=tmp_path / "run", **OPTIONS)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot make the folder.*give another path"):
        run.save_pretrained(tmp_path / "file")
    with pytest.raises(InputError, match="holds a run.*give another path"):
        run.save_pretrained(tmp_path / "run")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_source_that_changed_is_no_longer_the_runs_own(x: np.ndarray, tmp_path: Path):
    path = tmp_path / "x.npz"
    np.savez(path, x=x)
    am.fit(path, latent_dim=2, out=tmp_path / "run", **OPTIONS)
    run = load_run(tmp_path / "run")
    assert len(run.encode()) == len(run.encode(str(path))) == 6
    np.savez(path, x=x + 1)
    with pytest.raises(InputError, match="data 'x' changed since this run was fitted.*explicitly, as DATA"):
        run.evidence()
    assert len(run.encode(str(path))) == 60
    with pytest.raises(InputError, match="data 'x' changed since this run began"):
        am.fit(resume=tmp_path / "run", epochs=2, quiet=True)


def test_a_path_spelled_differently_is_the_same_source(x: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AMORTIZED_DATA", str(tmp_path))
    np.savez("x.npz", x=x)
    np.savez("other.npz", x=x)
    Path("link.npz").symlink_to("x.npz")
    run = am.fit("x.npz", latent_dim=2, out="run", **OPTIONS)
    for spelled in ("x.npz", "./x.npz", Path("x.npz"), tmp_path / "x.npz", "run/../x.npz", "link.npz", "x"):
        np.testing.assert_array_equal(run.encode(spelled), run.encode())
    assert len(run.encode("other.npz")) == 60
    Path("x.npz").unlink()
    assert len(load_run("run").encode("other.npz")) == 60


def test_a_name_is_not_the_path_of_a_folder_that_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("digits").mkdir()
    for number in range(3):
        Image.new("L", (8, 8), number).save(f"digits/{number}.png")
    run = am.fit("digits", latent_dim=2, **OPTIONS)
    assert len(run.encode("digits")) == 180
    assert len(run.encode("./digits")) == 3


def test_columns_in_another_order_are_put_into_the_models_and_others_are_refused(x: np.ndarray, tmp_path: Path):
    frame = pandas.DataFrame(x[:, :3] * [1, 5, 25], columns=["a", "b", "c"])
    run = am.fit(frame, latent_dim=2, out=tmp_path / "run", **OPTIONS)
    assert not np.array_equal(run.encode(frame), run.encode(frame[["c", "b", "a"]].to_numpy()))
    for model in (run, load_run(tmp_path / "run")):
        np.testing.assert_array_equal(model.encode(frame[["c", "b", "a"]]), run.encode(frame))
        np.testing.assert_array_equal(model.encode(frame.to_numpy()), run.encode(frame))
        with pytest.raises(InputError, match="data 'table' have no column 'b', which .*; they have 'a', 'z', 'c'"):
            model.encode(frame.rename(columns={"b": "z"}))
        with pytest.raises(InputError, match="have a column 'd', which the model was not fitted on; leave it out"):
            model.encode(frame.assign(d=1.0))


def test_a_model_is_put_where_it_is_asked_for(x: np.ndarray, tmp_path: Path):
    am.fit(x, latent_dim=2, out=tmp_path / "run", **OPTIONS)
    assert load_run(tmp_path / "run", device="cpu").encode(x).shape == (60, 2)
    with pytest.raises(InputError, match="cannot be put on device 'nowhere'.*use the CPU"):
        load_run(tmp_path / "run", device="nowhere")

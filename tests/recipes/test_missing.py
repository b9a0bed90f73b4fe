"""Fits of data with missing entries, from what a user gives to the evidence."""

import math
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import amortized as am
from amortized import likelihoods, networks, posteriors, priors
from amortized.data import load
from amortized.errors import InputError
from amortized.recipes import make_recipe, plan
from amortized.recipes.statistics import compute_statistics, data_transform, describe_data
from amortized.terms import Batch

SMALL: dict[str, Any] = {"epochs": 2, "latent_dim": 2, "quiet": True, "model.network.hidden": [16]}


def table(missing: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(0)
    x = noise.normal(size=(200, 2)) @ noise.normal(size=(2, 4)) + 0.3 * noise.normal(size=(200, 4))
    x[noise.random(x.shape) < missing] = np.nan
    return x


def digits(missing: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(0)
    x = load("digits", splits=(1, 0, 0)).train.x[:300].numpy().astype(np.float64)  # pyright: ignore[reportAttributeAccessIssue]
    x[noise.random(x.shape) < missing] = np.nan
    return x


def codes() -> np.ndarray:
    noise = np.random.default_rng(0)
    x = noise.integers(0, 3, (200, 5)).astype(np.float64)
    x[noise.random(x.shape) < 0.3] = np.nan
    return x


@pytest.mark.parametrize("mask", [False, True])
def test_a_table_with_empty_cells_is_fitted_evaluated_and_read_again(mask, tmp_path, capsys):
    frame = pandas.DataFrame(table(), columns=list("abcd"))
    frame.to_csv(tmp_path / "d.csv", index=False)
    options: dict[str, Any] = {**SMALL, "quiet": False, "data.mask": mask}
    run = am.fit(str(tmp_path / "d.csv"), out=tmp_path / "run", **options)
    assert "of the entries are missing (NaN)" in capsys.readouterr().out
    assert run.model.fill.mask == mask  # pyright: ignore[reportAttributeAccessIssue]
    evidence = run.evidence(samples=20)
    assert math.isfinite(evidence.metrics["nll_nats"].value)
    again = am.load_run(tmp_path / "run")
    assert again.evidence(samples=20).metrics["nll_nats"] == evidence.metrics["nll_nats"]
    assert again.evidence(frame[:7], samples=20).nll.shape == (7,)  # pyright: ignore[reportOptionalMemberAccess]
    assert np.isfinite(again.reconstruct()).all()
    assert np.isfinite(again.encode(frame[:1])).all()


def test_a_bound_of_holes_is_that_of_the_same_model_with_the_mask_given_by_hand():
    x = table()
    options: dict[str, Any] = {**SMALL, "data.mask": True}
    run = am.fit(x, **options)
    batch = run.rows()
    assert batch.observed is not None
    assert torch.equal(batch.observed, ~batch.x.isnan())
    by_hand = am.evaluation.evaluate(run.model, [Batch(batch.x.nan_to_num(5.0), observed=batch.observed)], samples=10)
    torch.testing.assert_close(by_hand.elbo, run.evidence(samples=10).elbo, rtol=0, atol=0)


def test_holes_may_come_after_training():
    run = am.fit(table(missing=0), **SMALL)
    x = table()
    x[3] = np.nan
    evidence = run.evidence(x, samples=200)
    assert evidence.nll.isfinite().all()  # pyright: ignore[reportOptionalMemberAccess]
    assert (evidence.distortion[3], evidence.distortion[:3].ne(0).all()) == (0, True)
    column = table(missing=0)[:5]
    column[:, 2] = np.nan
    assert np.isfinite(run.reconstruct(column)).all()
    bits = am.fit(digits(missing=0) > 8, **SMALL)
    wrong = np.full((2, 8, 8), np.nan)
    wrong[1, 2, 3] = 0.5
    with pytest.raises(InputError, match=r"has 0.5 at index \(1, 2, 3\)"):
        bits.evidence(wrong, samples=2)


def test_bits_per_dimension_count_observed_entries():
    run = am.fit(digits(), **SMALL, binarize="dynamic")
    metrics = run.evidence(samples=10).metrics
    observed = run.rows().observed
    assert observed is not None
    entries = float(observed.double().sum() / len(observed))
    assert 30 < entries < 64
    assert metrics["bits_per_dim"].value == pytest.approx(metrics["nll_nats"].value / entries / math.log(2))


PARTS = {
    "conv": {"network": "conv", "model.network.channels": [4, 8]},
    "gated-mlp": {"network": "gated-mlp", "model.network.hidden": [16]},
    "vamp": {"prior": "vamp", "model.prior.components": 10},
    "top-down": {"hierarchy": "top-down", "model.hierarchy.latent_dims": [2], "prior": "vamp", "model.prior.components": 10},
    "ladder": {"hierarchy": "ladder", "model.hierarchy.latent_dims": [2]},
    "categorical": {"likelihood": "categorical"},
    "infomax": {"objective": "infomax", "objective.hidden": [8]},
}


@pytest.mark.parametrize("parts", PARTS)
@pytest.mark.parametrize("mask", [False, True])
def test_images_with_holes_and_pixels_never_observed_go_with_every_part(parts, mask):
    x = digits()
    x[:, 2, 3] = np.nan
    options = {key: value for key, value in SMALL.items() if key != "model.network.hidden"} | {"epochs": 1}
    run = am.fit(x, **options, **PARTS[parts], **{"data.mask": mask})
    assert math.isfinite(run.metrics["test"]["nll_nats"]["value"])
    assert np.isfinite(run.reconstruct()).all()


@pytest.mark.parametrize("start", ["data", "random"])
def test_pseudo_inputs_start_as_the_encoder_sees_rows_and_their_masks_stay_masks(start, tmp_path):
    x = table()
    options = {"prior": "vamp", "model.prior.components": 10, "model.prior.start": start, "data.mask": True, "lr": 0.1}
    run = am.fit(x, out=tmp_path / "run", **{**SMALL, **options})
    prior = run.model.parts["prior"]  # pyright: ignore[reportAttributeAccessIssue]
    values, mask = prior.inputs().chunk(2, -1)
    assert values.shape == (10, 4)
    assert 0 <= mask.min() < mask.max() <= 1
    assert values.min() < 0
    assert prior.low[4:].eq(0).all()
    assert prior.high[4:].eq(1).all()
    seen = run.model.seen(run.rows(split="train"))[:, :4]  # pyright: ignore[reportAttributeAccessIssue]
    assert prior.low[:4].eq(seen.min()).all()
    assert prior.high[:4].eq(seen.max()).all()
    loaded = am.load_run(tmp_path / "run").model.parts["prior"]  # pyright: ignore[reportAttributeAccessIssue]
    assert torch.equal(loaded.inputs(), prior.inputs())


def test_the_pseudo_inputs_are_rows_with_their_holes():
    data = load(table())
    recipe = make_recipe([{}], {"prior": "vamp", "model.prior.components": 10, "data.mask": True})
    made = plan(recipe, data)
    values, mask = made.model.parts["prior"].inputs().chunk(2, -1)  # pyright: ignore[reportAttributeAccessIssue]
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert (values[mask == 0] == 0).all()
    shown = made.model.seen(Batch.of(data.train.x))  # pyright: ignore[reportAttributeAccessIssue]
    assert all((row == shown).all(1).any() for row in torch.cat((values, mask), -1))


def statistics_of(x, **options):
    recipe, data = make_recipe([{}], options), load(x, splits=(1, 0, 0))
    transform = data_transform(recipe, data)
    return compute_statistics(recipe, data, describe_data(data, transform), transform)


def test_the_statistics_of_a_model_are_those_of_the_observed_entries():
    x = table()
    found = statistics_of(x, likelihood="gaussian")
    for value, expected in ((found.shift, np.nanmean(x, 0)), (found.unit, np.nanstd(x, 0)), (found.mean, np.nanmean(x, 0))):
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    frequencies = statistics_of(codes(), likelihood="categorical").mean
    expected = np.stack([np.nansum(codes() == code, 0) for code in range(3)], -1) / (~np.isnan(codes())).sum(0)[:, None]
    np.testing.assert_allclose(frequencies, expected, rtol=1e-6)


def test_what_cannot_leave_holes_out_is_refused_before_training_of_any_model():
    model = am.VAE(
        priors.StandardNormal(2),
        posteriors.DiagonalGaussian(networks.MLP(5, [8]), 2),
        likelihoods.Multinomial(networks.MLP(2, [8]), 5),
    )
    with pytest.raises(InputError, match="likelihood 'multinomial' cannot leave out"):
        am.train(model, codes(), epochs=1, quiet=True)
    with pytest.raises(InputError, match="likelihood 'pixelcnn' cannot leave out"):
        am.fit(digits(), likelihood="pixelcnn", **SMALL)


def test_a_model_composed_by_hand_trains_on_holes():
    model = am.VAE(
        priors.StandardNormal(2),
        posteriors.DiagonalGaussian(networks.MLP(8, [8]), 2),
        likelihoods.Gaussian(networks.MLP(2, [8]), 4),
        fill=networks.Fill(mask=True),
    )
    run = am.train(model, table(), epochs=2, quiet=True)
    assert math.isfinite(run.metrics["test"]["nll_nats"]["value"])

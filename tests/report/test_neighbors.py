"""Nearest training data are those of a double loop; a model that copies is told from one that does not."""

from typing import Any

import numpy as np
import pytest
import torch

import amortized as am
from amortized import VAE, likelihoods, posteriors, priors
from amortized.networks import MLP
from amortized.report import neighbors, neighbors_figure
from amortized.report.neighbors import nearest_two
from amortized.report.view import View
from tests.conftest import set_linear

D = 6


def by_loops(points, others):
    """Distances and places of the nearest two, where an entry that is missing counts with twice the column's variance."""
    typical = 2 * np.nanvar(others, 0)
    found = []
    for a in points:
        distances = []
        for b in others:
            square = (a - b) ** 2
            distances.append(np.sqrt(np.where(np.isnan(square), typical, square).sum()))
        order = np.argsort(distances)[:2]
        found.append((np.array(distances)[order], order))
    return [np.array(part) for part in zip(*found, strict=True)]


@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_nearest_two_are_those_of_a_double_loop(holes):
    rng = np.random.default_rng(0)
    points, others = rng.normal(3.0, 1.0, (40, D)), rng.normal(3.0, 1.0, (90, D))
    for x in (points, others):
        x[rng.random(x.shape) < holes] = np.nan
    distances, places = nearest_two(*(torch.from_numpy(x).float() for x in (points, others)))
    wanted, at = by_loops(points, others)
    np.testing.assert_allclose(distances.numpy(), wanted, rtol=1e-5)
    np.testing.assert_array_equal(places.numpy(), at)


def test_the_distance_to_a_copy_is_zero_however_far_from_the_origin():
    others = 1000 + torch.randn(50, D)
    assert (nearest_two(others[:9].clone(), others)[0][:, 0] == 0).all()


STILL: dict[str, Any] = {"data.standardize": "none", "steps": 1}


def gaussian_run(prior, *, noise) -> Any:
    """A run on draws of a standard normal, whose model has z as the place of x: p(x|z) = N(z, noise^2)."""
    x = np.random.default_rng(0).normal(size=(900, D)).astype(np.float32)
    likelihood = likelihoods.Gaussian(MLP(D, []), D, scale=noise)
    posterior = posteriors.DiagonalGaussian(MLP(D, []), event=D)
    run = am.train(VAE(prior, posterior, likelihood), x, quiet=True, **STILL)
    set_linear(likelihood.head.output, torch.eye(D), torch.zeros(D))
    likelihood.get_buffer("scale.fixed").fill_(noise)
    return run


def test_a_model_of_the_data_does_not_memorize():
    found = neighbors(gaussian_run(priors.StandardNormal(D), noise=0.05))
    assert found.nearer is not None
    share, error = found.nearer
    assert abs(share - 0.5) < 4 * error
    assert not found.is_memorizing
    assert found.sentence.startswith("No sign of memorizing")
    assert found.whole == len(found.training) == 720


@pytest.mark.parametrize("copied", [1.0, 0.3])
def test_a_model_whose_samples_are_training_data_memorizes(copied):
    """A mixture of points at training data, or of some of these and a standard normal."""
    run = gaussian_run(priors.Mixture(D, components=721), noise=0.01)
    training = View(run).train().x
    prior = run.model.parts["prior"]
    with torch.no_grad():
        prior.loc.copy_(torch.cat((training, torch.zeros(1, D))))
        prior.log_scale.fill_(-9.0)
        prior.log_scale[-1] = 0.0
        prior.log_weights.fill_(np.log(copied / 720))
        prior.log_weights[-1] = np.log(max(1 - copied, 1e-9))
    found = neighbors(run)
    assert found.is_memorizing
    assert found.copies is not None
    assert found.copies > 0.6 * copied
    assert found.sentence.startswith("Memorizing")


def test_samples_that_vary_too_little_are_near_but_no_copies():
    run = gaussian_run(priors.Mixture(D, components=1), noise=0.01)
    with torch.no_grad():
        run.model.parts["prior"].loc.zero_()
        run.model.parts["prior"].log_scale.fill_(np.log(0.5))
    found = neighbors(run)
    assert found.nearer is not None
    assert found.nearer[0] > 0.7
    assert not found.is_memorizing
    assert "samples vary less than data" in found.sentence


def test_samples_far_from_data_are_said_to_be():
    run = gaussian_run(priors.Mixture(D, components=1), noise=0.01)
    with torch.no_grad():
        run.model.parts["prior"].loc.fill_(4.0)
    found = neighbors(run)
    assert found.nearer is not None
    assert found.nearer[0] < 0.05
    assert "less like data" in found.sentence


def test_where_all_data_were_trained_on_nothing_is_compared():
    run = gaussian_run(priors.StandardNormal(D), noise=0.05)
    found = neighbors(View(run, split="train"))
    assert found.nearer is None
    assert not found.is_memorizing
    assert found.sentence == "Whether samples are copies is not known: all data were trained on."
    assert neighbors_figure(View(run, split="train"))


def test_the_figure_says_what_was_found_and_among_how_many():
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text

    view = View(am.fit("digits", latent_dim=2, epochs=1, quiet=True), most=40)
    said = " ".join(text.get_text().replace("\n", " ") for text in neighbors_figure(view).findobj(Text))
    assert neighbors(view).sentence in said
    assert "40 samples; nearest among 1,437 training data" in said


def test_two_training_data_are_enough():
    rng = np.random.default_rng(0)
    x = {"train_x": rng.normal(size=(2, 3)), "test_x": rng.normal(size=(5, 3)), "valid_x": rng.normal(size=(5, 3))}
    run = am.fit({name: values.astype(np.float32) for name, values in x.items()}, latent_dim=1, epochs=1, quiet=True)
    found = neighbors(run)
    assert found.nearest.shape == (5, 2)
    assert "there are 5 new data" in found.sentence


def test_new_data_that_are_training_data_are_named():
    rng = np.random.default_rng(0)
    train, new = rng.normal(size=(400, D)), rng.normal(size=(80, D))
    new[:20] = train[:20]
    run = am.fit({"train_x": train, "valid_x": new, "test_x": new}, latent_dim=2, epochs=1, quiet=True)
    found = neighbors(run)
    assert found.repeated == 0.25
    assert "25% equal a training datum" in found.sentence

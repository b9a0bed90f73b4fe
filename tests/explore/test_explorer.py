import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import amortized as am
from amortized.errors import InputError
from amortized.explore import Explorer
from amortized.recipes import Recipe, Spec
from amortized.report.view import View
from amortized.runs import Run
from tests.conftest import LinearGaussian

ROWS = 40


def said(value):
    """A value after a journey through JSON."""
    return json.loads(json.dumps(value, allow_nan=False))


def array(value):
    return np.array(value, dtype=np.float32)


def fitted(data: Any = "digits", **options):
    return am.fit(data, epochs=1, quiet=True, **{"latent_dim": 3, "training.batch_size": 512, **options})


def without_data(run):
    recipe = run.recipe.model_copy(update={"data": run.recipe.data.model_copy(update={"source": "no-such-file.npz"})})
    return replace(run, recipe=recipe, source=None)


@pytest.fixture(scope="module")
def truth():
    """A model whose inference is known: three latents, the exact posterior."""
    return LinearGaussian()


def exact_run(truth, posterior=None):
    x = truth.sample(ROWS).numpy()
    run = am.train(truth.model(), x, epochs=1, quiet=True, precision="64")
    return Run(truth.model(posterior), run.spec, run.recipe, source=run.source)


@pytest.fixture(scope="module")
def linear(truth):
    return Explorer(View(exact_run(truth), split="train"), samples=2000)


def test_under_the_exact_posterior_all_terms_are_the_truth(linear, truth):
    datum = linear.datum(3)
    x = torch.tensor([datum["x"]], dtype=torch.float64)
    log_px = float(truth.log_px(x))
    q = truth.posterior(x)
    terms = datum["terms"]
    kl = float(
        torch.distributions.kl_divergence(
            q, torch.distributions.MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
        )
    )
    assert terms["log_px_nats"] == pytest.approx(log_px, abs=1e-4)
    assert terms["stderr_nats"] == pytest.approx(0, abs=1e-4)
    assert terms["kl_nats"] == pytest.approx(kl, abs=1e-4)
    spread = float(np.sqrt(2 * 3))  # of log p(x | z) under q it is of that order
    assert terms["elbo_nats"] == pytest.approx(log_px, abs=5 * spread / np.sqrt(2000))
    assert terms["log_px_z_nats"] - terms["kl_nats"] == pytest.approx(terms["elbo_nats"], abs=1e-6)
    np.testing.assert_allclose(datum["z"], q.mean[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(datum["spread"], truth.covariance.diagonal().sqrt().numpy(), rtol=1e-5)


def test_the_terms_at_one_latent_are_the_densities(linear, truth):
    datum = linear.datum(0)
    x, z = torch.tensor(datum["x"]).double(), [0.3, -0.5, 1.0]
    found, at = linear.terms(datum["x"], z), torch.tensor(z).double()
    assert found["log_pz_nats"] == pytest.approx(float(-(at @ at) / 2 - 1.5 * np.log(2 * np.pi)), abs=1e-5)
    assert found["log_qz_nats"] == pytest.approx(float(truth.posterior(x[None]).log_prob(at)), abs=1e-4)
    px = torch.distributions.Normal(truth.weight @ at + truth.bias, truth.scale)
    assert found["log_px_z_nats"] == pytest.approx(float(px.log_prob(x).sum()), abs=1e-4)
    assert found["elbo_here_nats"] == pytest.approx(float(truth.log_px(x[None])), abs=1e-4)  # q is exact: the same at every z


def test_the_ellipse_is_the_projected_covariance(linear, truth):
    ellipse, plane = linear.datum(0)["ellipse"], linear.description()["plane"]
    axes = np.array(plane["axes"])
    wanted = axes @ truth.covariance.numpy() @ axes.T
    found = np.array(ellipse["axes"])
    np.testing.assert_allclose(found.T @ found, wanted, rtol=1e-4, atol=1e-6)
    assert found[0] @ found[1] == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(found[0]) >= np.linalg.norm(found[1])
    np.testing.assert_allclose(ellipse["center"], linear.datum(0)["place"], atol=1e-5)


def test_an_importance_estimate_is_within_its_error(truth):
    explorer = Explorer(View(exact_run(truth, truth.random_posterior("diagonal", size=0.5)), split="train"), samples=1000)
    for n in range(5):
        terms, x = explorer.datum(n)["terms"], torch.tensor([explorer.datum(n)["x"]]).double()
        assert abs(terms["log_px_nats"] - float(truth.log_px(x))) < 5 * terms["stderr_nats"] + 1e-3
        assert terms["elbo_nats"] < terms["log_px_nats"] + 5 * terms["stderr_nats"]


def test_an_estimate_that_more_samples_would_raise_is_doubtful(linear, truth):
    assert not linear.datum(3)["terms"]["is_doubtful"]
    explorer = Explorer(View(exact_run(truth, truth.random_posterior("diagonal", size=4.0)), split="train"), samples=400)
    found = [explorer.datum(n) for n in range(30)]
    terms = [datum["terms"] for datum in found]
    truths = truth.log_px(torch.tensor([datum["x"] for datum in found]).double()).tolist()
    missed = [log_px - each["log_px_nats"] > 5 * each["stderr_nats"] for each, log_px in zip(terms, truths, strict=True)]
    assert sum(missed) > 5
    assert all(each["is_doubtful"] for each, is_missed in zip(terms, missed, strict=True) if is_missed)


def test_decoding_is_the_views_to_the_bit(explorer):
    z = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    found = said(explorer.decode(z.tolist(), {"label": "4"}))["x"]
    wanted = explorer.view.decode(z, {"label": torch.tensor([4] * 5)}).reshape(5, 64)
    np.testing.assert_array_equal(array(found), wanted)


def test_a_datum_is_that_of_the_view(explorer):
    view = explorer.view
    for n in (0, 7):
        datum = said(explorer.datum(n))
        np.testing.assert_array_equal(array(datum["x"]), view.x[n].reshape(-1))
        np.testing.assert_allclose(datum["z"], view.values[n], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(datum["spread"], view.spread[n], rtol=1e-4)
        np.testing.assert_allclose(datum["place"], view.plane.project(view.z[n]), atol=1e-4)
        assert datum["label"] == view.labels[n]
        assert datum["context"] == {"label": str(view.labels[n])}
        assert explorer.encode(datum["x"], datum["context"]).items() <= datum.items()


def test_the_description_says_what_there_is(explorer):
    found = said(explorer.description())
    event = {"kind": "image", "shape": [8, 8], "low": 0.0, "high": 16.0, "support": "levels", "step": 1.0, "ranges": None}
    assert event.items() <= found["event"].items()
    latent = found["latent"]
    assert sorted(latent["order"]) == [0, 1, 2]
    assert latent["carried"] == sorted(latent["carried"], reverse=True)
    assert (latent["mean"], latent["spread"]) == ([0.0] * 3, [1.0] * 3)  # exactly: the prior's own
    assert latent["movable"]
    assert found["conditions"] == [{"name": "label", "classes": [str(digit) for digit in range(10)]}]
    data = found["data"]
    assert (data["split"], data["count"], len(data["labels"]), len(data["places"])) == ("test", 60, 60, 60)
    assert data["conditions"]["label"] == [str(label) for label in data["labels"]]
    assert len(found["plane"]["prior"]) == 500
    assert "nats" in found["headline"]


def test_a_condition_that_is_left_out_is_its_first_class(explorer):
    assert explorer.decode([[0.0] * 3]) == explorer.decode([[0.0] * 3], {"label": "0"})
    assert explorer.decode([[0.0] * 3]) != explorer.decode([[0.0] * 3], {"label": "1"})


def test_a_number_that_is_left_out_is_the_mean():
    rng = np.random.default_rng(0)
    x, age = rng.normal(size=(60, 4)).astype(np.float32), rng.normal(40, 5, 60).astype(np.float32)
    explorer = Explorer(fitted({"x": x, "age": age}, context="age"))
    (condition,) = explorer.description()["conditions"]
    assert condition["name"] == "age"
    assert condition["classes"] is None
    mean = condition["loc"][0]
    assert mean == pytest.approx(40, abs=3)
    assert explorer.decode([[0.0] * 3]) == explorer.decode([[0.0] * 3], {"age": mean})
    assert explorer.decode([[0.0] * 3]) != explorer.decode([[0.0] * 3], {"age": [mean + 5]})
    assert len(explorer.description()["data"]["conditions"]["age"]) == explorer.description()["data"]["count"]
    for wrong in ("old", True, [1.0, 2.0], None, {"a": 1}):
        with pytest.raises(InputError, match="age"):
            explorer.decode([[0.0] * 3], {"age": wrong})


def test_a_path_goes_from_one_datum_to_the_other(explorer):
    found = explorer.path(2, 9, steps=5)
    np.testing.assert_allclose(found["z"][0], explorer.datum(2)["z"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["z"][-1], explorer.datum(9)["z"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["z"][2], np.mean([found["z"][0], found["z"][-1]], 0), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["x"], explorer.decode(found["z"], explorer.datum(2)["context"])["x"], rtol=1e-4, atol=1e-4)
    other = explorer.path(2, 9, steps=5, context={"label": "3"})
    np.testing.assert_allclose(other["x"], explorer.decode(found["z"], {"label": "3"})["x"], rtol=1e-4, atol=1e-4)


def test_a_spherical_path_keeps_its_norm(explorer):
    a, b = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
    found = np.array(explorer.path(a, b, "spherical", 7)["z"])
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found[3], [np.sqrt(0.5), 0, np.sqrt(0.5)], atol=1e-5)


def test_samples_follow_seed_and_temperature(explorer):
    one, again, other = explorer.sample(20, seed=1), explorer.sample(20, seed=1), explorer.sample(20, seed=2)
    assert one == again
    assert one != other
    assert not np.any(explorer.sample(2, temperature=0.0)["z"])
    cool = np.std(explorer.sample(256, temperature=0.5)["z"])
    assert cool == pytest.approx(np.std(explorer.sample(256)["z"]) / 2, rel=0.02)  # the same noise
    np.testing.assert_allclose(one["x"], explorer.decode(one["z"])["x"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("posterior", "prior", "tempers"), [("bernoulli", None, False), ("vmf", None, False), ("gaussian", "vamp", True)]
)
def test_a_temperature_is_offered_where_it_changes_the_draws(posterior, prior, tempers):
    explorer = Explorer(View(fitted(posterior=posterior, **({} if prior is None else {"prior": prior})), most=30), samples=10)
    assert explorer.description()["can"]["temperature"] is tempers
    draws = [explorer.sample(n=20, temperature=temperature, seed=3)["z"] for temperature in (0.0, 1.0)]
    assert (draws[0] != draws[1]) is tempers


def test_missing_entries_are_none_and_are_left_out():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 5)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = np.nan
    explorer = Explorer(View(fitted(x), split="train"))
    found = said(explorer.description())
    assert found["event"]["kind"] == "row"
    assert [len(ends) for ends in found["event"]["ranges"]] == [2] * 5
    n = next(n for n in range(20) if None in explorer.datum(n)["x"])
    datum = explorer.datum(n)
    assert None not in datum["reconstruction"]
    np.testing.assert_array_equal(np.array(datum["x"], float), explorer.view.x[n].astype(float))
    assert explorer.encode(datum["x"]).items() <= datum.items()
    nothing = explorer.encode([None] * 5)
    assert nothing["terms"]["log_px_z_nats"] == 0


def test_without_data_all_but_they_are_there(digits):
    explorer = Explorer(without_data(digits))
    found = said(explorer.description())
    assert found["data"] is None
    assert not found["can"]["datum"]
    assert "no-such-file" in found["missing"]
    assert found["latent"]["measure"] == "response"
    assert sorted(found["latent"]["order"]) == [0, 1, 2]
    assert len(found["plane"]["prior"]) == 500
    assert found["plane"]["kind"] == "axes"
    assert explorer.decode([[0.1, 0.2, 0.3]]) == Explorer(digits).decode([[0.1, 0.2, 0.3]])
    assert len(explorer.sample(3)["places"]) == 3
    assert explorer.encode([0.0] * 64)["terms"]["kl_nats"] > 0
    for ask in (lambda: explorer.datum(0), lambda: explorer.path(0, 1)):
        with pytest.raises(InputError, match="no data to show"):
            ask()


def test_without_data_the_entry_that_does_most_comes_first(truth):
    model = truth.model()
    with torch.no_grad():
        model.parts["likelihood"].head.output.weight.copy_(truth.weight * torch.tensor([0.01, 0.0, 1.0]))
    run = Run(model, Spec((5,), False, "real"), Recipe())
    latent = Explorer(without_data(run)).description()["latent"]
    assert latent["order"] == [2, 0, 1]
    assert latent["active"] < 3
    assert latent["carried"][2] == 0


@pytest.mark.parametrize("posterior", ["categorical", "bernoulli"])
def test_between_classes_there_is_nothing(posterior):
    explorer = Explorer(View(fitted(posterior=posterior), most=30), samples=10)
    latent = explorer.description()["latent"]
    assert not latent["movable"]
    assert not latent["spherical"]
    assert "classes" in latent["reason"]
    datum = explorer.datum(0)
    assert set(datum["z"]) <= {0.0, 1.0}
    assert datum["terms"]["log_px_nats"] is not None
    with pytest.raises(InputError, match="leaves what the latent can be"):
        explorer.path(0, [1.0 - entry for entry in datum["z"]])


def test_on_a_sphere_paths_are_spherical():
    explorer = Explorer(View(fitted(posterior="vmf"), most=30), samples=10)
    latent = explorer.description()["latent"]
    assert (latent["movable"], latent["spherical"]) == (False, True)
    assert "sphere" in latent["reason"]
    np.testing.assert_allclose(np.linalg.norm(explorer.path(0, 1, "spherical", 6)["z"], axis=1), 1, atol=1e-4)
    with pytest.raises(InputError, match="on a sphere take 'spherical'"):
        explorer.path(0, 1, "linear")


def test_a_point_has_no_terms_and_no_ellipse():
    explorer = Explorer(View(fitted(posterior="delta"), most=30))
    datum = explorer.datum(0)
    assert (datum["terms"], datum["ellipse"], datum["spread"]) == (None, None, None)
    assert not explorer.description()["can"]["score"]
    terms = explorer.terms(datum["x"], datum["z"])
    assert (terms["log_qz_nats"], terms["elbo_here_nats"]) == (None, None)
    assert terms["log_px_z_nats"] is not None


def test_a_flow_has_an_ellipse_of_its_draws():
    explorer = Explorer(View(fitted(posterior="planar"), most=30), samples=10)
    datum = explorer.datum(0)
    assert datum["spread"] is None
    place, center = np.array(datum["place"]), np.array(datum["ellipse"]["center"])
    assert np.abs(place - center).max() < 3 * np.abs(datum["ellipse"]["axes"]).max()


def test_what_is_below_follows_the_top():
    explorer = Explorer(View(fitted(hierarchy="bottom-up"), most=30), samples=10)
    latent = explorer.description()["latent"]
    assert latent["follows"]
    z, top = explorer.datum(0)["z"], latent["dimensions"] - 1
    moved = [*z[:top], z[top] + 2]
    assert explorer.decode([moved])["x"] == explorer.decode([z])["x"]  # the decoder sees the lowest group alone
    followed = explorer.decode([moved], follow=top)
    assert followed["z"][0][top] == pytest.approx(moved[top])
    assert followed["x"] != explorer.decode([z], follow=top)["x"]
    assert explorer.decode(followed["z"])["x"] == followed["x"]


def test_a_network_is_held_in_evaluation_mode():
    decoder: Any = torch.nn.Sequential(am.networks.MLP(2, [8]), torch.nn.BatchNorm1d(8))
    decoder.out_features = 8
    model = am.VAE(
        am.priors.StandardNormal(2),
        am.posteriors.DiagonalGaussian(am.networks.MLP(4, [8]), event=2),
        am.likelihoods.Gaussian(decoder, 4),
    )
    run = am.train(model, np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32), epochs=1, quiet=True)
    explorer = Explorer(run)
    model.train()
    alone, beside = explorer.decode([[0.0, 0.0]])["x"], explorer.decode([[0.0, 0.0], [9.0, 9.0]])["x"]
    np.testing.assert_allclose(alone[0], beside[0], rtol=1e-5)
    assert model.training


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        (lambda e: e.decode([]), "z is a list of 0"),
        (lambda e: e.decode([[0.0] * 4]), "row 0 of z has 4 entries; it needs 3"),
        (lambda e: e.decode([[0.0, float("nan"), 0.0]]), "nan at position 1"),
        (lambda e: e.decode([[0.0, 1e7, 0.0]]), "at most 1e"),
        (lambda e: e.decode([[0.0] * 3] * 257), "at most 256"),
        (lambda e: e.decode([[0.0] * 3], {"lable": "1"}), "did you mean 'label'"),
        (lambda e: e.decode([[0.0] * 3], {"label": "eleven"}), "has no class 'eleven'"),
        (lambda e: e.decode([[0.0] * 3], {"label": ["1", "2"]}), "a list of 2"),
        (lambda e: e.decode([[0.0] * 3], follow=3), "follow is 3"),
        (lambda e: e.encode([0.0] * 63), "x has 63 entries; it needs 64"),
        (lambda e: e.encode([17.0] * 64), "17"),
        (lambda e: e.encode([0.5] * 64), "0.5"),
        (lambda e: e.datum(60), "from 0 to 59"),
        (lambda e: e.datum(-1), "from 0 to 59"),
        (lambda e: e.datum(True), "from 0 to 59"),
        (lambda e: e.sample(0), "n is 0"),
        (lambda e: e.sample(1, temperature=-1.0), "temperature is -1.0"),
        (lambda e: e.sample(1, seed=2**60), "seed is"),
        (lambda e: e.path(0, 1, "crooked"), "unknown path 'crooked'"),
        (lambda e: e.path(0, 1, steps=1), "steps is 1"),
        (lambda e: e.path(0, "1"), "end is '1'"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_way_out(explorer, ask, says):
    with pytest.raises(InputError, match=says):
        ask(explorer)


def test_arrays_are_taken_as_lists_are(explorer):
    z = np.zeros((1, 3), np.float32)
    assert explorer.decode(z) == explorer.decode(z.tolist())
    x = explorer.view.x[0].reshape(-1)
    assert explorer.encode(x) == explorer.encode(x.tolist())

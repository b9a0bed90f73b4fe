# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
"""Options of the kinds, named recipes, and what is refused; every kind with every other is in contracts/test_together.py."""

import math

import numpy as np
import pytest
import torch

from amortized import VAE, InputError, fit
from amortized.recipes import NAMED, Recipe, make_recipe
from amortized.recipes.messages import kinds
from amortized.recipes.objective import Setting

RNG = np.random.default_rng(0)
BINARY = (RNG.random((40, 6, 5)) < 0.4).astype(np.uint8)
LEVELS = RNG.integers(0, 5, (40, 6, 5)).astype(np.uint8)
LEVELS[0, 0, 0] = 4
REAL = RNG.normal(size=(40, 6, 5)).astype(np.float32)
COUNTS = RNG.poisson(3.0, (40, 7)).astype(np.int64)
SCALES = ["learned", "per-entry", "predicted", "optimal", 0.5]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("kind", ["gaussian", "laplace"])
def test_every_scale_of_real_values_is_built_and_trained(kind: str, scale: str | float):
    likelihood = {"kind": kind, "scale": scale}
    run = fit(REAL, likelihood=likelihood, steps=2, batch_size=16, quiet=True, network={"kind": "mlp", "hidden": [6]})
    assert math.isfinite(run.evidence(samples=2).metrics["elbo_nats"].value)


@pytest.mark.parametrize("inject", ["input", "layers", "film"])
@pytest.mark.parametrize("encoding", ["one-hot", "embedding"])
def test_conditions_reach_every_part(inject: str, encoding: str):
    rng = np.random.default_rng(1)
    arrays = {"x": rng.normal(size=(40, 4)).astype(np.float32), "y": rng.integers(0, 3, 40)}
    run = fit(
        arrays,
        context=["label"],
        prior="gaussian",
        steps=2,
        batch_size=16,
        quiet=True,
        network={"kind": "mlp", "hidden": [6], "inject": inject},
        **{"data.encoding": encoding, "model.condition": ["prior", "posterior", "likelihood"]},
    )
    assert run.sample(4, context={"label": 2}).shape == (4, 4)
    assert math.isfinite(run.evidence(samples=2).metrics["elbo_nats"].value)


CONDITIONED = {
    "gaussian": {},
    "mixture": {"components": 3},
    "vamp": {"components": 5},
    "flow": {"hidden": [6]},
    "autoregressive": {"hidden": [6]},
}


@pytest.mark.parametrize("condition", [["prior"], ["prior", "posterior", "likelihood"]], ids=len)
@pytest.mark.parametrize("prior", CONDITIONED)
def test_every_prior_that_learns_is_conditioned(prior: str, condition: list[str]):
    arrays = {"x": np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32), "y": np.arange(40) % 3}
    options = {"model.condition": condition, "model.prior": {"kind": prior, **CONDITIONED[prior]}, "latent_dim": 2}
    small = {"steps": 2, "batch_size": 16, "quiet": True, "network": {"kind": "mlp", "hidden": [6]}}
    if prior == "vamp" and "posterior" not in condition:
        with pytest.raises(InputError, match="'vamp' sees a condition through the posterior"):
            fit(arrays, context=["label"], **options, **small)
        return
    run = fit(arrays, context=["label"], **options, **small)
    assert run.sample(4, context={"label": 2}, temperature=1.0).shape == (4, 4)
    assert isinstance(run.model, VAE)
    p = run.model.prior({"label": torch.tensor([0, 1])})
    assert p.batch_shape == (2,)
    z = torch.randn(2)
    with torch.no_grad():
        first, second = p.log_prob(z)
    assert first != second


def test_a_prior_that_is_not_conditioned_works_beside_parts_that_are():
    arrays = {"x": np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32), "y": np.arange(40) % 3}
    for prior in ("vamp", "flow", "autoregressive", "mixture"):
        options = {"prior": {"kind": prior, **CONDITIONED[prior]}, "latent_dim": 2, "network": {"kind": "mlp", "hidden": [6]}}
        run = fit(arrays, context=["label"], steps=2, batch_size=16, quiet=True, **options)
        assert run.sample(4, context={"label": 2}).shape == (4, 4)


def test_a_vamp_prior_starts_at_rows_from_all_over_the_data_as_many_as_there_are():
    x = np.repeat(np.eye(4, dtype=np.float32), 100, 0)  # sorted by class
    data = {"train_x": x, "test_x": x}
    few = fit(data, prior={"kind": "vamp", "components": 40}, likelihood="bernoulli", latent_dim=2, steps=1, quiet=True)
    assert isinstance(few.model, VAE)
    started = few.model.parts["prior"].get_parameter("pseudo_inputs")
    assert ((started.detach() > 0.5).float().mean(0) > 0.05).all()
    every = fit(data, prior="vamp", likelihood="bernoulli", latent_dim=2, steps=1, quiet=True)
    assert isinstance(every.model, VAE)
    assert len(every.model.parts["prior"].get_parameter("pseudo_inputs")) == 360  # a tenth is kept for validation
    assert every.recipe.model is not None
    assert every.recipe.model.prior.components == 360  # pyright: ignore


def test_the_encoder_of_a_ladder_may_have_a_network_of_its_own():
    posterior = {"kind": "gaussian", "network": {"kind": "mlp", "hidden": [7]}}
    run = fit(REAL, hierarchy="ladder", posterior=posterior, latent_dim=2, steps=1, quiet=True)
    assert run.model.parts["posterior"].networks[0].out_features == 7  # pyright: ignore


def test_the_condition_reaches_the_links_under_a_prior_that_takes_none():
    arrays = {"x": np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32), "y": np.arange(40) % 3}
    options = {"model.condition": ["prior", "likelihood"], "hierarchy": "top-down", "latent_dim": 2}
    run = fit(arrays, context=["label"], steps=2, batch_size=16, quiet=True, **options)
    assert run.sample(4, context={"label": 2}).shape == (4, 4)


SUITED = {
    "vae": REAL,
    "conv-vae": LEVELS,
    "linear": REAL,
    "missing-iwae": REAL,
    "burda-vae": LEVELS,
    "burda-iwae": LEVELS,
    "burda-two-layer": LEVELS,
    "vampprior-vae": BINARY,
    "vampprior": BINARY,
    "hvae": BINARY,
    "hvae-vampprior": BINARY,
    "ladder": LEVELS,
    "sylvester-vae": BINARY,
    "planar": BINARY,
    "iaf": BINARY,
    "sylvester": BINARY,
    "sylvester-householder": BINARY,
    "sylvester-triangular": BINARY,
    "gumbel": BINARY,
    "hyperspherical": LEVELS,
    "pixelvae": BINARY,
    "semi-amortized": LEVELS,
    "iwae": LEVELS,
    "dreg": LEVELS,
    "beta-vae": BINARY,
    "beta-tcvae": BINARY,
    "factor-vae": BINARY,
    "capacity": BINARY,
    "dip-vae": BINARY,
    "infovae": LEVELS,
    "wae": LEVELS,
    "vimco": LEVELS,
}
SHORTENED = {
    "semi-amortized": {"posterior.steps": 1, "likelihood.layers": 2, "latent_dim": 4}
}  # seconds in the place of a minute


@pytest.mark.parametrize("name", NAMED)
def test_every_named_recipe_is_built_and_trained(name: str):
    run = fit(SUITED[name], recipe=name, steps=2, quiet=True, **SHORTENED.get(name, {}))
    metrics = run.evidence(samples=2).metrics
    assert math.isfinite(metrics["distortion_nats" if name == "wae" else "elbo_nats"].value)  # a point mass has no bound


def test_parts_that_do_not_fit_each_other_are_refused():
    small = {"steps": 1, "quiet": True}
    with pytest.raises(InputError, match="network 'conv' needs images"):
        fit(COUNTS, network="conv", **small)
    with pytest.raises(InputError, match="prior 'normal' takes no condition"):
        fit({"x": REAL, "y": np.arange(40) % 2}, context=["label"], **small, **{"model.condition": ["prior"]})
    with pytest.raises(InputError, match="posterior 'delta' does not go with objective 'iwae': a point mass has no density"):
        fit(REAL, posterior="delta", objective="iwae", **small)
    with pytest.raises(InputError, match="objective 'elbo' needs the density of the posterior"):
        fit(REAL, posterior="delta", **small, **{"objective.kl": "sampled"})


SMALL = {"steps": 2, "batch_size": 16, "quiet": True, "latent_dim": 2, "network": {"kind": "mlp", "hidden": [6]}}


@pytest.mark.parametrize(
    ("objective", "estimator"),
    [("elbo", "gumbel"), ("free-bits", "gumbel"), ("infomax", "gumbel"), ("rloo", "sample"), ("vimco", "sample")],
)
@pytest.mark.parametrize("posterior", ["categorical", "bernoulli"])
def test_the_estimator_of_a_discrete_posterior_is_the_one_that_suits_the_objective(
    posterior: str, objective: str, estimator: str
):
    small = {"kind": objective, **({"hidden": [6]} if objective == "infomax" else {})}
    run = fit(BINARY, posterior=posterior, objective=small, **SMALL)
    assert run.recipe.model is not None
    assert run.recipe.model.posterior.estimator == estimator  # pyright: ignore
    assert math.isfinite(run.evidence(samples=2).metrics["elbo_nats"].value)


def test_importance_weights_go_with_a_discrete_posterior_that_is_summed_over():
    with pytest.raises(InputError, match="estimator 'gumbel' does not go with objective 'iwae': .*; use estimator 'enumerate'"):
        fit(BINARY, posterior="bernoulli", objective="iwae", **SMALL)
    run = fit(BINARY, posterior={"kind": "bernoulli", "estimator": "enumerate"}, objective="iwae", **SMALL)
    assert run.evidence().metrics["nll_nats"].kind == "exact"


def test_free_bits_per_dimension_are_refused_when_the_kl_is_no_sum_before_anything_is_trained():
    per = {"kind": "free-bits", "per": "dimension"}
    run = fit(BINARY, objective=per, **SMALL)
    assert run.history
    for options in ({"posterior": "full-gaussian"}, {"prior": "vamp"}, {"hierarchy": "bottom-up"}, {"posterior": "bernoulli"}):
        with pytest.raises(InputError, match="needs a KL of every latent that is a sum over its entries"):
            fit(BINARY, objective=per, **options, **SMALL)


@pytest.mark.parametrize("objective", ["miwae", "piwae"])
def test_groups_that_do_not_divide_the_samples_are_refused(objective: str):
    with pytest.raises(InputError, match="objective.samples is 10, which 4 groups do not divide"):
        fit(BINARY, objective={"kind": objective, "samples": 10, "groups": 4}, **SMALL)


@pytest.mark.parametrize("objective", ["rloo", "vimco"])
def test_one_sample_is_refused_where_samples_are_compared(objective: str):
    with pytest.raises(InputError, match="objective.samples is 1: input should be greater than or equal to 2"):
        fit(BINARY, objective={"kind": objective, "samples": 1}, **SMALL)


def test_each_objective_is_the_function_of_its_name_with_its_declared_gradient():
    gradients = {"dreg": "split", "piwae": "split", "stl": "path", "rloo": "score", "vimco": "score"}
    setting = Setting(steps_per_epoch=3, steps=30, rows=40, latent_size=2, seen_shape=(5,))
    for kind in kinds(Recipe, "objective"):
        description = make_recipe([], {"objective": kind}).objective
        assert description is not None
        objective = description.build(setting)
        assert objective.gradient == gradients.get(kind, "total")
        assert objective.samples == description.samples >= getattr(objective.function, "least", 1)

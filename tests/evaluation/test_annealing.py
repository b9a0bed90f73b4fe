import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from amortized import VAE, Batch, InputError, likelihoods, posteriors, priors
from amortized.evaluation import Annealing, annealed, chunks, evaluate
from amortized.evaluation.annealer import Plan
from amortized.evaluation.annealing import effective
from amortized.models import BottomUp, Hierarchical
from amortized.networks import MLP, Categorical, Context
from tests.evaluation.conftest import vae
from tests.statistics import z_score

pytestmark = pytest.mark.usefixtures("short_pilot")

REPETITIONS = 1000
SIZES = [((1, 2), 15), ((3, 5), 40), pytest.param((8, 12), 120, marks=pytest.mark.slow)]
"""Latent and data dimensions, and steps with which the bounds are tight enough for the mean of their exponentials to be known."""


def assert_bound_from_below(found: Annealing, truth):
    """Over repetitions, which the data are: the mean is no higher than the truth, and the weights have it for their mean."""
    error = found.log_px.lower - truth
    assert z_score(error) < 3
    assert abs(z_score(error.exp(), 1.0)) < 4.5


def bits(n=6, entries=5):
    return (torch.rand(n, entries, generator=torch.Generator().manual_seed(1)) < 0.5).float()


@pytest.mark.parametrize("start", ["prior", "posterior"])
@pytest.mark.parametrize(("size", "steps"), SIZES, ids=str)
def test_on_linear_gaussian_models_the_lower_bound_is_below_the_truth_and_its_weights_are_unbiased(
    linear_gaussian, size, steps, start
):
    truth = type(linear_gaussian)(*size)
    x = truth.sample(REPETITIONS)
    found = annealed(truth.model(truth.random_posterior("diagonal")), [x], chains=2, steps=steps, start=start)
    assert_bound_from_below(found, truth.log_px(x))


def test_one_datum_a_thousand_times_is_as_unbiased(linear_gaussian):
    x = linear_gaussian.sample(1).expand(REPETITIONS, -1)
    model = linear_gaussian.model(linear_gaussian.random_posterior("diagonal"))
    found = annealed(model, [x], chains=2, steps=15, schedule="sigmoid")
    assert_bound_from_below(found, linear_gaussian.log_px(x))


def test_the_bound_gets_tighter_with_steps(linear_gaussian):
    x, model = linear_gaussian.sample(300), linear_gaussian.model()
    found = [annealed(model, [x], chains=4, steps=steps, start="prior").log_px.lower for steps in (1, 10, 100)]
    for looser, tighter in zip(found, found[1:], strict=False):
        assert z_score(tighter - looser) > 4.5


def test_the_error_is_as_large_as_it_is_said_to_be(linear_gaussian):
    x = linear_gaussian.sample(REPETITIONS)
    found = annealed(linear_gaussian.model(linear_gaussian.wide_posterior(1.3)), [x], chains=16, steps=8).log_px
    error = (found.lower - linear_gaussian.log_px(x)).square() - found.mc_variance
    assert found.mc_variance.mean() < 0.05  # where the delta method is right
    assert abs(z_score(error)) < 4.5


def test_one_step_is_importance_sampling(linear_gaussian):
    x = linear_gaussian.sample(300)
    model = linear_gaussian.model(linear_gaussian.wide_posterior(1.3))
    found, sampled = annealed(model, [x], chains=50, steps=1), evaluate(model, [x], samples=50)
    assert sampled.nll is not None
    assert abs(z_score(found.log_px.lower + sampled.nll)) < 4.5
    assert "ais_acceptance" not in found.metrics


def test_from_the_exact_posterior_every_chain_gives_log_px(linear_gaussian):
    x = linear_gaussian.sample(20)
    found = annealed(linear_gaussian.model(), [x], chains=3, steps=30)
    torch.testing.assert_close(found.log_px.lower, linear_gaussian.log_px(x), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.effective_samples, torch.full((20,), 3.0).double())
    assert found.log_px.mc_variance.max() < 1e-18


def random_decoder():
    """A latent of one entry, a random network as its decoder, and a posterior that is far off."""
    model = vae(1, 6, seed=3).double()
    with torch.no_grad():
        for parameter in model.parts["likelihood"].parameters():
            parameter.mul_(4.0)
    return model


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_on_a_random_decoder_the_bound_is_below_the_quadrature(start):
    model, x = random_decoder(), bits(REPETITIONS, 6).double()
    grid = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    with torch.no_grad():
        z = grid[:, None, None].expand(-1, 50, 1)
        log_joint = [model.decode(z).log_prob(part) + model.prior().log_prob(z) for part in x.split(50)]
    truth = torch.trapezoid(torch.cat(log_joint, 1).exp(), grid, dim=0).log()
    assert_bound_from_below(annealed(model, [x], chains=4, steps=20, start=start), truth)


@torch.no_grad()
def set_values(part, **values):
    for name, value in values.items():
        part.get_parameter(name).copy_(value)


def two_modes():
    """x = z_1 + z_2 + noise, under a prior of two modes of which x says nothing: log p(x) is that of a mixture."""
    posterior = posteriors.DiagonalGaussian(MLP(1, []), 2)
    likelihood = likelihoods.Gaussian(MLP(2, []), 1, scale=0.5)
    model = VAE(priors.Mixture(2, 2), posterior, likelihood).double()
    set_values(likelihood.head.output, weight=torch.ones(1, 2), bias=torch.zeros(1))
    set_values(model.parts["prior"], loc=torch.tensor([[4.0, -4.0], [-4.0, 4.0]]), log_weights=torch.tensor([0.25, 0.75]).log())
    return model, torch.distributions.Normal(torch.zeros(1).double(), math.sqrt(2.25))


def test_a_posterior_of_two_modes_is_found_from_the_prior():
    model, marginal = two_modes()
    torch.manual_seed(1)
    x = marginal.sample((REPETITIONS,))
    truth = marginal.log_prob(x).squeeze(-1)
    found = annealed(model, [x], chains=8, steps=20, start="prior")
    assert_bound_from_below(found, truth)
    assert (found.log_px.lower - truth).mean() > -0.1


def conditional():
    context = Context({"y": Categorical(3)})
    network = MLP(5, [8], context_features=3)
    likelihood = likelihoods.Bernoulli(MLP(2, [8], context_features=3), 5)
    prior = priors.Gaussian(2, MLP(3, [8]))
    parts = ("prior", "posterior", "likelihood")
    return VAE(prior, posteriors.DiagonalGaussian(network, 2), likelihood, context=context, condition=parts)


def hierarchical():
    inference = BottomUp([posteriors.DiagonalGaussian(MLP(5, [8]), 3), posteriors.DiagonalGaussian(MLP(3, [8]), 2)])
    links = [posteriors.DiagonalGaussian(MLP(2, [8]), 3)]
    return Hierarchical(priors.StandardNormal(2), links, inference, likelihoods.Bernoulli(MLP(3, [8]), 5))


def vamp():
    posterior = posteriors.DiagonalGaussian(MLP(5, [8]), 2)
    return vae(posterior=posterior, prior=priors.Vamp(posterior, torch.rand(4, 5), 0.0, 1.0))


MODELS = {
    "conditional": conditional,
    "hierarchical": hierarchical,
    "vamp prior": vamp,
    "mixture prior": lambda: vae(prior=priors.Mixture(2, 3)),
    "flow prior": lambda: vae(prior=priors.Flow(2, transforms=2, hidden=[6])),
    "full posterior": lambda: vae(posterior=posteriors.FullGaussian(MLP(5, [8]), 2)),
    "mixture posterior": lambda: vae(posterior=posteriors.MixtureOfGaussians(MLP(5, [8]), 2, 2)),
    "spline posterior": lambda: vae(posterior=posteriors.Spline(MLP(5, [8]), 2, 2, hidden=[6], summary=4)),
    "planar posterior": lambda: vae(posterior=posteriors.Planar(MLP(5, [8]), 2, 2)),
    "semi-amortized posterior": lambda: vae(posterior=posteriors.SemiAmortized(MLP(5, [8]), 2, steps=2)),
}


@pytest.mark.parametrize("start", ["prior", "posterior"])
@pytest.mark.parametrize("kind", MODELS)
def test_every_model_with_real_latents_is_annealed_and_agrees_with_importance_sampling(kind, start):
    torch.manual_seed(0)
    model: Any = MODELS[kind]()
    observed = torch.rand(6, 5, generator=torch.Generator().manual_seed(2)) < 0.7
    batch = Batch(bits(6), observed=observed, context={"y": torch.arange(6) % 3} if kind == "conditional" else {})
    found = annealed(model, [batch], chains=16, steps=6, leapfrog=1, start=start)
    sampled = evaluate(model, [batch], samples=1000)
    assert sampled.nll is not None
    assert sampled.nll_variance is not None
    error = found.log_px.estimate + found.log_px.mc_variance / 2 + sampled.nll
    assert (error / (found.log_px.mc_variance + sampled.nll_variance).sqrt().clamp(min=1e-6)).abs().max() < 5


def test_a_model_is_left_as_it_was():
    model, x = vae().train(), bits()
    model.parts["prior"].requires_grad_(False)
    free = [parameter.requires_grad for parameter in model.parameters()]
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    annealed(model, [x], chains=2, steps=3)
    assert torch.equal(torch.rand(4), expected)
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == free
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_same_seed_gives_the_same_bounds():
    first, again, other = (annealed(vae(), [bits()], chains=2, steps=3, seed=seed).log_px.lower for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("entries", [5, 5 * 7, 5 * 40])
def test_how_data_and_chains_are_cut_does_not_matter_beyond_the_noise(monkeypatch, linear_gaussian, entries):
    monkeypatch.setattr(chunks, "CACHE_ENTRIES", entries)
    x, seen = linear_gaussian.sample(5), []
    model = linear_gaussian.model(linear_gaussian.wide_posterior(1.3))
    found = annealed(model, x.split(3), chains=10, steps=3, leapfrog=1, progress=seen.append)
    error = found.log_px.lower + found.log_px.mc_variance / 2 - linear_gaussian.log_px(x)
    assert (error / found.log_px.mc_variance.sqrt()).abs().max() < 5
    assert sum(seen) == 5


def test_the_metrics_say_what_they_are_and_the_errors_are_kept_apart():
    found = annealed(vae(), [bits()], chains=4, steps=5, split="valid")
    value = {name: metric.value for name, metric in found.metrics.items()}
    lower = found.log_px.lower
    assert value["ais_log_px_nats"] == pytest.approx(lower.mean().item())
    assert value["ais_log_px_stderr_nats"] == pytest.approx(lower.std().item() / math.sqrt(6))
    assert value["ais_log_px_mc_stderr_nats"] == pytest.approx(found.log_px.mc_variance.sum().sqrt().item() / 6)
    assert 1 <= value["ais_effective_samples"] <= 4
    assert {(metric.split, metric.samples) for metric in found.metrics.values()} == {("valid", 4)}
    assert found.metrics["ais_log_px_nats"].kind == "lower bound"
    assert "valid split, 6 data, 4 chains each from the posterior, 5 steps" in str(found)


def test_effective_samples_are_counted_by_their_weights():
    log_w = torch.tensor([[0.0, 5.0, 0.0], [0.0, -800.0, 0.0], [0.0, -800.0, -torch.inf], [0.0, -800.0, -torch.inf]]).double()
    torch.testing.assert_close(effective(log_w), torch.tensor([4.0, 1.0, 2.0]).double())


def test_one_chain_states_no_error():
    found = annealed(vae(), [bits()], chains=1, steps=3)
    assert "ais_log_px_mc_stderr_nats" not in found.metrics
    assert "no known Monte Carlo error" in str(found)


def test_loose_bounds_and_chains_that_do_not_move_are_announced(linear_gaussian):
    found = annealed(linear_gaussian.model(), [linear_gaussian.sample(5)], chains=4, steps=5)
    assert not found.notes
    loose = replace(found, log_px=replace(found.log_px, mc_variance=torch.full((5,), 0.5)))
    assert "too low by about 0.25 nats" in str(loose)
    assert "Only 10% of the transitions" in str(replace(found, acceptance=torch.full((5,), 0.1)))
    assert "0.370 ± 0.012 nats apart" in str(replace(found, gap_nats=0.37, gap_stderr_nats=0.012))


@pytest.mark.parametrize("schedule", ["linear", "sigmoid"])
def test_the_schedules_go_from_0_to_1_and_the_sigmoid_is_dense_at_both_ends(schedule):
    betas = torch.tensor(Plan(1, 10, 1, "prior", schedule).betas)
    widths = betas.diff()
    assert (betas[0], betas[-1], len(betas)) == (0, 1, 11)
    torch.testing.assert_close(widths, widths.flip(0))
    assert (widths[4] / widths[0] > 5) == (schedule == "sigmoid")


@pytest.mark.parametrize("name", ["chains", "steps", "leapfrog"])
@pytest.mark.parametrize("value", [0, -3, 2.5, True])
def test_numbers_that_are_not_positive_integers_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} of an annealing must be a positive integer; it is {value}"):
        annealed(vae(), [bits()], **{name: value})


@pytest.mark.parametrize(("name", "value"), [("start", "posteriori"), ("schedule", "sigmoidal")])
def test_a_choice_that_is_unknown_is_refused_with_the_nearest(name, value):
    with pytest.raises(InputError, match=f"cannot be '{value}'; did you mean"):
        annealed(vae(), [bits()], **{name: value})


def test_no_data_data_that_are_no_numbers_and_latents_that_do_not_move_are_refused():
    with pytest.raises(InputError, match="the valid split has no data to anneal"):
        annealed(vae(), [], split="valid")
    broken = bits()
    broken[1, 2] = math.nan
    with pytest.raises(InputError, match="row 1 of a batch has NaN"):
        annealed(vae(), [Batch(broken)], chains=2, steps=3)
    with pytest.raises(InputError, match="importance sampling"):
        annealed(vae(posterior=posteriors.Bernoulli(MLP(5, [8]), 2), prior=priors.Uniform(2, "binary")), [bits()])

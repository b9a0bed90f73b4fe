import math
from dataclasses import replace

import pytest
import torch

from amortized import VAE, Batch, InputError, likelihoods, posteriors, priors
from amortized.evaluation import Bidirectional, annealed, bidirectional
from amortized.networks import MLP, Categorical, Context
from tests.evaluation.conftest import vae
from tests.statistics import z_score

pytestmark = pytest.mark.usefixtures("short_pilot")

REPETITIONS = 1000
CASES = [
    ("posterior", (1, 2), 15),
    ("posterior", (3, 5), 40),
    pytest.param("posterior", (8, 12), 120, marks=pytest.mark.slow),
    ("prior", (1, 2), 60),
    pytest.param("prior", (3, 5), 300, marks=pytest.mark.slow),
]
"""Starts, latent and data dimensions, and steps with which the bounds are tight enough for the mean of their exponentials to be
known: that of the upper bound has a long tail otherwise."""


def assert_bounds_from_both_sides(found: Bidirectional, truth):
    """Over repetitions, which the data are: the bounds are on their sides, and the weights of both have the means they should."""
    below, above = found.log_px.lower - truth, found.log_px.upper - truth
    assert z_score(below) < 3
    assert z_score(above) > -3
    assert abs(z_score(below.exp(), 1.0)) < 4.5
    assert abs(z_score((-above).exp(), 1.0)) < 4.5


@pytest.mark.parametrize(("start", "size", "steps"), CASES, ids=str)
def test_on_linear_gaussian_models_the_truth_lies_between_the_bounds(linear_gaussian, start, size, steps):
    truth = type(linear_gaussian)(*size)
    model = truth.model(truth.random_posterior("diagonal"))
    found = bidirectional(model, REPETITIONS, chains=2, steps=steps, start=start)
    assert_bounds_from_both_sides(found, truth.log_px(found.x))


def test_on_a_random_decoder_the_quadrature_lies_between_the_bounds():
    torch.manual_seed(3)
    posterior = posteriors.DiagonalGaussian(MLP(6, [8]), 1)
    model = VAE(priors.StandardNormal(1), posterior, likelihoods.Bernoulli(MLP(1, [8]), 6)).double()
    with torch.no_grad():
        for parameter in model.parts["likelihood"].parameters():
            parameter.mul_(4.0)
    found = bidirectional(model, REPETITIONS, chains=4, steps=20)
    grid = torch.linspace(-12, 12, 2001, dtype=torch.float64)
    with torch.no_grad():
        z = grid[:, None, None].expand(-1, 50, 1)
        log_joint = [model.decode(z).log_prob(part) + model.prior().log_prob(z) for part in found.x.split(50)]
    assert_bounds_from_both_sides(found, torch.trapezoid(torch.cat(log_joint, 1).exp(), grid, dim=0).log())


def test_chains_that_share_their_start_still_bound_from_above(linear_gaussian):
    """At one step all K chains back have the very same weight: more of them change nothing, and the bound is as it was."""
    model = linear_gaussian.model(linear_gaussian.wide_posterior(1.2))
    found = bidirectional(model, REPETITIONS, chains=7, steps=1)
    truth = linear_gaussian.log_px(found.x)
    assert found.log_px.upper is not None
    assert abs(z_score((truth - found.log_px.upper).exp(), 1.0)) < 4.5


def test_the_data_are_the_models_own(linear_gaussian):
    found = bidirectional(linear_gaussian.model(), 2000, chains=1, steps=1)
    white = torch.linalg.solve_triangular(linear_gaussian.marginal.scale_tril, (found.x - linear_gaussian.bias).T, upper=False)
    assert (white.mean(1) * math.sqrt(2000)).abs().max() < 4.5
    assert ((white.square().mean(1) - 1) * math.sqrt(1000)).abs().max() < 4.5


def test_from_the_exact_posterior_both_bounds_are_log_px(linear_gaussian):
    found = bidirectional(linear_gaussian.model(), 20, chains=3, steps=30)
    torch.testing.assert_close(found.log_px.lower, linear_gaussian.log_px(found.x), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.log_px.upper, linear_gaussian.log_px(found.x), rtol=0, atol=1e-9)


def test_the_gap_closes_with_steps(linear_gaussian):
    model = linear_gaussian.model()
    gaps = [bidirectional(model, 300, chains=4, steps=steps, start="prior").gap for steps in (1, 10, 100)]
    for wider, narrower in zip(gaps, gaps[1:], strict=False):
        assert z_score(wider - narrower) > 4.5


def test_the_data_that_are_given_say_their_conditions_and_holes_and_nothing_else():
    context = Context({"y": Categorical(3)})
    likelihood = likelihoods.Gaussian(MLP(2, [8], context_features=3), 5)
    posterior = posteriors.DiagonalGaussian(MLP(5, [8], context_features=3), 2)
    torch.manual_seed(0)
    model = VAE(priors.StandardNormal(2), posterior, likelihood, context=context)
    observed = torch.rand(40, 5, generator=torch.Generator().manual_seed(2)) < 0.7
    y = torch.arange(40) % 3
    batch, other = (Batch(x, observed=observed, context={"y": y}) for x in (torch.zeros(40, 5), torch.randn(40, 5)))
    found, again = (bidirectional(model, [each], chains=2, steps=4) for each in (batch, other))
    assert torch.equal(found.gap, again.gap)
    fewer = replace(batch, observed=observed & (torch.arange(5) < 3))
    assert not torch.equal(found.gap, bidirectional(model, [fewer], chains=2, steps=4).gap)
    moved = replace(batch, context={"y": (y + 1) % 3})
    assert not torch.equal(found.x, bidirectional(model, [moved], chains=2, steps=4).x)


def test_a_model_is_left_as_it_was_and_every_datum_is_counted():
    model, seen = vae().train(), []
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    bidirectional(model, [torch.zeros(4, 5), torch.zeros(3, 5)], chains=2, steps=3, progress=seen.append)
    assert torch.equal(torch.rand(4), expected)
    assert model.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())
    assert sum(seen) == 7


def test_the_metrics_say_what_they_are():
    found = bidirectional(vae(), 6, chains=4, steps=5)
    value = {name: metric.value for name, metric in found.metrics.items()}
    assert value["bdmc_gap_nats"] == pytest.approx(value["bdmc_upper_nats"] - value["bdmc_lower_nats"])
    assert value["bdmc_gap_stderr_nats"] == pytest.approx(found.gap.std().item() / math.sqrt(6))
    kinds = {name: metric.kind for name, metric in found.metrics.items()}
    assert kinds["bdmc_lower_nats"] == "lower bound"
    assert kinds["bdmc_upper_nats"] == kinds["bdmc_gap_nats"] == "upper bound"
    assert {(metric.split, metric.samples) for metric in found.metrics.values()} == {("model", 4)}
    assert "6 data drawn from the model, 4 chains each from the posterior" in str(found)
    assert "bdmc_gap_stderr_nats" not in bidirectional(vae(), 1, chains=4, steps=5).metrics


def test_a_wide_gap_is_announced(linear_gaussian):
    model = linear_gaussian.model()
    assert "nats apart" in str(bidirectional(model, 20, chains=1, steps=1, start="prior"))
    assert "nats apart" not in str(bidirectional(model, 20, chains=1, steps=1))


@pytest.mark.parametrize(
    ("data", "words"), [(0, "the number of data to draw must be positive; it is 0"), ([], "there are no data")]
)
def test_no_data_are_refused(data, words):
    with pytest.raises(InputError, match=words):
        bidirectional(vae(), data)


def test_latents_that_do_not_move_are_refused():
    model = VAE(priors.Uniform(2, "binary"), posteriors.Bernoulli(MLP(5, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 5))
    with pytest.raises(InputError, match="importance sampling"):
        bidirectional(model, 3)


@torch.no_grad()
def two_modes():
    """x = z_1 + z_2 + noise, under a prior of two modes of which x says nothing; q is near the one that has a quarter of it."""
    posterior = posteriors.DiagonalGaussian(MLP(1, []), 2)
    likelihood = likelihoods.Gaussian(MLP(2, []), 1, scale=0.5)
    model = VAE(priors.Mixture(2, 2), posterior, likelihood).double()
    likelihood.get_parameter("head.output.weight").copy_(torch.ones(1, 2))
    likelihood.get_parameter("head.output.bias").zero_()
    posterior.get_parameter("head.output.weight").zero_()
    posterior.get_parameter("head.output.bias").copy_(torch.tensor([4.0, -4.0, 0.0, 0.0]))
    model.parts["prior"].get_parameter("loc").copy_(torch.tensor([[4.0, -4.0], [-4.0, 4.0]]))
    model.parts["prior"].get_parameter("log_weights").copy_(torch.tensor([0.25, 0.75]).log())
    return model, torch.distributions.Normal(0.0, math.sqrt(2.25))


def test_on_a_mixture_the_truth_lies_between_the_bounds():
    model, marginal = two_modes()
    found = bidirectional(model, REPETITIONS, chains=4, steps=60, start="prior")
    assert_bounds_from_both_sides(found, marginal.log_prob(found.x.squeeze(-1)))
    assert found.gap.mean() < 0.3


def test_a_mode_that_the_chains_never_see_is_seen_in_the_gap_alone():
    model, marginal = two_modes()
    how = {"chains": 8, "steps": 40, "start": "posterior"}
    x = marginal.sample((300, 1)).double()
    below = annealed(model, [x], **how)
    lost = below.log_px.lower - marginal.log_prob(x.squeeze(-1))
    assert float(lost.mean()) == pytest.approx(math.log(0.25), abs=0.05)  # the share of the mode that it sees
    assert below.log_px.mc_stderr < 0.02
    assert bidirectional(model, 300, **how).gap.mean() > 1.0

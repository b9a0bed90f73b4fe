import math

import pytest
import torch
from torch.distributions import kl_divergence

from amortized import gaussian_kl
from amortized.evaluation import evaluate
from amortized.objectives import elbo, elbo_sampled, iwae

KINDS = ("diagonal", "full")


def moments(q):
    return q.mean, torch.linalg.cholesky(q.covariance_matrix if hasattr(q, "covariance_matrix") else q.variance.diag_embed())


def gap(truth, model, x):
    """KL(q || p(z | x)), by the closed form of any two Gaussians."""
    exact = truth.posterior(x)
    return gaussian_kl(*moments(model.posterior(x)), exact.mean, exact.scale_tril)


def test_log_w_under_the_exact_posterior_is_log_px_whatever_was_drawn(linear_gaussian):
    x = linear_gaussian.sample(7)
    terms = linear_gaussian.model().terms(x, samples=11)
    torch.testing.assert_close(terms.log_w, linear_gaussian.log_px(x).expand(11, 7), rtol=0, atol=1e-10)


def test_the_posterior_of_the_truth_is_bayes_rule(linear_gaussian):
    x, z = linear_gaussian.sample(4), torch.randn(4, 3, dtype=torch.float64)
    model = linear_gaussian.model()
    joint = model.prior().log_prob(z) + model.decode(z).log_prob(x)
    assert torch.allclose(joint - linear_gaussian.log_px(x), linear_gaussian.posterior(x).log_prob(z), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_elbo_of_a_gaussian_is_log_px_minus_its_gap_in_closed_form(linear_gaussian, kind):
    x, model = linear_gaussian.sample(7), linear_gaussian.model(linear_gaussian.random_posterior(kind))
    terms = model.terms(x)
    loc, scale_tril = moments(model.posterior(x))
    assert terms.kl_is_exact
    bound = linear_gaussian.expected_log_px(x, loc, scale_tril @ scale_tril.mT) - terms.kl.sum(0)[0]
    gap_nats = gap(linear_gaussian, model, x)
    assert gap_nats.min() > 0.01  # this posterior is not the exact one
    torch.testing.assert_close(bound, linear_gaussian.log_px(x) - gap_nats, rtol=0, atol=1e-10)


@pytest.mark.parametrize("objective", [elbo, elbo_sampled])
@pytest.mark.parametrize("kind", KINDS)
def test_the_elbo_drawn_is_unbiased(linear_gaussian, kind, objective):
    x, model = linear_gaussian.sample(7), linear_gaussian.model(linear_gaussian.random_posterior(kind))
    terms = model.terms(x, samples=20_000)
    kl = terms.kl.sum(0) if objective is elbo else terms.kl_sampled.sum(0)
    error = (terms.log_px - kl).std(0) / math.sqrt(20_000)
    z = (objective(terms) - linear_gaussian.log_px(x) + gap(linear_gaussian, model, x)) / error
    assert z.abs().max() < 4.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_importance_weights_have_the_mean_that_makes_the_estimate_consistent(linear_gaussian, kind):
    x, model = linear_gaussian.sample(7), linear_gaussian.model(linear_gaussian.random_posterior(kind))
    ratio = (model.terms(x, samples=20_000).log_w - linear_gaussian.log_px(x)).exp()
    z = (ratio.mean(0) - 1) / (ratio.std(0) / math.sqrt(20_000))
    assert z.abs().max() < 4.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_importance_weighted_bound_rises_with_k_and_stays_below_log_px(linear_gaussian, kind):
    x, model = linear_gaussian.sample(7), linear_gaussian.model(linear_gaussian.random_posterior(kind))
    log_w = model.terms(x, samples=64 * 2_000).log_w.view(64, 2_000, 7)
    sizes = (1, 4, 16, 64)
    groups = [log_w.view(64 // k, k, 2_000, 7) for k in sizes]
    values = [group.logsumexp(1).mean(0) - math.log(k) for k, group in zip(sizes, groups, strict=True)]  # L_K, same draws
    for lower, higher in zip(values, values[1:], strict=False):
        rise = (higher - lower).mean(1)
        assert (rise.mean() / (rise.std() / math.sqrt(len(rise)))) > 4.5
    below = linear_gaussian.log_px(x) - values[-1]
    assert (below.mean(0) > -4.5 * below.std(0) / math.sqrt(2_000)).all()


def test_iwae_is_the_log_mean_of_the_weights(linear_gaussian):
    x, model = linear_gaussian.sample(7), linear_gaussian.model(linear_gaussian.random_posterior("full"))
    terms = model.terms(x, samples=9)
    torch.testing.assert_close(iwae(terms), terms.log_w.exp().mean(0).log(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_meets_log_px_within_its_monte_carlo_error_and_its_bias(linear_gaussian, kind):
    x, model = linear_gaussian.sample(200), linear_gaussian.model(linear_gaussian.random_posterior(kind, size=0.3))
    metrics = evaluate(model, [x], samples=1000).metrics
    excess = metrics["nll_nats"].value + linear_gaussian.log_px(x).mean().item()
    error = metrics["nll_mc_stderr_nats"].value
    assert abs(excess - metrics["nll_bias_nats"].value) < 4.5 * error
    assert error < metrics["nll_stderr_nats"].value / 10  # the error over the data could hide what is tested here


def test_the_bias_at_few_samples_is_the_one_that_evaluate_states(linear_gaussian):
    x, factor = linear_gaussian.sample(20_000), 1.5
    model = linear_gaussian.model(linear_gaussian.wide_posterior(factor))
    metrics = evaluate(model, [x], samples=100).metrics
    excess = metrics["nll_nats"].value + linear_gaussian.log_px(x).mean().item()
    bias, error = metrics["nll_bias_nats"].value, metrics["nll_mc_stderr_nats"].value
    relative_variance = (factor**2 / math.sqrt(2 * factor**2 - 1)) ** linear_gaussian.latent_dim - 1
    for expected in (bias, relative_variance / 200):
        assert expected > 5 * error  # so that it is seen
        assert abs(excess - expected) < 4.5 * error


def test_evaluate_is_exact_under_the_exact_posterior(linear_gaussian):
    x = linear_gaussian.sample(20)
    evidence = evaluate(linear_gaussian.model(), [x], samples=5)
    assert evidence.nll is not None
    assert evidence.nll_variance is not None
    torch.testing.assert_close(-evidence.nll, linear_gaussian.log_px(x), rtol=0, atol=1e-10)
    assert evidence.nll_variance.max() < 1e-15


def test_the_gap_of_the_exact_posterior_is_zero(linear_gaussian):
    x = linear_gaussian.sample(4)
    assert kl_divergence(linear_gaussian.model().posterior(x), linear_gaussian.posterior(x)).abs().max() < 1e-10

# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
import itertools
import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from amortized import VAE, InputError, Latent, Terms, likelihoods, posteriors, priors
from amortized.models import Hierarchical, TopDown
from amortized.networks import MLP
from amortized.objectives import Objective, elbo, infovae, mmd, wae
from amortized.training.step import Trainable

KERNELS = ("rbf", "imq")
OBJECTIVES = (infovae, wae)


def gaussian(dimension, loc=0.0, scale=1.0):
    return Independent(Normal(torch.full((dimension,), loc).double(), torch.full((dimension,), scale).double()), 1)


def kernel(a, b, name, scale=1.0):
    width, square = 2 * len(a) * scale, (a - b).square().sum()
    return torch.exp(-square / width) if name == "rbf" else width / (width + square)


def expected_rbf(mean, variance, dimension, width):
    """E exp(-r^2 / width) for r ~ N(mean, variance) in every entry."""
    spread = 1 + 2 * variance / width
    return spread ** (-dimension / 2) * math.exp(-dimension * mean**2 / (width * spread))


def score(values, exact):
    return ((values.mean() - exact) / (values.std() / math.sqrt(len(values)))).abs()


@pytest.mark.parametrize("name", KERNELS)
def test_the_estimate_is_the_u_statistic_over_pairs(name):
    z, y = torch.randn(5, 3).double(), torch.randn(5, 3).double()
    pairs = [
        kernel(z[b], z[c], name, s) + kernel(y[b], y[c], name, s) - kernel(z[b], y[c], name, s) - kernel(y[b], z[c], name, s)
        for b, c in itertools.permutations(range(5), 2)
        for s in (0.5, 2.0)
    ]
    torch.testing.assert_close(mmd(z, y, name, (0.5, 2.0)), torch.stack(pairs).sum() / 20)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_it_is_unbiased_for_the_closed_form_of_two_gaussians(scale):
    dimension, loc, std = 2, 0.8, 0.6
    width = 2 * dimension * scale
    exact = (
        expected_rbf(0.0, 2.0, dimension, width)
        + expected_rbf(0.0, 2 * std**2, dimension, width)
        - 2 * expected_rbf(loc, 1 + std**2, dimension, width)
    )
    values = mmd(gaussian(dimension, loc, std).sample((4000, 6)), gaussian(dimension).sample((4000, 6)), "rbf", (scale,))
    assert exact > 0.05
    assert score(values, exact) < 4


@pytest.mark.parametrize("name", KERNELS)
def test_its_mean_is_zero_for_draws_of_the_same_distribution_and_it_goes_below(name):
    values = mmd(gaussian(3).sample((4000, 5)), gaussian(3).sample((4000, 5)), name)
    assert score(values, 0.0) < 4
    assert values.min() < 0


def test_rows_that_depend_on_each_other_leave_it_without_bias():
    shared = gaussian(2).sample((4000, 5))  # a condition that both are drawn given; the marginals are the same
    z, y = shared + 0.5 * torch.randn_like(shared), shared + 0.5 * torch.randn_like(shared)
    assert score(mmd(z, y), 0.0) < 4


@pytest.mark.parametrize("name", KERNELS)
def test_at_one_half_of_the_distance_the_kernels_have_the_papers_values(name):
    # C is the mean squared distance of two draws of N(0, I): there "imq" is 1/2 and "rbf" exp(-1).
    far = torch.tensor([[0.0, 0.0], [2.0, 0.0]]).double()
    same = far[:1].expand(2, 2)
    value = mmd(far, same, name)
    at = 0.5 if name == "imq" else math.exp(-1)
    torch.testing.assert_close(value, torch.tensor(at + 1.0 - 1.0 - at).double(), rtol=0, atol=1e-12)
    assert gaussian(2).sample((20000, 2)).diff(dim=1).square().sum(-1).mean().item() == pytest.approx(4.0, abs=0.15)


def linear_terms(linear_gaussian, rows=64, samples=1):
    return linear_gaussian.model().terms(linear_gaussian.sample(rows), samples=samples)


@pytest.mark.parametrize("function", OBJECTIVES)
def test_under_the_exact_posterior_the_discrepancy_has_mean_zero(linear_gaussian, function):
    model, found = linear_gaussian.model(), []
    for seed in range(300):
        t = model.terms(linear_gaussian.sample(16, seed=seed))
        rest = t.mean_over_samples(t.log_px) if function is wae else elbo(t)
        options = {"lambda_mmd": 1.0} if function is wae else {"lambda_mmd": 2.0, "alpha": 0.0}
        found.append((rest - function(t, **options)).mean())
    assert score(torch.stack(found).detach(), 0.0) < 4


def test_infovae_at_its_ends_is_the_elbo_and_the_wasserstein_autoencoder(linear_gaussian):
    t = linear_terms(linear_gaussian)
    torch.testing.assert_close(infovae(t, alpha=0.0, lambda_mmd=1.0), elbo(t))
    torch.manual_seed(1)
    info = infovae(t, alpha=1.0, lambda_mmd=10.0, kernel="imq")
    torch.manual_seed(1)
    torch.testing.assert_close(info, wae(t, lambda_mmd=10.0))


def test_it_is_the_same_for_every_datum_and_the_mean_over_samples(linear_gaussian):
    t = linear_terms(linear_gaussian, rows=6, samples=3)
    torch.manual_seed(1)
    found = t.log_px.mean(0) - wae(t, lambda_mmd=1.0)
    torch.manual_seed(1)
    y = t.latents[0].p.sample((3, 6))
    torch.testing.assert_close(found, mmd(t.latents[0].z, y, "imq").mean().expand(6))


def test_a_prior_of_each_datum_is_drawn_for_each():
    loc = 5.0 * torch.arange(4.0).unsqueeze(-1).expand(4, 2)
    p = Independent(Normal(loc, torch.full_like(loc, 1e-6)), 1)
    t = Terms(torch.zeros(1, 4), (Latent(p, p, loc.unsqueeze(0)),))
    torch.testing.assert_close(wae(t, lambda_mmd=1.0), -mmd(loc, loc, "imq").expand(4), rtol=0, atol=1e-4)


@pytest.mark.parametrize("function", OBJECTIVES)
def test_a_single_datum_has_a_finite_value(linear_gaussian, function):
    assert function(linear_terms(linear_gaussian, rows=1)).isfinite().all()


def vae(prior=None, posterior=None, **options):
    prior, posterior = prior or priors.StandardNormal(2), posterior or posteriors.DiagonalGaussian(MLP(5, [4]), 2)
    return VAE(prior, posterior, likelihoods.Bernoulli(MLP(2, [4]), 5), **options)


def test_a_point_posterior_and_a_learned_prior_are_trained_by_the_discrepancy_alone():
    model = vae(priors.Gaussian(2), posteriors.Delta(MLP(5, [4]), 2))
    t = model.terms(torch.rand(8, 5).round())
    discrepancy = t.log_px.mean(0) - wae(t)
    discrepancy.sum().backward()
    for part in ("prior", "posterior"):
        for parameter in model.parts[part].parameters():
            assert parameter.grad is not None
            assert parameter.grad.any()


def test_relaxed_draws_are_compared_as_the_hard_values_that_they_stand_for():
    posterior = posteriors.Categorical(MLP(5, [4]), 2, 3, estimator="gumbel")
    model = VAE(priors.Uniform((2, 3), "categorical"), posterior, likelihoods.Bernoulli(MLP((2, 3), [4]), 5))
    t = model.terms(torch.rand(50, 5).round())
    latent = t.latents[0]
    torch.manual_seed(1)
    found = t.log_px.mean(0) - wae(t, lambda_mmd=1.0)
    torch.manual_seed(1)
    y = latent.p.sample((1, 50))
    hard = torch.nn.functional.one_hot(latent.z.argmax(-1), 3).float()
    torch.testing.assert_close(found, mmd(hard.flatten(2), y.flatten(2), "imq").expand(50))
    found.sum().backward()
    assert all(parameter.grad.any() for parameter in posterior.parameters())


@pytest.mark.parametrize("function", OBJECTIVES)
def test_priors_without_a_gradient_of_their_draws_are_refused_when_they_are_built(function):
    posterior = posteriors.DiagonalGaussian(MLP(5, [4]), 2)
    for prior in (priors.Mixture(2), priors.Autoregressive(2), priors.Vamp(posterior, torch.rand(3, 5))):
        with pytest.raises(InputError, match="prior has draws with a gradient, which this VAE does not have. Take the prior"):
            Trainable(vae(prior, posterior), Objective(function))


@pytest.mark.parametrize("function", OBJECTIVES)
def test_strata_and_hierarchies_are_refused_when_they_are_built(function):
    with pytest.raises(InputError, match="drawn alike"):
        Trainable(vae(posterior=posteriors.MixtureOfGaussians(MLP(5, [4]), 2)), Objective(function))
    links = [posteriors.DiagonalGaussian(MLP(2, [4]), 2)]
    inference = TopDown([posteriors.DiagonalGaussian(MLP(7, [4]), 2), posteriors.DiagonalGaussian(MLP(5, [4]), 2)])
    model = Hierarchical(priors.StandardNormal(2), links, inference, likelihoods.Bernoulli(MLP(2, [4]), 5))
    with pytest.raises(InputError, match="one latent variable whose prior has draws"):
        Trainable(model, Objective(function))


def test_two_latents_are_refused_at_the_call():
    q = MultivariateNormal(torch.zeros(4, 2), torch.eye(2))
    latent = Latent(q, q, q.rsample((1,)))
    with pytest.raises(InputError, match="this model has 2"):
        wae(Terms(torch.zeros(1, 4), (latent, latent)))

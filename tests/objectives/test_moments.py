import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from amortized import VAE, InputError, Latent, Terms, likelihoods, posteriors, priors
from amortized.distributions import Delta
from amortized.models import Hierarchical, TopDown
from amortized.networks import MLP
from amortized.objectives import Objective, dip_i, dip_ii, elbo
from amortized.objectives.moments import covariance_of_means, mean_covariance
from amortized.training.step import Trainable

OBJECTIVES = (dip_i, dip_ii)


def centered(linear_gaussian, rows=40):
    """Data whose sample moments, with 1/B, are those of the model itself."""
    x = torch.randn(rows, linear_gaussian.dimension).double()
    x = x - x.mean(0)
    whitened = torch.linalg.solve_triangular(torch.linalg.cholesky(x.mT @ x / rows), x.mT, upper=False).mT
    return linear_gaussian.bias + whitened @ linear_gaussian.marginal.scale_tril.T


def penalty(covariance, lambda_od, lambda_d):
    squares = (covariance - torch.eye(len(covariance))).square()
    on = squares.diagonal().sum()
    return lambda_od * (squares.sum() - on) + lambda_d * on


def of(q):
    p = Independent(Normal(torch.zeros(q.event_shape).double(), 1.0), len(q.event_shape))
    return Latent(q, p, q.rsample((2,)))


def test_on_a_linear_gaussian_model_both_covariances_are_exact(linear_gaussian):
    latent = linear_gaussian.model().terms(centered(linear_gaussian)).latents[0]
    between = linear_gaussian.gain @ linear_gaussian.marginal.covariance_matrix @ linear_gaussian.gain.T
    torch.testing.assert_close(covariance_of_means(latent), between)
    torch.testing.assert_close(mean_covariance(latent), linear_gaussian.covariance)


def test_under_the_exact_posterior_the_aggregate_is_the_prior_and_dip_ii_is_the_elbo(linear_gaussian):
    t = linear_gaussian.model().terms(centered(linear_gaussian))
    torch.testing.assert_close(dip_ii(t), elbo(t))
    assert (dip_i(t) < elbo(t) - 0.1).all()


@pytest.mark.parametrize("kind", ["full", "diagonal"])
def test_the_penalty_is_the_distance_from_the_identity_with_a_weight_on_and_off_the_diagonal(linear_gaussian, kind):
    t = linear_gaussian.model(linear_gaussian.random_posterior(kind)).terms(linear_gaussian.sample(30))
    q = t.latents[0].q
    means = q.mean.T.cov(correction=0)
    within = q.covariance_matrix if kind == "full" else torch.diag_embed(q.variance)
    torch.testing.assert_close(dip_i(t, 3.0, 7.0), elbo(t) - penalty(means, 3.0, 7.0))
    torch.testing.assert_close(dip_ii(t, 3.0, 7.0), elbo(t) - penalty(means + within.mean(0), 3.0, 7.0))


def test_the_covariance_of_dip_ii_is_that_of_the_draws(linear_gaussian):
    posterior = linear_gaussian.random_posterior("full")
    latent = linear_gaussian.model(posterior).terms(linear_gaussian.sample(50), samples=4000).latents[0]
    covariance = covariance_of_means(latent) + mean_covariance(latent)
    samples, rows = latent.z.shape[:2]
    means = latent.z.mean((0, 1))
    # Given the data only the draws are random, so that the error is that of each datum's mean of products.
    products = torch.einsum("kbi,kbj->kbij", latent.z - means, latent.z - means)
    error = (products.var(0) / samples).sum(0).sqrt() / rows
    assert ((products.mean((0, 1)) - covariance).abs() < 5 * error + 1e-3 * covariance.diagonal().max()).all()


def test_a_point_has_no_covariance_of_its_own_so_that_both_are_the_same():
    value = torch.randn(6, 3, requires_grad=True)
    q = Delta(value, 1)
    t = Terms(torch.zeros(1, 6), (Latent(q, Independent(Normal(torch.zeros(3), 1.0), 1), q.rsample((1,))),), is_bound=False)
    torch.testing.assert_close(dip_i(t, 2.0, 3.0), dip_ii(t, 2.0, 3.0))
    torch.testing.assert_close(dip_ii(t, 2.0, 3.0), (-penalty(value.T.cov(correction=0), 2.0, 3.0)).expand(6))


def test_entries_are_told_apart_whatever_the_shape_of_the_event():
    loc, scale = torch.randn(5, 2, 3).double(), torch.rand(5, 2, 3).double()
    shaped = of(Independent(Normal(loc, scale), 2))
    flat = of(Independent(Normal(loc.flatten(1), scale.flatten(1)), 1))
    torch.testing.assert_close(covariance_of_means(shaped), covariance_of_means(flat))
    torch.testing.assert_close(mean_covariance(shaped), mean_covariance(flat))


@pytest.mark.parametrize("function", OBJECTIVES)
def test_a_single_datum_has_a_finite_value(function):
    latent = of(Independent(Normal(torch.randn(1, 3).double(), 1.0), 1))
    assert function(Terms(torch.zeros(2, 1).double(), (latent,))).isfinite().all()


@pytest.mark.parametrize("function", OBJECTIVES)
def test_every_parameter_of_the_encoder_has_a_gradient(function):
    model = VAE(
        priors.StandardNormal(2),
        posteriors.FullGaussian(MLP(5, []), 2),
        likelihoods.Bernoulli(MLP(2, []), 5),
    )
    t = model.terms(torch.rand(8, 5).round())
    penalties = elbo(t) - function(t)
    gradients = torch.autograd.grad(penalties.sum(), list(model.posteriors[0].parameters()), allow_unused=True)
    for gradient in gradients:
        assert gradient is not None
        assert gradient.any()


@pytest.mark.parametrize("function", OBJECTIVES)
def test_posteriors_without_moments_and_hierarchies_are_refused_when_they_are_built(function):
    likelihood = likelihoods.Bernoulli(MLP(2, [4]), 5)
    planar = VAE(priors.StandardNormal(2), posteriors.Planar(MLP(5, [4]), 2), likelihood)
    links = [posteriors.DiagonalGaussian(MLP(2, [4]), 2)]
    inference = TopDown([posteriors.DiagonalGaussian(MLP(7, [4]), 2), posteriors.DiagonalGaussian(MLP(5, [4]), 2)])
    groups = Hierarchical(priors.StandardNormal(2), links, inference, likelihood)
    for model in (planar, groups):
        with pytest.raises(InputError, match="a mean and a covariance in closed form, which this"):
            Trainable(model, Objective(function))


def test_a_family_without_moments_is_refused_at_the_call():
    model = VAE(priors.StandardNormal(2), posteriors.Planar(MLP(5, [4]), 2), likelihoods.Bernoulli(MLP(2, [4]), 5))
    with pytest.raises(InputError, match="DIP-VAE needs one latent variable"):
        dip_ii(model.terms(torch.zeros(3, 5)))
    mixture = VAE(priors.StandardNormal(2), posteriors.MixtureOfGaussians(MLP(5, [4]), 2), likelihoods.Bernoulli(MLP(2, [4]), 5))
    with pytest.raises(InputError, match="the first a Mixture"):
        dip_ii(mixture.terms(torch.zeros(3, 5)))


def test_two_latents_are_refused_at_the_call():
    latent = of(MultivariateNormal(torch.zeros(4, 2).double(), torch.eye(2).double()))
    with pytest.raises(InputError, match="this one has 2"):
        dip_i(Terms(torch.zeros(2, 4), (latent, latent)))

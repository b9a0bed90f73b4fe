import math
from functools import partial

import pytest
import torch
from torch.distributions import Independent, Normal

from amortized import VAE, InputError, Latent, Terms, likelihoods, posteriors, priors
from amortized.networks import MLP
from amortized.objectives import ciwae, cubo, elbo, elbo_sampled, iwae, miwae, renyi

K, B, D, X = 5, 4, 3, 6


def normal(*shape):
    return Independent(Normal(torch.randn(*shape).double(), torch.rand(*shape).double() + 0.5), 1)


def terms(samples=K, latents=2, **fields):
    drawn = []
    for _ in range(latents):
        q = normal(B, D)
        drawn.append(Latent(q, normal(D), q.rsample((samples,))))
    return Terms(torch.randn(samples, B).double(), tuple(drawn), **fields)


def test_the_elbo_is_log_px_minus_the_kl_of_every_latent():
    t = terms()
    assert elbo(t).shape == (B,)
    torch.testing.assert_close(elbo(t), t.log_px.mean(0) - t.kl[0, 0] - t.kl[1, 0])


def test_the_sampled_elbo_is_the_mean_of_log_w():
    t = terms()
    torch.testing.assert_close(elbo_sampled(t), t.log_w.mean(0))


@pytest.mark.parametrize("objective", [elbo, elbo_sampled])
def test_beta_weighs_the_kl_alone(objective):
    t = terms()
    torch.testing.assert_close(objective(t, beta=0.0), t.log_px.mean(0))
    at = {beta: objective(t, beta=beta) for beta in (0.0, 1.0, 4.0)}
    torch.testing.assert_close(at[4.0] - at[0.0], 4 * (at[1.0] - at[0.0]))
    torch.testing.assert_close(objective(t, beta=torch.tensor(4.0)), at[4.0])


def test_one_sample_makes_the_importance_weighted_bound_the_sampled_elbo():
    t = terms(samples=1)
    torch.testing.assert_close(iwae(t), elbo_sampled(t))


def test_the_importance_weighted_bound_is_the_log_mean_weight_and_above_the_mean_log_weight():
    t = terms()
    torch.testing.assert_close(iwae(t), t.log_w.exp().mean(0).log())
    assert (iwae(t) > t.log_w.mean(0)).all()


def test_the_importance_weighted_bound_survives_weights_beyond_the_exponent():
    t = terms(latents=0)
    for shift in (-2000.0, 2000.0):
        moved = Terms(t.log_px + shift, ())
        torch.testing.assert_close(iwae(moved), iwae(t) + shift, rtol=0, atol=1e-9)


@pytest.mark.parametrize("objective", [elbo, elbo_sampled, iwae])
def test_equal_sample_weights_change_nothing(objective):
    t = terms()
    equal = Terms(t.log_px, t.latents, log_sample_weight=torch.full((K, B), -math.log(K), dtype=torch.float64))
    torch.testing.assert_close(objective(equal), objective(t))


@pytest.mark.parametrize("objective", [elbo, elbo_sampled, iwae])
def test_all_the_weight_on_one_sample_leaves_that_sample(objective):
    log_weight = torch.full((K, B), -torch.inf, dtype=torch.float64)
    log_weight[2] = 0.0
    only = terms(log_sample_weight=log_weight)
    expected = only.log_px[2] - only.kl.sum(0)[2] if objective is elbo else only.log_w[2]
    torch.testing.assert_close(objective(only), expected)


def test_nothing_is_averaged_over_the_data():
    t = terms()
    moved = Terms(t.log_px + torch.tensor([100.0, 0, 0, 0]), t.latents)
    for objective in (elbo, elbo_sampled, iwae):
        torch.testing.assert_close(objective(moved)[1:], objective(t)[1:])


def from_strata(samples=6):
    """A mixture of two Gaussians, each drawn in every sample."""
    q = posteriors.MixtureOfGaussians(MLP(X, [8]), D, 2).double()
    return VAE(priors.StandardNormal(D), q, likelihoods.Bernoulli(MLP(D, [8]), X)).double().terms(bits(), samples=samples)


def enumerated():
    q = posteriors.Bernoulli(MLP(X, [8]), D, estimator="enumerate")
    model = VAE(priors.Uniform(D, "binary"), q, likelihoods.Bernoulli(MLP(D, [8]), X)).double()
    return model.terms(bits(), samples=8)


def bits():
    return (torch.rand(B, X) < 0.5).double()


def test_many_groups_of_one_make_it_the_evidence_lower_bound_and_one_group_of_many_the_weighted_bound():
    t = terms(samples=6)
    torch.testing.assert_close(miwae(t, groups=6), elbo_sampled(t))
    torch.testing.assert_close(miwae(t, groups=1), iwae(t))
    halves = [Terms(log_w, ()) for log_w in t.log_w.split(3)]
    torch.testing.assert_close(miwae(t, groups=2), (iwae(halves[0]) + iwae(halves[1])) / 2)


def test_groups_of_strata_hold_whole_samples():
    t = from_strata()
    assert t.log_sample_weight is not None
    torch.testing.assert_close(miwae(t, groups=1), iwae(t))
    weighted = (t.log_w + t.log_sample_weight).unflatten(0, (6, 2)) + math.log(6)
    torch.testing.assert_close(miwae(t, groups=6), weighted.logsumexp(1).mean(0))
    assert (elbo_sampled(t) < miwae(t, groups=6)).all()
    assert (miwae(t, groups=6) < miwae(t, groups=2)).all()
    with pytest.raises(InputError, match="4 groups would tear the strata"):
        miwae(t, groups=4)
    with pytest.raises(InputError, match="12 posterior samples do not divide into 5 groups"):
        miwae(t, groups=5)


@pytest.mark.parametrize("objective", [iwae, miwae, partial(renyi, alpha=0.0), partial(ciwae, beta=0.0)])
def test_a_whole_support_gives_log_px_itself(objective):
    t = enumerated()
    assert t.log_sample_weight is not None
    torch.testing.assert_close(objective(t), (t.log_w + t.log_sample_weight).logsumexp(0), rtol=0, atol=1e-12)


def test_the_combination_has_the_two_bounds_as_its_ends_and_is_linear_between():
    for t in (terms(), from_strata(), enumerated()):
        torch.testing.assert_close(ciwae(t, beta=1.0), elbo_sampled(t))
        torch.testing.assert_close(ciwae(t, beta=0.0), iwae(t))
        torch.testing.assert_close(ciwae(t, beta=0.3), 0.3 * elbo_sampled(t) + 0.7 * iwae(t))
        torch.testing.assert_close(ciwae(t, beta=torch.tensor(0.3)), ciwae(t, beta=0.3))


ORDERS = (-math.inf, -50.0, -2.0, -0.5, 0.0, 0.3, 0.9, 1.0, 1.5, 4.0, 50.0, math.inf)


@pytest.mark.parametrize("make", [terms, from_strata, enumerated])
def test_the_renyi_bound_falls_with_its_order_from_the_largest_weight_to_the_least(make):
    t = make()
    values = torch.stack([renyi(t, alpha) for alpha in ORDERS])
    assert (values[:-1] >= values[1:]).all()
    assert torch.equal(values[0], t.log_w.amax(0))
    assert torch.equal(values[-1], t.log_w.amin(0))


@pytest.mark.parametrize("make", [terms, from_strata, enumerated])
def test_the_renyi_bound_is_the_weighted_bound_at_0_and_tends_to_the_evidence_lower_bound_at_1(make):
    t = make()
    torch.testing.assert_close(renyi(t, 0.0), iwae(t))
    assert torch.equal(renyi(t, 1.0), elbo_sampled(t))
    mean = t.mean_over_samples(t.log_w)
    half_variance = t.mean_over_samples((t.log_w - mean).square()) / 2
    for order in (1e-3, -1e-3, 1e-5, -1e-5):  # L_(1 - d) = ELBO + d var(log w) / 2 + O(d^2)
        slope = (renyi(t, 1.0 - order) - elbo_sampled(t)) / order
        torch.testing.assert_close(slope, half_variance, rtol=0.05 * abs(order) / 1e-3 + 1e-5, atol=0)


@pytest.mark.parametrize("order", [1e-7, -1e-7, 1e-5, 1e-3])
def test_near_its_limit_the_renyi_bound_keeps_the_digits_of_float32(order):
    log_w = -90.0 + 3.0 * torch.randn(50, 7)
    exact = renyi(Terms(log_w.double(), ()), 1.0 - order)
    torch.testing.assert_close(renyi(Terms(log_w, ()), 1.0 - order).double(), exact, rtol=1e-6, atol=0)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.5, 1.0, 2.0])
def test_the_gradient_of_the_renyi_bound_weighs_the_samples_by_a_power_of_their_weights(alpha):
    log_w = torch.randn(K, B).double().requires_grad_()
    (gradient,) = torch.autograd.grad(renyi(Terms(log_w, ()), alpha).sum(), log_w)
    torch.testing.assert_close(gradient, ((1 - alpha) * log_w).softmax(0))


def test_a_sample_that_cannot_be_leaves_the_bounds_of_the_others():
    log_w = torch.randn(K, B).double()
    log_w[1] = -torch.inf
    rest = iwae(Terms(log_w[[0, 2, 3, 4]], ())) + math.log((K - 1) / K)
    for alpha in (0.0, 0.5):
        value = renyi(Terms(log_w, ()), alpha)
        assert value.isfinite().all()
    torch.testing.assert_close(renyi(Terms(log_w, ()), 0.0), rest)
    assert (renyi(Terms(torch.full((K, B), -torch.inf).double(), ()), 0.5) == -torch.inf).all()


@pytest.mark.parametrize("order", [1.0, 2.0, 4.0])
def test_the_chi_bound_is_log_px_at_the_exact_posterior(linear_gaussian, order):
    x = linear_gaussian.sample(7)
    terms = linear_gaussian.model().terms(x, samples=11)
    torch.testing.assert_close(cubo(terms, order), linear_gaussian.log_px(x), rtol=0, atol=1e-10)


def test_the_chi_bound_of_many_samples_is_its_closed_form_above_log_px(linear_gaussian):
    """For q N(m, c^2 S) and a posterior N(m, S) of D entries, E[(w / p(x))^2] = (c^2 / sqrt(2 c^2 - 1))^D."""
    factor, samples, chunks = 1.3, 2_000, 40
    x, model = linear_gaussian.sample(5), linear_gaussian.model(linear_gaussian.wide_posterior(factor))
    log_w = torch.stack([model.terms(x, samples=samples).log_w for _ in range(chunks)])
    second = (2 * (log_w - linear_gaussian.log_px(x))).exp()
    exact = (factor**2 / math.sqrt(2 * factor**2 - 1)) ** linear_gaussian.latent_dim
    z = (second.mean((0, 1)) - exact) / (second.flatten(0, 1).std(0) / math.sqrt(samples * chunks))
    assert z.abs().max() < 4.5
    bound = cubo(Terms(log_w.flatten(0, 1), ()))
    torch.testing.assert_close(bound, linear_gaussian.log_px(x) + 0.5 * second.mean((0, 1)).log())
    assert (bound > linear_gaussian.log_px(x)).all()


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0])
def test_the_chi_bound_is_a_renyi_bound_of_negative_order_and_rises_with_its_own(order):
    t = from_strata()
    torch.testing.assert_close(cubo(t, order), renyi(t, 1.0 - order))
    assert (cubo(t, order + 0.5) >= cubo(t, order)).all()


@pytest.mark.parametrize("bound", [iwae, partial(miwae, groups=5), partial(ciwae, beta=0.3), partial(renyi, alpha=0.5)])
def test_in_the_mean_every_lower_bound_is_below_log_px_and_above_the_evidence_lower_bound(linear_gaussian, bound):
    x, model = linear_gaussian.sample(5), linear_gaussian.model(linear_gaussian.random_posterior("diagonal"))
    repeats = 1600
    rows = x.repeat(repeats, 1)
    t = model.terms(rows, samples=10)
    for low, high in ((elbo_sampled(t), bound(t)), (bound(t), linear_gaussian.log_px(rows))):
        rise = (high - low).view(repeats, 5)
        assert (rise.mean(0) > 4.5 * rise.std(0) / math.sqrt(repeats)).all()


@pytest.mark.parametrize("samples", [64, 256])
def test_the_bias_of_the_weighted_bound_is_half_the_relative_variance_of_a_weight_over_k(linear_gaussian, samples):
    """Of the mean of M bounds of K samples it is that of one of them (Nowozin 2018; Rainforth et al. 2018)."""
    factor, groups, rows = 1.3, 16, 400
    x, model = linear_gaussian.sample(1), linear_gaussian.model(linear_gaussian.wide_posterior(factor))
    relative = (factor**2 / math.sqrt(2 * factor**2 - 1)) ** linear_gaussian.latent_dim - 1
    t = model.terms(x.expand(rows, -1), samples=samples * groups)
    bias = miwae(t, groups=groups) - linear_gaussian.log_px(x)
    control = (t.log_w - linear_gaussian.log_px(x)).exp().mean(0) - 1  # of mean 0: takes the noise of the first order away
    error = bias - control
    expected = -relative / (2 * samples)
    assert abs(error.mean() - expected) < 4.5 * error.std() / math.sqrt(rows) + 3 * relative**2 / samples**2

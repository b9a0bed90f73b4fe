import math
from functools import partial

import pytest
import torch
from torch.distributions import Independent, Normal

from amortized import VAE, Hierarchical, InputError, Latent, Terms, likelihoods, posteriors, priors
from amortized.models import BottomUp, Ladder, TopDown
from amortized.networks import MLP
from amortized.objectives import Objective, capacity, elbo, free_bits, free_bits_per_dimension
from amortized.posteriors import DiagonalGaussian
from amortized.training.step import Trainable

K, B, D, X = 3, 5, 4, 6
double = torch.float64


def gaussian(loc, scale=1.0):
    return Independent(Normal(loc, torch.full_like(loc, scale)), 1)


def at(*locs):
    """Terms whose KLs are loc^2 / 2, entry by entry: q N(loc, 1), p N(0, 1), for each (B, D) loc."""
    latents = []
    for loc in locs:
        q = gaussian(loc)
        latents.append(Latent(q, gaussian(torch.zeros(loc.shape[-1], dtype=double)), q.rsample((K,))))
    return Terms(torch.randn(K, B, dtype=double), tuple(latents))


def with_rates(*rates):
    """A loc (B, D) whose entries have these KLs, in the mean over the data, each datum another."""
    rate = torch.tensor(rates, dtype=double) * torch.linspace(0.5, 1.5, B, dtype=double).unsqueeze(-1)
    return (2 * rate).sqrt().requires_grad_()


def grad(value, *of):
    return torch.autograd.grad(value.mean(), of, allow_unused=True, retain_graph=True)


EACH = {"latent": free_bits, "dimension": free_bits_per_dimension}


def test_the_mean_rates_are_what_these_tests_take_them_to_be():
    t = at(with_rates(0.1, 0.4, 0.7, 0.2))
    torch.testing.assert_close(t.kl.mean(), torch.tensor(1.4, dtype=double))


@pytest.mark.parametrize("per", ["latent", "dimension"])
def test_free_bits_of_zero_are_the_evidence_lower_bound_in_the_mean(per):
    low, high = with_rates(0.1, 0.4, 0.7, 0.2), with_rates(0.3, 0.3)
    t = at(low, high)
    value = EACH[per](t, bits=0.0)
    assert value.shape == (B,)
    torch.testing.assert_close(value.mean(), elbo(t).mean())
    for found, expected in zip(grad(value, low, high), grad(elbo(t), low, high), strict=True):
        torch.testing.assert_close(found, expected)


def test_below_the_floor_a_latent_costs_the_floor_and_has_no_gradient_and_above_it_that_of_the_bound():
    low, high = with_rates(0.1, 0.2), with_rates(1.0, 2.0)  # mean rates 0.3 and 3
    t = at(low, high)
    value = free_bits(t, bits=0.5)
    torch.testing.assert_close(value, t.log_px.mean(0) - 0.5 - 3.0)
    below, above = grad(value, low, high)
    assert below is None or not below.any()
    torch.testing.assert_close(above, grad(elbo(t), high)[0])


def test_below_the_floor_an_entry_has_no_gradient_and_above_it_that_of_the_bound():
    loc = with_rates(0.1, 0.4, 0.7, 0.2)
    t = at(loc)
    value = free_bits_per_dimension(t, bits=0.3)
    torch.testing.assert_close(value, t.log_px.mean(0) - (0.3 + 0.4 + 0.7 + 0.3))
    (found,), (expected,) = grad(value, loc), grad(elbo(t), loc)
    assert not found[:, [0, 3]].any()
    torch.testing.assert_close(found[:, [1, 2]], expected[:, [1, 2]])


def test_the_mean_over_the_minibatch_is_held_to_the_floor_not_each_datum():
    loc = with_rates(0.6)
    assert (at(loc).kl < 0.5).any()
    (found,), (expected,) = grad(free_bits(at(loc), bits=0.5), loc), grad(elbo(at(loc)), loc)
    torch.testing.assert_close(found, expected)


def test_a_rate_that_is_drawn_may_be_negative_and_costs_the_floor_all_the_same():
    q = gaussian(torch.zeros(B, D, dtype=double))
    p = gaussian(torch.full((D,), 0.1, dtype=double))
    z = torch.full((K, B, D), 5.0, dtype=double)
    t = Terms(torch.randn(K, B, dtype=double), (Latent(q, p, z, is_averaged=False),))
    assert (t.kl < 0).all()
    torch.testing.assert_close(free_bits(t, bits=0.5), t.log_px.mean(0) - 0.5)


def test_the_likelihood_has_its_own_gradient_whatever_the_floor():
    log_px = torch.randn(K, B, dtype=double, requires_grad=True)
    t = Terms(log_px, at(with_rates(0.1)).latents)
    for function in (partial(free_bits, bits=9.0), partial(capacity, capacity=9.0)):
        (found,) = torch.autograd.grad(function(t).sum(), log_px)
        torch.testing.assert_close(found, torch.full((K, B), 1 / K, dtype=double))


def test_a_kl_that_is_no_sum_over_entries_has_a_floor_as_a_whole_and_is_refused_by_dimension_when_it_is_built():
    model = vae(posteriors.FullGaussian(MLP(X, [8]), D))
    t = model.terms(torch.zeros(B, X))
    assert free_bits(t).shape == (B,)
    with pytest.raises(InputError, match="take `free_bits`, or a posterior and a prior with independent entries"):
        free_bits_per_dimension(t)
    with pytest.raises(InputError, match="needs a KL of every latent that is a sum over its entries"):
        Trainable(model, Objective(free_bits_per_dimension))


def vae(posterior=None, prior=None):
    q = DiagonalGaussian(MLP(X, [8]), D) if posterior is None else posterior
    return VAE(prior or priors.StandardNormal(D), q, likelihoods.Bernoulli(MLP(D, [8]), X))


def hierarchy(inference, link=None):
    link = DiagonalGaussian(MLP(2, [8]), D) if link is None else link
    return Hierarchical(priors.Gaussian(2), [link], inference, likelihoods.Bernoulli(MLP(D, [8]), X))


def gaussians(*sizes):
    return [DiagonalGaussian(MLP(*size), out) for *size, out in sizes]


MODELS = {
    "gaussian and normal": lambda: vae(),
    "semi-amortized and gaussian": lambda: vae(posteriors.SemiAmortized(MLP(X, [8]), D), priors.Gaussian(D)),
    "full-gaussian": lambda: vae(posteriors.FullGaussian(MLP(X, [8]), D)),
    "delta": lambda: vae(posteriors.Delta(MLP(X, [8]), D)),
    "planar": lambda: vae(posteriors.Planar(MLP(X, [8]), D)),
    "mixture": lambda: vae(posteriors.MixtureOfGaussians(MLP(X, [8]), D)),
    "mixture prior": lambda: vae(prior=priors.Mixture(D, 3)),
    "bits": lambda: vae(posteriors.Bernoulli(MLP(X, [8]), D), priors.Uniform(D, "binary")),
    "bottom-up": lambda: hierarchy(BottomUp(gaussians((X, [8], D), (D, [8], 2)))),
    "top-down": lambda: hierarchy(TopDown(gaussians((X, [8], 2), (X + 2, [8], D)))),
    "top-down with a full link": lambda: hierarchy(
        TopDown(gaussians((X, [8], 2), (X + 2, [8], D))), posteriors.FullGaussian(MLP(2, [8]), D)
    ),
    "ladder": lambda: hierarchy(Ladder([MLP(X, [8]), MLP(8, [8])], [D, 2])),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_a_model_offers_is_what_free_bits_per_dimension_find_in_its_terms(name):
    model = MODELS[name]()
    t = model.terms(torch.rand(B, X).round())
    found = all(isinstance(latent, Latent) and latent.kl_elementwise is not None for latent in t.latents)
    assert ("entrywise" in model.offers) == found
    if found:
        torch.testing.assert_close(free_bits_per_dimension(t, bits=0.0).mean(), elbo(t).mean())


def test_strata_count_by_their_weights():
    t = vae(posteriors.Bernoulli(MLP(X, [8]), D, estimator="enumerate"), priors.Uniform(D, "binary")).terms(torch.ones(B, X))
    assert t.log_sample_weight is not None
    torch.testing.assert_close(free_bits(t, bits=0.0).mean(), elbo(t).mean())
    torch.testing.assert_close(free_bits(t, bits=50.0), t.mean_over_samples(t.log_px) - 50.0)


def test_at_the_capacity_the_rate_costs_nothing_and_beside_it_gamma_times_the_distance():
    loc = with_rates(0.1, 0.4, 0.7, 0.2)
    t = at(loc)
    for target, distance in ((1.4, 0.0), (2.4, 1.0), (0.4, 1.0)):
        value = capacity(t, gamma=7.0, capacity=target)
        assert value.shape == (B,)
        torch.testing.assert_close(value, t.log_px.mean(0) - 7.0 * distance)


@pytest.mark.parametrize(("target", "sign"), [(9.0, 1.0), (0.0, -1.0)])
def test_the_rate_is_pulled_toward_the_capacity_from_both_sides(target, sign):
    loc = with_rates(0.1, 0.4)
    (found,) = grad(capacity(at(loc), gamma=7.0, capacity=target), loc)
    torch.testing.assert_close(found, sign * 7.0 * loc.detach() / B)


def test_training_holds_the_rate_to_the_capacity_and_to_the_floor():
    x = (torch.rand(200, X) < 0.5).float()
    for function, target in ((partial(capacity, gamma=100.0, capacity=1.5), 1.5), (partial(free_bits, bits=1.5), 1.5)):
        model = VAE(priors.StandardNormal(2), posteriors.DiagonalGaussian(MLP(X, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), X))
        optimizer = torch.optim.Adam(model.parameters(), 3e-2)
        for _ in range(150):
            optimizer.zero_grad()
            (-function(model.terms(x))).mean().backward()
            optimizer.step()
        rate = float(model.terms(x).kl.mean().detach())
        assert math.isclose(rate, target, abs_tol=0.15)

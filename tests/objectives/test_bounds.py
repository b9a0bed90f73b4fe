import math

import pytest
import torch
from torch.distributions import Independent, Normal

from amortized import Latent, Terms
from amortized.objectives import elbo, elbo_sampled, iwae

K, B, D = 5, 4, 3


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


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

import pytest
import torch

from amortized import InputError
from amortized.networks import MLP
from amortized.priors import Gaussian, StandardNormal


def test_the_standard_normal_is_what_its_name_says():
    p = StandardNormal(3)()
    assert torch.equal(p.mean, torch.zeros(3))
    assert torch.equal(p.variance, torch.ones(3))


def test_the_standard_normal_follows_its_model_and_saves_nothing():
    prior = StandardNormal(3)
    assert prior.double()().mean.dtype == torch.float64
    assert not prior.state_dict()


def test_a_learned_gaussian_starts_as_the_standard_normal():
    z = torch.randn(4, 3)
    assert torch.equal(Gaussian(3)().log_prob(z), StandardNormal(3)().log_prob(z))


def test_the_moments_given_a_condition_are_those_of_its_row():
    torch.manual_seed(0)
    prior, c = Gaussian(3, MLP(2, [8])), torch.randn(5, 2)
    torch.testing.assert_close(prior(c).mean[3], prior(c[3:4]).mean[0])
    assert not torch.allclose(prior(c).mean[0], prior(c).mean[1])


def test_a_conditional_prior_without_a_condition_says_how_to_give_it_one():
    with pytest.raises(InputError, match="called without a condition; build the model with a context"):
        Gaussian(3, MLP(2, [8]))()

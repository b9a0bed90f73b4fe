"""Tasks on latents that are not real numbers: what is decoded is always a value that the latent can have."""

import pytest
import torch

from amortized import VAE, InputError, likelihoods, posteriors, priors
from amortized.distributions import in_support, representative
from amortized.networks import MLP
from amortized.tasks import interpolate, reconstruct

X = 5


def model(posterior, prior, event):
    torch.manual_seed(0)
    return VAE(prior, posterior, likelihoods.Bernoulli(MLP(event, [8]), X))


def classes():
    return model(posteriors.Categorical(MLP(X, [8]), 3, 4), priors.Uniform((3, 4), "categorical"), (3, 4))


def bits():
    return model(posteriors.Bernoulli(MLP(X, [8]), 3), priors.Uniform(3, "binary"), 3)


def sphere():
    return model(posteriors.VonMisesFisher(MLP(X, [8]), 3), priors.Uniform(3, "sphere"), 3)


def watched(made):
    seen = []
    made.parts["likelihood"].register_forward_hook(lambda part, given, out: seen.append(given[0]))
    return seen


@pytest.mark.parametrize("make", [classes, bits, sphere])
def test_reconstructions_are_decoded_from_values_of_the_latent(make):
    made, x = make(), torch.rand(6, X).round()
    seen = watched(made)
    reconstruct(made, x)
    q = made.eval().posterior(x)
    assert in_support(q, seen[0])
    assert not in_support(q, q.mean)
    torch.testing.assert_close(seen[0], q.mode)


def test_a_path_on_the_sphere_stays_there_and_a_straight_one_is_refused():
    made, a, b = sphere(), torch.zeros(4, X), torch.ones(4, X)
    seen = watched(made)
    interpolate(made, a, b, steps=5, path="spherical")
    torch.testing.assert_close(seen[0].norm(dim=-1), torch.ones(5, 4))
    with pytest.raises(InputError, match="take the path 'spherical'"):
        interpolate(made, a, b, steps=5)


@pytest.mark.parametrize("make", [classes, bits])
def test_between_discrete_values_there_is_no_path(make):
    made = make()
    a = torch.rand(40, X).round()
    with pytest.raises(InputError, match="between discrete values there is none"):
        interpolate(made, a, 1 - a, steps=5)


def test_where_the_mean_is_a_value_it_represents():
    q = posteriors.MixtureOfGaussians(MLP(X, [8]), 3)(torch.randn(4, X))
    assert torch.equal(representative(q), q.mean)

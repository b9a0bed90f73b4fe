import pytest
import torch

from amortized import InputError
from amortized.networks import MLP
from amortized.priors import Mixture, StandardNormal


def test_the_components_differ_from_the_start_and_weigh_the_same():
    torch.manual_seed(0)
    prior = Mixture(40, 10)
    p = prior()
    torch.testing.assert_close(p.log_weights.exp(), torch.full((10,), 0.1))
    distances = torch.cdist(p.components.mean, p.components.mean)
    assert distances[~torch.eye(10, dtype=torch.bool)].min() > 4  # of N(0, I) in 40 dimensions, sqrt(80) on average
    assert torch.equal(p.components.stddev, torch.ones(10, 40))


def test_the_components_of_a_conditioned_one_differ_from_the_start_too():
    torch.manual_seed(0)
    means = Mixture(40, 10, MLP(4, [8]))(torch.randn(6, 4)).components.mean
    assert means.shape == (6, 10, 40)
    distances = torch.cdist(means[0], means[0])
    assert distances[~torch.eye(10, dtype=torch.bool)].min() > 4


def test_one_component_at_the_origin_is_the_standard_normal():
    prior, z = Mixture(3, 1), torch.randn(5, 3)
    with torch.no_grad():
        prior.loc.zero_()
    torch.testing.assert_close(prior().log_prob(z), StandardNormal(3)().log_prob(z))


def test_it_learns_a_distribution_with_two_modes():
    """Maximum likelihood on N(-2, 0.5^2) and N(2, 0.5^2) with weights 1/4, 3/4 ends near the data's own entropy."""
    torch.manual_seed(0)
    sign = torch.where(torch.rand(500, 1) < 0.25, -1.0, 1.0)
    z = 2 * sign + 0.5 * torch.randn(500, 1)
    truth = Mixture(1, 2)
    with torch.no_grad():
        truth.log_weights.copy_(torch.tensor([0.25, 0.75]).log())
        truth.loc.copy_(torch.tensor([[-2.0], [2.0]]))
        truth.log_scale.fill_(-0.6931472)
    prior = Mixture(1, 2)
    optimizer = torch.optim.Adam(prior.parameters(), 0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (-prior().log_prob(z).mean()).backward()
        optimizer.step()
    assert prior().log_prob(z).mean() >= truth().log_prob(z).mean()  # the maximum is at or above the truth


def test_scales_have_a_floor_and_a_ceiling():
    prior = Mixture(3, 2)
    for extreme in (-1e4, 1e4):
        with torch.no_grad():
            prior.log_scale.fill_(extreme)
        assert prior().variance.isfinite().all()
        assert (prior().components.variance > 0).all()
        assert prior().log_prob(torch.randn(4, 3)).isfinite().all()


def test_a_condition_wants_a_network_and_a_network_a_condition():
    with pytest.raises(InputError, match="called without a condition; build the model with a context"):
        Mixture(3, 2, MLP(4, [8]))()
    with pytest.raises(InputError, match="has no network to take it; give it one"):
        Mixture(3, 2)(torch.randn(5, 4))


@pytest.mark.parametrize("components", [0, -1, 2.5, True])
def test_the_number_of_components_is_a_positive_integer(components):
    with pytest.raises(InputError, match="components must be a positive integer"):
        Mixture(3, components)

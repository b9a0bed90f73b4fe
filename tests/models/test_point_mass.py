import torch
from torch import Tensor, nn
from torch.distributions import Independent

from amortized import VAE, likelihoods, networks, priors
from amortized.distributions import Delta, is_point_mass
from amortized.evaluation import evaluate


class OwnDelta(nn.Module):
    """A posterior of the user's own that says nothing of its density."""

    def __init__(self):
        super().__init__()
        self.map = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Independent:
        return Independent(Delta(self.map(x)), 1)


def test_a_point_mass_of_ones_own_is_never_reported_as_a_bound():
    model = VAE(priors.StandardNormal(2), OwnDelta(), likelihoods.Gaussian(networks.MLP(2, [4]), event=3))
    x = torch.randn(5, 3)
    assert not model.terms(x).is_bound
    assert set(evaluate(model, [x], samples=3).metrics) == {"distortion_nats"}


def test_a_point_mass_is_seen_through_independence():
    point = Delta(torch.zeros(4, 2))
    assert is_point_mass(point)
    assert is_point_mass(Independent(point, 1))
    assert not is_point_mass(torch.distributions.Normal(0.0, 1.0))

import pytest
import torch

from amortized import VAE, likelihoods, posteriors, priors
from amortized.evaluation import pilot
from amortized.networks import MLP


@pytest.fixture
def short_pilot(monkeypatch):
    """A pilot that takes less time; the bounds hold for whatever step sizes it finds."""
    monkeypatch.setattr(pilot, "WARM_UP", 5)
    monkeypatch.setattr(pilot, "KNOTS", 40)


def vae(latent=2, entries=5, posterior=None, prior=None, seed=0, **options):
    torch.manual_seed(seed)
    posterior = posterior or posteriors.DiagonalGaussian(MLP(entries, [8]), latent)
    return VAE(prior or priors.StandardNormal(latent), posterior, likelihoods.Bernoulli(MLP(latent, [8]), entries), **options)

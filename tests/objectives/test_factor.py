"""FactorVAE against the closed form of a Gaussian's total correlation, 1/2 [ sum_j log S_jj - log det S ]."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, Normal
from torch.nn.functional import softplus

from amortized import VAE, InputError, likelihoods, posteriors, priors
from amortized.networks import MLP
from amortized.objectives import FactorVAE, Objective, check_compatible, elbo
from amortized.objectives.factor import permuted
from amortized.terms import Terms
from tests.statistics import z_score

COVARIANCE = torch.tensor([[1.0, 0.8, 0.1], [0.8, 1.5, -0.3], [0.1, -0.3, 0.7]], dtype=torch.float64)
AGGREGATE = MultivariateNormal(torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64), COVARIANCE)
MARGINALS = Normal(AGGREGATE.loc, COVARIANCE.diagonal().sqrt())
TOTAL_CORRELATION = 0.5 * (COVARIANCE.diagonal().log().sum() - COVARIANCE.logdet()).item()


class LogRatio(nn.Module):
    """The optimal discriminator of `AGGREGATE`."""

    def forward(self, z):
        return (AGGREGATE.log_prob(z) - MARGINALS.log_prob(z).sum(-1)).unsqueeze(-1)


def terms(z, **fields):
    """What FactorVAE looks at, beside terms of the bound that are 0."""
    return Terms(torch.zeros(z.shape[:2], dtype=z.dtype), (), z=z, **fields)


def test_with_the_optimal_discriminator_the_value_is_the_total_correlation():
    torch.manual_seed(0)
    objective = FactorVAE(3, [4])
    objective.discriminator = LogRatio()
    values = objective.total_correlation(terms(AGGREGATE.sample((1, 100_000))))
    assert abs(z_score(values, TOTAL_CORRELATION)) < 4


def test_the_optimal_discriminator_has_the_least_loss():
    torch.manual_seed(1)
    t = terms(AGGREGATE.sample((1, 50_000)))
    objective = FactorVAE(3, [4])
    objective.discriminator = LogRatio()
    best = objective.loss(t)
    for change in (lambda logit: 0.7 * logit, lambda logit: 1.3 * logit, lambda logit: logit + 0.3, lambda logit: logit - 0.3):
        objective.discriminator = nn.Sequential(LogRatio(), Changed(change))
        assert (objective.loss(t) - best).mean() > 0
    logit = LogRatio()(torch.stack((AGGREGATE.sample((200_000,)), MARGINALS.sample((200_000,))))).squeeze(-1)
    expected = 0.5 * (softplus(-logit[0]) + softplus(logit[1]))
    error = math.hypot(*(each.std().item() / math.sqrt(len(each)) for each in (best, expected)))
    assert abs(best.mean() - expected.mean()) < 4 * error + 2 / 50_000  # entries of one row come from one datum once in B


class Changed(nn.Module):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, logit):
        return self.change(logit)


def test_a_discriminator_that_is_trained_alone_comes_near_the_closed_form():
    torch.manual_seed(2)
    objective = FactorVAE(3, [64, 64], lr=2e-3).double()
    optimizer = torch.optim.Adam(objective.parameters(), objective.lr, objective.betas)
    for _ in range(600):
        optimizer.zero_grad()
        objective.loss(terms(AGGREGATE.sample((1, 512)))).mean().backward()
        optimizer.step()
    with torch.no_grad():
        value = objective.total_correlation(terms(AGGREGATE.sample((1, 50_000)))).mean().item()
        independent = objective.discriminator(MARGINALS.sample((50_000,))).mean().item()
    assert value == pytest.approx(TOTAL_CORRELATION, rel=0.15)
    assert independent < 0  # where z has independent entries the logit is -KL( product || joint ) in the mean


def test_permuted_entries_have_the_same_marginals_and_another_partner():
    torch.manual_seed(3)
    z = AGGREGATE.sample((4, 1000))
    other = permuted(z)
    torch.testing.assert_close(other.sort(1).values, z.sort(1).values, rtol=0, atol=0)
    correlation = torch.corrcoef(other.flatten(0, 1).T) - torch.eye(3)
    assert correlation.abs().max() < 4 / math.sqrt(4000)


def test_samples_with_weights_are_drawn_by_them_for_the_discriminator():
    torch.manual_seed(4)
    weight = torch.tensor([0.7, 0.2, 0.1, 0.0], dtype=torch.float64).unsqueeze(1).expand(4, 20_000)
    z = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64).reshape(4, 1, 1).expand(4, 20_000, 1)
    objective = FactorVAE(1, [4]).double()
    objective.discriminator = Changed(lambda z: z)
    t = terms(z, log_sample_weight=weight.log())
    torch.testing.assert_close(objective.total_correlation(t), torch.full((20_000,), 1.4, dtype=torch.float64))
    values = objective.loss(t)
    expected = (weight[:, 0] * 0.5 * (softplus(-z[:, 0, 0]) + softplus(z[:, 0, 0]))).sum()
    assert abs(z_score(values, expected.item())) < 4


def test_neither_side_moves_the_other():
    model = VAE(
        priors.StandardNormal(2),
        posteriors.DiagonalGaussian(MLP(5, [6]), 2),
        likelihoods.Bernoulli(MLP(2, [6]), 5),
    )
    objective = FactorVAE(2, [8])
    t = model.terms(torch.rand(7, 5).round(), samples=3)
    own, models = list(objective.parameters()), list(model.parameters())
    encoder = list(model.parts["posterior"].parameters())
    gradients = torch.autograd.grad(objective(t).sum(), [*models, *own], retain_graph=True, allow_unused=True)
    assert all(each is None for each in gradients[len(models) :])
    gradients = torch.autograd.grad(objective.loss(t).sum(), [*models, *own], retain_graph=True, allow_unused=True)
    assert all(each is None for each in gradients[: len(models)])
    assert all(each is not None and each.any() for each in gradients[len(models) :])
    through_z = torch.autograd.grad(objective.total_correlation(t).sum(), encoder, retain_graph=True)
    assert all(each.any() for each in through_z)
    torch.testing.assert_close(objective(t, gamma=0.0), elbo(t), rtol=0, atol=0)
    torch.testing.assert_close(objective(t, gamma=2.0), elbo(t) - 2.0 * objective.total_correlation(t))


def test_entries_that_determine_each_other_are_refused():
    model = VAE(
        priors.Uniform((2, 3), "categorical"),
        posteriors.Categorical(MLP(5, [6]), 2, 3),
        likelihoods.Bernoulli(MLP((2, 3), [6]), 5),
    )
    with pytest.raises(InputError, match="'FactorVAE' needs latents whose entries do not determine each other"):
        check_compatible(Objective(FactorVAE(6, [4])), model.offers, "this VAE")


def test_a_model_without_z_or_with_another_size_is_told():
    objective = FactorVAE(3, [4])
    with pytest.raises(InputError, match="Terms.z, which the model leaves at None"):
        objective.total_correlation(Terms(torch.zeros(1, 4), ()))
    with pytest.raises(InputError, match="takes 3 entries of Terms.z, and the model gives 2; build it with 2"):
        objective.total_correlation(terms(torch.zeros(1, 4, 2)))

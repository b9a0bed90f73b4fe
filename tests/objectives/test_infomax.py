"""InfoMax-VAE against the mutual information of x ~ N(0, I) and z | x ~ N(A x, s^2 I): 1/2 log det( A A^T / s^2 + I )."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from amortized import VAE, InputError, likelihoods, posteriors, priors
from amortized.networks import MLP
from amortized.objectives import InfoMaxVAE, Objective, check_compatible, elbo
from amortized.objectives.infomax import LARGEST_SCORE
from amortized.terms import Terms
from tests.statistics import z_score

NOISE = torch.Generator().manual_seed(0)
GAIN = torch.randn(2, 4, generator=NOISE, dtype=torch.float64) / 2
X = MultivariateNormal(torch.zeros(4, dtype=torch.float64), torch.eye(4).double())
SCALE = 0.7
Z = MultivariateNormal(torch.zeros(2, dtype=torch.float64), GAIN @ GAIN.T + SCALE**2 * torch.eye(2).double())
INFORMATION = 0.5 * (Z.covariance_matrix.logdet() - 4 * math.log(SCALE)).item()


class Critic(nn.Module):
    """The optimal critic's score, log q(z | x) - log q(z), plus an error; given so that it is this after its bound."""

    def __init__(self, error=lambda x, z: 0.0):
        super().__init__()
        self.error = error

    def forward(self, both):
        x, z = both.split((4, 2), -1)
        q = torch.distributions.Normal(x @ GAIN.T, SCALE)
        score = q.log_prob(z).sum(-1) - Z.log_prob(z) + self.error(x, z)
        return LARGEST_SCORE * torch.atanh(score.clamp(min=-19.9) / LARGEST_SCORE).unsqueeze(-1)


def drawn(rows, samples=1):
    x = X.sample((rows,))
    z = x @ GAIN.T + SCALE * torch.randn(samples, rows, 2, dtype=torch.float64)
    return Terms(torch.zeros(samples, rows, dtype=torch.float64), (), z=z, seen=x)


def bounds(objective, batches, rows, samples=1):
    """The bound on independent minibatches, (batches,): the rows of one share their permutation."""
    with torch.no_grad():
        return torch.stack([objective.mutual_information(drawn(rows, samples)).mean() for _ in range(batches)])


@pytest.mark.parametrize(("rows", "samples"), [(2, 1), (16, 1), (500, 3)])
def test_with_the_optimal_critic_the_bound_is_the_mutual_information_on_batches_of_any_size(rows: int, samples: int):
    torch.manual_seed(rows)
    objective = InfoMaxVAE(2, 4, [4])
    objective.critic = Critic()
    values = bounds(objective, 3_000 // rows + 200, rows, samples)
    assert abs(z_score(values, INFORMATION)) < 4


ERRORS = {
    "high": lambda x, z: 0.3,
    "low": lambda x, z: -0.3,
    "of z": lambda x, z: 0.3 * z[..., 0],
    "of both": lambda x, z: 0.5 * torch.sin(x[..., 0] * z[..., 1]),
}


@pytest.mark.parametrize("error", ERRORS)
def test_any_other_critic_gives_less(error: str):
    values = []
    for critic in (Critic(), Critic(ERRORS[error])):
        torch.manual_seed(5)
        objective = InfoMaxVAE(2, 4, [4])
        objective.critic = critic
        torch.manual_seed(6)
        values.append(bounds(objective, 200, 500))
    assert z_score(values[1] - values[0]) < -4


def test_a_critic_with_random_weights_stays_below():
    for seed in range(5):
        torch.manual_seed(seed)
        objective = InfoMaxVAE(2, 4, [32]).double()
        with torch.no_grad():
            for weight in objective.parameters():
                weight.mul_(4.0)
        assert z_score(bounds(objective, 100, 200), INFORMATION) < 4


def test_a_critic_that_is_trained_comes_near_and_not_above():
    torch.manual_seed(6)
    objective = InfoMaxVAE(2, 4, [64, 64], lr=2e-3).double()
    optimizer = torch.optim.Adam(objective.parameters(), objective.lr, objective.betas)
    for _ in range(800):
        optimizer.zero_grad()
        objective.loss(drawn(512)).mean().backward()
        optimizer.step()
    values = bounds(objective, 100, 1000)
    assert z_score(values, INFORMATION) < 4
    assert values.mean().item() > 0.85 * INFORMATION


def test_no_score_overflows_and_a_batch_of_one_datum_has_no_information():
    objective = InfoMaxVAE(2, 4, [4])
    objective.critic = Scaled()
    t = Terms(torch.zeros(1, 6), (), z=1e6 * torch.randn(1, 6, 2), seen=1e6 * torch.randn(6, 4))
    assert objective.mutual_information(t).isfinite().all()
    one = drawn(1)
    objective.critic = Critic()
    assert objective.mutual_information(one).item() <= 0.0


class Scaled(nn.Module):
    def forward(self, both):
        return both.sum(-1, keepdim=True)


def test_samples_with_weights_count_by_those_of_their_datum():
    torch.manual_seed(7)
    objective = InfoMaxVAE(2, 4, [8]).double()
    t = drawn(2, samples=3)  # a batch of two has one permutation
    log_weight = torch.randn(3, 2, dtype=torch.float64).log_softmax(0)
    weighted = Terms(t.log_px, (), log_sample_weight=log_weight, z=t.z, seen=t.seen)
    assert t.z is not None
    assert t.seen is not None
    wanted = torch.ones(2, dtype=torch.float64)
    for i, j, k in itertools.product((0, 1), (0, 1), (0, 1, 2)):
        score = LARGEST_SCORE * torch.tanh(objective.critic(torch.cat((t.seen[i], t.z[k, j]))).squeeze() / LARGEST_SCORE)
        wanted[i] += log_weight[k, j].exp() * (score if i == j else -score.exp())
    torch.testing.assert_close(objective.mutual_information(weighted), wanted)
    torch.testing.assert_close(objective.loss(weighted), -wanted)


def test_neither_side_moves_the_other():
    torch.manual_seed(9)
    model = VAE(
        priors.StandardNormal(2),
        posteriors.DiagonalGaussian(MLP((5, 1), [6]), 2),
        likelihoods.Bernoulli(MLP(2, [6]), (5, 1)),
    )
    objective = InfoMaxVAE(2, 5, [8])
    t = model.terms(torch.rand(7, 5, 1).round(), samples=3)
    own, models = list(objective.parameters()), list(model.parameters())
    gradients = torch.autograd.grad(objective(t).sum(), [*models, *own], retain_graph=True, allow_unused=True)
    assert all(each is None for each in gradients[len(models) :])
    gradients = torch.autograd.grad(objective.loss(t).sum(), [*models, *own], retain_graph=True, allow_unused=True)
    assert all(each is None for each in gradients[: len(models)])
    assert all(each is not None for each in gradients[len(models) :])
    encoder = list(model.parts["posterior"].parameters())
    assert all(each.any() for each in torch.autograd.grad(objective.mutual_information(t).sum(), encoder, retain_graph=True))
    torch.testing.assert_close(objective(t, alpha=0.0, beta=0.5), elbo(t, beta=0.5), rtol=0, atol=0)


def test_the_model_climbs_the_bound_that_the_critic_tightens():
    """The gradient for z is that of the bound: its value rises along it."""
    torch.manual_seed(10)
    objective = InfoMaxVAE(2, 4, [16]).double()
    t = drawn(50)
    assert t.z is not None
    z = t.z.clone().requires_grad_()
    torch.manual_seed(11)
    before = objective.mutual_information(Terms(t.log_px, (), z=z, seen=t.seen)).mean()
    (gradient,) = torch.autograd.grad(before, [z])
    torch.manual_seed(11)
    step = 1e-4
    after = objective.mutual_information(Terms(t.log_px, (), z=z.detach() + step * gradient, seen=t.seen)).mean()
    assert (after - before).item() == pytest.approx(step * gradient.square().sum().item(), rel=1e-2)


def test_discrete_latents_have_a_mutual_information_too():
    model = VAE(
        priors.Uniform((2, 3), "categorical"),
        posteriors.Categorical(MLP(5, [6]), 2, 3, estimator="enumerate"),
        likelihoods.Bernoulli(MLP((2, 3), [6]), 5),
    )
    objective = Objective(InfoMaxVAE(6, 5, [4]))
    check_compatible(objective, model.offers, "this VAE")
    values = objective(model.terms(torch.rand(4, 5).round()))
    assert values.shape == (4,)
    assert values.isfinite().all()


def test_another_size_is_told():
    with pytest.raises(InputError, match="takes 7 entries of Terms.seen, and the model gives 4; build it with 4"):
        InfoMaxVAE(2, 7, [4]).mutual_information(drawn(5))

"""A linear VAE against probabilistic principal component analysis.

For x ~ N(b, W W^T + s^2 I), with q latents, D entries and the eigenvalues l_1 >= ... >= l_D of the data's covariance, the largest
mean log-likelihood is (Tipping and Bishop 1999, section 3.2, equations 8 and 9 put into 4)

    -1/2 [ D log 2 pi + sum_{i <= q} log l_i + (D - q) log s^2 + D ],    s^2 = mean of l_i over i > q
"""

import math
from typing import Any

import pytest
import torch
from torch.distributions import MultivariateNormal

import amortized as am
from amortized.data import Split
from amortized.recipes import load_data

LATENTS = 10


def largest_log_likelihood(x, latents):
    dimension = x.shape[1]
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    variance = eigenvalues[latents:].mean()
    log_det = eigenvalues[:latents].log().sum() + (dimension - latents) * variance.log()
    return -0.5 * (dimension * math.log(2 * math.pi) + log_det + dimension).item()


def marginal(likelihood):
    """The exact p(x) of a trained linear model, float64."""
    unit, shift = likelihood.unit.double().flatten(), likelihood.shift.double().flatten()
    weight = unit[:, None] * likelihood.head.output.weight.double()
    noise = (unit * likelihood.scale().double()).square().diag_embed()
    return MultivariateNormal(shift + unit * likelihood.head.output.bias.double(), weight @ weight.T + noise)


@pytest.fixture(scope="module")
def run():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        options: dict[str, Any] = {"data.scale": "unit"}
        return am.fit("digits", recipe="linear", quiet=True, **options)
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def x(run):
    train = load_data(run.recipe).train
    assert isinstance(train, Split)
    return train.x.double().flatten(1) / 16


@pytest.fixture(scope="module")
def log_px(run, x):
    with torch.no_grad():
        return marginal(run.model.parts["likelihood"]).log_prob(x)


def test_the_formula_is_the_maximum_over_linear_models():
    torch.manual_seed(0)
    x = torch.randn(500, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64)
    eigenvalues, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))
    variance = eigenvalues[:4].mean()
    weight = vectors[:, 4:] * (eigenvalues[4:] - variance).sqrt()

    def score(weight, variance):
        return MultivariateNormal(x.mean(0), weight @ weight.T + variance * torch.eye(6)).log_prob(x).mean().item()

    best = largest_log_likelihood(x, 2)
    assert score(weight, variance) == pytest.approx(best, abs=1e-10)
    for _ in range(20):
        assert score(weight + 0.05 * torch.randn_like(weight), variance * (1 + 0.1 * torch.rand(()))) < best


def test_it_comes_within_a_tenth_of_a_nat_of_the_closed_form_maximum(x, log_px):
    best = largest_log_likelihood(x, LATENTS)
    assert best - 0.1 < log_px.mean().item() <= best + 1e-6


def test_its_bound_comes_within_a_fifth_of_a_nat_of_its_own_log_likelihood(run, log_px):
    samples = 20
    evidence = run.evidence(split="train", samples=samples)
    gap = log_px.mean().item() - evidence.elbo.mean().item()
    # The distortion's spread over samples: of x - W z at fixed x, at most that of chi-square noise of q latents.
    error = math.sqrt(LATENTS / (2 * samples * len(log_px)))
    assert -4.5 * error < gap < 0.2


def test_its_importance_weighted_estimate_meets_its_own_log_likelihood(run, log_px):
    metrics = run.evidence(split="train", samples=100).metrics
    excess = metrics["nll_nats"].value + log_px.mean().item()
    assert abs(excess - metrics["nll_bias_nats"].value) < 4.5 * metrics["nll_mc_stderr_nats"].value + 1e-3  # float32 scores

"""The shape of a tail is found where it is known: of Pareto weights, and of a Gaussian proposal that is too narrow."""

import math

import pytest
import torch

from amortized.evaluation import evaluate
from amortized.evaluation.pareto import most_trusted_k, pareto_k, tail_length

SETS, SAMPLES = 400, 1000


@pytest.fixture
def of_size(linear_gaussian):
    """The linear-Gaussian models, by their sizes."""
    return type(linear_gaussian)


def exponential(seed: int = 0) -> torch.Tensor:
    noise = torch.Generator().manual_seed(seed)
    return -torch.rand(SETS, SAMPLES, generator=noise, dtype=torch.float64).log()


def without_prior(k: torch.Tensor, exceedances: int) -> torch.Tensor:
    """The fit itself: k-hat is drawn to 1/2 as ten exceedances would."""
    return (k * (exceedances + 10) - 5) / exceedances


def tail(log_w: torch.Tensor) -> torch.Tensor:
    return log_w.topk(tail_length(log_w.shape[1]) + 1, sorted=False).values


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.7, 1.0])
def test_weights_of_a_pareto_distribution_have_its_shape(shape):
    """log w = shape e with e exponential; the deviation of the estimator is (1 + k) / sqrt M, its bias about 1 / M."""
    m = tail_length(SAMPLES)
    found = without_prior(pareto_k(tail(shape * exponential())), m)
    deviation = (1 + shape) / math.sqrt(m)
    assert abs(float(found.mean()) - shape) < 4 * deviation / math.sqrt(SETS) + 1 / m
    assert float(found.std()) == pytest.approx(deviation, rel=0.15)


@pytest.mark.parametrize("scale", [0.5, 0.7, 0.9])
def test_a_proposal_too_narrow_by_a_factor_has_a_known_tail(of_size, scale):
    """A target N(0, I) in two dimensions and a proposal N(0, s^2 I), at z = s e, weigh w = s^2 exp((1 - s^2) |e|^2 / 2).

    |e|^2 / 2 is exponential, and so the weights are Pareto's, of shape 1 - s^2.
    """
    truth = of_size(2, 4)
    found = evaluate(truth.model(truth.wide_posterior(scale)), [truth.sample(SETS)], samples=SAMPLES)
    assert found.pareto_k is not None
    m = tail_length(SAMPLES)
    shape = 1 - scale**2
    error = 4 * (1 + shape) / math.sqrt(m * SETS) + 1 / m
    assert abs(float(without_prior(found.pareto_k, m).mean()) - shape) < error
    assert found.metrics["pareto_k"].value == pytest.approx(float(found.pareto_k.median()))


def test_weights_that_are_bounded_have_a_negative_shape():
    uniform = torch.rand(SETS, SAMPLES, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    m = tail_length(SAMPLES)
    assert float(without_prior(pareto_k(tail(uniform.log())), m).mean()) == pytest.approx(-1, abs=0.1)


def test_a_common_factor_beyond_the_exponent_changes_nothing():
    log_w = tail(exponential())
    torch.testing.assert_close(pareto_k(log_w + 5000), pareto_k(log_w), rtol=0, atol=1e-9)


def test_the_threshold_and_the_length_of_the_tail_are_those_of_the_paper():
    torch.testing.assert_close(most_trusted_k(torch.tensor([100, 10**6])), torch.tensor([0.5, 0.7], dtype=torch.float64))
    assert [tail_length(samples) for samples in (25, 100, 10**4)] == [5, 20, 300]


def test_where_no_shape_can_be_told_none_is():
    few = torch.zeros(1, 5, dtype=torch.float64)
    alike = torch.full((1, 20), -3.0) + 1e-6 * torch.arange(20)
    assert pareto_k(few).isnan()
    assert pareto_k(alike).isnan()


def test_a_mean_of_three_weights_that_are_not_zero_is_never_trusted():
    log_w = torch.full((2, 96), -torch.inf)
    log_w[0, :3] = torch.tensor([0.0, 1.0, 2.0])
    assert pareto_k(log_w).tolist() == [torch.inf, torch.inf]


def test_weights_of_few_values_have_a_shape_or_none_but_no_error():
    noise = torch.Generator().manual_seed(0)
    log_w = torch.randint(0, 3, (50, 200), generator=noise).double()
    k = pareto_k(tail(log_w))
    assert bool((k.isnan() | (k < 0.5)).all())

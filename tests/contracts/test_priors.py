"""The contract of every prior; a new one is one line in CASES."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from amortized import priors
from amortized.conditional import Conditional
from amortized.networks import MLP

B, C = 6, 4


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[int | tuple[int, ...]], nn.Module]
    conditional: bool = False  # whether it needs the encoded condition (B, C)


CASES = [
    Case("StandardNormal", priors.StandardNormal),
    Case("Gaussian", priors.Gaussian),
    Case("Gaussian given y", lambda event: priors.Gaussian(event, MLP(C, [8], activation="tanh")), conditional=True),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def tested(request):
    torch.manual_seed(0)
    return request.param


def build(case, event=3):
    prior = case.make(event)
    with torch.no_grad():
        for parameter in prior.parameters():  # a prior that starts as the standard normal would hide its parameters
            parameter.add_(0.3 * torch.randn_like(parameter))
    return prior


def given(case, rows=B, dtype=torch.float32):
    return (torch.randn(rows, C, dtype=dtype),) if case.conditional else ()


@pytest.mark.parametrize("event", [3, (2, 3)])
def test_shapes(tested, event):
    prior, shape = build(tested, event), (event,) if isinstance(event, int) else event
    assert prior.event_shape == shape
    p = prior(*given(tested))
    assert p.event_shape == shape
    assert p.batch_shape == ((B,) if tested.conditional else ())
    z = torch.randn(2, B, *shape)
    assert p.log_prob(z).shape == (2, B)
    assert p.rsample((2,)).shape == (2, *p.batch_shape, *shape)


def test_it_is_a_conditional_distribution(tested):
    assert isinstance(build(tested), Conditional)


def test_a_gradient_reaches_every_parameter(tested):
    prior = build(tested)
    score = prior(*given(tested)).log_prob(torch.randn(2, B, 3)).sum()
    if score.requires_grad:
        score.backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dimension", [1, 2])
def test_the_density_integrates_to_one(tested, dimension):
    p = build(tested, dimension).double()(*given(tested, 1, torch.float64))
    nodes = torch.linspace(-12, 12, 241, dtype=torch.float64)  # the trapezoid rule converges geometrically for such tails
    grid = torch.cartesian_prod(*[nodes] * dimension).reshape(-1, 1, dimension)
    mass = p.log_prob(p.mean + p.stddev * grid).exp().sum() * p.stddev.prod() * (nodes[1] - nodes[0]) ** dimension
    assert abs(mass - 1) < 1e-10


def test_samples_agree_with_the_density(tested):
    n, p = 40_000, build(tested).double()(*given(tested, 1, torch.float64))
    z = p.sample((n,))
    information = -p.log_prob(z).flatten()
    assert abs(information.mean() - p.entropy()) < 4.5 * information.std() / math.sqrt(n)
    assert ((z.mean(0) - p.mean).abs() < 4.5 * p.stddev / math.sqrt(n)).all()


def test_the_temperature_multiplies_the_standard_deviation(tested):
    prior, condition = build(tested), given(tested)
    warm = prior(*condition)
    for temperature in (0.5, 2.0):
        other = prior(*condition, temperature=temperature)
        torch.testing.assert_close(other.mean, warm.mean)
        torch.testing.assert_close(other.stddev, temperature * warm.stddev)
    torch.testing.assert_close(prior(*condition, temperature=0.0).sample(), warm.mean)


def test_a_saved_prior_is_the_same_when_loaded(tested):
    prior, other, condition, z = build(tested), build(tested), given(tested), torch.randn(B, 3)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(prior(*condition).log_prob(z), other(*condition).log_prob(z))


def test_float64_agrees_with_float32(tested):
    prior, condition, z = build(tested), given(tested), torch.randn(B, 3)
    single = prior(*condition).log_prob(z)
    double = prior.double()(*(value.double() for value in condition)).log_prob(z.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_autocast_scores_in_float32(tested):
    prior, condition, z = build(tested), given(tested), torch.randn(B, 3)
    exact = prior(*condition).log_prob(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = prior(*condition).log_prob(z)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.2)  # the network rounds to 8 bits, the score does not


def test_a_batch_of_one_is_scored_as_within_a_larger_batch(tested):
    prior, condition, z = build(tested), given(tested), torch.randn(B, 3)
    alone = prior(*(value[:1] for value in condition)).log_prob(z[:1])
    torch.testing.assert_close(alone, prior(*condition).log_prob(z)[:1], rtol=1e-5, atol=1e-5)


def test_nothing_constant_is_saved(tested):
    prior = build(tested)
    assert set(prior.state_dict()) == {name for name, _ in prior.named_parameters()}

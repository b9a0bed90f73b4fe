"""The contract of every posterior; a new one is one line in CASES."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from amortized import posteriors
from amortized.conditional import Conditional, call_detached
from amortized.networks import MLP, ConvEncoder

B, C, D, X = 6, 4, 3, 5


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[[nn.Module, int], nn.Module]


CASES = [Case(name, getattr(posteriors, name)) for name in posteriors.__all__]
WITH_DENSITY = [case for case in CASES if getattr(posteriors, case.name).has_density]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def tested(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture(params=WITH_DENSITY, ids=lambda case: case.name)
def dense(request):
    torch.manual_seed(0)
    return request.param


def build(case, event=D, **options):
    return case.make(MLP(X, [8], activation="tanh", **options), event)


def test_shapes(tested):
    posterior = build(tested)
    assert posterior.event_shape == (D,)
    q = posterior(torch.randn(B, X))
    assert q.batch_shape == (B,)
    assert q.event_shape == (D,)
    assert q.has_rsample
    z = q.rsample((2,))
    assert z.shape == (2, B, D)
    assert q.log_prob(z).shape == (2, B)
    assert q.mean.shape == (B, D)


def test_it_is_a_conditional_distribution(tested):
    assert isinstance(build(tested), Conditional)


def test_a_latent_of_one_entry(tested):
    z = build(tested, event=1)(torch.randn(B, X)).rsample((2,))
    assert z.shape == (2, B, 1)


def test_images_are_encoded_by_a_convolutional_network(tested):
    q = tested.make(ConvEncoder((5, 7, 2), (3, 4)), D)(torch.randn(B, 5, 7, 2))
    assert q.rsample().shape == (B, D)


def test_a_gradient_reaches_every_parameter_through_the_samples_and_the_density(tested):
    posterior, x = build(tested), torch.randn(B, X)
    q = posterior(x)
    z = q.rsample((2,))
    (z.square().sum() - (q.log_prob(z).sum() if posterior.has_density else 0.0)).backward()
    for name, parameter in posterior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("dimension", [1, 2])
def test_the_density_integrates_to_one(dense, dimension):
    q = build(dense, dimension).double()(torch.randn(1, X, dtype=torch.float64))
    nodes = torch.linspace(-12, 12, 241, dtype=torch.float64)  # the trapezoid rule converges geometrically for such tails
    grid = torch.cartesian_prod(*[nodes] * dimension).reshape(-1, 1, dimension)
    mass = q.log_prob(q.mean + q.stddev * grid).exp().sum() * q.stddev.prod() * (nodes[1] - nodes[0]) ** dimension
    assert abs(mass - 1) < 1e-10


def test_samples_agree_with_the_density(dense):
    n, q = 40_000, build(dense).double()(torch.randn(1, X, dtype=torch.float64))
    z = q.sample((n,))
    information = -q.log_prob(z).flatten()
    assert abs(information.mean() - q.entropy()) < 4.5 * information.std() / math.sqrt(n)
    assert ((z.mean(0) - q.mean).abs() < 4.5 * q.stddev / math.sqrt(n)).all()


def test_a_saved_posterior_is_the_same_when_loaded(tested):
    posterior, other, x = build(tested), build(tested), torch.randn(B, X)
    other.load_state_dict(posterior.state_dict())
    assert torch.equal(posterior(x).mean, other(x).mean)
    assert torch.equal(posterior(x).variance, other(x).variance)
    assert set(posterior.state_dict()) == {name for name, _ in posterior.named_parameters()}


def test_float64_agrees_with_float32(tested):
    posterior, x, z = build(tested), torch.randn(B, X), torch.randn(B, D)
    single = posterior(x).log_prob(z)
    double = posterior.double()(x.double()).log_prob(z.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_autocast_gives_a_distribution_in_float32(tested):
    posterior, x = build(tested), torch.randn(B, X)
    exact = posterior(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = posterior(x)
        z = rounded.rsample((2,))
        assert rounded.log_prob(z).dtype == z.dtype == torch.float32
    torch.testing.assert_close(rounded.mean, exact.mean, rtol=0.05, atol=0.05)  # the network rounds to 8 bits


def test_a_batch_of_one_is_encoded_as_within_a_larger_batch(tested):
    posterior, x = build(tested).eval(), torch.randn(B, X)
    torch.testing.assert_close(posterior(x[:1]).mean, posterior(x).mean[:1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(posterior(x[:1]).variance, posterior(x).variance[:1], rtol=1e-5, atol=1e-6)


def test_a_condition_changes_the_distribution(tested):
    posterior, x = build(tested, context_features=C), torch.randn(B, X)
    first, second = (posterior(x, torch.full((B, C), value)).mean for value in (0.0, 1.0))
    assert not torch.allclose(first, second)


def test_the_scale_stays_finite_and_positive_whatever_the_network_says(dense):
    posterior = build(dense)
    with torch.no_grad():
        for extreme in (-1e4, 1e4):
            posterior.get_parameter("head.output.bias").fill_(extreme)
            variance = posterior(torch.randn(B, X)).variance
            assert variance.isfinite().all()
            assert (variance > 0).all()


def test_with_constant_parameters_it_is_the_same_distribution(tested):
    posterior, x, z = build(tested), torch.randn(B, X), torch.randn(B, D)
    constant = call_detached(posterior, x)
    assert torch.equal(constant.log_prob(z), posterior(x).log_prob(z))
    assert not constant.mean.requires_grad

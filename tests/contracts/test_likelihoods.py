"""The contract of every likelihood; a new one, or a new option, is one line in CASES."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from scipy.integrate import quad
from torch import nn

from amortized import likelihoods
from amortized.conditional import Conditional
from amortized.distributions import OptimalScale
from amortized.errors import InputError
from amortized.likelihoods import Likelihood
from amortized.networks import MLP, ConvDecoder

SCALES = ("learned", "per-entry", "predicted", 0.7)


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[..., Likelihood]  # called with a network and an event
    values: tuple[float, ...]  # inside its support
    mean: float  # where `initialize` shall put it
    largest: int | None = None  # the last integer to sum its mass over; None for a density
    options: dict[str, Any] = field(default_factory=dict)


def case(kind, values, mean, largest=None, **options):
    make = partial(getattr(likelihoods, kind), **options)
    return Case(f"{kind}-" + "-".join(map(str, options.values())), make, values, mean, largest, options)


REALS = (-1.3, 0.2, 2.5)
UNITS = {"shift": 30.0, "unit": 4.0}
CASES = [
    case("Bernoulli", (0.0, 1.0), 0.3, 1),
    *(case("Gaussian", REALS, 0.4, scale=scale) for scale in (*SCALES, "optimal")),
    case("Gaussian", REALS, 33.0, scale="predicted", **UNITS),
    *(case("Laplace", REALS, 0.4, scale=scale) for scale in (*SCALES, "optimal")),
    case("Laplace", REALS, 33.0, scale="per-entry", **UNITS),
    case("Categorical", (0.0, 1.0, 4.0), 0.0, 4, classes=5),
    case("Binomial", (0.0, 7.0, 16.0), 5.5, 16, levels=17),
    *(case("DiscretizedLogistic", (0.0, 7.0, 16.0), 5.5, 16, levels=17, scale=scale) for scale in SCALES),
    case("DiscretizedLogistic", (0.0, 1.0), 0.3, 1, levels=2, scale="learned"),
    case("Poisson", (0.0, 3.0, 12.0), 2.5, 200),
    *(case("NegativeBinomial", (0.0, 3.0, 12.0), 2.5, 4000, dispersion=dispersion) for dispersion in SCALES),
    case("NegativeBinomial", (0.0, 3.0, 12.0), 2.5, 200, dispersion=100.0),
]
ORDERED = [case for case in CASES if case.largest is not None and not case.name.startswith("Categorical")]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def tested(request):
    torch.manual_seed(0)
    return request.param


def build(case, event=(4, 3), features=5):
    return case.make(MLP(features, [8], activation="tanh"), event)


def data(case, *shape):
    return torch.tensor(case.values)[torch.randint(len(case.values), shape)]


def test_shapes_follow_the_leading_dimensions_of_z(tested):
    likelihood, x = build(tested), data(tested, 6, 4, 3)
    assert likelihood.event_shape == (4, 3)
    assert isinstance(likelihood, Conditional)
    for lead in ((6,), (2, 6)):
        distribution = likelihood(torch.randn(*lead, 5))
        assert distribution.batch_shape == lead
        assert distribution.event_shape == (4, 3)
        assert distribution.log_prob(x).shape == lead
        assert distribution.sample().shape == (*lead, 4, 3)
        assert distribution.expand((2, 6)).log_prob(x).shape == (2, 6)


def test_a_gradient_reaches_every_parameter_and_is_finite(tested):
    likelihood, x = build(tested), data(tested, 6, 4, 3)
    likelihood(torch.randn(2, 6, 5)).log_prob(x).sum().backward()
    for name, parameter in likelihood.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_mass_is_one(tested):
    likelihood = build(tested, event=(1,)).double().eval()
    distribution = likelihood(torch.randn(1, 5, dtype=torch.float64))
    if tested.largest is None:
        loc, width = distribution.mean.item(), distribution.variance.sqrt().item()

        def density(u):
            return width * distribution.log_prob(torch.tensor([[loc + width * u]], dtype=torch.float64)).exp().item()

        mass = sum(quad(density, *ends, epsabs=1e-12)[0] for ends in ((-60, 0), (0, 60)))
    else:
        x = torch.arange(tested.largest + 1, dtype=torch.float64)[:, None, None]
        mass = distribution.log_prob(x).exp().sum().item()
    assert mass == pytest.approx(1, abs=1e-10)


def test_samples_agree_with_the_log_probability(tested):
    likelihood = build(tested, event=(1,)).double().eval()
    distribution = likelihood(torch.randn(1, 5, dtype=torch.float64))
    n = 40_000
    samples = distribution.sample((n,)).flatten()
    if tested.largest is None:  # E[log p] and its spread: equal to minus the entropy, from the closed form
        information = -distribution.log_prob(samples[:, None, None]).flatten()
        entropy = distribution.entropy().item()
        assert abs(information.mean() - entropy) < 4.5 * information.std() / n**0.5
        assert abs(samples.mean() - distribution.mean.item()) < 4.5 * samples.std() / n**0.5
        return
    mass = distribution.log_prob(torch.arange(tested.largest + 1, dtype=torch.float64)[:, None, None]).exp().flatten()
    expected = n * mass
    kept = expected > 5
    observed = torch.bincount(samples.long(), minlength=len(mass))[: len(mass)].double()
    chi2 = ((observed - expected)[kept].square() / expected[kept]).sum()
    freedom = int(kept.sum()) - 1
    assert abs(chi2 - freedom) < 5 * (2 * freedom) ** 0.5 + 5


@pytest.mark.parametrize("tested", ORDERED, ids=lambda case: case.name)
def test_the_mean_and_the_variance_are_those_of_the_mass(tested):
    likelihood = build(tested, event=(1,)).double().eval()
    distribution = likelihood(torch.randn(1, 5, dtype=torch.float64))
    x = torch.arange(tested.largest + 1, dtype=torch.float64)
    mass = distribution.log_prob(x[:, None, None]).exp().flatten()
    mean = (mass * x).sum().item()
    assert distribution.mean.item() == pytest.approx(mean, rel=1e-9)
    assert distribution.variance.item() == pytest.approx((mass * (x - mean) ** 2).sum().item(), rel=1e-9)


def test_a_saved_likelihood_is_the_same_when_loaded(tested):
    likelihood, other = build(tested).eval(), build(tested).eval()
    if likelihood.needs_calibration:
        likelihood.set_scale(torch.tensor(3.0), 7)
    other.load_state_dict(likelihood.state_dict())
    z, x = torch.randn(2, 6, 5), data(tested, 6, 4, 3)
    assert torch.equal(likelihood(z).log_prob(x), other(z).log_prob(x))


def test_float64_agrees_with_float32(tested):
    likelihood, x, z = build(tested), data(tested, 6, 4, 3), torch.randn(2, 6, 5)
    single = likelihood(z).log_prob(x)
    double = likelihood.double()(z.double()).log_prob(x.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-4)


def test_autocast_scores_in_float32(tested):
    likelihood, x, z = build(tested), data(tested, 6, 4, 3), torch.randn(2, 6, 5)
    exact = likelihood(z).log_prob(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = likelihood(z).log_prob(x)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.2)  # bfloat16 has 8 bits; the network rounds, the score does not
    half = likelihood.to(torch.bfloat16)(z.bfloat16())
    assert half.log_prob(x).dtype == torch.float32


def test_a_batch_of_one_is_scored_as_within_a_larger_batch(tested):
    likelihood, x, z = build(tested).eval(), data(tested, 6, 4, 3), torch.randn(6, 5)
    alone = likelihood(z[:1]).log_prob(x[:1])
    torch.testing.assert_close(alone, likelihood(z).log_prob(x)[:1], rtol=1e-5, atol=1e-5)


def test_a_convolutional_decoder_gives_images(tested):
    for event in ((5, 7), (5, 7, 3)):
        likelihood = tested.make(ConvDecoder(2, event, channels=(4, 4)), event)
        x = data(tested, 3, *event)
        assert likelihood(torch.randn(2, 3, 2)).log_prob(x).shape == (2, 3)


def test_a_condition_changes_the_distribution(tested):
    likelihood = tested.make(MLP(5, [8], activation="tanh", context_features=2), (3,)).eval()
    z, x = torch.randn(2, 6, 5), data(tested, 6, 3)
    first, second = (likelihood(z, torch.full((6, 2), value)).log_prob(x) for value in (0.0, 1.0))
    assert not torch.equal(first, second)


def test_initialize_gives_the_mean_of_the_data_at_features_of_zero(tested):
    likelihood = tested.make(ZeroFeatures(), (2, 3)).double().eval()
    if tested.name.startswith("Categorical"):
        frequencies = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25]).expand(2, 3, 5)
        likelihood.initialize(frequencies)
        assert torch.allclose(likelihood(torch.zeros(1, 4).double()).base_dist.probs[0].float(), frequencies)
        return
    mean = tested.mean + torch.linspace(0, 0.5, 6).view(2, 3)
    likelihood.initialize(mean)
    torch.testing.assert_close(likelihood(torch.zeros(1, 4).double()).mean[0].float(), mean, rtol=1e-5, atol=1e-5)


def test_initialize_is_finite_at_the_ends_of_the_support(tested):
    likelihood = build(tested, event=(2,))
    low = tested.values[0] if tested.largest is not None else -1e3
    top = {"Bernoulli": 1.0, "Binomial": 16.0, "DiscretizedLogistic": tested.largest}.get(tested.name.split("-")[0], 1e3)
    shape = torch.tensor([low, top])
    likelihood.initialize(torch.eye(5)[:2] if tested.name.startswith("Categorical") else shape)
    assert all(parameter.isfinite().all() for parameter in likelihood.parameters())


def test_the_likelihood_knows_its_support(tested):
    likelihood = build(tested)
    likelihood.check(data(tested, 6, 4, 3))
    with pytest.raises(InputError, match="array 'x' has nan"):
        likelihood.check(torch.tensor([[float("nan")]]))
    likelihood.check(torch.tensor([[float("nan")]]), observed=torch.tensor([[False]]))


def test_only_the_optimal_scale_depends_on_what_is_scored(tested):
    likelihood = build(tested).train()
    depends = isinstance(likelihood(torch.randn(6, 5)).base_dist, OptimalScale)
    assert depends == likelihood.needs_calibration == (tested.options.get("scale") == "optimal")
    assert not isinstance(likelihood.eval()(torch.randn(6, 5)).base_dist, OptimalScale)


class ZeroFeatures(nn.Module):
    """A network whose features are zero, so that the head's bias is all there is."""

    in_shape = (4,)
    context_features = 0
    out_features = 3

    def forward(self, x, context=None):
        return torch.zeros(len(x), 3, dtype=x.dtype)

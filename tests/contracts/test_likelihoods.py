"""The contract of every likelihood; a new one, or a new option, is one line in CASES."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Distribution

from amortized import likelihoods
from amortized.conditional import Conditional
from amortized.distributions import OptimalScale, masked_log_prob
from amortized.errors import InputError
from amortized.likelihoods import Likelihood
from amortized.networks import MLP, ConvDecoder

SCALES = ("learned", "per-entry", "predicted", 0.7)
LINE, INTERVAL = (-math.inf, math.inf), (0.0, 1.0)


@dataclass(frozen=True)
class Case:
    name: str
    make: Callable[..., Likelihood]  # called with a network and an event
    values: tuple[float, ...]  # inside its support
    mean: float  # where `initialize` shall put it
    largest: int | None = None  # the last integer to sum its mass over; None for a density
    ends: tuple[float, float] = LINE  # where its density is integrated
    event: tuple[int, ...] = (1,)  # an event small enough to list all of its values
    has_total: bool = False  # the mass is that of the values whose sum is `largest`
    options: dict[str, Any] = field(default_factory=dict)

    def support(self) -> torch.Tensor:
        """(N, 1, *event) every value of the small event whose mass is not nothing, in lexicographic order."""
        assert self.largest is not None
        values = torch.cartesian_prod(*[torch.arange(self.largest + 1.0, dtype=torch.float64)] * math.prod(self.event))
        values = values.reshape(-1, *self.event)
        return values[values.flatten(1).sum(1) == self.largest if self.has_total else slice(None)].unsqueeze(1)

    def expectation(self, distribution: Distribution, function: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """E[function(x)] over one datum, (*event) or a number, by the sum over its support or by quadrature."""
        if self.largest is not None:
            x = self.support()
            mass = distribution.log_prob(x).exp()
        else:
            x, width = nodes(self.ends, distribution)
            mass = width * distribution.log_prob(x).exp()
        values = function(x)
        return (mass.reshape(*mass.shape, *(1 for _ in values.shape[2:])) * values).sum((0, 1))


def case(kind, values, mean, largest=None, *, ends=LINE, event=(1,), has_total=False, **options):
    make = partial(getattr(likelihoods, kind), **options)
    name = f"{kind}-" + "-".join(map(str, options.values()))
    return Case(name, make, values, mean, largest, ends, event, has_total, options)


REALS = (-1.3, 0.2, 2.5)
SHARES = (0.02, 0.4, 0.93)
GREYS = (0.0, 7.0, 16.0)
COUNTS = (0.0, 3.0, 12.0)
UNITS: dict[str, Any] = {"shift": 30.0, "unit": 4.0}
PIXELCNN: dict[str, Any] = {"channels": 12, "layers": 2, "kernel": 3, "context_channels": 3}
CASES = [
    case("Bernoulli", (0.0, 1.0), 0.3, 1),
    case("ContinuousBernoulli", (0.0, *SHARES, 1.0), 0.2, ends=INTERVAL),
    *(case("Beta", SHARES, 0.2, ends=INTERVAL, concentration=how) for how in (*SCALES[:3], 7.0)),
    *(case("Gaussian", REALS, 0.4, scale=scale) for scale in (*SCALES, "optimal")),
    case("Gaussian", REALS, 33.0, scale="predicted", **UNITS),
    *(case("Laplace", REALS, 0.4, scale=scale) for scale in (*SCALES, "optimal")),
    case("Laplace", REALS, 33.0, scale="per-entry", **UNITS),
    *(case("StudentT", REALS, 0.4, scale=scale) for scale in SCALES),
    *(case("StudentT", REALS, 0.4, df=df) for df in ("per-entry", "predicted", 5.0)),
    case("StudentT", REALS, 33.0, scale="predicted", df="predicted", **UNITS),
    *(case("GaussianMixture", REALS, 0.4, scale=scale) for scale in SCALES),
    case("GaussianMixture", REALS, 33.0, components=2, **UNITS),
    case("GaussianMixture", REALS, 0.4, components=1),
    case("Categorical", (0.0, 1.0, 4.0), 0.0, 4, classes=5),
    case("Binomial", GREYS, 5.5, 16, levels=17),
    *(case("DiscretizedLogistic", GREYS, 5.5, 16, levels=17, scale=scale) for scale in SCALES),
    case("DiscretizedLogistic", (0.0, 1.0), 0.3, 1, levels=2, scale="learned"),
    *(case("Ordinal", GREYS, 5.5, 16, levels=17, cutpoints=cutpoints) for cutpoints in ("learned", "per-entry")),
    case("Ordinal", (0.0, 1.0), 0.3, 1, levels=2),
    *(case("LogisticMixture", GREYS, 5.5, 16, levels=17, components=components) for components in (10, 1)),
    case("LogisticMixture", (0.0, 1.0), 0.3, 1, levels=2),
    case("PixelCNN", (0.0, 1.0), 0.3, 1, event=(2, 2), **PIXELCNN),
    case("PixelCNN", (0.0, 2.0, 4.0), 1.7, 4, event=(1, 3), levels=5, **PIXELCNN),
    case("Poisson", COUNTS, 2.5, 200),
    *(case("NegativeBinomial", COUNTS, 2.5, 4000, dispersion=dispersion) for dispersion in SCALES),
    case("NegativeBinomial", COUNTS, 2.5, 200, dispersion=100.0),
    *(case("ZeroInflatedNegativeBinomial", COUNTS, 2.5, 4000, dispersion=dispersion) for dispersion in SCALES),
    *(case("ZeroInflatedNegativeBinomial", COUNTS, 2.5, 4000, zeros=zeros) for zeros in ("learned", "per-entry")),
    case("ZeroInflatedNegativeBinomial", COUNTS, 2.5, 4000, dispersion="predicted", zeros="predicted"),
    case("Multinomial", COUNTS, 2.5, 5, event=(3,), has_total=True),
]
STARTED = [case for case in CASES if not case.name.startswith("PixelCNN")]  # whose mean is known
ORDERED = [case for case in STARTED if not case.name.startswith("Categorical")]
TOPS = {
    **dict.fromkeys(("Bernoulli", "ContinuousBernoulli", "Beta", "PixelCNN"), 1.0),
    **dict.fromkeys(("Binomial", "DiscretizedLogistic", "LogisticMixture", "Ordinal"), 16.0),
}


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def tested(request):
    torch.manual_seed(0)
    return request.param


def build(case, event=(4, 3), features=5):
    return case.make(MLP(features, [8], activation="tanh"), event)


def data(case, *shape):
    return torch.tensor(case.values)[torch.randint(len(case.values), shape)]


def nodes(ends, distribution):
    """Points (N, 1, 1) and weights (N, 1) of the double-exponential quadrature (Takahasi and Mori 1974)."""
    step, reach = 1 / 64, 3.0 if ends == INTERVAL else 4.0  # beyond 3 the nodes round to the end of the interval
    t = torch.arange(-reach, reach, step, dtype=torch.float64)
    power, slope = torch.pi / 2 * t.sinh(), torch.pi / 2 * t.cosh() * step
    if ends == INTERVAL:
        x = torch.sigmoid(2 * power)
        return x[:, None, None], (2 * slope * x * torch.sigmoid(-2 * power))[:, None]
    width = distribution.variance.sqrt().item() * power.exp()  # in two halves, for a density may have a kink in the middle
    x, weight = distribution.mean.item() + torch.cat((-width, width)), (width * slope).repeat(2)
    return x[:, None, None], weight[:, None]


def exhaustible(case):
    """Its distribution of one datum with the small event, in float64."""
    likelihood = build(case, case.event).double().eval()
    if case.has_total:
        likelihood.initialize(torch.full(case.event, case.largest / math.prod(case.event), dtype=torch.float64))
    return likelihood(torch.randn(1, 5, dtype=torch.float64))


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
    mass = tested.expectation(exhaustible(tested), lambda x: torch.ones(x.shape[:2], dtype=x.dtype))
    assert mass.item() == pytest.approx(1, abs=1e-10)


def test_samples_agree_with_the_log_probability(tested):
    distribution = exhaustible(tested)
    n = 40_000
    samples = distribution.sample((n,)).double()
    if tested.largest is None:  # E[log p] and its spread: equal to minus the entropy, by quadrature
        information = -distribution.log_prob(samples).flatten()
        entropy = tested.expectation(distribution, lambda x: -distribution.log_prob(x))
        assert abs(information.mean() - entropy) < 4.5 * information.std() / n**0.5
        flat = samples.flatten()
        assert abs(flat.mean() - distribution.mean.item()) < 4.5 * flat.std() / n**0.5
        return
    support = tested.support()
    radix = (tested.largest + 1.0) ** torch.arange(math.prod(tested.event) - 1, -1, -1, dtype=torch.float64)
    expected = n * distribution.log_prob(support).exp().flatten()
    places = torch.searchsorted(support.flatten(1) @ radix, samples.flatten(1) @ radix)
    observed = torch.bincount(places, minlength=len(expected))[: len(expected)].double()
    kept = expected > 5
    chi2 = ((observed - expected)[kept].square() / expected[kept]).sum()
    freedom = int(kept.sum()) - 1
    assert abs(chi2 - freedom) < 5 * (2 * freedom) ** 0.5 + 5


@pytest.mark.parametrize("tested", ORDERED, ids=lambda case: case.name)
def test_the_mean_and_the_variance_are_those_of_the_mass(tested):
    torch.manual_seed(0)
    distribution = exhaustible(tested)
    mean = tested.expectation(distribution, lambda x: x)
    variance = tested.expectation(distribution, lambda x: (x - mean) ** 2)
    precision = 1e-9 if tested.largest is not None else 1e-6  # quadrature over the power of a heavy tail
    torch.testing.assert_close(distribution.mean[0], mean.reshape(tested.event), rtol=precision, atol=0)
    torch.testing.assert_close(distribution.variance[0], variance.reshape(tested.event), rtol=precision, atol=0)


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
    likelihood = tested.make(MLP(5, [8], activation="tanh", context_features=2), (3, 1)).eval()
    z, x = torch.randn(2, 6, 5), data(tested, 6, 3, 1)
    first, second = (likelihood(z, torch.full((6, 2), value)).log_prob(x) for value in (0.0, 1.0))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("tested", STARTED, ids=lambda case: case.name)
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
    likelihood = build(tested, event=(1, 2))
    low = -1e3 if tested.ends == LINE and tested.largest is None else 0.0
    top = TOPS.get(tested.name.split("-")[0], 1e3)
    mean = torch.tensor([[low, top]])
    likelihood.initialize(torch.eye(5)[None, :2] if tested.name.startswith("Categorical") else mean)
    assert all(parameter.isfinite().all() for parameter in likelihood.parameters())


def test_the_likelihood_knows_its_support(tested):
    likelihood = build(tested)
    likelihood.check(data(tested, 6, 4, 3))
    with pytest.raises(InputError, match="array 'x' has nan"):
        likelihood.check(torch.tensor([[float("nan")]]))
    likelihood.check(torch.tensor([[float("nan")]]), observed=torch.tensor([[False]]))


def test_only_the_optimal_scale_depends_on_what_is_scored(tested):
    likelihood = build(tested).train()
    depends = scale_is_optimal(likelihood(torch.randn(6, 5)))
    assert depends == likelihood.needs_calibration == (tested.options.get("scale") == "optimal")
    assert not scale_is_optimal(likelihood.eval()(torch.randn(6, 5)))


def test_a_family_that_does_not_factorize_refuses_holes(tested):
    likelihood, x = build(tested).eval(), data(tested, 6, 4, 3)
    distribution, observed = likelihood(torch.randn(2, 6, 5)), torch.ones(6, 4, 3, dtype=torch.bool)
    if likelihood.factorizes:
        torch.testing.assert_close(masked_log_prob(distribution, x, observed), distribution.log_prob(x))
        return
    with pytest.raises(InputError, match="not independent over the entries"):
        masked_log_prob(distribution, x, observed)


def scale_is_optimal(distribution):
    return isinstance(getattr(distribution, "base_dist", None), OptimalScale)


class ZeroFeatures(nn.Module):
    """A network whose features are zero, so that the head's bias is all there is."""

    in_shape = (4,)
    context_features = 0
    out_features = 3

    def forward(self, x, context=None):
        return torch.zeros(len(x), 3, dtype=x.dtype)

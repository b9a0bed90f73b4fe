"""The contract of every posterior; a new one is one line in CASES."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize, one_hot

from amortized import posteriors
from amortized.conditional import Conditional, call_detached
from amortized.distributions import center, draw, is_relaxed
from amortized.networks import MLP, ConvEncoder

B, C, X, K = 6, 4, 5, 2
CLASSES = 3

# The sizes of z that a space is tested at: the first one everywhere, those after it where a density is summed over the space.
SIZES = {"real": [3, 1, 2], "sphere": [4, 2, 3], "binary": [3, 1, 2], "categorical": [2, 1, 2]}


@dataclass(frozen=True)
class Case:
    """One way to build a posterior.

    `make` is called with a network and a size. `closed_form` says whether its mean and entropy are known; without them the
    draws are held against quadrature alone. `accuracy` is what quadrature leaves of the mass: the trapezoid rule converges
    geometrically for smooth densities with a Gaussian's tails, less so for narrow parts of them, and slowly for pieces.
    """

    name: str  # the class, and after a space what it was built with
    make: Callable[[nn.Module, int], nn.Module]
    closed_form: bool = True
    accuracy: float = 1e-9

    @property
    def kind(self):
        return getattr(posteriors, self.name.split()[0])

    @property
    def space(self):
        return getattr(self.kind, "space", "real")

    @property
    def size(self):
        return SIZES[self.space][0]

    def shape(self, size):
        return (size, CLASSES) if self.space == "categorical" else (size,)


def case(name: str, *, closed_form: bool = True, accuracy: float = 1e-9, **options):
    """A posterior with options; the first word of the name is its class."""
    return Case(name, partial(getattr(posteriors, name.split()[0]), **options), closed_form, accuracy)


flow = partial(case, closed_form=False, flows=2)

CASES = [
    case("DiagonalGaussian"),
    case("FullGaussian"),
    case("Delta"),
    case("SemiAmortized"),
    case("MixtureOfGaussians", closed_form=False, accuracy=1e-6, components=3),
    case("VonMisesFisher"),
    case("Categorical gumbel", classes=CLASSES),
    case("Categorical straight-through", classes=CLASSES, estimator="straight-through"),
    case("Categorical enumerate", classes=CLASSES, estimator="enumerate"),
    case("Bernoulli gumbel"),
    case("Bernoulli straight-through", estimator="straight-through"),
    case("Bernoulli enumerate", estimator="enumerate"),
    flow("Planar"),
    flow("Radial", accuracy=1e-3),
    flow("Sylvester orthogonal"),
    flow("Sylvester householder", variant="householder", reflections=2),
    flow("Sylvester triangular", variant="triangular"),
    flow("InverseAutoregressive", hidden=[8], summary=4, accuracy=1e-3),
    flow("Spline", hidden=[8], summary=4, accuracy=1e-3),
]
DENSE = [case for case in CASES if case.kind.has_density]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def tested(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture(params=DENSE, ids=lambda case: case.name)
def dense(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture(params=[True, False], ids=["training", "evaluation"])
def training(request):
    return request.param


def build(case, size=None, **options):
    posterior = case.make(MLP(X, [8], activation="tanh", **options), case.size if size is None else size)
    with torch.no_grad():
        for parameter in posterior.parameters():  # a flow that starts near the identity would hide what its maps do
            parameter.add_(0.3 * torch.randn_like(parameter))
    return posterior


def values(case, *lead, dtype=torch.float32):
    """Any values of the space."""
    shape = case.shape(case.size)
    if case.space == "binary":
        return torch.randint(2, (*lead, *shape)).to(dtype)
    if case.space == "categorical":
        return one_hot(torch.randint(CLASSES, (*lead, case.size)), CLASSES).to(dtype)
    z = torch.randn(*lead, *shape, dtype=dtype)
    return normalize(z, dim=-1) if case.space == "sphere" else z


def rule(case, q, size):
    """Points (N, 1, *event) and weights (N,) by which a sum approximates an integral over the space, or is it."""
    if case.space in ("binary", "categorical"):
        codes = torch.tensor(list(itertools.product(range(2 if case.space == "binary" else CLASSES), repeat=size)))
        points = (codes if case.space == "binary" else one_hot(codes, CLASSES)).double()
        return points.unsqueeze(1), torch.ones(len(points)).double()
    if case.space == "sphere":
        return _sphere(size)
    z = q.sample((4_000,))
    loc, spread = z.mean(0), z.std(0)
    nodes = torch.linspace(-12, 12, 2_401 if size == 1 else 301, dtype=torch.float64)
    grid = torch.cartesian_prod(*[nodes] * size).reshape(-1, 1, size)
    step = (nodes[1] - nodes[0]) ** size * spread.prod()
    return loc + spread * grid, step.expand(len(grid))


def _sphere(size):
    angles = torch.arange(400, dtype=torch.float64) * (2 * math.pi / 400)
    circle = torch.stack((angles.cos(), angles.sin()), -1)
    if size == 2:
        return circle.unsqueeze(1), torch.full((400,), 2 * math.pi / 400, dtype=torch.float64)
    heights, weights = map(torch.from_numpy, numpy.polynomial.legendre.leggauss(100))
    ring = (1 - heights.square()).sqrt()[:, None, None] * circle
    points = torch.cat((ring, heights[:, None, None].expand(-1, 400, 1)), -1)
    return points.reshape(-1, 1, 3), (weights[:, None] * (2 * math.pi / 400)).expand(-1, 400).reshape(-1)


def expectation(drawn, value):
    """(*batch) the mean of (K, *batch) over the draws, by their weights."""
    return value.mean(0) if drawn.log_weight is None else (drawn.log_weight.exp() * value).sum(0)


def event_sum(value, case):
    return value.flatten(-len(case.shape(1))).sum(-1)


def test_every_posterior_has_a_case():
    assert {case.name.split()[0] for case in CASES} == set(posteriors.__all__)


def test_shapes(tested, training):
    posterior, shape = build(tested).train(training), tested.shape(tested.size)
    assert posterior.event_shape == shape
    q = posterior(torch.randn(B, X))
    assert q.batch_shape == (B,)
    assert q.event_shape == shape
    drawn = draw(q, K)
    assert drawn.z.shape == (len(drawn.z), B, *shape)
    assert len(drawn.z) == K or drawn.log_weight is not None
    assert q.log_prob(drawn.z).shape == (len(drawn.z), B)
    assert q.sample((K,)).shape == (K, B, *shape)
    assert center(q).shape == (B, *shape)


def test_the_weights_of_the_draws_sum_to_one(tested, training):
    drawn = draw(build(tested).train(training)(torch.randn(B, X)), K)
    if drawn.log_weight is not None:
        torch.testing.assert_close(drawn.log_weight.logsumexp(0), torch.zeros(B), rtol=0, atol=1e-6)


def test_what_is_drawn_lies_in_the_space(tested, training):
    posterior = build(tested).train(training)
    q = posterior(torch.randn(B, X))
    z = draw(q, K).z
    assert z.isfinite().all()
    if tested.space == "sphere":
        torch.testing.assert_close(z.norm(dim=-1), torch.ones(z.shape[:-1]))
    if tested.space in ("binary", "categorical"):
        assert ((z >= 0) & (z <= 1)).all()
        hard = (z == z.round()).all()
        assert hard if not training or posterior.estimator != "gumbel" else not hard
    if tested.space == "categorical":
        torch.testing.assert_close(z.sum(-1), torch.ones(z.shape[:-1]))


def test_relaxed_draws_are_confined_to_training_and_declared(tested):
    posterior, x = build(tested), torch.randn(B, X)
    assert is_relaxed(posterior.train()(x)) == getattr(posterior, "is_relaxed", False)
    assert not is_relaxed(posterior.eval()(x))


def test_it_is_a_conditional_distribution(tested):
    assert isinstance(build(tested), Conditional)


def test_a_latent_of_the_least_size(tested):
    size = min(SIZES[tested.space])
    z = draw(build(tested, size=size)(torch.randn(B, X)), K).z
    assert z.shape[1:] == (B, *tested.shape(size))


def test_images_are_encoded_by_a_convolutional_network(tested):
    q = tested.make(ConvEncoder((5, 7, 2), (3, 4)), tested.size)(torch.randn(B, 5, 7, 2))
    assert q.sample().shape == (B, *tested.shape(tested.size))


def test_a_gradient_reaches_every_parameter_through_the_draws_and_the_density_and_none_elsewhere(tested):
    posterior, other, x = build(tested).train(), build(tested), torch.randn(B, X)
    q = posterior(x)
    drawn = draw(q, K)
    value = event_sum(drawn.z * torch.randn(tested.shape(tested.size)), tested)
    value = value - (q.log_prob(drawn.z) if posterior.has_density else 0.0)
    expectation(drawn, value).sum().backward()
    for name, parameter in posterior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name
    assert all(parameter.grad is None for parameter in other.parameters())
    assert not any(buffer.requires_grad for buffer in posterior.buffers())


@pytest.mark.parametrize("which", [1, 2])
def test_the_density_integrates_to_one(dense, which):
    size = SIZES[dense.space][which]
    with torch.no_grad():
        q = build(dense, size).double().eval()(torch.randn(1, X, dtype=torch.float64))
        points, weights = rule(dense, q, size)
        assert abs(q.log_prob(points).squeeze(1).exp() @ weights - 1) < dense.accuracy


@torch.no_grad()
def test_draws_agree_with_the_density(dense):
    n, size = 10_000, SIZES[dense.space][2]
    q = build(dense, size).double().eval()(torch.randn(1, X, dtype=torch.float64))
    points, weights = rule(dense, q, size)
    log_q = q.log_prob(points).squeeze(1)
    probability = log_q.exp() * weights
    mean = (probability @ points.flatten(1)).view(1, *q.event_shape)
    entropy = -(probability * log_q.clamp_min(-1e300)).sum()
    drawn, many = draw(q.expand((n,)), 1), q.expand((n,))
    statistics = [*drawn.z.flatten(2).unbind(-1), -many.log_prob(drawn.z)]
    for statistic, exact in zip(statistics, [*mean.flatten(), entropy], strict=True):
        estimate = expectation(drawn, statistic)  # (n,) independent ones
        assert abs(estimate.mean() - exact) < 4.5 * estimate.std() / math.sqrt(n) + dense.accuracy
    if dense.closed_form:
        torch.testing.assert_close(q.mean, mean, rtol=0, atol=1e-8)
        torch.testing.assert_close(q.entropy(), entropy.view(1), rtol=0, atol=1e-8)


def test_the_density_has_a_gradient_at_any_point(dense):
    posterior, z = build(dense).eval(), values(dense, K, B).requires_grad_()
    posterior(torch.randn(B, X)).log_prob(z).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    assert z.grad.abs().sum() > 0
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in posterior.parameters())


def test_a_saved_posterior_is_the_same_when_loaded(tested):
    posterior, other, x = build(tested).eval(), build(tested).eval(), torch.randn(B, X)
    other.load_state_dict(posterior.state_dict())
    z = values(tested, B)
    assert torch.equal(center(posterior(x)), center(other(x)))
    assert torch.equal(posterior(x).log_prob(z), other(x).log_prob(z))
    assert set(posterior.state_dict()) == {name for name, _ in posterior.named_parameters()}


def test_float64_agrees_with_float32(tested):
    posterior, x, z = build(tested).eval(), torch.randn(B, X), values(tested, B)
    single = posterior(x).log_prob(z)
    posterior.double()
    double = posterior(x.double()).log_prob(z.double())
    assert double.dtype == draw(posterior(x.double()), K).z.dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_autocast_gives_a_distribution_in_float32(tested, training):
    posterior, x = build(tested).train(training), torch.randn(B, X)
    exact = posterior(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = posterior(x)
        z = draw(rounded, K).z
        assert rounded.log_prob(z).dtype == rounded.log_prob(values(tested, B)).dtype == z.dtype == torch.float32
    torch.testing.assert_close(center(rounded), center(exact), rtol=0.05, atol=0.05)  # the network rounds to 8 bits


def test_a_batch_of_one_is_encoded_as_within_a_larger_batch(tested):
    posterior, x, z = build(tested).eval(), torch.randn(B, X), values(tested, B)
    torch.testing.assert_close(center(posterior(x[:1])), center(posterior(x))[:1], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(posterior(x[:1]).log_prob(z[:1]), posterior(x).log_prob(z)[:1], rtol=1e-4, atol=1e-5)
    assert draw(posterior.train()(x[:1]), K).z.shape[1] == 1


def test_leading_dimensions_are_kept(tested):
    q = build(tested)(torch.randn(3, B, X))
    assert q.batch_shape == (3, B)
    assert draw(q, K).z.shape[1:] == (3, B, *tested.shape(tested.size))


def test_points_broadcast_against_the_batch(dense):
    posterior, x, z = build(dense).eval(), torch.randn(B, X), values(dense, 5, 1)
    q = posterior(x)
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.expand(5, B, *z.shape[2:])))


def test_a_condition_changes_the_distribution(tested):
    posterior, x = build(tested, context_features=C).eval(), torch.randn(B, X)
    first, second = (center(posterior(x, torch.full((B, C), value))) for value in (0.0, 1.0))
    assert not torch.allclose(first, second)


def test_draws_and_density_stay_finite_whatever_the_network_says(dense):
    posterior = build(dense)
    (name,) = (name for name, _ in posterior.named_parameters() if name.endswith("head.output.bias"))
    with torch.no_grad():
        for extreme in (-1e4, 1e4):
            posterior.get_parameter(name).fill_(extreme)
            q = posterior(torch.randn(B, X))
            z = draw(q, K).z
            assert z.isfinite().all()
            assert not q.log_prob(z).isnan().any()
            if dense.space == "real":
                assert q.log_prob(z).isfinite().all()


def test_with_constant_parameters_it_is_the_same_distribution(tested):
    posterior, x, z = build(tested).eval(), torch.randn(B, X), values(tested, B)
    constant = call_detached(posterior, x)
    assert torch.equal(constant.log_prob(z), posterior(x).log_prob(z))
    assert torch.equal(center(constant), center(posterior(x)))
    assert not center(constant).requires_grad
    assert not constant.log_prob(z).requires_grad

"""The contract of every prior; a new one is one line in CASES."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import pytest
import torch
from torch import nn

from amortized import InputError, posteriors, priors
from amortized.conditional import Conditional
from amortized.networks import MLP

B, C, X, M = 6, 4, 5, 4

Event = int | tuple[int, ...]

# The events that a space is tested at: the first one everywhere, all of them where the density is summed over the space.
EVENTS: dict[str, list[Event]] = {
    "real": [2, 1],
    "sphere": [3, 2],
    "binary": [3, 1],
    "categorical": [(2, 3), (1, 2)],
}
MORE_EVENTS: dict[str, list[Event]] = {"real": [3, (2, 3)], "sphere": [5], "binary": [], "categorical": [(3, 2)]}


def multiplies_the_deviation(prior, condition):
    warm = prior(*condition)
    for temperature in (0.5, 2.0):
        other = prior(*condition, temperature=temperature)
        torch.testing.assert_close(other.mean, warm.mean)
        torch.testing.assert_close(other.stddev, temperature * warm.stddev)
    torch.testing.assert_close(prior(*condition, temperature=0.0).sample(), warm.mean)


def multiplies_the_components_deviation(prior, condition):
    warm = prior(*condition)
    for temperature in (0.5, 2.0):
        other = prior(*condition, temperature=temperature)
        torch.testing.assert_close(other.log_weights, warm.log_weights)
        torch.testing.assert_close(other.components.mean, warm.components.mean)
        torch.testing.assert_close(other.components.stddev, temperature * warm.components.stddev)
    z = prior(*condition, temperature=0.0).sample((20,))
    distance = (z.unsqueeze(-1 - len(warm.event_shape)) - warm.components.mean).abs().flatten(-len(warm.event_shape)).amax(-1)
    assert (distance.amin(-1) == 0).all()  # every draw is the mean of a component


def changes_nothing(prior, condition):
    z = prior(*condition).sample((5,))
    assert torch.equal(prior(*condition, temperature=0.5).log_prob(z), prior(*condition).log_prob(z))


def divides_the_components_parameter(name, power):
    """The components have their `name` (concentration, logits) over a power of the temperature; at 0 they are at their modes."""

    def check(prior, condition):
        warm = prior(*condition)
        for temperature in (0.5, 2.0):
            other = prior(*condition, temperature=temperature)
            assert torch.equal(other.log_weights, warm.log_weights)
            shift = getattr(other.components, name) - getattr(warm.components, name) / temperature**power
            if name == "logits" and len(warm.event_shape) == 2:
                shift = shift - shift[..., :1]  # of classes they count up to a constant
            torch.testing.assert_close(shift, torch.zeros_like(shift), rtol=0, atol=1e-5)
        z = prior(*condition, temperature=0.0).sample((20,)).unsqueeze(-1 - len(warm.event_shape))
        distance = (z - warm.components.mode).abs().flatten(-len(warm.event_shape)).amax(-1)
        assert (distance.amin(-1) < 1e-5).all()

    return check


def multiplies_the_conditionals_deviation(prior, condition):
    warm = prior(*condition)
    z = warm.sample()

    def gaussians(p):
        base = p.conditionals(z).base_dist
        return getattr(base, "component_distribution", base)

    for temperature in (0.5, 2.0):
        other = gaussians(prior(*condition, temperature=temperature))
        torch.testing.assert_close(other.mean, gaussians(warm).mean)
        torch.testing.assert_close(other.stddev, temperature * gaussians(warm).stddev)
    z = prior(*condition, temperature=0.0).sample()
    distance = (gaussians(warm).mean - z.reshape(*z.shape, *(1 for _ in range(gaussians(warm).mean.ndim - z.ndim)))).abs()
    assert (distance if distance.ndim == z.ndim else distance.amin(-1)).max() < 1e-5  # every entry is at a conditional mean


def divides_the_conditionals_logits(prior, condition):
    warm = prior(*condition)
    z = warm.sample()
    for temperature in (0.5, 2.0):
        other = prior(*condition, temperature=temperature).conditionals(z)
        torch.testing.assert_close(other.logits, warm.conditionals(z).logits / temperature)
    z = prior(*condition, temperature=0.0).sample()
    assert torch.equal(warm.conditionals(z).mode, z)


def multiplies_the_deviation_of_the_noise(prior, condition):
    warm = prior(*condition)
    for temperature in (0.5, 2.0):
        other = prior(*condition, temperature=temperature)
        torch.testing.assert_close(other.base.stddev, temperature * warm.base.stddev)
        torch.testing.assert_close(other.center, warm.center)
    torch.testing.assert_close(prior(*condition, temperature=0.0).sample(), warm.center)


def multiplies_the_deviation_of_each_base(prior, condition):
    warm = prior(*condition).components
    for temperature in (0.5, 2.0):
        other = prior(*condition, temperature=temperature).components
        torch.testing.assert_close(other.base.stddev, temperature * warm.base.stddev)
        torch.testing.assert_close(other.center, warm.center)


@dataclass(frozen=True)
class Case:
    """One way to build a prior.

    `temperature` checks what temperature does to the family; `accuracy` is what the quadrature leaves of the mass (piecewise
    densities converge slowly); `saved` names the buffers that a file has to hold besides the parameters.
    """

    name: str
    make: Callable[[Event], nn.Module]
    conditional: bool = False  # whether it needs the encoded condition (B, C)
    space: str = "real"
    temperature: Callable = multiplies_the_deviation
    accuracy: float = 1e-9
    saved: frozenset[str] = frozenset()
    flat: bool = False  # whether it takes vectors only

    @property
    def event(self) -> Event:
        return EVENTS[self.space][0]


def network(**options):
    return MLP(C, [8], activation="tanh", **options)


def vamp(posterior: Callable, context_features: int = 0, **options):
    """A VampPrior over a posterior with an encoder of its own; the range lies within the pseudo-inputs' own."""

    def make(event):
        encoder = MLP(X, [8], activation="tanh", context_features=context_features)
        return priors.Vamp(posterior(encoder, event), torch.randn(M, X), -1.5, 1.5, **options)

    return make


def vamp_case(name: str, posterior: Callable, temperature: Callable, **options):
    context_features = options.pop("context_features", 0)
    pseudo = {key: options.pop(key) for key in ("learn_weights", "pseudo_context") if key in options}
    make = vamp(posterior, context_features, **pseudo)
    return Case(f"Vamp {name}", make, temperature=temperature, saved=frozenset({"low", "high"}), **options)


def uniform_case(space: str):
    return Case(
        f"Uniform {space}", lambda event: priors.Uniform(event, space), space=space, temperature=changes_nothing, flat=True
    )


def autoregressive_case(name: str, space: str = "real", **options):
    temperature = multiplies_the_conditionals_deviation if space == "real" else divides_the_conditionals_logits
    return Case(
        f"Autoregressive {name}",
        lambda event: priors.Autoregressive(event, space, hidden=(8,), **options),  # pyright: ignore[reportArgumentType]
        conditional=bool(options.get("context_features")),
        space=space,
        temperature=temperature,
        accuracy=1e-3 if space == "real" else 1e-9,  # far out, random weights make conditionals narrower than the grid
        flat=space != "real",
    )


def flow_case(kind: str, accuracy: float, **options):
    return Case(
        f"Flow {kind}" + (" given y" if options else ""),
        lambda event: priors.Flow(event, kind, transforms=2, hidden=(8,), bins=4, **options),  # pyright: ignore[reportArgumentType]
        conditional=bool(options),
        temperature=multiplies_the_deviation_of_the_noise,
        accuracy=accuracy,
    )


mixed = multiplies_the_components_deviation
narrower = divides_the_components_parameter("concentration", 2)
sharper = divides_the_components_parameter("logits", 1)

CASES = [
    Case("StandardNormal", priors.StandardNormal),
    Case("Gaussian", priors.Gaussian),
    Case("Gaussian given y", lambda event: priors.Gaussian(event, network()), conditional=True),
    Case("Mixture", lambda event: priors.Mixture(event, 3), temperature=mixed),
    Case("Mixture given y", lambda event: priors.Mixture(event, 3, network()), conditional=True, temperature=mixed),
    vamp_case("of diagonal Gaussians", posteriors.DiagonalGaussian, mixed),
    vamp_case("with learned weights", posteriors.DiagonalGaussian, mixed, learn_weights=True),
    vamp_case("given y", posteriors.DiagonalGaussian, mixed, conditional=True, context_features=C),
    vamp_case("with learned conditions", posteriors.DiagonalGaussian, mixed, context_features=C, pseudo_context=C),
    vamp_case("of von Mises-Fisher", posteriors.VonMisesFisher, narrower, space="sphere"),
    vamp_case("of bits", posteriors.Bernoulli, sharper, space="binary"),
    vamp_case("of classes", lambda encoder, event: posteriors.Categorical(encoder, *event), sharper, space="categorical"),
    vamp_case("of full Gaussians", posteriors.FullGaussian, mixed, flat=True),
    vamp_case(
        "of planar flows", lambda encoder, event: posteriors.Planar(encoder, event, 2), multiplies_the_deviation_of_each_base
    ),
    uniform_case("sphere"),
    uniform_case("binary"),
    uniform_case("categorical"),
    autoregressive_case("over entries"),
    autoregressive_case("over one group", groups=1),
    autoregressive_case("of mixtures", components=2),
    autoregressive_case("given y", context_features=C),
    autoregressive_case("of bits", "binary"),
    autoregressive_case("of bits given y", "binary", context_features=C),
    autoregressive_case("of classes", "categorical"),
    flow_case("coupling", 1e-7),
    flow_case("coupling", 1e-7, context_features=C),
    flow_case("spline", 1e-3),
    flow_case("spline", 1e-3, context_features=C),
    flow_case("maf", 1e-7),
    flow_case("maf", 1e-7, context_features=C),
]


@pytest.fixture(params=CASES, ids=lambda case: case.name)
def tested(request):
    torch.manual_seed(0)
    return request.param


def build(case, event: Event | None = None):
    prior = case.make(case.event if event is None else event)
    with torch.no_grad():
        for parameter in prior.parameters():  # a prior that starts as the standard normal would hide its parameters
            parameter.add_(0.3 * torch.randn_like(parameter))
    return prior


def given(case, rows=B, dtype=torch.float32):
    return (torch.randn(rows, C, dtype=dtype),) if case.conditional else ()


def points(case, *lead, event: Event | None = None):
    """Random values (*lead, *event) of the space."""
    event = case.event if event is None else event
    z = torch.randn(*lead, *shape_of(event))
    if case.space == "sphere":
        return z / z.norm(dim=-1, keepdim=True)
    if case.space == "binary":
        return (z > 0).float()
    return nn.functional.one_hot(z.argmax(-1), z.shape[-1]).float() if case.space == "categorical" else z


def shape_of(event: Event):
    return (event,) if isinstance(event, int) else event


def quadrature(case, p, event: Event):
    """Values (N, 1, *event) and weights (N, 1) that replace an integral over the space of p; float64."""
    shape = shape_of(event)
    if case.space == "real":  # the trapezoid rule converges geometrically for a smooth density whose tails fall this fast
        z = p.sample((2000,)).reshape(-1, *shape)
        center, spread = z.mean(0), z.std(0)
        nodes = torch.linspace(-12, 12, 401, dtype=torch.float64)
        grid = center + spread * torch.cartesian_prod(*[nodes] * shape[0]).reshape(-1, shape[0])
        weights = torch.full((len(grid),), float(spread.prod() * (nodes[1] - nodes[0]) ** shape[0]), dtype=torch.float64)
    elif case.space == "sphere":
        angle = 2 * math.pi * torch.arange(200, dtype=torch.float64) / 200
        grid, weights = torch.stack((angle.cos(), angle.sin()), -1), torch.full((200,), 2 * math.pi / 200, dtype=torch.float64)
        if shape[0] == 3:  # Gauss and Legendre's rule along the axis
            height, along = (torch.from_numpy(value) for value in numpy.polynomial.legendre.leggauss(100))
            circles = (1 - height.square()).sqrt()[:, None, None] * grid
            grid = torch.cat((circles, height[:, None, None].expand(100, 200, 1)), -1).reshape(-1, 3)
            weights = (along[:, None] * weights).flatten()
    else:
        values = torch.eye(shape[-1]) if case.space == "categorical" else torch.tensor([[0.0], [1.0]])
        codes = torch.cartesian_prod(*[torch.arange(len(values))] * shape[0]).reshape(-1, shape[0])
        grid = values[codes].double() if case.space == "categorical" else values[codes].squeeze(-1).double()
        weights = torch.ones(len(grid), dtype=torch.float64)
    return grid.unsqueeze(1), weights.unsqueeze(1)


def test_every_prior_is_tested():
    parts: dict[str, Any] = {name: part for name in priors.__all__ if inspect.isclass(part := getattr(priors, name))}
    # a link of a hierarchy is called with the latent above it, and is tested with the hierarchies
    names = {name for name, part in parts.items() if list(inspect.signature(part.forward).parameters)[1] == "context"}
    assert names <= {case.name.split()[0] for case in CASES}


def test_shapes(tested):
    events = EVENTS[tested.space] + MORE_EVENTS[tested.space]
    for event in events:
        shape = shape_of(event)
        if tested.space == "real" and tested.flat and len(shape) > 1:
            continue
        prior = build(tested, event)
        assert prior.event_shape == shape
        assert getattr(prior, "space", "real") == tested.space
        p = prior(*given(tested))
        assert p.event_shape == shape
        assert p.batch_shape == ((B,) if tested.conditional else ())
        assert p.log_prob(points(tested, 2, B, event=event)).shape == (2, B)
        assert p.sample((2,)).shape == (2, *p.batch_shape, *shape)
        assert p.sample().shape == (*p.batch_shape, *shape)


def test_it_is_a_conditional_distribution(tested):
    assert isinstance(build(tested), Conditional)


def test_a_gradient_reaches_every_parameter_and_nothing_else(tested):
    prior = build(tested)
    score = prior(*given(tested)).log_prob(points(tested, 2, B)).sum()
    assert leaves(score) <= {id(parameter) for parameter in prior.parameters()}
    if score.requires_grad:
        score.backward()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def leaves(value):
    """The identities of all tensors that a backward pass from `value` would give a gradient."""
    found, seen, waiting = set(), set(), [value.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting.extend(following for following, _ in node.next_functions)
    return found


def test_the_density_sums_to_one_and_the_samples_agree_with_it(tested):
    n = 20_000
    for event in EVENTS[tested.space]:
        p = build(tested, event).double()(*given(tested, 1, torch.float64))
        grid, weights = quadrature(tested, p, event)
        with torch.no_grad():
            z, log_p = p.sample((n,)), p.log_prob(grid)
        mass = weights * log_p.exp()
        assert abs(mass.sum() - 1) < tested.accuracy
        z = z.reshape(n, 1, *shape_of(event))
        with torch.no_grad():
            sampled = torch.cat((-p.log_prob(z), z.flatten(1), z.flatten(1).square()), 1)
        exact = (mass * torch.cat((-log_p, grid.flatten(1), grid.flatten(1).square()), 1)).sum(0)
        error = sampled.std(0) / math.sqrt(n) + tested.accuracy + 1e-9  # of which the last is for what does not vary
        assert ((sampled.mean(0) - exact).abs() < 4.5 * error).all()


def test_its_moments_are_those_of_its_density(tested):
    p = build(tested).double()(*given(tested, 1, torch.float64))
    grid, weights = quadrature(tested, p, tested.event)
    try:
        mean, variance = p.mean.reshape(1, -1), p.variance.reshape(1, -1)
    except NotImplementedError:
        pytest.skip("the family has no moments in closed form")
    mass = weights * p.log_prob(grid).exp()
    exact = (mass * grid.flatten(1)).sum(0)
    tolerance = {"rtol": 100 * tested.accuracy, "atol": 100 * tested.accuracy}
    torch.testing.assert_close(mean[0], exact, **tolerance)
    torch.testing.assert_close(variance[0], (mass * (grid.flatten(1) - exact).square()).sum(0), **tolerance)


def test_the_temperature_does_what_the_family_says(tested):
    tested.temperature(build(tested), given(tested))


def test_a_condition_is_taken_refused_or_without_effect(tested):
    prior, z, c = build(tested), points(tested, B), torch.randn(B, C)
    if tested.conditional:
        assert not torch.allclose(prior(c).log_prob(z), prior(c + 1).log_prob(z))
        with pytest.raises(InputError, match="condition"):
            prior()
        return
    try:
        p = prior(c)
    except InputError as error:
        assert "condition" in str(error)  # noqa: PT017 either outcome is right
    else:
        assert torch.equal(p.log_prob(z), prior().log_prob(z))


def test_a_saved_prior_is_the_same_when_loaded(tested):
    prior, other, condition, z = build(tested), build(tested), given(tested), points(tested, B)
    other.load_state_dict(prior.state_dict())
    assert torch.equal(prior(*condition).log_prob(z), other(*condition).log_prob(z))


def test_float64_agrees_with_float32(tested):
    prior, condition, z = build(tested), given(tested), points(tested, B)
    single = prior(*condition).log_prob(z)
    double = prior.double()(*(value.double() for value in condition)).log_prob(z.double())
    assert single.dtype == torch.float32
    assert double.dtype == torch.float64
    assert prior(*(value.double() for value in condition)).sample().dtype == torch.float64
    torch.testing.assert_close(single.double(), double, rtol=1e-5, atol=1e-5)


def test_autocast_scores_in_float32(tested):
    prior, condition, z = build(tested), given(tested), points(tested, B)
    exact = prior(*condition).log_prob(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = prior(*condition).log_prob(z)
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.2)  # the network rounds to 8 bits, the score does not


def test_a_batch_of_one_is_scored_as_within_a_larger_batch(tested):
    prior, condition, z = build(tested), given(tested), points(tested, B)
    alone = prior(*(value[:1] for value in condition)).log_prob(z[:1])
    torch.testing.assert_close(alone, prior(*condition).log_prob(z)[:1], rtol=1e-5, atol=1e-5)


def test_nothing_constant_is_saved(tested):
    prior = build(tested)
    assert set(prior.state_dict()) == {name for name, _ in prior.named_parameters()} | tested.saved

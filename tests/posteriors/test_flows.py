from functools import cache, partial

import pytest
import torch
from torch.autograd.functional import jacobian
from torch.distributions import Independent, Normal
from torch.func import functional_call

from amortized.conditional import call_detached
from amortized.distributions import center
from amortized.errors import InputError
from amortized.networks import MLP
from amortized.posteriors import InverseAutoregressive, Planar, Radial, Spline, Sylvester

B, D, X = 4, 3, 5

KINDS = {
    "planar": partial(Planar, flows=2),
    "radial": partial(Radial, flows=2),
    "sylvester, orthogonal": partial(Sylvester, flows=2, width=2),
    "sylvester, householder": partial(Sylvester, flows=2, variant="householder", reflections=2),
    "sylvester, triangular": partial(Sylvester, flows=2, variant="triangular"),
    "iaf": partial(InverseAutoregressive, flows=2, hidden=[8], summary=4),
    "spline": partial(Spline, flows=2, hidden=[8], summary=4),
}


@pytest.fixture(params=KINDS, ids=str)
def make(request):
    torch.manual_seed(0)
    return KINDS[request.param]


def build(make, event=D, *, noise=0.3, **options):
    posterior = make(MLP(X, [8], activation="tanh"), event, **options).double()
    with torch.no_grad():
        for parameter in posterior.parameters():
            parameter.add_(noise * torch.randn_like(parameter))
    return posterior


@cache
def fit(make, steps=30):
    """A flow after some training towards a curved ridge that depends on x."""
    posterior, x = build(make, noise=0.1), inputs(16)
    optimizer = torch.optim.Adam(posterior.parameters(), lr=0.02)
    for _ in range(steps):
        q = posterior(x)
        z = q.rsample()
        ridge = z[..., 1] - z[..., 0].square() + x[:, 0]
        log_p = -0.5 * (z[..., 0].square() + z[..., 2].square() + (ridge / 0.3).square())
        optimizer.zero_grad()
        (q.log_prob(z) - log_p).mean().backward()
        optimizer.step()
    return posterior


STATES = {
    "random": build,
    "trained": fit,
    "extreme": partial(build, noise=1.0, flows=1),  # of more maps the loss of digits is the product
}


@pytest.fixture(params=STATES, ids=str)
def posterior(request, make):
    return STATES[request.param](make)


def inputs(rows=1):
    return torch.randn(rows, X, dtype=torch.float64)


def numbers(*shape):
    return torch.randn(shape, dtype=torch.float64)


def test_the_determinant_is_that_of_the_jacobian(posterior):
    with torch.no_grad():
        transform = posterior(inputs()).transform
    for z in numbers(3, 1, D):
        matrix = jacobian(lambda z: transform.call_and_ladj(z)[0], z).squeeze()
        torch.testing.assert_close(transform.call_and_ladj(z)[1], matrix.slogdet().logabsdet.view(1), rtol=0, atol=1e-9)


def test_the_inverse_inverts(posterior):
    with torch.no_grad():
        transform, z = posterior(inputs()).transform, numbers(100, 1, D)
        image, ladj = transform.call_and_ladj(z)
        again, inverse_ladj = transform.inverse_and_ladj(image)
    torch.testing.assert_close(again, z, rtol=0, atol=1e-8)
    torch.testing.assert_close(inverse_ladj, -ladj, rtol=0, atol=1e-6)


def test_the_last_draw_and_a_copy_of_it_have_the_same_density_and_gradient(posterior):
    q = posterior(inputs(B))
    z = q.rsample((5,))
    remembered, inverted = q.log_prob(z), q.log_prob(z + 0)
    torch.testing.assert_close(remembered, inverted, rtol=1e-7, atol=1e-7)
    parameters = tuple(posterior.parameters())
    pairs = zip(
        *(torch.autograd.grad(value.mean(), parameters, retain_graph=True) for value in (remembered, inverted)), strict=True
    )
    for first, second in pairs:
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)


def test_the_gradient_in_a_draw_is_that_of_its_detached_copy(make):
    """The remembered score has the total derivative alone: that in z, along z's own path, and that in the parameters."""
    posterior, x = build(make), inputs(B)
    parameters = tuple(posterior.parameters())
    q = posterior(x)
    z = q.rsample()
    total = torch.autograd.grad(q.log_prob(z).sum(), parameters, retain_graph=True)
    point = z.detach().requires_grad_()
    score = q.log_prob(point).sum()
    (slope,) = torch.autograd.grad(score, point, retain_graph=True)
    at_fixed_z = torch.autograd.grad(score, parameters, retain_graph=True)
    along = torch.autograd.grad(z, parameters, slope)
    for whole, direct, path in zip(total, at_fixed_z, along, strict=True):
        torch.testing.assert_close(whole, direct + path, rtol=1e-6, atol=1e-7)
    step = 1e-5 * torch.randn_like(z)
    with torch.no_grad():
        change = q.log_prob(point + step).sum() - q.log_prob(point - step).sum()
    torch.testing.assert_close(change, 2 * (slope * step).sum(), rtol=1e-4, atol=1e-9)


def test_the_gradient_at_foreign_points_agrees_with_finite_differences(make):
    posterior, x = build(make), inputs(2)
    bias = posterior.get_parameter("head.output.bias")

    def log_prob(z, bias):
        return functional_call(posterior, {"head.output.bias": bias}, (x,)).log_prob(z)

    values = (numbers(2, D).requires_grad_(), bias.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(log_prob, values, fast_mode=True)


@pytest.mark.parametrize("kind", ["iaf", "spline"])
def test_the_gradient_of_the_maps_own_networks_agrees_with_finite_differences(kind):
    torch.manual_seed(0)
    posterior, x, z = build(KINDS[kind]), inputs(2), numbers(2, D)
    own = {name: value.detach().clone() for name, value in posterior.named_parameters() if not name.startswith("head.")}

    def log_prob(*values):
        return functional_call(posterior, dict(zip(own, values, strict=True)), (x,)).log_prob(z)

    values = tuple(value.requires_grad_() for value in own.values())
    assert torch.autograd.gradcheck(log_prob, values, fast_mode=True)


def test_it_starts_near_the_diagonal_gaussian_of_its_base(make):
    posterior, x = make(MLP(X, [8], activation="tanh"), D).double(), inputs(B)
    q = posterior(x)
    loc, log_scale = posterior.head(x)[0][..., : 2 * D].chunk(2, -1)
    z = loc + log_scale.exp() * numbers(200, B, D)
    base = Independent(Normal(loc, log_scale.exp()), 1)
    assert (q.log_prob(z) - base.log_prob(z)).abs().mean() < 0.3
    assert (center(q) - loc).abs().max() < 0.3


def test_parameters_held_constant_stay_constant_when_it_is_scored(make):
    posterior, x, z = build(make), inputs(B), numbers(B, D)
    constant = call_detached(posterior, x)
    assert not constant.log_prob(z).requires_grad
    assert not constant.rsample().requires_grad
    point = z.clone().requires_grad_()
    constant.log_prob(point).sum().backward()
    assert all(parameter.grad is None for parameter in posterior.parameters())
    exact = z.clone().requires_grad_()
    torch.testing.assert_close(point.grad, torch.autograd.grad(posterior(x).log_prob(exact).sum(), exact)[0])


def test_float32_keeps_its_digits(make):
    posterior, x = build(make, noise=0.1), inputs(B)
    z = posterior(x).sample((50,))
    exact = posterior(x).log_prob(z)
    single = posterior.float()(x.float()).log_prob(z.float())
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=1e-3)


def test_a_flow_is_no_longer_a_gaussian(make):
    q = build(make, noise=1.0)(inputs())
    z = q.sample((20_000,)).squeeze(1)
    standardized = (z - z.mean(0)) / z.std(0)
    moments = torch.stack((standardized.pow(3).mean(0).abs() / 6**0.5, (standardized.pow(4).mean(0) - 3).abs() / 24**0.5))
    assert moments.max() * 20_000**0.5 > 6  # standard errors that a Gaussian's skewness or kurtosis would be off by


def test_a_spline_has_the_same_shape_however_narrow_the_gaussian_is():
    torch.manual_seed(0)
    posterior, x = build(KINDS["spline"]), inputs(B)

    def standardized():
        loc, log_scale = posterior.head(x)[0][..., : 2 * D].chunk(2, -1)
        torch.manual_seed(1)
        return (posterior(x).sample((50,)) - loc) / log_scale.exp()

    wide = standardized()
    with torch.no_grad():
        posterior.get_parameter("head.output.bias")[D : 2 * D] -= 5
    torch.testing.assert_close(standardized(), wide)


def test_importing_zuko_leaves_the_validation_of_others_alone():
    InverseAutoregressive(MLP(X, [8]), D, hidden=[8])
    with pytest.raises(ValueError, match="scale"):
        Normal(0.0, -1.0)


def test_the_options_reach_the_maps():
    assert len(Planar(MLP(X, [8]), D, flows=7)(inputs(B).float()).transform.steps) == 7
    narrow, wide = (Sylvester(MLP(X, [8]), D, width=width).head.output.weight.shape[0] for width in (1, 3))
    assert narrow == 2 * D + 4 * (D + 3 * 1)
    assert wide == 2 * D + 4 * (3 * D + 3 * 3 + 2 * 3)
    householder = Sylvester(MLP(X, [8]), D, variant="householder", reflections=2)
    assert householder.head.output.weight.shape[0] == 2 * D + 4 * (2 * D + 5 * D)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flows": 0}, "flows is 0"),
        ({"variant": "cayley"}, "'cayley'"),
        ({"width": 4}, "it is 4"),
        ({"width": 0}, "it is 0"),
        ({"variant": "triangular", "width": 2}, "belongs to"),
        ({"reflections": 2}, "belongs to"),
    ],
)
def test_what_makes_no_sylvester_flow_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        Sylvester(MLP(X, [8]), D, **options)


def test_what_makes_no_spline_is_refused():
    with pytest.raises(InputError, match="bins is 1"):
        Spline(MLP(X, [8]), D, bins=1)
    with pytest.raises(InputError, match="hidden"):
        Spline(MLP(X, [8]), D, hidden=[])
    with pytest.raises(InputError, match="summary"):
        InverseAutoregressive(MLP(X, [8]), D, summary=0)

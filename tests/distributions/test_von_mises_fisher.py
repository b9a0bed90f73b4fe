import math

import mpmath
import pytest
import torch
from torch.distributions import VonMises, kl_divergence
from torch.nn.functional import normalize

from amortized.distributions import SphereUniform, VonMisesFisher, bessel
from amortized.distributions.colatitude import angle_slope, draw_angle
from amortized.distributions.sphere import unit_vector
from amortized.distributions.tempering import tempered
from amortized.divergences import exact_kl
from amortized.errors import InputError

DIMENSIONS = [2, 3, 10, 50]
CONCENTRATIONS = [1e-3, 1.0, 30.0, 1e4]


def real(*values):
    return torch.tensor(values, dtype=torch.float64)


def family(dimension, concentration):
    direction = torch.randn(dimension, dtype=torch.float64, generator=torch.Generator().manual_seed(dimension))
    return VonMisesFisher(normalize(direction, dim=-1), torch.tensor(concentration, dtype=torch.float64))


def angle_density(dimension, concentration, nodes=50_001):
    """Angles to the mean direction, the log-density of each up to the same number, and its distribution function."""
    theta = torch.linspace(0, math.pi, nodes, dtype=torch.float64)
    end = min(math.pi, 12 * math.sqrt((dimension + 3) / (concentration + dimension / 100)))
    theta = theta * end / math.pi  # the density lies within: nothing of it is left beyond
    log_density = -2 * concentration * torch.sin(theta / 2).square() + (dimension - 2) * theta.sin().clamp(min=1e-300).log()
    density = (log_density - log_density.max()).exp()
    cumulative = torch.cat((real(0.0), torch.cumulative_trapezoid(density, theta)))
    return theta, density / cumulative[-1], cumulative / cumulative[-1]


def expectation(function, dimension, concentration):
    theta, density, _ = angle_density(dimension, concentration)
    return torch.trapezoid(function(theta) * density, theta)


@pytest.mark.parametrize("concentration", [1e-8, 1.0, 30.0, 1e4])
def test_the_density_integrates_to_one_on_the_circle_and_on_the_sphere(concentration):
    angle = torch.arange(4096, dtype=torch.float64) * math.tau / 4096
    circle = family(2, concentration).log_prob(torch.stack((angle.cos(), angle.sin()), -1))
    assert abs(circle.exp().mean() * math.tau - 1) < 1e-12
    q = VonMisesFisher(real(0.0, 0.0, 1.0), real(concentration).squeeze())  # its density is uniform in the longitude
    height = 1 - torch.linspace(0, 1, 20_001, dtype=torch.float64).pow(4) * 2  # dense where the peak is
    z = torch.stack(((1 - height.square()).sqrt(), torch.zeros_like(height), height), -1)
    assert abs(-torch.trapezoid(q.log_prob(z).exp(), height) * math.tau - 1) < 1e-6


@pytest.mark.parametrize("dimension", [2, 3, 40, 501, 10_000])
@pytest.mark.parametrize("concentration", [1e-8, 1e-2, 20.0, 700.0, 1e6])
def test_the_log_density_and_its_gradient_agree_with_fifty_digits(dimension, concentration):
    with mpmath.workdps(50):
        k, order = mpmath.mpf(concentration), mpmath.mpf(dimension) / 2 - 1
        i0, i1 = (mpmath.besseli(order + j, k, maxterms=10**6) for j in (0, 1))
        exact = order * mpmath.log(k) - mpmath.mpf(dimension) / 2 * mpmath.log(2 * mpmath.pi) - mpmath.log(i0) + k
        slope = float(1 - i1 / i0)
        exact = float(exact)
    loc = torch.zeros(dimension, dtype=torch.float64)
    loc[1] = 1.0
    for dtype, digits in ((torch.float64, 1e-10), (torch.float32, 1e-5)):
        kappa = torch.tensor(concentration, dtype=dtype, requires_grad=True)
        at_the_mode = VonMisesFisher(loc.to(dtype), kappa).log_prob(loc.to(dtype))
        at_the_mode.backward()
        assert abs(at_the_mode.item() - exact) <= digits * abs(exact)
        assert kappa.grad is not None
        assert abs(kappa.grad.item() - slope) <= digits * slope


def test_on_the_circle_it_is_the_von_mises_distribution():
    mean, concentration = real(0.5, -2.0, 3.0), real(0.1, 2.0, 40.0)
    q = VonMisesFisher(torch.stack((mean.cos(), mean.sin()), -1), concentration)
    angle = torch.linspace(-3, 3, 50, dtype=torch.float64).unsqueeze(-1).expand(50, 3)
    expected = VonMises(mean, concentration).log_prob(angle)  # torch's Bessel function has seven digits
    torch.testing.assert_close(q.log_prob(torch.stack((angle.cos(), angle.sin()), -1)), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_angles_are_drawn_from_their_distribution(dimension, concentration):
    torch.manual_seed(1)
    n = 20_000
    theta, _, cumulative = angle_density(dimension, concentration)
    drawn = draw_angle(real(concentration).squeeze(), dimension, torch.Size((n,))).sort().values
    position = torch.searchsorted(theta, drawn).clamp(1, len(theta) - 1)
    share = (drawn - theta[position - 1]) / (theta[position] - theta[position - 1])
    at_drawn = torch.lerp(cumulative[position - 1], cumulative[position], share)
    ranks = torch.arange(n, dtype=torch.float64)
    statistic = torch.maximum((at_drawn - ranks / n).abs(), (at_drawn - (ranks + 1) / n).abs()).max() * math.sqrt(n)
    assert statistic < 2.0  # Kolmogorov and Smirnov: exceeded once in 1,500 times


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_samples_have_the_mean_the_variance_and_the_entropy_of_the_family(dimension, concentration):
    torch.manual_seed(2)
    n, q = 20_000, family(dimension, concentration)
    z = q.sample((n,))
    assert unit_vector.check(z).all()
    assert ((z.mean(0) - q.mean).abs() < 4.5 * (q.variance / n).sqrt()).all()
    squares = (z - q.mean).square()
    assert ((squares.mean(0) - q.variance).abs() < 4.5 * squares.std(0) / math.sqrt(n)).all()
    information = -q.log_prob(z)
    assert abs(information.mean() - q.entropy()) < 4.5 * information.std() / math.sqrt(n) + 1e-12


@pytest.mark.parametrize("loc", [(1.0, 0.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0)])
def test_samples_lie_around_the_mean_direction_wherever_it_points(loc):
    torch.manual_seed(3)
    direction = torch.tensor(loc, requires_grad=True)
    z = VonMisesFisher(direction, torch.tensor(1e4)).rsample((1000,))
    assert ((z - direction).norm(dim=-1) < 0.06).all()
    z.square().sum().backward()
    assert direction.grad is not None
    assert direction.grad.isfinite().all()


@pytest.mark.parametrize("concentration", [0.01, 1.0, 30.0, 1e5])
def test_the_slope_of_an_angle_on_the_sphere_is_that_of_its_closed_form(concentration):
    shares = [1e-9, 1e-3, 0.3, 0.5, 0.8, 0.999]
    with mpmath.workdps(50):  # D = 3: P(1 - w <= h) is (1 - exp(-k h)) / (1 - exp(-2 k))
        k, width = mpmath.mpf(concentration), -mpmath.expm1(-2 * mpmath.mpf(concentration))
        heights = [-mpmath.log1p(-mpmath.mpf(u) * width) / k for u in shares]
        angles = [2 * mpmath.asin(mpmath.sqrt(h / 2)) for h in heights]
        slopes = [
            mpmath.diff(lambda c, u=u: 2 * mpmath.asin(mpmath.sqrt(-mpmath.log1p(u * mpmath.expm1(-2 * c)) / c / 2)), k)
            for u in map(mpmath.mpf, shares)
        ]
        angles, slopes = ([float(value) for value in values] for values in (angles, slopes))
    torch.testing.assert_close(angle_slope(real(*angles), real(concentration), 3), real(*slopes), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("dimension", "concentration"), [(2, 0.5), (2, 1e5), (6, 40.0), (51, 1e-8), (400, 1e3)])
def test_the_slope_of_an_angle_agrees_with_exact_quadrature(dimension, concentration):
    torch.manual_seed(4)
    angles = draw_angle(real(concentration).squeeze(), dimension, torch.Size((5,)))
    slopes = angle_slope(angles, real(concentration), dimension)
    with mpmath.workdps(25):
        k, order = mpmath.mpf(concentration), mpmath.mpf(dimension) / 2 - 1
        mean = mpmath.besseli(order + 1, k) / mpmath.besseli(order, k)
        width = 1 / mpmath.sqrt(k + dimension - 1.5)
        for angle, slope in zip(angles.tolist(), slopes.tolist(), strict=True):

            def integrand(s, angle=angle):
                tilt = mpmath.exp(k * (mpmath.cos(s) - mpmath.cos(angle)))
                return (mpmath.cos(s) - mean) * tilt * (mpmath.sin(s) / mpmath.sin(angle)) ** (dimension - 2)

            pieces = [max(mpmath.mpf(0), angle - 3 * j * width) for j in range(9)]
            exact = -float(mpmath.quad(integrand, sorted(set(pieces))))  # pyright: ignore[reportArgumentType]
            assert abs(slope - exact) < 1e-9 * abs(exact)


def gradient_score(gradients, exact):
    """How many standard errors the mean of single-sample gradients (n) is off."""
    return (gradients.mean() - exact).abs() / (gradients.std() / math.sqrt(len(gradients)))


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("concentration", [0.05, 2.0, 50.0, 1e4])
def test_the_pathwise_gradient_of_the_concentration_is_unbiased(dimension, concentration):
    torch.manual_seed(5)
    n, width = 20_000, 1 / math.sqrt(concentration + dimension)

    def function(theta):
        return torch.sin(1 + theta / width)

    k = torch.full((n,), concentration, dtype=torch.float64, requires_grad=True)
    z = VonMisesFisher(family(dimension, 1.0).loc, k).rsample()
    cosine = (z * family(dimension, 1.0).loc).sum(-1).clamp(-1 + 1e-15, 1 - 1e-15)
    (gradients,) = torch.autograd.grad(function(cosine.arccos()).sum(), k)
    step = 1e-3 * concentration
    higher, lower = (expectation(function, dimension, concentration + side * step) for side in (1, -1))
    assert gradient_score(gradients, (higher - lower) / (2 * step)) < 4.0


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("concentration", [0.05, 2.0, 50.0, 1e4])
def test_the_pathwise_gradient_of_both_parameters_is_unbiased_off_the_axis(dimension, concentration):
    # E[exp(c^T z)] = exp(L(|k mu + c|) - L(k)), for any c: the sum of two tilts is a tilt.
    torch.manual_seed(6)
    n, c = 20_000, torch.randn(dimension, dtype=torch.float64)
    direction = family(dimension, 1.0).loc

    def log_moment(k):
        return bessel.log_mass(k, dimension) + k

    one = torch.tensor(concentration, dtype=torch.float64, requires_grad=True)
    axis = direction.clone().requires_grad_()
    moment = (log_moment((one * normalize(axis, dim=-1) + c).norm()) - log_moment(one)).exp()
    exact_k, exact_axis = torch.autograd.grad(moment, (one, axis))

    k = torch.full((n,), concentration, dtype=torch.float64, requires_grad=True)
    axes = direction.expand(n, dimension).clone().requires_grad_()
    z = VonMisesFisher(normalize(axes, dim=-1), k).rsample()
    gradients_k, gradients_axes = torch.autograd.grad((z @ c).exp().sum(), (k, axes))
    assert gradient_score(gradients_k, exact_k) < 4.0
    toward = torch.randn(dimension, dtype=torch.float64)
    assert gradient_score(gradients_axes @ toward, exact_axis @ toward) < 4.0


@pytest.mark.parametrize("dimension", DIMENSIONS)
@pytest.mark.parametrize("concentration", CONCENTRATIONS)
def test_the_kl_from_the_uniform_distribution_agrees_with_quadrature_and_samples(dimension, concentration):
    torch.manual_seed(7)
    q, p = family(dimension, concentration), SphereUniform(dimension, dtype=torch.float64)
    kl = exact_kl(q, p)
    assert kl is not None
    log_ratio = bessel.log_mass(q.concentration, dimension)

    def integrand(theta):
        return -2 * concentration * torch.sin(theta / 2).square() - log_ratio

    assert abs(expectation(integrand, dimension, concentration) - kl) < 1e-8 * max(1.0, kl.item())
    z = q.sample((20_000,))
    sampled = q.log_prob(z) - p.log_prob(z)
    assert abs(sampled.mean() - kl) < 4.5 * sampled.std() / math.sqrt(len(z))


@pytest.mark.parametrize("dimension", [2, 50, 10_000])
def test_the_kl_goes_to_zero_as_the_square_of_the_concentration(dimension):
    k = torch.tensor([0.0, 1e-12, 1e-6, 1e-3], requires_grad=True)
    loc = torch.zeros(dimension)
    loc[0] = 1.0
    kl = kl_divergence(VonMisesFisher(loc, k), SphereUniform(dimension))
    torch.testing.assert_close(kl.double(), k.detach().double().square() / (2 * dimension), rtol=1e-5, atol=0)
    kl.sum().backward()
    assert k.grad is not None
    torch.testing.assert_close(k.grad, k.detach() / dimension, rtol=1e-5, atol=0)


def test_at_zero_concentration_it_is_the_uniform_distribution():
    q, p = family(5, 0.0), SphereUniform(5, dtype=torch.float64)
    z = q.sample((9,))
    torch.testing.assert_close(q.log_prob(z), p.log_prob(z))
    torch.testing.assert_close(q.entropy(), p.entropy())
    torch.testing.assert_close(q.variance, p.variance)


def test_draws_end_and_stay_finite_at_every_concentration():
    k = torch.tensor([0.0, 1e-30, 1e-8, 1.0, 1e6, 1e12, math.inf, math.nan])
    loc = normalize(torch.ones(4), dim=-1).expand(8, 4)
    z = VonMisesFisher(loc, k, validate_args=False).rsample((50,))
    assert z[:, :6].isfinite().all()


def test_the_density_can_be_scored_at_foreign_points_with_a_gradient():
    q = VonMisesFisher(normalize(torch.randn(4, 3), dim=-1), torch.rand(4) + 1)
    z = SphereUniform(3).sample((2, 4)).requires_grad_()
    (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    along = (gradient * z).sum(-1, keepdim=True)
    expected = q.concentration.unsqueeze(-1) * q.loc  # of k mu^T z; the two differ only off the sphere
    tangent = expected - (expected * z).sum(-1, keepdim=True) * z
    torch.testing.assert_close(gradient - along * z, tangent, rtol=1e-5, atol=1e-6)


def test_the_pathwise_gradient_goes_through_the_transforms_of_functions():
    k = real(0.5, 30.0)

    def cosine(k):
        torch.manual_seed(0)
        return draw_angle(k, 5, torch.Size((3, 2))).cos().sum()

    leaf = k.clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(cosine)(k), torch.autograd.grad(cosine(leaf), leaf)[0])


def test_a_temperature_divides_the_concentration_by_its_square():
    q = family(3, 20.0)
    torch.testing.assert_close(tempered(q, 0.5).log_prob(q.loc), family(3, 80.0).log_prob(q.loc))
    assert torch.equal(tempered(q, 0.5).mode, q.mode)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.0, 1e-300])
@pytest.mark.parametrize("dimension", [2, 3, 50])
def test_without_temperature_the_draws_are_the_mean_direction(dimension, temperature, dtype):
    loc, k = family(dimension, 1.0).loc.to(dtype), torch.tensor(0.1, dtype=dtype, requires_grad=True)
    q = tempered(VonMisesFisher(loc, k), temperature)
    z = q.rsample((100,))
    assert (z - loc).abs().max() < 20 * torch.finfo(dtype).eps
    assert q.log_prob(z).isfinite().all()
    (slope,) = torch.autograd.grad(z.sum() + q.log_prob(z.detach()).sum(), k)
    assert slope.isfinite()


def test_the_uniform_distribution_has_no_direction_to_gather_at():
    q = tempered(VonMisesFisher(real(0.0, 0.0, 1.0), real(0.0).squeeze()), 0.0)
    assert isinstance(q, VonMisesFisher)
    assert q.concentration == 0


def test_shapes_and_expansion():
    q = VonMisesFisher(real(0.0, 0.6, 0.8), torch.ones(5, dtype=torch.float64))
    assert q.batch_shape == (5,)
    assert q.event_shape == (3,)
    larger = q.expand((2, 5))
    assert larger.rsample((7,)).shape == (7, 2, 5, 3)
    assert larger.log_prob(larger.sample((7,))).shape == (7, 2, 5)
    assert larger.mean.shape == larger.variance.shape == (2, 5, 3)
    assert larger.rsample().dtype == torch.float64
    assert kl_divergence(larger, SphereUniform(3)).shape == (2, 5)


def test_what_is_no_direction_is_refused():
    with pytest.raises(ValueError, match="loc"):
        VonMisesFisher(torch.ones(3), torch.ones(()), validate_args=True)
    with pytest.raises(InputError, match="2 or more dimensions"):
        VonMisesFisher(torch.ones(1), torch.ones(()))


def test_its_score_has_a_gradient_for_each_datum_under_a_transform():
    z = torch.nn.functional.normalize(torch.randn(4, 3, dtype=torch.float64), dim=-1)
    loc = torch.nn.functional.normalize(torch.randn(3, dtype=torch.float64), dim=-1)

    def score(k, z):
        return VonMisesFisher(loc, k).log_prob(z)

    k = torch.rand(4, dtype=torch.float64) + 0.5
    each = torch.func.vmap(torch.func.grad(score))(k, z)
    k.requires_grad_()
    (together,) = torch.autograd.grad(score(k, z).sum(), k)
    torch.testing.assert_close(each, together)

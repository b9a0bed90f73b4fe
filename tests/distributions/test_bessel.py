import mpmath
import pytest
import torch

from amortized.distributions import bessel

CONCENTRATIONS = [1e-8, 1e-3, 0.4, 3.0, 31.9, 32.1, 40.0, 100.0, 1e3, 1e4, 1e6]
DIMENSIONS = [2, 3, 4, 10, 35, 66, 101, 1000, 10_000]


def exact_cumulants(k, dimension):
    k, order = mpmath.mpf(k), mpmath.mpf(dimension) / 2 - 1
    i0, i1 = (mpmath.besseli(order + j, k, maxterms=10**6) for j in (0, 1))
    log_moment = mpmath.log(i0) + order * mpmath.log(2 / k) + mpmath.loggamma(order + 1)
    mean = i1 / i0
    variance = 1 - mean**2 - (dimension - 1) * mean / k
    return bessel.Cumulants(log_moment - k, mean, 1 - mean, mean / k, variance, k * mean - log_moment)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_every_value_agrees_with_fifty_digits(dimension):
    found = bessel.cumulants(torch.tensor(CONCENTRATIONS, dtype=torch.float64), dimension)
    with mpmath.workdps(80):  # at k = 1e-8 the exact formulas themselves cancel 30 digits
        for position, k in enumerate(CONCENTRATIONS):
            for name, exact in exact_cumulants(k, dimension)._asdict().items():
                error = abs(getattr(found, name)[position].item() - exact) / abs(exact)
                assert error < 1e-11, (name, k, float(error))


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_the_ratio_lies_between_the_bounds_of_amos(dimension):
    k, order = torch.logspace(-8, 6, 400, dtype=torch.float64), dimension / 2 - 1
    lower = k / (order + 1 + torch.hypot(k, torch.full_like(k, order + 1)))
    upper = k / (order + torch.hypot(k, torch.full_like(k, order + 2)))
    ratio = bessel.mean_cosine(k, dimension)
    assert (ratio >= lower * (1 - 1e-14)).all()
    assert (ratio <= upper * (1 + 1e-14)).all()


@pytest.mark.parametrize("dimension", [2, 3, 50, 10_000])
def test_single_precision_is_the_rounded_value_even_at_zero(dimension):
    k = torch.tensor([0.0, 1e-30, 1e-8, 1.0, 300.0, 1e6])
    for function in (bessel.log_mass, bessel.mean_cosine, bessel.shortfall, bessel.divergence, bessel.variance_cosine):
        assert torch.equal(function(k, dimension), function(k.double(), dimension).float())
        assert function(k, dimension).isfinite().all()


@pytest.mark.parametrize("dimension", [2, 3, 50, 10_000])
def test_gradients_are_the_next_cumulants_and_so_are_theirs(dimension):
    k = torch.tensor([1e-6, 0.3, 20.0, 31.0, 200.0, 1e5], dtype=torch.float64, requires_grad=True)
    exact = bessel.cumulants(k, dimension)
    (first,) = torch.autograd.grad(bessel.log_mass(k, dimension).sum(), k, create_graph=True)
    torch.testing.assert_close(first, -exact.shortfall, rtol=1e-12, atol=0)
    (second,) = torch.autograd.grad(first.sum(), k)
    torch.testing.assert_close(second, exact.variance, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(bessel.divergence(k, dimension).sum(), k)
    torch.testing.assert_close(slope, k.detach() * exact.variance, rtol=1e-12, atol=0)


def test_gradients_agree_with_differences():
    k = torch.tensor([0.3, 5.0, 20.0, 60.0], dtype=torch.float64, requires_grad=True)
    for function in (bessel.log_mass, bessel.mean_cosine, bessel.shortfall, bessel.divergence):
        assert torch.autograd.gradcheck(lambda k, f=function: f(k, 7), k)


def test_a_gradient_that_is_not_known_is_refused():
    k = torch.tensor(2.0, requires_grad=True)
    with pytest.raises(NotImplementedError, match="no gradient"):
        bessel.variance_cosine(k, 3).backward()

import math

import mpmath
import pytest
import torch

from amortized.distributions import Binomial, NegativeBinomial, Poisson

COUNTS = (0, 1, 5, 100, 1000)


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def number(value, dtype):
    return torch.tensor(float(value), dtype=dtype)


def check(value, exact, dtype, terms):
    """Agreement to a few roundings of the largest of the terms that were summed."""
    assert abs(mpmath.mpf(value.item()) - exact) <= 8 * torch.finfo(dtype).eps * max(1, terms)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_theta", [-10, 0, 2.77, 2.78, 5, 11.5, 18, 25, 40])
@pytest.mark.parametrize("log_mean", [-40, math.log(1e-8), 0, 5])
def test_the_negative_binomial_agrees_with_fifty_digits(log_mean, log_theta, dtype):
    log_m, theta = number(log_mean, dtype), number(log_theta, dtype).exp()
    m, t = mpmath.exp(mpmath.mpf(log_m.item())), mpmath.mpf(theta.item())
    for count in COUNTS:
        exact = mpmath.loggamma(count + t) - mpmath.loggamma(t) - mpmath.loggamma(count + 1)
        exact += -t * mpmath.log1p(m / t) - count * mpmath.log1p(t / m)
        terms = mpmath.loggamma(count + 1) + count * (abs(log_mean) + abs(log_theta)) + abs(exact) + m
        check(NegativeBinomial(log_m, theta).log_prob(number(count, dtype)), exact, dtype, terms)


def test_the_negative_binomial_becomes_a_poisson():
    log_mean, x = torch.tensor(1.3, dtype=torch.float64), torch.arange(20.0, dtype=torch.float64)
    limit = NegativeBinomial(log_mean, torch.tensor(1e15, dtype=torch.float64)).log_prob(x)
    torch.testing.assert_close(limit, Poisson(log_mean).log_prob(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("theta", [1e-8, 1e-2, 15.9, 16.1, 1e6, 1e20])
def test_the_negative_binomials_gradient_is_that_of_the_formula(theta):
    # d log p / d log m = x - (x + theta) m / (m + theta), and for theta by 50-digit differences of the exact log-mass
    log_mean = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    inverse_dispersion = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
    NegativeBinomial(log_mean, inverse_dispersion).log_prob(torch.tensor(3.0, dtype=torch.float64)).backward()
    m, t = mpmath.exp(mpmath.mpf(0.7)), mpmath.mpf(theta)
    assert log_mean.grad is not None
    assert inverse_dispersion.grad is not None
    assert log_mean.grad.item() == pytest.approx(float(3 - (3 + t) * m / (m + t)), rel=1e-12)
    exact = mpmath.psi(0, 3 + t) - mpmath.psi(0, t) - mpmath.log1p(m / t) + (m - 3) / (m + t)
    assert inverse_dispersion.grad.item() == pytest.approx(float(exact), rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_rate", [-800, -30, 0, 4])
def test_the_poisson_agrees_with_fifty_digits_where_the_rate_underflows(log_rate, dtype):
    rate = mpmath.mpf(log_rate)
    for count in COUNTS:
        exact = count * rate - mpmath.exp(rate) - mpmath.loggamma(count + 1)
        terms = count * abs(log_rate) + mpmath.loggamma(count + 1) + mpmath.exp(rate)
        check(Poisson(number(log_rate, dtype)).log_prob(number(count, dtype)), exact, dtype, terms)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("logit", [-800, -60, -20, 0, 0.5, 60, 800])
def test_the_binomial_agrees_with_fifty_digits(logit, dtype):
    log_odds = mpmath.mpf(logit)
    for count in (0, 1, 100, 128, 254, 255):
        exact = mpmath.log(mpmath.binomial(255, count))
        exact -= count * mpmath.log1p(mpmath.exp(-log_odds)) + (255 - count) * mpmath.log1p(mpmath.exp(log_odds))
        value = Binomial(255, number(logit, dtype)).log_prob(number(count, dtype))
        check(
            value, exact, dtype, abs(exact) + mpmath.log(mpmath.binomial(255, count)) + (177 if dtype == torch.float32 else 5000)
        )


@pytest.mark.parametrize("logit", [-200.0, -60.0, -30.0, 0.0, 30.0, 60.0, 200.0])
def test_torchs_bernoulli_may_stay(logit):
    distribution = torch.distributions.Bernoulli(logits=torch.tensor(logit, dtype=torch.float64))
    for bit in (0.0, 1.0):
        exact = -mpmath.log1p(mpmath.exp(mpmath.mpf(logit) * (1 - 2 * bit)))
        check(distribution.log_prob(torch.tensor(bit, dtype=torch.float64)), exact, torch.float64, abs(exact))


@pytest.mark.parametrize(
    "distribution",
    [
        Poisson(torch.tensor([0.3, -1.0]), validate_args=True),
        NegativeBinomial(torch.tensor([0.3, -1.0]), torch.tensor(2.0), validate_args=True),
        Binomial(4, torch.tensor([0.3, -1.0]), validate_args=True),
    ],
    ids=lambda distribution: type(distribution).__name__,
)
def test_validation_refuses_what_is_outside_the_support(distribution):
    assert distribution.log_prob(torch.tensor([0.0, 4.0])).isfinite().all()
    for outside in (-1.0, 1.5):
        with pytest.raises(ValueError, match="support"):
            distribution.log_prob(torch.tensor([0.0, outside]))

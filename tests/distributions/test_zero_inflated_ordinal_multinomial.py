import itertools
import math

import mpmath
import pytest
import torch

from amortized.distributions import Binomial, Multinomial, NegativeBinomial, Ordinal, ZeroInflatedNegativeBinomial

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def number(value, dtype=torch.float64):
    return torch.tensor(float(value), dtype=dtype)


def exact(value):
    return mpmath.mpf(value.item())


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


@DTYPES
@pytest.mark.parametrize("log_mean", [-80, -40, math.log(1e-8), 0, 5])
@pytest.mark.parametrize("zero_logit", [-800, -60, -20, 0, 3, 60, 800])
def test_the_zero_inflated_negative_binomial_agrees_with_fifty_digits(log_mean, zero_logit, dtype):
    for theta, count in itertools.product((1e-2, 1.0, 100.0), (0, 1, 7, 100)):
        log_m, t, logit, x = (number(value, dtype) for value in (log_mean, theta, zero_logit, count))
        m, u = mpmath.exp(exact(log_m)), exact(t)
        counted = mpmath.loggamma(count + u) - mpmath.loggamma(u) - mpmath.loggamma(count + 1)
        counted -= u * mpmath.log1p(m / u) + count * mpmath.log1p(u / m)
        zero, rest = 1 / (1 + mpmath.exp(-exact(logit))), 1 / (1 + mpmath.exp(exact(logit)))
        truth = mpmath.log((zero if count == 0 else 0) + rest * mpmath.exp(counted))
        terms = mpmath.loggamma(count + 1) + count * (abs(log_mean) + abs(math.log(theta))) + abs(truth) + abs(zero_logit)
        terms = abs(truth) if count == 0 else terms
        error = abs(exact(ZeroInflatedNegativeBinomial(log_m, t, logit).log_prob(x)) - truth)
        assert error <= 8 * torch.finfo(dtype).eps * max(1, terms)


def test_without_excess_zeros_it_is_the_negative_binomial():
    log_mean, theta, x = torch.linspace(-5, 3, 4).double()[:, None], number(1.7), torch.arange(30.0).double()
    plain = NegativeBinomial(log_mean, theta)
    for logit in (-1e4, -torch.inf):
        limit = ZeroInflatedNegativeBinomial(log_mean, theta, number(logit))
        torch.testing.assert_close(limit.log_prob(x), plain.log_prob(x), rtol=0, atol=1e-15)
    limit = ZeroInflatedNegativeBinomial(log_mean, theta, number(-1e4))
    torch.testing.assert_close(limit.mean, plain.mean, rtol=1e-15, atol=0)
    torch.testing.assert_close(limit.variance, plain.variance, rtol=1e-15, atol=0)


def test_its_gradient_is_that_of_finite_differences_and_finite_at_the_ends():
    log_mean = torch.tensor([-3.0, 0.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.5, 1.0, 20.0, 3.0], dtype=torch.float64, requires_grad=True)
    logits = torch.tensor([-2.0, 0.0, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    for x in (torch.tensor([0.0, 0.0, 3.0, 7.0]), torch.tensor([2.0, 1.0, 0.0, 0.0])):
        assert torch.autograd.gradcheck(
            lambda m, t, g, x=x: ZeroInflatedNegativeBinomial(m, t, g).log_prob(x), (log_mean, theta, logits)
        )
    far = [torch.tensor(values, requires_grad=True) for values in ([-100.0, 10.0], [1e-4, 1e8], [-300.0, 300.0])]
    distribution = ZeroInflatedNegativeBinomial(far[0], far[1], far[2])
    for value in (0.0, 1.0, 5000.0):
        gradients = torch.autograd.grad(distribution.log_prob(torch.tensor(value)).sum(), far)
        assert all(gradient.isfinite().all() for gradient in gradients)


def ordinal_log_mass(level, location, cutpoints):
    edges = [mpmath.mpf("-inf"), *cutpoints, mpmath.mpf("inf")]
    below, above = ((1 / (1 + mpmath.exp(location - edge))) for edge in (edges[level], edges[level + 1]))
    return mpmath.log(above - below)


@DTYPES
@pytest.mark.parametrize("location", [-700.0, -80.0, -3.0, 0.0, 0.4, 60.0, 700.0])
def test_the_ordinal_agrees_with_exact_arithmetic_in_the_far_tails(location, dtype):
    cutpoints = torch.tensor([-4.0, -1.0, -0.9999, 0.5, 30.0], dtype=dtype)
    distribution = Ordinal(number(location, dtype), cutpoints)
    with mpmath.workdps(1000):  # in the tails the two sigmoids agree to hundreds of digits
        truth = [ordinal_log_mass(k, exact(number(location, dtype)), [exact(c) for c in cutpoints]) for k in range(6)]
    value = distribution.log_prob(torch.arange(6.0, dtype=dtype))
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(value, torch.tensor([float(t) for t in truth], dtype=dtype), rtol=8 * eps, atol=8 * eps)


def test_the_ordinals_gradient_is_finite_in_the_far_tails_and_that_of_finite_differences():
    cutpoints = torch.tensor([[-1.0, 0.5, 2.0], [-3.0, -2.9, 7.0]], dtype=torch.float64, requires_grad=True)
    location = torch.tensor([0.3, -0.7], dtype=torch.float64, requires_grad=True)
    for x in (torch.tensor([0, 3]), torch.tensor([1, 2])):
        assert torch.autograd.gradcheck(lambda f, c, x=x: Ordinal(f, c).log_prob(x), (location, cutpoints))
    far = torch.tensor([-1e4, 1e4], requires_grad=True)
    Ordinal(far, torch.tensor([0.0, 1.0])).log_prob(torch.tensor([[0.0], [1.0], [2.0]])).sum().backward()
    assert far.grad is not None
    assert far.grad.isfinite().all()


def test_two_ordered_levels_are_a_bernoulli():
    location, cutpoint, x = torch.tensor([0.3, -4.0, 50.0]), torch.tensor([0.2]), torch.tensor([[0.0], [1.0]])
    bernoulli = torch.distributions.Bernoulli(logits=location - cutpoint)
    torch.testing.assert_close(Ordinal(location, cutpoint).log_prob(x), bernoulli.log_prob(x))
    torch.testing.assert_close(Ordinal(location, cutpoint).mean, bernoulli.mean)


def test_cutpoints_of_each_entry_and_common_ones_agree():
    location, common, x = torch.randn(5, 3), torch.tensor([-1.0, 0.0, 2.0]), torch.randint(4, (2, 5, 3))
    each = Ordinal(location, common.expand(3, 3))
    torch.testing.assert_close(each.log_prob(x), Ordinal(location, common).log_prob(x))


@DTYPES
@pytest.mark.parametrize("total", [0, 7, 1000, 100_000])
def test_the_multinomial_agrees_with_fifty_digits(total, dtype):
    torch.manual_seed(0)
    logits = torch.randn(4, 5, dtype=dtype)
    draws = torch.multinomial(logits.flatten().softmax(-1), max(total, 1), replacement=True)[:total]
    x = draws.bincount(minlength=20).view(4, 5).to(dtype)
    exponents = [exact(logit) for logit in logits.flatten()]
    normalizer = mpmath.log(mpmath.fsum(map(mpmath.exp, exponents)))
    truth = mpmath.loggamma(total + 1)
    truth += mpmath.fsum(
        int(c) * (e - normalizer) - mpmath.loggamma(int(c) + 1) for c, e in zip(x.flatten(), exponents, strict=True)
    )
    # what a rounding of each log-probability amounts to over its counts; log Gamma of the total alone would lose ten times that
    rounding = torch.finfo(dtype).eps * (abs(truth) + max(1, total))
    assert abs(exact(Multinomial(logits, 1.0, event_dim=2).log_prob(x)) - truth) <= rounding


def test_two_categories_are_a_binomial():
    logits, k = torch.tensor([[0.7, -0.4], [30.0, -30.0]]).double(), torch.arange(13.0).double()
    binomial = Binomial(12, logits[:, 0] - logits[:, 1])
    multinomial = Multinomial(logits, 12.0)
    value = multinomial.log_prob(torch.stack((k, 12 - k), -1)[:, None])
    torch.testing.assert_close(value, binomial.log_prob(k[:, None]), rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(multinomial.mean[:, 0], binomial.mean)
    torch.testing.assert_close(multinomial.variance[:, 0], binomial.variance)


@pytest.mark.parametrize("total", [0.0, 3.0, 2.3])
def test_the_multinomials_samples_have_its_mean_variance_and_total(total):
    torch.manual_seed(0)
    n = 40_000
    distribution = Multinomial(torch.tensor([[0.3, -1.0, 2.0], [0.0, -50.0, 1.0]]).double(), total, event_dim=2)
    samples = distribution.sample((n,))
    sums = samples.sum((-2, -1))
    assert ((sums == math.floor(total)) | (sums == math.ceil(total))).all()
    for power, expected in ((1, distribution.mean), (2, distribution.variance + distribution.mean.square())):
        moment = samples.pow(power)
        assert ((moment.mean(0) - expected).abs() <= 4.5 * moment.std(0) / n**0.5 + 1e-12).all()


def test_a_count_where_the_probability_underflows_keeps_its_gradient():
    logits = torch.tensor([0.0, -500.0, 3.0], requires_grad=True)
    value = Multinomial(logits, 1.0).log_prob(torch.tensor([2.0, 3.0, 0.0]))
    value.backward()
    expected = torch.tensor([2.0, 3.0, 0.0]) - 5 * torch.softmax(logits.detach(), -1)
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad, expected)


@pytest.mark.parametrize(
    "distribution",
    [
        ZeroInflatedNegativeBinomial(*torch.tensor([0.3, 2.0, -1.0]), validate_args=True),
        Ordinal(torch.zeros(2), torch.arange(4.0), validate_args=True),
        Multinomial(torch.zeros(2), 3.0, validate_args=True),
    ],
    ids=lambda distribution: type(distribution).__name__,
)
def test_validation_refuses_what_is_outside_the_support(distribution):
    assert distribution.log_prob(torch.tensor([0.0, 4.0])).isfinite().all()
    for outside in (-1.0, 1.5):
        with pytest.raises(ValueError, match="support"):
            distribution.log_prob(torch.tensor([0.0, outside]))

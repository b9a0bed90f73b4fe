import mpmath
import pytest
import torch

from amortized.distributions import Beta, ContinuousBernoulli

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
LOGITS = [sign * size for size in (0, 1e-12, 1e-6, 1e-3, 0.1, 0.49, 0.51, 1, 5, 20, 60, 1e3, 1e4) for sign in (1, -1)]
VALUES = (0.0, 1e-10, 1e-3, 0.3, 0.5, 0.7, 0.999, 1.0)


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def number(value, dtype=torch.float64):
    return torch.tensor(float(value), dtype=dtype)


def exact(value):
    return mpmath.mpf(value.item())


def log_integral(logit):
    return logit / 2 + mpmath.log(mpmath.sinh(logit / 2) / (logit / 2)) if logit else mpmath.mpf(0)


def mean_of(logit):
    return (1 + mpmath.coth(logit / 2) - 2 / logit) / 2 if logit else mpmath.mpf(1) / 2


def variance_of(logit):
    return 1 / logit**2 - 1 / (4 * mpmath.sinh(logit / 2) ** 2) if logit else mpmath.mpf(1) / 12


@DTYPES
@pytest.mark.parametrize("logit", LOGITS)
def test_the_continuous_bernoulli_agrees_with_fifty_digits(logit, dtype):
    slope = number(logit, dtype)
    for x in (number(value, dtype) for value in VALUES):
        truth = exact(slope) * exact(x) - log_integral(exact(slope))
        error = abs(exact(ContinuousBernoulli(slope).log_prob(x)) - truth)
        assert error <= 8 * torch.finfo(dtype).eps * max(1, abs(truth))


@DTYPES
@pytest.mark.parametrize("logit", LOGITS)
def test_its_moments_its_entropy_and_its_gradient_agree_with_fifty_digits(logit, dtype):
    slope, eps = number(logit, dtype).requires_grad_(), torch.finfo(dtype).eps
    distribution, true_slope = ContinuousBernoulli(slope), exact(slope)
    mean = mean_of(true_slope)
    assert abs(exact(distribution.mean) - mean) <= 8 * eps * mean
    assert abs(exact(distribution.variance) / variance_of(true_slope) - 1) <= 300 * eps  # 1/12 is a difference of two at 4
    entropy = log_integral(true_slope) - true_slope * mean
    assert abs(exact(distribution.entropy()) - entropy) <= 8 * eps * max(1, abs(entropy))
    for x in (number(value, dtype) for value in VALUES):
        (gradient,) = torch.autograd.grad(distribution.log_prob(x), slope)
        assert abs(exact(gradient) - (exact(x) - mean)) <= 8 * eps


def test_its_gradients_of_both_orders_are_those_of_finite_differences():
    logits = torch.tensor([-30.0, -2.0, -0.3, 0.0, 0.3, 2.0, 30.0], dtype=torch.float64, requires_grad=True)
    x = torch.linspace(0.1, 0.9, 7, dtype=torch.float64, requires_grad=True)

    def log_prob(logits, x):
        return ContinuousBernoulli(logits).log_prob(x)

    assert torch.autograd.gradcheck(log_prob, (logits, x))
    assert torch.autograd.gradgradcheck(log_prob, (logits, x))
    per_datum = torch.func.vmap(torch.func.grad(log_prob), in_dims=(0, 0))(logits.detach(), x.detach())
    torch.testing.assert_close(per_datum, (x - ContinuousBernoulli(logits).mean).detach())


@pytest.mark.parametrize("logit", [-1e4, -40.0, -0.2, 0.0, 1e-20, 3.0, 1e4])
def test_its_samples_have_the_distribution_function(logit):
    torch.manual_seed(0)
    n = 20_000
    samples = ContinuousBernoulli(number(logit)).sample((n,))
    assert ((samples >= 0) & (samples <= 1)).all()
    distance = samples if logit < 0 else 1 - samples
    size = max(abs(logit), 1e-30)
    uniform = torch.expm1(-size * distance) / torch.expm1(number(-size))
    ordered = uniform.sort().values
    gap = (ordered - torch.arange(1, n + 1) / n).abs().max().item()
    assert gap < 2.2 / n**0.5  # Kolmogorov and Smirnov: exceeded once in 10,000


def beta_log_density(logit, c, x):
    a, b = c / (1 + mpmath.exp(-logit)), c / (1 + mpmath.exp(logit))
    normalizer = mpmath.loggamma(c) - mpmath.loggamma(a) - mpmath.loggamma(b)
    return (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log(1 - x) + normalizer


@DTYPES
@pytest.mark.parametrize("concentration", [1e-3, 0.5, 5, 100, 1e4])
@pytest.mark.parametrize("logit", [-800, -80, -3, 0, 0.3, 20, 800])
def test_the_beta_agrees_with_fifty_digits_near_the_ends_and_at_any_mean(logit, concentration, dtype):
    log_odds, c = number(logit, dtype), number(concentration, dtype)
    for value in (1e-30, 1e-6, 0.01, 0.3, 0.5, 0.9, 0.9999998):
        x = number(value, dtype)
        truth = beta_log_density(exact(log_odds), exact(c), exact(x))
        error = abs(exact(Beta(log_odds, c).log_prob(x)) - truth)
        assert error <= 32 * torch.finfo(dtype).eps * max(1, abs(truth))


@DTYPES
@pytest.mark.parametrize("concentration", [1e3, 1e5, 1e7])
@pytest.mark.parametrize("logit", [-4.0, -0.8, 0.0, 0.5, 4.0])
def test_a_narrow_beta_keeps_its_digits_where_its_mass_is(logit, concentration, dtype):
    log_odds, c = number(logit, dtype), number(concentration, dtype)
    distribution = Beta(log_odds, c)
    for deviations in (-3, -1, 0, 1, 3):
        x = distribution.mean + deviations * distribution.variance.sqrt()
        truth = beta_log_density(exact(log_odds), exact(c), exact(x))
        # a rounding of the mean or of x moves log p by eps times deviations times the root of the concentration
        rounding = torch.finfo(dtype).eps * (1 + 3 * concentration**0.5)
        assert abs(exact(distribution.log_prob(x)) - truth) <= 8 * rounding


def test_the_betas_gradient_is_that_of_finite_differences_and_finite_everywhere():
    logits = torch.tensor([-3.0, 0.0, 0.2, 2.0, 0.3], dtype=torch.float64, requires_grad=True)
    c = torch.tensor([0.3, 5.0, 40.0, 300.0, 7.0], dtype=torch.float64, requires_grad=True)
    x = torch.tensor([0.02, 0.5, 0.56, 0.88, 0.999], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda logits, c: Beta(logits, c).log_prob(x), (logits, c))
    far = torch.tensor([-900.0, -90.0, 0.0, 90.0, 900.0], requires_grad=True)
    wide = torch.tensor([[1e-6], [1.0], [1e9]], requires_grad=True)
    for value in (1e-38, 0.5, 1 - 6e-8):
        gradients = torch.autograd.grad(Beta(far, wide).log_prob(torch.tensor(value)).sum(), (far, wide))
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_the_betas_entropy_and_samples_are_torchs():
    torch.manual_seed(0)
    logits, c = torch.tensor([-1.0, 0.5]).double(), torch.tensor([0.4, 9.0]).double()
    ours, torchs = Beta(logits, c), torch.distributions.Beta(c * torch.sigmoid(logits), c * torch.sigmoid(-logits))
    torch.testing.assert_close(ours.entropy(), torchs.entropy())
    n = 40_000
    samples = ours.sample((n,))
    for power in (1, 2):
        moment = samples.pow(power)
        expected = torchs.mean if power == 1 else torchs.variance + torchs.mean.square()
        assert ((moment.mean(0) - expected).abs() < 4.5 * moment.std(0) / n**0.5).all()


@pytest.mark.parametrize("logit", [-900.0, 0.0, 900.0])
@pytest.mark.parametrize("concentration", [1e-5, 1.0, 1e8])
def test_every_sample_of_the_beta_has_a_finite_log_density(logit, concentration):
    distribution = Beta(torch.tensor(logit), torch.tensor(concentration))
    samples = distribution.sample((200,))
    assert ((samples > 0) & (samples < 1)).all()
    assert distribution.log_prob(samples).isfinite().all()


@pytest.mark.parametrize(
    ("distribution", "outside"),
    [
        (ContinuousBernoulli(torch.tensor([0.3, -1.0]), validate_args=True), (-0.1, 1.1)),
        (Beta(torch.tensor([0.3, -1.0]), torch.tensor(2.0), validate_args=True), (0.0, 1.0)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_validation_refuses_what_is_outside_the_support(distribution, outside):
    assert distribution.log_prob(torch.tensor([0.2, 0.9])).isfinite().all()
    for value in outside:
        with pytest.raises(ValueError, match="support"):
            distribution.log_prob(torch.tensor([0.5, value]))

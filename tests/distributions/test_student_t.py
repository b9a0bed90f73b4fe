import mpmath
import pytest
import torch

from amortized.distributions import StudentT

ZERO, ONE = torch.zeros(()).double(), torch.ones(()).double()


def number(value, dtype=torch.float64):
    return torch.tensor(float(value), dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("df", [1e-3, 0.1, 1, 2.1, 8, 31.9, 32.1, 1e3, 1e5, 1e7, 1e11, 1e15, 1e30])
def test_the_log_density_agrees_with_fifty_digits_at_any_degrees_of_freedom(df, dtype):
    freedom = number(df, dtype)
    distribution = StudentT(freedom, number(1.5, dtype), number(0.25, dtype))
    with mpmath.workdps(80):
        nu = mpmath.mpf(freedom.item())
        for y in (0, 1e-3, -1, 5, 40, 1e6):
            x = number(1.5 + 0.25 * y, dtype)
            square = ((mpmath.mpf(x.item()) - 1.5) * 4) ** 2
            truth = mpmath.loggamma((nu + 1) / 2) - mpmath.loggamma(nu / 2) - mpmath.log(nu * mpmath.pi) / 2 + mpmath.log(4)
            truth -= (nu + 1) / 2 * mpmath.log1p(square / nu)
            error = abs(mpmath.mpf(distribution.log_prob(x).item()) - truth)
            assert error <= 24 * torch.finfo(dtype).eps * max(1, abs(truth))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_becomes_a_gaussian(dtype):
    x = torch.linspace(-6, 6, 13, dtype=dtype)
    loc, scale = number(0.3, dtype), number(1.7, dtype)
    gaussian = torch.distributions.Normal(loc, scale).log_prob(x)
    limit = StudentT(number(1e20, dtype), loc, scale).log_prob(x)
    torch.testing.assert_close(limit, gaussian, rtol=0, atol=32 * torch.finfo(dtype).eps)


def test_its_gradients_are_those_of_finite_differences_and_finite_everywhere():
    df = torch.tensor([0.5, 2.1, 8.0, 40.0, 300.0], dtype=torch.float64, requires_grad=True)
    loc, log_scale = (torch.linspace(*ends, 5, dtype=torch.float64, requires_grad=True) for ends in ((-1, 1), (-2, 2)))
    x = torch.tensor([0.2, -3.0, 1.0, 0.4, 5.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda nu, loc, s: StudentT(nu, loc, s.exp()).log_prob(x), (df, loc, log_scale))
    wide = torch.tensor([1e-3, 1.0, 1e6, 1e10], requires_grad=True)
    for value in (0.0, 1e-20, 1e9):
        StudentT(wide, torch.tensor(0.0), torch.tensor(1e-3)).log_prob(torch.tensor(value)).sum().backward()
        assert wide.grad is not None
        assert wide.grad.isfinite().all()


def test_a_sample_has_the_quantiles_of_torchs_family_and_a_gradient():
    torch.manual_seed(0)
    n = 40_000
    df, loc, scale = (number(value).requires_grad_() for value in (3.0, 1.0, 2.0))
    samples = StudentT(df, loc, scale).rsample((n,))
    (samples.mean()).backward()
    assert loc.grad is not None
    assert loc.grad.item() == pytest.approx(1)
    for quantile in (-4.0, -1.0, 0.0, 2.0):
        # the distribution function of t_3 in closed form
        t = torch.tensor(quantile).double() / 3**0.5
        below = 0.5 + (t / (1 + t.square()) + t.atan()) / torch.pi
        share = (samples < 1 + 2 * quantile).double().mean()
        assert abs(share - below) < 4.5 * (below * (1 - below) / n).sqrt()


def test_its_moments_exist_where_they_exist():
    distribution = StudentT(torch.tensor([0.5, 1.5, 2.0, 4.0]), torch.tensor(3.0), torch.tensor(2.0))
    assert distribution.mode.tolist() == [3.0] * 4
    assert distribution.mean.isnan().tolist() == [True, False, False, False]
    assert distribution.variance.isnan().tolist() == [True, False, False, False]
    assert distribution.variance[1:].tolist() == [float("inf"), float("inf"), 8.0]


def test_validation_refuses_what_is_no_number():
    with pytest.raises(ValueError, match="support"):
        StudentT(3 * ONE, ZERO, ONE, validate_args=True).log_prob(torch.tensor(float("nan")))

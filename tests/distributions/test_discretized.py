import mpmath
import pytest
import torch

from amortized.distributions import DiscretizedLogistic


def exact_log_mass(x, loc, scale, levels):
    half, u = mpmath.mpf(1) / (levels - 1), 2 * mpmath.mpf(x) / (levels - 1) - 1

    def above(edge):
        return 1 / (1 + mpmath.exp((edge - loc) / scale))

    lower = 1 if x == 0 else above(u - half)
    upper = 0 if x == levels - 1 else above(u + half)
    return mpmath.log(lower - upper)


@pytest.mark.parametrize("scale", [1e-3, 0.02, 0.5, 30.0])
@pytest.mark.parametrize("loc", [-3.0, -0.99, 0.0, 0.4, 2.0])
def test_the_log_mass_agrees_with_exact_arithmetic_in_the_far_tails(loc, scale):
    x = torch.tensor([0.0, 1.0, 77.0, 128.0, 254.0, 255.0], dtype=torch.float64)
    distribution = DiscretizedLogistic(*torch.tensor([loc, scale], dtype=torch.float64), levels=256)
    with mpmath.workdps(2500):  # in the tails the two sigmoids agree to a thousand digits
        exact = [float(exact_log_mass(int(v), mpmath.mpf(loc), mpmath.mpf(scale), 256)) for v in x.tolist()]
    torch.testing.assert_close(distribution.log_prob(x), torch.tensor(exact, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_the_gradient_is_finite_in_the_far_tails():
    loc = torch.tensor([-50.0, 50.0, 0.0], requires_grad=True)
    scale = torch.tensor([1e-3, 1e-3, 1e6], requires_grad=True)
    DiscretizedLogistic(loc, scale, 256).log_prob(torch.tensor([200.0, 3.0, 9.0])).sum().backward()
    assert loc.grad is not None
    assert scale.grad is not None
    assert loc.grad.isfinite().all()
    assert scale.grad.isfinite().all()


def test_two_levels_are_a_bernoulli_with_logit_loc_over_scale():
    loc, scale, x = torch.tensor(0.3), torch.tensor(0.2), torch.tensor([0.0, 1.0])
    bernoulli = torch.distributions.Bernoulli(logits=loc / scale)
    torch.testing.assert_close(DiscretizedLogistic(loc, scale, 2).log_prob(x), bernoulli.log_prob(x))


def test_validation_refuses_a_level_that_does_not_exist():
    with pytest.raises(ValueError, match="support"):
        DiscretizedLogistic(torch.zeros(()), torch.ones(()), 4, validate_args=True).log_prob(torch.tensor(4.0))

import mpmath
import pytest
import torch
from torch.distributions import Bernoulli, Independent, kl_divergence
from torch.func import grad, vmap

from amortized.distributions import IndependentBernoulli, bernoulli, masked_log_prob
from amortized.divergences import exact_kl

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
SHAPES = [(3, 5, 784), (1, 5, 28, 28), (4, 7), (4, 1), (6, 33), (2, 3, 3, 5)]


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    monkeypatch.setattr(bernoulli, "WORTHWHILE", 0)


def both(logits, dimensions):
    entries = Bernoulli(logits=logits, validate_args=False)
    return IndependentBernoulli(entries, dimensions, validate_args=False), Independent(entries, dimensions, validate_args=False)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [0.1, 3.0, 30.0])
def test_it_is_the_sum_of_torchs_bernoulli_with_its_gradient(shape, spread):
    torch.manual_seed(0)
    dimensions = 2 if len(shape) == 4 else 1
    logits = (spread * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    ours, torchs = both(logits, dimensions)
    for lead in (shape[-dimensions - 1 : -dimensions], (), (2, *shape[:-dimensions])):
        x = (torch.rand(*lead, *shape[-dimensions:]) < 0.3).double()
        value, expected = ours.log_prob(x), torchs.log_prob(x)
        torch.testing.assert_close(value, expected, rtol=1e-13, atol=1e-14)
        weight = torch.randn_like(value)
        found, wanted = (torch.autograd.grad((each * weight).sum(), logits)[0] for each in (value, expected))
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(ours.log_prob(x.bool()), expected, rtol=1e-13, atol=1e-14)


@DTYPES
@pytest.mark.parametrize("logit", [-200.0, -60.0, -20.0, -3.0, 0.0, 0.5, 20.0, 60.0, 200.0])
def test_it_agrees_with_fifty_digits_where_all_logits_are_far_out(logit, dtype):
    logits = torch.full((784,), logit, dtype=dtype)
    for bit in (0.0, 1.0):
        with mpmath.workdps(50):
            truth = -784 * mpmath.log1p(mpmath.exp(mpmath.mpf(logit) * (1 - 2 * bit)))
        value = both(logits, 1)[0].log_prob(torch.full((784,), bit, dtype=dtype)).item()
        # the exponential turns a rounding of the logit into one of its own digits
        assert value == pytest.approx(float(truth), rel=(8 + abs(logit)) * torch.finfo(dtype).eps, abs=torch.finfo(dtype).tiny)


@pytest.mark.parametrize("spread", [0.3, 3.0, 10.0])
def test_in_float32_it_is_right_to_four_units_in_the_last_place(spread):
    torch.manual_seed(0)
    logits, x = spread * torch.randn(500, 784), (torch.rand(500, 784) < 0.2).float()
    exact = both(logits.double(), 1)[1].log_prob(x.double())
    error = (both(logits, 1)[0].log_prob(x) - exact) / exact
    assert error.abs().max() <= 4 * torch.finfo(torch.float32).eps


def test_second_derivatives_transforms_and_the_gradient_in_x():
    torch.manual_seed(0)
    logits = torch.randn(3, 20, dtype=torch.float64, requires_grad=True)
    x = (torch.rand(3, 20) < 0.4).double()
    assert torch.autograd.gradgradcheck(lambda logits: both(logits, 1)[0].log_prob(x), logits)
    slope = vmap(grad(lambda logits, x: both(logits, 1)[0].log_prob(x)))(logits.detach(), x)
    torch.testing.assert_close(slope, x - torch.sigmoid(logits.detach()))
    x.requires_grad_()
    (found,) = torch.autograd.grad(both(logits, 1)[0].log_prob(x).sum(), x)
    torch.testing.assert_close(found, logits.detach())


def test_the_rest_is_that_of_torchs():
    logits = torch.randn(4, 3, 5)
    ours, torchs = both(logits, 2)
    assert (ours.batch_shape, ours.event_shape) == (torchs.batch_shape, torchs.event_shape)
    for name in ("mean", "mode", "variance"):
        assert torch.equal(getattr(ours, name), getattr(torchs, name))
    x = ours.sample((7,))
    assert x.shape == (7, 4, 3, 5)
    expanded = ours.expand((2, 4))
    assert type(expanded) is IndependentBernoulli
    torch.testing.assert_close(expanded.log_prob(x[0]), torchs.log_prob(x[0]).expand(2, 4))
    torch.testing.assert_close(masked_log_prob(ours, x, torch.ones_like(x)), ours.log_prob(x))
    other, others = both(torch.randn(4, 3, 5), 2)
    kl = exact_kl(ours, other)
    assert kl is not None
    torch.testing.assert_close(kl, kl_divergence(torchs, others))
    checked = IndependentBernoulli(Bernoulli(logits=logits, validate_args=True), 2)
    with pytest.raises(ValueError, match="support"):
        checked.log_prob(torch.full((4, 3, 5), 2.0))

import itertools

import mpmath
import pytest
import torch
from torch.distributions import Distribution
from torch.func import functional_call, grad, hessian, jvp, vmap

from amortized.distributions import NegativeBinomial, ZeroInflatedNegativeBinomial
from amortized.distributions.fast_counts import (
    negative_binomial,
    negative_binomial_formula,
    zero_inflated,
    zero_inflated_formula,
)
from amortized.distributions.gammas import digamma_difference, log_factorial, log_rising_ratio_by_shift

PAIRS = {
    "negative-binomial": (negative_binomial, negative_binomial_formula),
    "zinb": (zero_inflated, zero_inflated_formula),
}
K, B, D = 2, 5, 6
SHAPES = [(), (D,), (B, D), (K, B, D), (1, B, D)]
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
FAMILIES = pytest.mark.parametrize("family", PAIRS)


def parameters(family, *shapes, dtype=torch.float64):
    """Log-mean, theta and, where the family has them, logits of zeros, with gradients."""
    log_mean, theta, logits = (torch.randn(shape, dtype=dtype) for shape in shapes)
    leaves = [log_mean, (2 * theta).exp(), logits][: 2 if family == "negative-binomial" else 3]
    return [leaf.requires_grad_() for leaf in leaves]


def counts(*shape, dtype=torch.float64):
    x = torch.poisson(torch.full(shape, 3.0, dtype=dtype))
    return torch.where(torch.rand(shape) < 0.7, 0.0, x)


def value_and_gradients(function, leaves, x, weight):
    value = function(*leaves, x)
    return value, *torch.autograd.grad((value * weight).sum(), leaves)


@FAMILIES
@pytest.mark.parametrize("of_theta", SHAPES)
@pytest.mark.parametrize("of_x", [(), (D,), (B, D), (K, B, D), (3, K, B, D), (B, 1)])
def test_it_is_the_formula_with_its_gradients_however_the_shapes_broadcast(family, of_theta, of_x):
    torch.manual_seed(0)
    fast, formula = PAIRS[family]
    x = counts(*of_x) if of_x else torch.tensor(2.0).double()
    for of_mean, of_zeros in itertools.product([(K, B, D), (B, D), (D,)], [(), (D,), (K, B, D)]):
        leaves = parameters(family, of_mean, of_theta, of_zeros)
        weight = torch.randn_like(formula(*leaves, x))
        found, expected = (value_and_gradients(function, leaves, x, weight) for function in (fast, formula))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
        assert "NegativeBinomial" in type(found[0].grad_fn).__name__ or "ZeroInflated" in type(found[0].grad_fn).__name__


@FAMILIES
@pytest.mark.parametrize("x", [torch.zeros(4, 3), torch.ones(4, 3), torch.tensor([[0, 2, 7]]), torch.eye(4)[:, :3].bool()])
def test_no_counts_above_zero_only_such_and_other_types(family, x):
    fast, formula = PAIRS[family]
    leaves = parameters(family, (4, 3), (3,), (4, 3))
    found, expected = value_and_gradients(fast, leaves, x, 1.0), value_and_gradients(formula, leaves, x.double(), 1.0)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)
    assert fast(*leaves, torch.zeros(2, 0, 4, 3)).shape == (2, 0, 4, 3)


@FAMILIES
def test_any_layout_in_memory(family):
    fast, formula = PAIRS[family]
    stored = parameters(family, (D, B, K), (D, B, K), (D, B, K))
    for flips in itertools.product([False, True], repeat=len(stored)):
        leaves = [
            each.detach() if not flip else each.detach().mT.contiguous().mT for each, flip in zip(stored, flips, strict=True)
        ]
        leaves = [each.requires_grad_() for each in leaves]
        for x in (counts(D, B, K), counts(D, K, B).mT):
            for a, b in zip(*(value_and_gradients(function, leaves, x, 1.0) for function in (fast, formula)), strict=True):
                torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-12)


@FAMILIES
def test_second_derivatives_are_those_of_finite_differences_also_where_a_parameter_depends_on_another(family):
    torch.manual_seed(0)
    fast, _ = PAIRS[family]
    leaves = parameters(family, (2, 3), (3,), (2, 3))
    x = torch.tensor([[0.0, 3.0, 0.0], [1.0, 0.0, 0.0]])
    assert torch.autograd.gradcheck(lambda *leaves: fast(*leaves, x), leaves)
    assert torch.autograd.gradgradcheck(lambda *leaves: fast(*leaves, x), leaves)
    shared = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda s: fast(*(s, s.exp(), s.sin())[: len(leaves)], x), shared)


@FAMILIES
def test_a_graph_that_is_kept_gives_the_same_gradient_again(family):
    fast, _ = PAIRS[family]
    leaves = parameters(family, (B, D), (D,), (B, D))
    value = fast(*leaves, counts(B, D)).sum()
    first, second = (torch.autograd.grad(value, leaves, retain_graph=True) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@FAMILIES
def test_gradients_may_come_in_batches(family):
    fast, formula = PAIRS[family]
    leaves, x = tuple(parameters(family, (B, D), (D,), (B, D))), counts(B, D)
    found, expected = (
        torch.autograd.functional.jacobian(lambda *leaves, f=function: f(*leaves, x).sum(-1), leaves, vectorize=True)
        for function in (fast, formula)
    )
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@FAMILIES
def test_only_what_is_asked_for_has_a_gradient(family):
    fast, formula = PAIRS[family]
    leaves, x = parameters(family, (B, D), (D,), (B, D)), counts(B, D)
    for chosen in range(len(leaves)):
        mixed = [leaf if i == chosen else leaf.detach() for i, leaf in enumerate(leaves)]
        found, expected = (torch.autograd.grad(function(*mixed, x).sum(), leaves[chosen])[0] for function in (fast, formula))
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)
    x.requires_grad_()
    assert torch.autograd.grad(fast(*leaves, x).sum(), x)[0].isfinite().all()


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # of the compiler's own
@FAMILIES
def test_the_transforms_of_functions_take_the_formula(family):
    torch.manual_seed(0)
    fast, formula = PAIRS[family]
    leaves = [leaf.detach() for leaf in parameters(family, (B, D), (B, D), (B, D))]
    x = counts(B, D)
    for transform in (
        lambda function: vmap(grad(lambda *given: function(*given).sum()))(*leaves, x),
        lambda function: jvp(lambda log_mean: function(log_mean, *leaves[1:], x), (leaves[0],), (leaves[0],))[1],
        lambda function: hessian(lambda log_mean: function(log_mean, *leaves[1:], x).sum())(leaves[0]),
    ):
        torch.testing.assert_close(transform(fast), transform(formula))


@pytest.fixture
def _validation_stays():
    """Importing the compiler switches the validation of all distributions off."""
    yield
    Distribution.set_default_validate_args(__debug__)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")  # of the compiler's own
@pytest.mark.usefixtures("_validation_stays")
@FAMILIES
def test_the_compiler_takes_the_formula(family):
    fast, formula = PAIRS[family]
    leaves, x = parameters(family, (B, D), (D,), (B, D)), counts(B, D)
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    for a, b in zip(*(value_and_gradients(function, leaves, x, 1.0) for function in (compiled, formula)), strict=True):
        torch.testing.assert_close(a, b)


def test_functional_call_reaches_the_parameters_given():
    class Table(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.theta = torch.nn.Parameter(torch.ones(D))

        def forward(self, log_mean, x):
            return NegativeBinomial(log_mean, self.theta, validate_args=False).log_prob(x)

    theta, log_mean, x = torch.full((D,), 3.0, requires_grad=True), torch.randn(B, D), counts(B, D).float()
    value = functional_call(Table(), {"theta": theta}, (log_mean, x))
    torch.testing.assert_close(value, negative_binomial_formula(log_mean, theta, x))
    assert torch.autograd.grad(value.sum(), theta)[0].isfinite().all()


@DTYPES
@pytest.mark.parametrize("log_mean", [-40.0, -3.0, 0.0, 5.0, 30.0])
@pytest.mark.parametrize("log_theta", [-10.0, 0.0, 2.77, 5.0, 18.0, 30.0])
def test_value_and_gradients_agree_with_fifty_digits(log_mean, log_theta, dtype):
    for count, logit in itertools.product((0, 1, 5, 1000, 10**6), (-60.0, -3.0, 0.0, 60.0)):
        leaves = [torch.tensor(v, dtype=dtype) for v in (log_mean, log_theta, logit)]
        leaves[1] = leaves[1].exp()
        leaves = [leaf.requires_grad_() for leaf in leaves]
        found = torch.stack(torch.autograd.grad(zero_inflated(*leaves, torch.tensor(float(count), dtype=dtype)), leaves))
        with mpmath.workdps(50):
            truth, scale = exact_gradients(count, *(mpmath.mpf(leaf.item()) for leaf in leaves))
            sensitivity = 1 + abs(log_mean) + abs(log_theta)  # to the rounding of log m and log theta themselves
            for value, true, terms in zip(found.tolist(), truth, scale, strict=True):
                assert abs(value - true) <= 8 * torch.finfo(dtype).eps * sensitivity * terms


def exact_gradients(count, log_mean, t, logit):
    """Those of the zero-inflated negative binomial, and the sum of the sizes of the terms of each."""
    e = mpmath.exp(log_mean) / t
    s, q = mpmath.log1p(e), 1 / (1 + e)
    pi = 1 / (1 + mpmath.exp(-logit))
    excess = 1 / (1 + mpmath.exp(-logit - t * s)) if count == 0 else mpmath.mpf(0)
    of_mean = [count * q, -t * e * q]
    of_theta = [mpmath.digamma(count + t), -mpmath.digamma(t), -count * q / t, e * q, -s]
    terms = [abs(of_theta[0] + of_theta[1]), *(abs(term) for term in of_theta[2:])]
    truth = [(1 - excess) * sum(of_mean), (1 - excess) * sum(of_theta), excess - pi]
    return truth, [sum(map(abs, of_mean)), sum(terms), 1]


@DTYPES
@pytest.mark.parametrize("theta", [1e-20, 1e-8, 1e-2, 1.0, 15.9, 16.1, 1e4, 1e8, 1e20])
def test_the_differences_of_gamma_functions_agree_with_fifty_digits(theta, dtype):
    t = torch.tensor(theta, dtype=dtype)
    for count in (1.0, 2.0, 17.0, 1e3, 1e6):
        x, u = torch.tensor(count, dtype=dtype), mpmath.mpf(t.item())
        with mpmath.workdps(80):
            ratio = mpmath.loggamma(count + u) - mpmath.loggamma(u) - count * mpmath.log(u)
            slope = mpmath.digamma(count + u) - mpmath.digamma(u)
        terms = float(abs(ratio)) + count * (1 + abs(float(mpmath.log(u)))) * (u < 1) + count
        eps = torch.finfo(dtype).eps
        assert abs(log_rising_ratio_by_shift(x, t).item() - float(ratio)) <= 8 * eps * max(1.0, terms)
        assert digamma_difference(x, t).item() == pytest.approx(float(slope), rel=8 * eps)


def test_log_factorial_is_that_of_log_gamma():
    x = torch.tensor([[0.0, 1.0, 2.0], [0.5, 30.0, 1e6]], dtype=torch.float64)
    torch.testing.assert_close(log_factorial(x), torch.lgamma(x + 1), rtol=1e-15, atol=0)
    torch.testing.assert_close(log_factorial(x.mT), torch.lgamma(x.mT + 1), rtol=1e-15, atol=0)


def test_the_distributions_keep_what_is_shared_unexpanded():
    log_mean, theta, logits, x = torch.randn(K, B, D), torch.rand(D) + 0.5, torch.randn(()), counts(B, D).float()
    plain, inflated = NegativeBinomial(log_mean, theta), ZeroInflatedNegativeBinomial(log_mean, theta, logits)
    assert plain.batch_shape == inflated.batch_shape == plain.theta.shape == inflated.zero_logits.shape == (K, B, D)
    torch.testing.assert_close(plain.log_prob(x), negative_binomial_formula(log_mean, theta, x), rtol=1e-5, atol=1e-5)
    expanded = inflated.expand((4, K, B, D)).log_prob(x)
    torch.testing.assert_close(expanded[3], zero_inflated_formula(log_mean, theta, logits, x), rtol=1e-5, atol=1e-5)

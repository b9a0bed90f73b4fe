import pytest
import torch
from torch.distributions import Bernoulli as TorchBernoulli
from torch.distributions import Beta, Distribution, Gamma, Independent, Laplace, MultivariateNormal, Normal

from amortized.distributions import (
    Binomial,
    DiscretizedLogistic,
    NegativeBinomial,
    OptimalScale,
    Poisson,
    masked_log_prob,
)
from amortized.errors import InputError

FAMILIES = {
    "bernoulli": lambda a: TorchBernoulli(logits=a, validate_args=False),
    "normal": lambda a: Normal(a, a.exp(), validate_args=False),
    "poisson": lambda a: Poisson(a),
    "negative-binomial": lambda a: NegativeBinomial(a, a.exp()),
    "binomial": lambda a: Binomial(1, a),
    "discretized-logistic": lambda a: DiscretizedLogistic(a, a.exp(), 2),
    "optimal": lambda a: OptimalScale(Laplace, a, torch.ones(3), 1e-3, torch.ones(())),
    "gamma": lambda a: Gamma(a.exp() + 2, a.exp(), validate_args=False),
    "beta": lambda a: Beta(a.exp() + 2, a.exp() + 2, validate_args=False),
}
OBSERVED = torch.tensor([[True, True, False], [False, False, False], [True, False, True], [True, True, True]])


@pytest.mark.parametrize("family", FAMILIES)
def test_the_holes_are_not_scored_and_poison_nothing(family):
    parameter = torch.randn(2, 4, 3, requires_grad=True)
    x = torch.ones(4, 3) if family not in ("beta", "gamma") else torch.full((4, 3), 0.3)
    holes = torch.where(OBSERVED, x, torch.nan)
    distribution = Independent(FAMILIES[family](parameter), 1, validate_args=False)
    value = masked_log_prob(distribution, holes, OBSERVED)
    assert value.shape == (2, 4)
    base: Distribution = distribution.base_dist
    if isinstance(base, OptimalScale):
        base = base.at(x, OBSERVED)
    expected = (base.log_prob(x) * OBSERVED).sum(-1)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value.sum(), parameter)
    assert gradient.isfinite().all()
    assert torch.equal(gradient == 0, ~OBSERVED.expand(2, 4, 3) | (gradient == 0))
    assert gradient[:, ~OBSERVED].abs().max() == 0


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("beta", "gamma")])
def test_without_holes_it_is_the_log_probability(family):
    x, all_there = torch.ones(4, 3), torch.ones(4, 3, dtype=torch.bool)
    distribution = Independent(FAMILIES[family](torch.randn(2, 4, 3)), 1, validate_args=False)
    torch.testing.assert_close(masked_log_prob(distribution, x, all_there), distribution.log_prob(x))


def test_a_distribution_that_does_not_factorize_is_refused():
    joint = MultivariateNormal(torch.zeros(4, 3), torch.eye(3))
    with pytest.raises(InputError, match="MultivariateNormal, which is not independent over the entries of its event"):
        masked_log_prob(joint, torch.zeros(4, 3), OBSERVED)

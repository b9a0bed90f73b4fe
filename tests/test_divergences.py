import itertools
import math

import pytest
import torch
from torch import distributions as td
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal, TransformedDistribution
from torch.distributions.kl import _KL_REGISTRY  # pyright: ignore[reportPrivateUsage]
from torch.distributions.transforms import ExpTransform

from amortized import exact_kl, gaussian_kl
from amortized.distributions import (
    Bits,
    Delta,
    EnumeratedBits,
    EnumeratedOneHot,
    IndependentBernoulli,
    OneHot,
    RelaxedBits,
    RelaxedOneHot,
    SphereUniform,
    VonMisesFisher,
)
from amortized.divergences import exact_kl_elementwise

N = 40_000


class HeavyNormal(Normal):
    """A user's family that only looks like a Normal."""

    def log_prob(self, value):
        return td.StudentT(3.0, self.loc, self.scale).log_prob(value)


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def tril(*shape):
    raw = torch.randn(*shape, dtype=torch.float64)
    return torch.tril(raw, -1) + torch.diag_embed(raw.diagonal(dim1=-2, dim2=-1).exp())


def independent(*shape):
    return Independent(Normal(torch.randn(*shape).double(), torch.rand(*shape).double() + 0.5), 1)


FAMILIES = {
    td.Bernoulli: (lambda: td.Bernoulli(t(0.3)), lambda: td.Bernoulli(t(0.6))),
    td.Beta: (lambda: td.Beta(t(2.0), t(3.0)), lambda: td.Beta(t(1.5), t(1.2))),
    td.Binomial: (lambda: td.Binomial(5, t(0.3)), lambda: td.Binomial(5, t(0.6))),
    td.Categorical: (lambda: td.Categorical(t(0.2, 0.5, 0.3)), lambda: td.Categorical(t(0.4, 0.4, 0.2))),
    td.Cauchy: (lambda: td.Cauchy(t(0.0), t(1.0)), lambda: td.Cauchy(t(1.0), t(2.0))),
    td.ContinuousBernoulli: (lambda: td.ContinuousBernoulli(t(0.3)), lambda: td.ContinuousBernoulli(t(0.8))),
    td.Dirichlet: (lambda: td.Dirichlet(t(2.0, 3.0, 1.5)), lambda: td.Dirichlet(t(1.0, 2.0, 2.5))),
    td.Exponential: (lambda: td.Exponential(t(1.3)), lambda: td.Exponential(t(0.7))),
    td.Gamma: (lambda: td.Gamma(t(2.0), t(1.5)), lambda: td.Gamma(t(3.0), t(1.2))),
    td.Geometric: (lambda: td.Geometric(t(0.3)), lambda: td.Geometric(t(0.6))),
    td.Gumbel: (lambda: td.Gumbel(t(0.5), t(1.0)), lambda: td.Gumbel(t(0.0), t(1.5))),
    td.HalfNormal: (lambda: td.HalfNormal(t(1.0)), lambda: td.HalfNormal(t(2.0))),
    td.Laplace: (lambda: td.Laplace(t(0.5), t(1.0)), lambda: td.Laplace(t(0.0), t(1.5))),
    td.Normal: (lambda: td.Normal(t(0.5), t(1.0)), lambda: td.Normal(t(0.0), t(1.5))),
    td.OneHotCategorical: (
        lambda: td.OneHotCategorical(t(0.2, 0.5, 0.3)),
        lambda: td.OneHotCategorical(t(0.4, 0.4, 0.2)),
    ),
    td.Pareto: (lambda: td.Pareto(t(1.5), t(6.0)), lambda: td.Pareto(t(1.0), t(3.0))),
    td.Poisson: (lambda: td.Poisson(t(2.0)), lambda: td.Poisson(t(3.0))),
    td.Uniform: (lambda: td.Uniform(t(0.2), t(0.7)), lambda: td.Uniform(t(-0.5), t(1.5))),
    MultivariateNormal: (lambda: gaussian(3), lambda: gaussian(3)),
    td.LowRankMultivariateNormal: (lambda: low_rank(3), lambda: low_rank(3)),
    Independent: (lambda: independent(1, 3), lambda: independent(1, 3)),
    TransformedDistribution: (
        lambda: TransformedDistribution(Normal(t(0.5), t(1.0)), [SHARED_TRANSFORM]),
        lambda: TransformedDistribution(Normal(t(0.0), t(1.5)), [SHARED_TRANSFORM]),
    ),
}
SHARED_TRANSFORM = ExpTransform()
PAIRS = [(q, p) for q, p in _KL_REGISTRY if q in FAMILIES and p in FAMILIES]


def gaussian(dimension):
    return MultivariateNormal(torch.randn(1, dimension).double(), scale_tril=tril(1, dimension, dimension))


def low_rank(dimension):
    loc, factor, diagonal = torch.randn(1, dimension), torch.randn(1, dimension, 2), torch.rand(1, dimension) + 0.5
    return td.LowRankMultivariateNormal(loc.double(), factor.double(), diagonal.double())


BESIDE_THEIR_FAMILY = {  # tested where the family is: distributions/test_discrete.py, test_von_mises_fisher.py, test_bernoulli.py
    *itertools.product((OneHot, RelaxedOneHot, EnumeratedOneHot), repeat=2),
    *itertools.product((Bits, RelaxedBits, EnumeratedBits), repeat=2),
    (VonMisesFisher, SphereUniform),
    (IndependentBernoulli, IndependentBernoulli),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_every_registered_pair_is_tested_below():
    untested = {(q, p) for q, p in _KL_REGISTRY if (q, p) not in PAIRS}
    assert untested == {(Delta, Distribution), (td.ExponentialFamily, td.ExponentialFamily)} | BESIDE_THEIR_FAMILY


@pytest.mark.parametrize(("family_q", "family_p"), PAIRS, ids=lambda family: family.__name__)
def test_every_closed_form_agrees_with_monte_carlo(family_q, family_p):
    q, p = FAMILIES[family_q][0](), FAMILIES[family_p][1]()
    kl = exact_kl(q, p)
    assert kl is not None
    assert kl.dtype == torch.float64
    z = q.sample((N,))
    inside = p.support.check(z) if p.support is not None else torch.ones(N, dtype=torch.bool)
    if kl.isinf().all():  # q has mass where p has none, known by the samples
        assert not inside.all()
        return
    assert inside.all()
    log_ratio = q.log_prob(z) - p.log_prob(z)
    assert abs(log_ratio.mean() - kl) < 4.5 * log_ratio.std() / math.sqrt(N) + 1e-12


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_the_two_gaussian_formula_is_the_one_of_torch(dimension):
    q_loc, p_loc = torch.randn(4, dimension).double(), torch.randn(3, 1, dimension).double()
    q_tril, p_tril = tril(4, dimension, dimension), tril(3, 1, dimension, dimension)
    ours = gaussian_kl(q_loc, q_tril, p_loc, p_tril)
    q = MultivariateNormal(q_loc, scale_tril=q_tril).expand((3, 4))
    p = MultivariateNormal(p_loc, scale_tril=p_tril).expand((3, 4))
    assert ours.shape == (3, 4)
    torch.testing.assert_close(ours, td.kl_divergence(q, p), rtol=1e-10, atol=1e-10)


def test_the_two_gaussian_formula_is_zero_only_at_the_same_gaussian():
    loc, scale_tril = torch.randn(4, 3).double(), tril(4, 3, 3)
    assert gaussian_kl(loc, scale_tril, loc, scale_tril).abs().max() < 1e-12
    assert gaussian_kl(loc, scale_tril, loc + 0.1, scale_tril).min() > 0


def test_a_gaussian_of_a_diagonal_covariance_is_the_same_in_either_family():
    q, p = independent(4, 3), independent(4, 3)
    full = {d: MultivariateNormal(d.mean, scale_tril=d.stddev.diag_embed()) for d in (q, p)}
    expected = exact_kl(q, p)
    for left, right in ((q, full[p]), (full[q], p), (full[q], full[p])):
        torch.testing.assert_close(exact_kl(left, right), expected, rtol=1e-12, atol=1e-12)


def test_the_mixed_pairs_broadcast_a_posterior_against_a_prior_without_batch():
    standard = Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    kl = exact_kl(gaussian(3).expand((4,)), standard)
    assert kl is not None
    assert kl.shape == (4,)


@pytest.mark.parametrize(
    "wrap", [lambda d: d, lambda d: Independent(d, 1), lambda d: TransformedDistribution(d, [SHARED_TRANSFORM])]
)
def test_a_subclass_never_takes_the_closed_form_of_its_parent(wrap):
    own, parent = wrap(HeavyNormal(t(0.0, 1.0), t(1.0, 1.0))), wrap(Normal(t(0.0, 1.0), t(2.0, 1.0)))
    assert exact_kl(parent, parent) is not None
    for q, p in ((own, parent), (parent, own), (own, own)):
        assert exact_kl(q, p) is None
        assert exact_kl_elementwise(q, p) is None


@pytest.mark.parametrize("swap", [False, True])
def test_a_subclass_has_no_closed_form_against_a_full_gaussian(swap):
    q, p = Independent(HeavyNormal(torch.zeros(1, 3).double(), torch.ones(1, 3).double()), 1), gaussian(3)
    assert exact_kl(*((p, q) if swap else (q, p))) is None


def test_there_is_no_closed_form_against_a_mixture():
    mixture = td.MixtureSameFamily(td.Categorical(t(0.3, 0.7)), Independent(Normal(torch.randn(2, 3).double(), 1.0), 1))
    assert exact_kl(independent(4, 3), mixture) is None
    assert exact_kl(mixture, mixture) is None
    scalar = td.MixtureSameFamily(td.Categorical(t(0.3, 0.7)), Normal(t(0.0, 1.0), t(1.0, 1.0))).expand((3,))
    assert exact_kl(Independent(scalar, 1), Independent(scalar, 1)) is None


def test_there_is_no_closed_form_of_a_transformed_distribution_against_its_base():
    base = Normal(t(0.0), t(1.0))
    flow = TransformedDistribution(base, [SHARED_TRANSFORM])
    assert exact_kl(flow, base) is None
    assert exact_kl(base, flow) is None
    assert exact_kl(flow, TransformedDistribution(base, [td.AffineTransform(0.0, 2.0)])) is None


def test_the_entries_sum_to_the_whole():
    q, p = independent(4, 3), Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1)
    entries = exact_kl_elementwise(q, p)
    assert entries is not None
    assert entries.shape == (4, 3)
    torch.testing.assert_close(entries.sum(-1), td.kl_divergence(q, p.expand((4,))))
    torch.testing.assert_close(entries.sum(-1), exact_kl(q, p))


def test_events_of_several_dimensions_sum_over_all_of_them():
    q = Independent(Normal(torch.randn(4, 3, 2).double(), 1.5), 2)
    p = Independent(Normal(torch.zeros(3, 2).double(), 1.0), 2)
    torch.testing.assert_close(exact_kl(q, p), td.kl_divergence(q, p.expand((4,))))


@pytest.mark.parametrize("swap", [False, True])
def test_a_family_that_does_not_factorize_has_no_entries(swap):
    q, p = gaussian(3), independent(1, 3)
    assert exact_kl_elementwise(*((p, q) if swap else (q, p))) is None


def test_events_of_different_shape_have_no_entries():
    q = Independent(Normal(torch.zeros(2, 3), 1.0), 1)
    p = Independent(Normal(torch.zeros(2, 3), 1.0), 2)
    assert exact_kl_elementwise(q, p) is None
    assert exact_kl(q, p) is None


@pytest.mark.parametrize("p", [independent(1, 3), gaussian(3)], ids=["independent", "full"])
def test_the_kl_of_a_point_mass_is_left_out_wherever_it_is(p):
    value = torch.randn(4, 3, dtype=torch.float64)
    kl = exact_kl(Delta(value, 1), p)
    assert kl is not None
    assert torch.equal(kl, torch.zeros(4, dtype=torch.float64))
    assert exact_kl(p, Delta(value, 1)) is None

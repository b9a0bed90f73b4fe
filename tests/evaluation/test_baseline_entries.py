import math
from itertools import product

import pytest
import torch
from torch.distributions import Categorical, Normal, Poisson

from amortized.evaluation.baseline_entries import entry_log_px, independent, inverse_dispersion, uniform
from amortized.evaluation.baseline_rows import Counts, Levels, Reals
from amortized.evaluation.baseline_setting import NoBaseline, Setting
from tests.evaluation.baselines import check_recovered, generator, rows, setting


def draw_levels(n, probs, seed):
    return torch.multinomial(probs, n, replacement=True, generator=generator(seed)).T


def draw_counts(n, mean, theta, seed):
    torch.manual_seed(seed)
    return torch.poisson(torch.distributions.Gamma(theta, theta / mean).sample((n,)))


def test_ignorance_of_levels_is_their_logarithm_for_every_observed_entry():
    x = torch.zeros(3, 5)
    observed = torch.ones(3, 5, dtype=torch.bool)
    observed[1, 2:] = False
    given = Setting(Levels(16), rows(x), rows(x, observed), 2)
    expected = -math.log(16) * torch.tensor([5.0, 2.0, 5.0], dtype=torch.float64)
    assert torch.equal(uniform(given).log_px, expected)


def test_the_uniform_measure_on_the_ways_to_divide_a_total_sums_to_one():
    x = torch.tensor([way for way in product(range(5), repeat=3) if sum(way) == 4])
    log_px = uniform(setting(Counts(given_total=True), x)).log_px
    torch.testing.assert_close(log_px.exp().sum(), torch.tensor(1.0).double(), rtol=1e-12, atol=0)
    assert (log_px == log_px[0]).all()


def test_the_uniform_density_of_real_numbers_spans_all_that_is_seen():
    train, test = torch.tensor([[0.0, 5.0], [2.0, 5.0]]), torch.tensor([[3.0, 5.0]])
    found = uniform(setting(Reals(), train, test))
    assert found.log_px.item() == pytest.approx(-math.log(3) - math.log(math.sqrt(12) * 1e-3))
    assert "flatters" in found.notes[0]
    assert uniform(setting(Reals(is_unit=True), torch.rand(4, 3))).log_px.tolist() == [0.0] * 4


def test_counts_have_no_uniform_measure():
    with pytest.raises(NoBaseline, match="no last value"):
        uniform(setting(Counts(), torch.ones(3, 2)))


def test_levels_have_their_frequencies_with_one_added_to_each():
    x = torch.tensor([[0, 2], [0, 1], [1, 1]])
    expected = torch.stack([Categorical(probs=torch.tensor(p).double()).log_prob(x[:, d])
                            for d, p in enumerate(([3 / 6, 2 / 6, 1 / 6], [1 / 6, 3 / 6, 2 / 6]))], 1)  # fmt: skip
    torch.testing.assert_close(entry_log_px(Levels(3), rows(x), rows(x)), expected)
    unseen = entry_log_px(Levels(3), rows(x), rows(torch.tensor([[2, 0]])))
    torch.testing.assert_close(unseen.exp(), torch.full((1, 2), 1 / 6).double())


@pytest.mark.parametrize("levels", [2, 5])
def test_independent_levels_are_recovered(levels):
    probs = torch.softmax(torch.randn(6, levels, generator=generator()), 1)
    train, test = draw_levels(2_000, probs, 1), draw_levels(4_000, probs, 50)
    truth = probs.log().double().gather(1, test.T).sum(0)
    check_recovered(independent(setting(Levels(levels), train, test)).log_px, truth, 6 * (levels - 1), 2_000)


def test_independent_gaussians_are_recovered():
    truth = Normal(torch.randn(5, generator=generator()).double(), torch.rand(5, generator=generator(1)).double() + 0.1)
    torch.manual_seed(0)
    train, test = truth.sample((1_000,)), truth.sample((4_000,))
    check_recovered(independent(setting(Reals(), train, test)).log_px, truth.log_prob(test).sum(1), 10, 1_000)


def test_independent_negative_binomials_are_recovered_and_are_those_of_scipy():
    from scipy.stats import nbinom

    mean, theta = torch.tensor([0.5, 4.0, 90.0]), torch.tensor([2.0, 0.7, 5.0])
    train, test = draw_counts(2_000, mean, theta, 1), draw_counts(4_000, mean, theta, 2)
    truth = torch.as_tensor(nbinom.logpmf(test.numpy(), theta.numpy(), (theta / (theta + mean)).double().numpy())).sum(1)
    check_recovered(independent(setting(Counts(), train, test)).log_px, truth, 6, 2_000)
    found, fitted = inverse_dispersion(rows(train)), (train.double().sum(0) + 0.5) / len(train)
    expected = torch.as_tensor(nbinom.logpmf(test.numpy(), found.numpy(), (found / (found + fitted)).numpy()))
    torch.testing.assert_close(entry_log_px(Counts(), rows(train), rows(test)), expected, rtol=1e-9, atol=1e-9)


def test_the_dispersion_is_at_the_maximum_of_the_likelihood():
    from scipy.stats import nbinom

    train = draw_counts(400, torch.tensor([0.5, 4.0, 90.0]), torch.tensor([2.0, 0.7, 5.0]), 1).double()
    theta, mean = inverse_dispersion(rows(train)), train.mean(0)

    def log_likelihood(factor):
        at = theta * factor
        return torch.as_tensor(nbinom.logpmf(train.numpy(), at.numpy(), (at / (at + mean)).numpy())).sum(0)

    for factor in (0.98, 1.02):
        assert (log_likelihood(factor) < log_likelihood(1.0)).all()


def test_counts_that_vary_less_than_a_poisson_are_one():
    train = torch.tensor([[1.0, 0.0], [2.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    assert inverse_dispersion(rows(train)).isinf().all()
    test = torch.tensor([[3.0, 2.0]])  # the second was never seen
    expected = Poisson(torch.tensor([6.5 / 4, 0.5 / 4]).double()).log_prob(test.double())
    torch.testing.assert_close(entry_log_px(Counts(), rows(train), rows(test)), expected)


def test_shares_of_a_total_have_its_multinomial():
    x = torch.tensor([[1.0, 3.0, 0.0], [2.0, 2.0, 0.0]])
    expected = [torch.distributions.Multinomial(4, torch.tensor([3.5, 5.5, 0.5]).double()).log_prob(each) for each in x.double()]
    torch.testing.assert_close(independent(setting(Counts(given_total=True), x)).log_px, torch.stack(expected))


def test_a_real_entry_that_never_varies_has_the_least_scale():
    x = torch.full((5, 1), 0.1)
    expected = Normal(x[0].double(), 1e-3).log_prob(x[0].double()).item()
    assert entry_log_px(Reals(), rows(x), rows(x[:1])).item() == pytest.approx(expected)


@pytest.mark.parametrize("measure", [Levels(4), Counts(), Reals()])
def test_missing_entries_take_no_part(measure):
    x = torch.randint(4, (30, 3), generator=generator()).double()
    observed = torch.rand(30, 3, generator=generator(1)) < 0.7
    found = entry_log_px(measure, rows(x, observed), rows(x, observed))
    assert (found[~observed] == 0).all()
    for d in range(3):
        seen = x[observed[:, d], d : d + 1]
        torch.testing.assert_close(found[observed[:, d], d : d + 1], entry_log_px(measure, rows(seen), rows(seen)))

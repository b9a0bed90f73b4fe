import math

import pytest
import torch
from scipy import stats

from amortized.evaluation.ranks import counts, covered, holm, rank, tilt, uniformity


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def uniform_ranks(n, quantities, draws):
    return torch.randint(draws + 1, (n, quantities))


def test_the_rank_is_the_number_of_draws_below():
    draws = torch.tensor([3.0, -1.0, 7.0, 5.0])
    expected = [(-2.0, 0), (0.0, 1), (4.0, 2), (6.0, 3), (8.0, 4), (math.inf, 4), (-math.inf, 0)]
    for value, below in expected:
        assert rank(torch.tensor([value]), draws[:, None]).item() == below


def test_a_tie_has_any_of_the_ranks_that_it_could_have_alike():
    draws = torch.tensor([0.0, 1.0, 1.0, 1.0, 2.0])[:, None].expand(5, 8000)
    found = torch.bincount(rank(torch.ones(8000), draws), minlength=6)
    assert found[0] == found[5] == 0
    assert stats.chisquare(found[1:5].numpy()).pvalue > 1e-3


def test_what_differs_by_no_more_than_rounding_is_a_tie_and_infinity_ties_with_itself():
    draws = torch.tensor([1.0 + 1e-7, 1.0 - 1e-7]).repeat(1000, 1).T
    assert set(rank(torch.ones(1000), draws, 1e-6).tolist()) == {0, 1, 2}
    assert set(rank(torch.ones(1000), draws).tolist()) == {1}
    assert set(rank(torch.full((1000,), -torch.inf), torch.full((2, 1000), -torch.inf)).tolist()) == {0, 1, 2}


@pytest.mark.parametrize("values", [2, 3, 50, None], ids=lambda values: f"{values} values")
def test_ranks_of_what_is_alike_are_uniform_however_many_tie(values):
    alike = torch.rand(20, 20_000) if values is None else torch.randint(values, (20, 20_000))
    found = torch.bincount(rank(alike[0], alike[1:]), minlength=20)
    assert stats.chisquare(found.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("draws", [99, 100, 7, 1])
def test_the_test_is_pearsons_whether_or_not_the_bins_are_equal(draws):
    ranks = uniform_ranks(500, 3, draws)
    found, probabilities = counts(ranks, draws)
    assert len(found) == min(20, draws + 1)
    assert float(probabilities.sum()) == pytest.approx(1)
    assert (found.sum(0) == 500).all()
    expected = stats.chisquare(found.numpy(), 500 * probabilities[:, None].expand(-1, 3).numpy()).pvalue
    torch.testing.assert_close(uniformity(ranks, draws), torch.as_tensor(expected), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("draws", "n"), [(99, 1000), (100, 1000), (99, 100), (6, 300)])
def test_the_p_values_of_uniform_ranks_are_uniform(draws, n):
    p_values = uniformity(uniform_ranks(n, 1000, draws), draws)
    for level in (0.01, 0.1, 0.5):
        assert abs(float((p_values < level).double().mean()) - level) < 4.5 * math.sqrt(level / 1000)


def test_too_few_ranks_have_no_p_value():
    assert uniformity(uniform_ranks(9, 2, 99), 99).isnan().all()
    assert not uniformity(uniform_ranks(10, 2, 99), 99).isnan().any()


def test_holms_p_values_are_those_of_a_worked_example():
    torch.testing.assert_close(holm(torch.tensor([0.01, 0.04, 0.03, 0.005])), torch.tensor([0.03, 0.06, 0.06, 0.02]))
    torch.testing.assert_close(holm(torch.tensor([0.9, 0.8])), torch.tensor([1.0, 1.0]))


def test_the_chance_of_any_alarm_is_that_of_one():
    p_values = torch.rand(4000, 12, dtype=torch.float64)
    p_values[:, 6:] = p_values[:, :6]  # dependence does not matter
    alarms = torch.stack([holm(each) for each in p_values]).amin(1) < 0.05
    assert float(alarms.double().mean()) < 0.05


@pytest.mark.parametrize("draws", [1, 2, 9, 99, 100])
@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_uniform_ranks_are_covered_as_often_as_the_level_says(draws, level):
    assert float(covered(torch.arange(draws + 1), draws, level).mean()) == pytest.approx(level, abs=1e-12)


def test_the_central_interval_is_central():
    inside = covered(torch.arange(100), 99, 0.9)
    torch.testing.assert_close(inside, ((torch.arange(100) >= 5) & (torch.arange(100) < 95)).double())
    assert covered(torch.tensor([1, 2, 3, 96, 97, 98]), 99, 0.95).tolist() == pytest.approx([0, 0.5, 1, 1, 0.5, 0])


def test_the_tilt_of_uniform_ranks_is_in_standard_errors_and_its_signs_are_as_said():
    for score in tilt(uniform_ranks(400, 2000, 99), 99):
        assert abs(score.mean()) < 4.5 / math.sqrt(2000)
        assert abs(score.var() - 1) < 4.5 * math.sqrt(2 / 2000)
    n = torch.arange(100)
    mean, spread = tilt(torch.stack((n // 2, 50 + n // 2, n % 2 * 99, 40 + n // 5), 1), 99)
    assert mean[0] < -4
    assert mean[1] > 4
    assert (mean[2:].abs() < 1e-9).all()
    assert spread[2] > 4
    assert spread[3] < -4
    assert torch.equal(tilt(uniform_ranks(400, 3, 1), 1)[1], torch.zeros(3).double())

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from amortized.evaluation import baseline_missing
from amortized.evaluation.baseline_gaussians import gaussian, log_density, moments
from amortized.evaluation.baseline_missing import em_step, log_density_of_observed, moments_of_observed
from amortized.evaluation.baseline_rows import Levels, Reals
from amortized.evaluation.baseline_setting import Setting
from tests.evaluation.baselines import rows


def holes(shape, seed=0, share=0.3):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) >= share


def levels(n=80, seed=0):
    x = torch.randint(5, (n, 4), generator=torch.Generator().manual_seed(seed)).double()
    x[:, 1] = (x[:, 0] + x[:, 1] / 2).trunc().clamp(max=4)
    return x


@pytest.mark.parametrize("measure", [Levels(5), Reals()])
@pytest.mark.parametrize("chunk", [1, 2**22])
def test_the_observed_entries_have_their_own_gaussian(monkeypatch, measure, chunk):
    monkeypatch.setattr(baseline_missing, "CHUNK", chunk)
    x, observed = levels(12), holes((12, 4))
    observed[0], observed[1] = False, True
    mean, covariance = moments(measure, rows(levels()))
    found = log_density_of_observed(measure.relax(x), observed, mean, covariance)
    assert found[0] == 0
    for datum, seen, value in zip(x[1:], observed[1:], found[1:], strict=True):
        part = measure.relax(datum[None, seen])
        block = covariance[seen][:, seen]
        torch.testing.assert_close(value, log_density(part, torch.ones_like(part.mean) > 0, mean[seen], block)[0])


@pytest.mark.parametrize("measure", [Levels(5), Reals()])
def test_no_step_of_em_lowers_the_likelihood_and_complete_data_take_one(measure):
    x = levels()
    y, complete, observed = measure.relax(x), torch.ones_like(x) > 0, holes(x.shape)
    state = torch.zeros(4).double(), torch.eye(4).double()
    for found, expected in zip(em_step(y, complete, *state), moments(measure, rows(x)), strict=True):
        torch.testing.assert_close(found, expected)
    values = []
    for _ in range(80):
        values.append(log_density_of_observed(y, observed, *state).mean().item())
        state = em_step(y, observed, *state)
    rises = torch.tensor(values).double().diff()
    assert (rises > -1e-12).all()
    assert rises[0] > 0.1
    assert rises[-1] < 1e-6


def test_a_gaussian_with_holes_in_its_data_is_recovered(linear_gaussian):
    train, test = linear_gaussian.sample(3_000), linear_gaussian.sample(2_000, seed=2)
    seen, scored = holes(train.shape), holes(test.shape, seed=1)
    found = gaussian(Setting(Reals(), rows(train, seen), rows(test, scored), 3)).log_px
    marginal = linear_gaussian.marginal
    truth = log_density_of_observed(Reals().relax(test), scored, marginal.mean, marginal.covariance_matrix)
    cost = truth - found
    error = 4.5 * cost.std().item() / math.sqrt(len(cost))
    parameters, information = 20, 0.7**2  # the share of the data that has both of two entries
    assert -error < cost.mean() < (parameters + 4.5 * math.sqrt(2 * parameters)) / (2 * 3_000 * information) + error


def test_an_entry_that_was_never_seen_and_entries_that_repeat_each_other_have_a_density():
    x = torch.randn(12, 3, generator=torch.Generator().manual_seed(0)).double().repeat(1, 5)
    observed = holes(x.shape)
    observed[:, 0] = False
    mean, covariance = moments_of_observed(Reals().relax(x), observed)
    assert MultivariateNormal(mean, covariance).log_prob(x).isfinite().all()

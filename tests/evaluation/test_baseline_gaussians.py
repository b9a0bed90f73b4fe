import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from amortized.evaluation.baseline_entries import independent
from amortized.evaluation.baseline_gaussians import factor_analysis, factored, gaussian, log_density, moments, ppca, principal
from amortized.evaluation.baseline_rows import Counts, Levels, Reals
from amortized.evaluation.baseline_setting import NoBaseline, Setting
from tests.evaluation.baselines import check_recovered, generator, rows, setting

ALL = [gaussian, ppca, factor_analysis]


def random_covariance(size, seed=0):
    root = torch.randn(size, size, generator=generator(seed), dtype=torch.float64)
    return root @ root.T / size + 0.1 * torch.eye(size).double()


def density(y, mean, covariance):
    return log_density(y, torch.ones_like(y.mean, dtype=torch.bool), mean, covariance)


def log_likelihood(covariance, target):
    """The mean log-likelihood of data of covariance `target`."""
    size = len(target)
    return -(size * math.log(2 * math.pi) + torch.logdet(covariance) + torch.linalg.solve(covariance, target).trace()) / 2


def test_real_data_have_the_density_of_torch():
    x, covariance = torch.randn(7, 4, generator=generator()).double(), random_covariance(4)
    mean = torch.randn(4, generator=generator(1)).double()
    torch.testing.assert_close(density(Reals().relax(x), mean, covariance), MultivariateNormal(mean, covariance).log_prob(x))


@pytest.mark.parametrize("measure", [Levels(5), Counts()])
def test_the_dequantized_bound_is_the_mean_over_the_noise(measure):
    x = torch.tensor([[0.0, 4.0, 1.0]]).double()
    mean, covariance = torch.tensor([0.3, 1.1, 0.9]).double(), random_covariance(3)
    y = measure.draw(x.expand(200_000, 3), generator())
    draws = MultivariateNormal(mean, covariance).log_prob(y) - (y.sum(1) if measure == Counts() else 0.0)
    error = draws.std().item() / math.sqrt(len(draws))
    assert abs(density(measure.relax(x), mean, covariance).item() - draws.mean().item()) < 4.5 * error


def test_the_moments_of_logarithms_of_counts_are_their_integrals():
    from scipy.integrate import quad

    x = torch.tensor([[0.0], [1.0], [1e6]]).double()
    found = Counts().relax(x)
    for value, mean, variance in zip(x[:, 0].tolist(), found.mean[:, 0].tolist(), found.variance[:, 0].tolist(), strict=True):
        assert mean == pytest.approx(quad(lambda u, value=value: math.log1p(value + u), 0, 1)[0], rel=1e-12)
        middle = math.log(value + 1.5)  # about which nothing cancels
        first, second = (quad(lambda u, k=k, v=value: math.log1p((u - 0.5) / (v + 1.5)) ** k, 0, 1)[0] for k in (1, 2))
        assert mean - middle == pytest.approx(first, rel=1e-4)
        assert variance == pytest.approx(second - first**2, rel=1e-6)


@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_the_dequantized_bound_is_at_most_the_mass_of_the_bin(scale):
    x = torch.arange(12.0)[:, None].double()
    normal = Normal(torch.tensor(5.2).double(), scale)
    mass = normal.cdf(x[:, 0] + 1) - normal.cdf(x[:, 0])
    seen = mass > 1e-9  # where the difference has digits
    bound = density(Levels(12).relax(x), torch.tensor([5.2]).double(), torch.tensor([[scale**2]]).double())
    assert (bound <= mass.log() + 1e-9)[seen].all()
    if scale == 6.0:
        torch.testing.assert_close(bound, mass.log(), rtol=0, atol=2e-3)  # and tight where bins are narrow


@pytest.mark.parametrize("measure", [Levels(6), Counts(), Reals()])
def test_no_other_mean_or_covariance_has_a_higher_bound(measure):
    x = torch.randint(6, (50, 3), generator=generator()).double()
    y = measure.relax(x)
    mean, covariance = moments(measure, rows(x))
    best = density(y, mean, covariance).mean()
    noise = generator(1)
    for _ in range(20):
        shift = 0.01 * torch.randn(3, generator=noise).double()
        change = 0.01 * torch.randn(3, 3, generator=noise).double()
        assert density(y, mean + shift, covariance).mean() < best
        assert density(y, mean, covariance + change @ change.T).mean() < best
        assert density(y, mean, covariance * (1 + shift[0].abs())).mean() < best


@pytest.mark.parametrize("size", [1, 3])
def test_probabilistic_pca_is_that_of_scikit_learn(size):
    from sklearn.decomposition import PCA

    x = torch.randn(300, 6, generator=generator()).double() @ random_covariance(6)
    model = PCA(size).fit(x.numpy())
    mean, covariance = moments(Reals(), rows(x))
    scaled = covariance * 300 / 299  # scikit-learn divides by n - 1
    torch.testing.assert_close(principal(scaled, size), torch.as_tensor(model.get_covariance()))
    expected = torch.as_tensor(model.score_samples(x.numpy()))
    torch.testing.assert_close(density(Reals().relax(x), mean, principal(scaled, size)), expected)


def test_the_likelihood_of_probabilistic_pca_is_that_of_its_eigenvalues():
    covariance, size = random_covariance(7), 3
    values = torch.linalg.eigvalsh(covariance)
    rest = values[:4].mean()
    expected = -(7 * math.log(2 * math.pi) + values[4:].log().sum() + 4 * rest.log() + 7) / 2
    torch.testing.assert_close(log_likelihood(principal(covariance, size), covariance), expected)


def test_factor_analysis_is_at_a_maximum_and_between_pca_and_the_gaussian():
    covariance = random_covariance(8)
    found, ended = factored(covariance, 2)
    assert ended
    value = log_likelihood(found, covariance)
    assert log_likelihood(principal(covariance, 2), covariance) < value < log_likelihood(covariance, covariance)
    torch.testing.assert_close(found.diagonal(), covariance.diagonal(), rtol=0.05, atol=0)  # what holds at the maximum


def test_factor_analysis_finds_the_factors_of_exact_correlations():
    loadings = torch.randn(10, 2, generator=generator()).double()
    covariance = loadings @ loadings.T + (0.2 + torch.rand(10, generator=generator(1)).double()).diag()
    found, _ = factored(covariance, 2)
    assert log_likelihood(covariance, covariance) - log_likelihood(found, covariance) < 0.01


@pytest.mark.parametrize(("baseline", "parameters"), [(gaussian, 35), (ppca, 27), (factor_analysis, 33)])
def test_data_of_their_own_are_recovered(linear_gaussian, baseline, parameters):
    truth = type(linear_gaussian)(3, 7)
    train, test = truth.sample(3_000), truth.sample(6_000, seed=2)
    found = baseline(setting(Reals(), train, test, latent_dim=3))
    check_recovered(found.log_px, truth.log_px(test), parameters, 3_000)
    assert not found.is_bound


@pytest.mark.parametrize("baseline", [gaussian, factor_analysis])
def test_units_do_not_matter(linear_gaussian, baseline):
    truth = linear_gaussian
    train, test = truth.sample(300), truth.sample(100, seed=2)
    unit = torch.tensor([1e-4, 1.0, 30.0, 2.0, 1e5]).double()
    own, other = (baseline(setting(Reals(), train * each, test * each)).log_px for each in (1.0, unit))
    torch.testing.assert_close(other + unit.log().sum(), own, rtol=0, atol=1e-6)


@pytest.mark.parametrize("baseline", ALL)
@pytest.mark.parametrize("measure", [Levels(6), Reals()])
def test_entries_that_never_vary_are_scored_apart(baseline, measure):
    x = torch.randint(5, (200, 4), generator=generator()).double()
    given = setting(measure, torch.cat((x, torch.full((200, 2), 3.0)), 1))
    fixed = independent(setting(measure, torch.full((200, 2), 3.0)))
    torch.testing.assert_close(baseline(given).log_px, baseline(setting(measure, x)).log_px + fixed.log_px)
    surprised = replace(given, test=rows(torch.cat((x, torch.full((200, 2), 4.0)), 1)))
    assert baseline(surprised).log_px.isfinite().all()


@pytest.mark.parametrize("baseline", ALL)
def test_data_without_any_variation_are_those_of_independent_entries(baseline):
    given = setting(Levels(4), torch.full((20, 3), 2))
    torch.testing.assert_close(baseline(given).log_px, independent(given).log_px)


@pytest.mark.parametrize("baseline", ALL)
@pytest.mark.parametrize("measure", [Levels(9), Counts(), Reals()])
def test_fewer_data_than_entries_and_entries_that_repeat_each_other_have_a_density(baseline, measure):
    x = torch.randint(9, (30, 25), generator=generator()).double()
    x = torch.cat((x, x[:, :10]), 1)
    found = baseline(setting(measure, x[:20], x[20:], latent_dim=3))
    assert found.log_px.isfinite().all()
    assert bool(found.notes) == (baseline is gaussian)
    assert found.is_bound == measure.is_discrete


@pytest.mark.parametrize("baseline", ALL)
@pytest.mark.parametrize("size", [1, 2])
def test_more_latents_than_entries_are_as_many_as_there_can_be(linear_gaussian, baseline, size):
    x = linear_gaussian.sample(100)[:, :size]
    found = baseline(setting(Reals(), x, latent_dim=40)).log_px
    expected = baseline(setting(Reals(), x, latent_dim=max(size - 1, 1))).log_px
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("baseline", ALL)
def test_what_no_gaussian_can_be_fitted_to_is_left_out(baseline):
    x = torch.randint(3, (20, 2), generator=generator()).double()
    for measure, reason in ((Levels(3, is_ordered=False), "no order"), (Counts(given_total=True), "total")):
        with pytest.raises(NoBaseline, match=reason):
            baseline(setting(measure, x))
    with pytest.raises(NoBaseline, match="at least 10 training data, and there are 9"):
        baseline(setting(Levels(3), x[:9]))
    with pytest.raises(NoBaseline, match="entries are missing, and with those it is fitted to data of at most 128 entries"):
        baseline(Setting(Levels(3), rows(x.repeat(1, 65), x.repeat(1, 65) > 0), rows(x.repeat(1, 65)), 2))

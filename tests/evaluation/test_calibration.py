import math

import pytest
import torch
from scipy import stats
from torch import nn
from torch.distributions import Binomial, Independent, MultivariateNormal, Normal

from amortized import VAE, Batch, InputError, likelihoods, posteriors, priors
from amortized.evaluation import calibration, chunks
from amortized.evaluation.ranks import covered, holm, uniformity
from amortized.networks import MLP

NOT_REJECTED = 1e-3
REJECTED = 1e-6


class Ignorant(nn.Module):
    """q(z | x) = p(z) = N(0, I)."""

    has_density, space = True, "real"

    def __init__(self, size):
        super().__init__()
        self.event_shape = torch.Size([size])

    def forward(self, x):
        return Independent(Normal(x.new_zeros(len(x), *self.event_shape), 1.0), 1)


def shifted(truth, by):
    return truth.full_posterior(truth.gain, by - truth.gain @ truth.bias, torch.cat(truth.cholesky))


def right_entry_by_entry(truth):
    """Independent entries, each of which has its own exact posterior."""
    return truth.diagonal_posterior(truth.gain, -truth.gain @ truth.bias, truth.covariance.diagonal().log() / 2)


def small(posterior: type[nn.Module] = posteriors.DiagonalGaussian):
    torch.manual_seed(0)
    return VAE(priors.StandardNormal(2), posterior(MLP(5, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 5))


def values(found):
    return {name: metric.value for name, metric in found.metrics.items()}


def by_quantity(found):
    return torch.cat((found.z_ranks, found.log_px_ranks[:, None], found.log_joint_ranks[:, None]), 1)


def test_under_the_exact_posterior_ranks_and_p_values_are_uniform_over_seeds(linear_gaussian):
    model = linear_gaussian.model()
    ranks = torch.stack([by_quantity(calibration(model, simulations=100, draws=19, seed=seed)) for seed in range(150)])
    assert ranks.amin() == 0
    assert ranks.amax() == 19
    assert (uniformity(ranks.flatten(0, 1), 19) > NOT_REJECTED).all()
    p_values = torch.stack([uniformity(each, 19) for each in ranks])
    for quantity in p_values.T:
        assert stats.kstest(quantity.numpy(), "uniform").pvalue > NOT_REJECTED


def test_the_exact_posterior_covers_as_often_as_it_says_and_nothing_is_found(linear_gaussian):
    found = calibration(linear_gaussian.model(), simulations=2000)
    metrics = values(found)
    assert metrics["calibration_p_value_z"] > NOT_REJECTED
    assert metrics["calibration_p_value_log_px"] > NOT_REJECTED
    assert metrics["calibration_p_value_log_joint"] > NOT_REJECTED
    for level in (50, 80, 90, 95):
        assert abs(metrics[f"coverage_{level}"] - level / 100) < 4 * metrics[f"coverage_{level}_stderr"]
        by_entry = covered(found.z_ranks, 99, level / 100).mean(0)
        assert ((by_entry - level / 100).abs() < 4 * math.sqrt(level / 100 * (1 - level / 100) / 2000)).all()
    assert abs(metrics["coverage_90_log_px"] - 0.9) < 4 * math.sqrt(0.09 / 2000)
    assert abs(metrics["mean_rank_log_px"] - 0.5) < 4 * metrics["mean_rank_log_px_stderr"]
    assert "No deviation from the posterior was found" in str(found)


@pytest.mark.parametrize(("factor", "words"), [(0.7, "too narrow in 3 of 3"), (1.5, "too wide in 3 of 3")])
def test_a_wrong_width_is_found_and_its_coverage_is_the_closed_form(linear_gaussian, factor, words):
    """With all deviations times f, the interval of a level has the half-width f z_a in true deviations: 2 Phi(f z_a) - 1."""
    found = calibration(linear_gaussian.model(linear_gaussian.wide_posterior(factor)), simulations=600, draws=499)
    metrics = values(found)
    assert metrics["calibration_p_value_z"] < REJECTED
    assert words in str(found)
    normal = Normal(0.0, 1.0)
    for level in (50, 80, 90, 95):
        exact = 2 * normal.cdf(factor * normal.icdf(torch.tensor(0.5 + level / 200))).item() - 1
        assert abs(metrics[f"coverage_{level}"] - exact) < 4 * metrics[f"coverage_{level}_stderr"]


def coverage_of(factor, draws, level):
    """z lies at the quantile u = Phi(e / f) of q, e ~ N(0, 1), and its rank is Binomial(L, u)."""
    e = Normal(0.0, 1.0).icdf((torch.arange(4000).double() + 0.5) / 4000)
    ranks = torch.arange(draws + 1)
    probability = Binomial(draws, Normal(0.0, 1.0).cdf(e / factor)).log_prob(ranks[:, None].double()).exp().mean(1)
    return float((probability * covered(ranks, draws, level / 100)).sum())


def test_few_draws_cover_what_the_binomial_says_of_them(linear_gaussian):
    model = linear_gaussian.model(linear_gaussian.wide_posterior(0.5))
    metrics = values(calibration(model, simulations=4000, draws=19))
    for level in (50, 90):
        assert abs(metrics[f"coverage_{level}"] - coverage_of(0.5, 19, level)) < 4 * metrics[f"coverage_{level}_stderr"]


@pytest.mark.parametrize(("by", "words"), [(-0.2, "lies too low in 3 of 3"), (0.2, "lies too high in 3 of 3")])
def test_a_posterior_off_to_one_side_is_found_and_the_side_is_named(linear_gaussian, by, words):
    found = calibration(linear_gaussian.model(shifted(linear_gaussian, by)))
    assert values(found)["calibration_p_value_z"] < REJECTED
    assert words in str(found)


def test_the_entry_that_is_wrong_is_the_one_that_is_named(linear_gaussian):
    found = calibration(linear_gaussian.model(shifted(linear_gaussian, torch.tensor([0.0, 0.4, 0.0]).double())))
    assert (found.p_values[:3] < REJECTED).tolist() == [False, True, False]
    assert "too high in 1 of 3 entries of z (1)" in str(found)


def test_the_prior_as_posterior_is_seen_by_the_likelihood_alone(linear_gaussian):
    found = calibration(linear_gaussian.model(Ignorant(3)))
    metrics = values(found)
    assert metrics["calibration_p_value_z"] > NOT_REJECTED
    assert abs(metrics["coverage_90"] - 0.9) < 4 * metrics["coverage_90_stderr"]
    assert metrics["calibration_p_value_log_px"] < REJECTED
    assert metrics["mean_rank_log_px"] > 0.9
    assert found.data_share < 1e-3
    assert "ignores the data, as the prior does" in str(found)


def test_entries_that_go_together_wrongly_are_seen_by_the_likelihood_alone(linear_gaussian):
    found = calibration(linear_gaussian.model(right_entry_by_entry(linear_gaussian)))
    assert values(found)["calibration_p_value_z"] > NOT_REJECTED
    assert values(found)["calibration_p_value_log_px"] < REJECTED
    assert "q errs in how they go together" in str(found)


def test_the_share_of_the_data_is_that_of_the_variance_of_the_posterior_mean(linear_gaussian):
    """Var(E[z | x]) over Var(z) = 1, of the entry of which the data say most."""
    share = float((1 - linear_gaussian.covariance.diagonal()).amax())
    found = calibration(linear_gaussian.model(), simulations=2000, draws=20)
    assert abs(found.data_share - share) < 4.5 * share * (1 - share) * math.sqrt(2 / 2000)


def test_a_narrow_posterior_is_to_be_richer_where_it_is_right_and_better_where_it_is_beside(linear_gaussian):
    narrow = calibration(linear_gaussian.model(linear_gaussian.wide_posterior(0.5)))
    assert "too narrow" in narrow.notes[0]
    assert "richer family" in str(narrow)
    beside = linear_gaussian.full_posterior(
        2 * linear_gaussian.gain, -2 * linear_gaussian.gain @ linear_gaussian.bias, torch.cat(linear_gaussian.cholesky)
    )
    found = calibration(linear_gaussian.model(beside))
    assert "too narrow" in found.notes[0]
    assert "longer training of the encoder" in str(found)
    assert "q lies beside them" in found.notes[1]


@pytest.mark.parametrize("entries", [1, 5 * 10, 5 * 10 * 7 + 3, 2**20])
def test_how_many_are_simulated_at_once_does_not_matter_beyond_the_noise(monkeypatch, linear_gaussian, entries):
    monkeypatch.setattr(chunks, "CACHE_ENTRIES", entries)
    seen, model = [], linear_gaussian.model(linear_gaussian.wide_posterior(0.7))
    found = calibration(model, simulations=150, draws=9, progress=seen.append)
    assert sum(seen) == 150
    assert found.z_ranks.shape == (150, 3)
    assert found.log_px_ranks.shape == found.log_joint_ranks.shape == found.log_px_spread.shape == (150,)
    metrics = values(found)
    assert abs(metrics["coverage_80"] - coverage_of(0.7, 9, 80)) < 4 * metrics["coverage_80_stderr"]


def test_the_same_seed_gives_the_same_ranks_and_leaves_no_trace():
    model = small().train()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, second = (by_quantity(calibration(model, simulations=50, seed=7)) for _ in range(2))
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(first, second)
    assert not torch.equal(first, by_quantity(calibration(model, simulations=50, seed=8)))
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())


def test_the_metrics_say_that_the_model_made_the_data():
    found = calibration(small(), simulations=50, draws=30)
    assert {(each.split, each.samples, each.kind) for each in found.metrics.values()} == {("model", 30, "estimate")}
    assert "about data that the model made" in found.notes[-1]
    assert "50 data that the model made, 30 posterior samples each" in str(found)


def test_a_decoder_that_ignores_the_latent_is_named_and_its_ties_are_no_evidence():
    torch.manual_seed(0)
    model = VAE(priors.StandardNormal(2), Ignorant(2), likelihoods.Bernoulli(MLP(2, [8]), 5))
    for weight in model.parts["likelihood"].parameters():
        nn.init.zeros_(weight)
    found = calibration(model)
    assert (uniformity(by_quantity(found), 99) > NOT_REJECTED).all()
    assert "the decoder ignores the latent" in str(found)


def test_the_p_values_are_adjusted_for_their_number(linear_gaussian):
    found = calibration(linear_gaussian.model(), simulations=100)
    torch.testing.assert_close(found.p_values, holm(uniformity(by_quantity(found), 99)))
    assert (found.p_values >= uniformity(by_quantity(found), 99)).all()
    assert values(found)["calibration_p_value_z"] == float(found.p_values[:3].amin())
    assert values(found)["calibration_p_value_log_px"] == float(found.p_values[3])
    assert values(found)["calibration_p_value_log_joint"] == float(found.p_values[4])


class Given(nn.Module):
    """A part that gives one distribution, whatever it is called with."""

    has_density, space = True, "real"

    def __init__(self, make, event):
        super().__init__()
        self.make, self.event_shape = make, torch.Size([event])

    def forward(self, given):
        return self.make(given)


def of_latents_that_say_nothing(posterior, scale=lambda z: 1.0):
    """z ~ N(0, I) in two dimensions and x ~ N(0, 1) whatever z is; the likelihood has the scale given."""
    likelihood = Given(lambda z: Independent(Normal(torch.zeros_like(z[..., :1]), scale(z)), 1), 1)
    return VAE(priors.StandardNormal(2), Given(posterior, 2), likelihood)


def test_entries_that_go_together_wrongly_without_the_data_are_seen_by_the_joint_alone():
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]])
    found = calibration(of_latents_that_say_nothing(lambda x: MultivariateNormal(x.new_zeros(len(x), 2), covariance)))
    assert (found.p_values[:3] > NOT_REJECTED).all()
    assert found.p_values[3] < REJECTED
    assert "log p(x, z) alone is not calibrated" in str(found)


def test_what_only_rounding_tells_apart_is_a_tie():
    """The posterior is off, and the likelihood shows it in the last bit alone."""
    last_bit = torch.finfo(torch.float32).eps
    off = of_latents_that_say_nothing(
        lambda x: Independent(Normal(x.new_ones(len(x), 2), 1.0), 1), lambda z: 1.0 + last_bit * (z[..., :1] > 0)
    )
    found = calibration(off)
    assert found.p_values[:2].amax() < REJECTED
    assert found.p_values[2] > NOT_REJECTED


def test_few_simulations_and_few_draws_say_that_they_are_few():
    one = calibration(small(), simulations=1)
    assert not any("p_value" in name or name.endswith("_stderr") for name in one.metrics)
    assert "too few simulations" in str(one)
    single = calibration(small(), simulations=100, draws=1)
    assert values(single)["coverage_90"] == pytest.approx(0.9)
    assert "take 99" in str(single)


@pytest.mark.parametrize("name", ["simulations", "draws"])
@pytest.mark.parametrize("count", [0, -3, 2.5, True])
def test_what_is_no_number_of_them_is_refused(name, count):
    with pytest.raises(InputError, match=f"{name} must be a positive integer; it is {count}"):
        calibration(small(), **{name: count})


def test_a_point_mass_is_refused():
    with pytest.raises(InputError, match="this model's posterior is a point; fit one with a density"):
        calibration(small(posteriors.Delta))


@pytest.mark.parametrize("part", ["posterior", "likelihood"])
def test_weights_that_are_no_numbers_are_refused_by_name(part):
    model = small()
    name, weight = list(model.parts[part].named_parameters())[-1]
    with torch.no_grad():
        weight[0] = torch.nan
    with pytest.raises(InputError, match=f"'parts.{part}.{name}' holds a value that is not finite"):
        calibration(model)


def test_a_density_that_is_no_number_is_refused(linear_gaussian):
    class Diverged(Ignorant):
        def forward(self, x):
            return Independent(Normal(torch.where(x[:, :1] > 0, torch.nan, 0.0).expand(-1, 3), 1.0, validate_args=False), 1)

    with pytest.raises(InputError, match=r"is not a number for \d+ of 300 data that the model made"):
        calibration(linear_gaussian.model(Diverged(3)), simulations=300, draws=9)


def test_data_without_conditions_or_holes_play_no_part(linear_gaussian):
    model = linear_gaussian.model()
    with_data = calibration(model, [Batch(linear_gaussian.sample(7))], simulations=50)
    assert torch.equal(by_quantity(with_data), by_quantity(calibration(model, simulations=50)))

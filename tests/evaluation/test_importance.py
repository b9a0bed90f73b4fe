"""Importance sampling says what it does not know: intervals cover, bounds are bounds, samples grow until the error is met."""

import math

import pytest
import torch

from amortized import VAE, InputError, likelihoods, posteriors, priors
from amortized.evaluation import Evidence, LogPx, evaluate
from amortized.evaluation.weights import Weights
from amortized.networks import MLP
from amortized.seeds import seed_noise

REPETITIONS = 1000


@pytest.fixture
def of_size(linear_gaussian):
    """The linear-Gaussian models, by their sizes."""
    return type(linear_gaussian)


def posterior_of(truth, kind: str):
    return truth.random_posterior("diagonal") if kind == "random" else truth.wide_posterior(float(kind))


def repeated(truth, kind: str, seed: int = 2, **options) -> tuple[Evidence, torch.Tensor]:
    """The evidence of one datum, many times over, and its exact log p(x)."""
    x = truth.sample(1, seed=seed)
    found = evaluate(truth.model(posterior_of(truth, kind)), [x.expand(REPETITIONS, -1)], **options)
    return found, truth.log_px(x)


def log_px(found: Evidence) -> LogPx:
    assert found.log_px is not None
    return found.log_px


def effective(found: Evidence) -> torch.Tensor:
    assert found.effective_samples is not None
    return found.effective_samples


@pytest.mark.parametrize(("size", "kind"), [(1, "1.3"), (3, "1.3"), (8, "1.3"), (1, "0.9"), (8, "0.9"), (3, "random")])
def test_intervals_cover_the_truth_as_often_as_they_say_and_the_mean_is_a_lower_bound(of_size, size, kind):
    found, truth = repeated(of_size(size, size + 3, seed=size), kind, samples=400)
    low, high = log_px(found).interval()
    is_enough = effective(found) >= 100
    assert is_enough.double().mean() > 0.95
    covered = ((low <= truth) & (truth <= high))[is_enough].double().mean()
    assert 0.93 <= covered <= 0.97
    lower = log_px(found).lower
    assert lower.mean() <= truth + 3 * lower.std() / math.sqrt(REPETITIONS)


@pytest.mark.parametrize(("size", "kind"), [(8, "0.6"), (8, "random")])
def test_where_the_effective_samples_are_few_a_warning_is_given_and_it_is_deserved(of_size, size, kind):
    found, truth = repeated(of_size(size, size + 4, seed=size), kind, samples=200)
    low, high = log_px(found).interval()
    assert ((low <= truth) & (truth <= high)).double().mean() < 0.9
    few = int((effective(found) < 100).sum())
    assert few > REPETITIONS / 2
    assert f"For {few:,} of 1,000 data the effective sample size is below 100" in str(found)
    assert found.metrics["pareto_k_bad_fraction"].value == pytest.approx(float(found.is_doubtful.double().mean()))
    assert found.is_doubtful.any()
    assert "take more samples, or hold it against annealed importance sampling" in str(found)
    lower = log_px(found).lower
    assert lower.mean() < truth


def test_a_good_posterior_gives_no_warning(linear_gaussian):
    found = evaluate(linear_gaussian.model(linear_gaussian.wide_posterior(1.2)), [linear_gaussian.sample(50)], samples=500)
    assert found.notes == []
    assert found.metrics["pareto_k_bad_fraction"].value == 0


def test_tails_so_heavy_that_intervals_are_too_narrow_are_announced(of_size):
    """At shape 0.44 the weights have a variance, and no third moment."""
    found, truth = repeated(of_size(3, 6), "0.75", samples=500)
    low, high = log_px(found).interval()
    assert ((low <= truth) & (truth <= high)).double().mean() < 0.93
    assert any("tails are heavy" in note for note in found.notes)


def test_the_effective_samples_are_those_of_weights_of_known_variance(of_size):
    """Of a Gaussian proposal wider by s in each of D dimensions, E[w^2] / E[w]^2 = (s^2 / sqrt(2 s^2 - 1))^D."""
    truth, scale = of_size(3, 5), 1.3
    found, _ = repeated(truth, str(scale), samples=400)
    expected = 400 / (scale**2 / math.sqrt(2 * scale**2 - 1)) ** 3
    assert float(effective(found).mean()) == pytest.approx(expected, rel=0.02)
    assert found.metrics["effective_samples"].value == pytest.approx(float(effective(found).median()))
    assert found.metrics["effective_samples_least"].value == pytest.approx(float(effective(found).min()))


def test_samples_double_for_the_data_whose_error_is_above_the_target(of_size):
    truth = of_size(3, 5)
    log_scale, below = truth.cholesky
    gain = 1.15 * truth.gain  # a posterior the further off, the further x is from its mean; and wide, so that weights are bounded
    posterior = truth.full_posterior(gain, -gain @ truth.bias, torch.cat((log_scale + math.log(1.4), 1.4 * below)))
    x, model = truth.sample(60), truth.model(posterior)
    found = evaluate(model, [x], samples=100, target_stderr=0.04, most_samples=3000)
    error, each = found.nll_variance, found.samples_of_each
    assert error is not None
    assert each is not None
    assert set(each.tolist()) <= {100, 200, 400, 800, 1600, 3000}
    assert len(set(each.tolist())) > 2
    assert found.samples == round(float(each.double().mean()))
    assert f"{found.samples:,} posterior samples each on average" in str(found)
    missed = error.sqrt() > 0.04
    assert (each[missed] == 3000).all()
    assert (f"For {int(missed.sum())} of 60 data the Monte Carlo standard error is still above the 0.04" in str(found)) == bool(
        missed.any()
    )
    assert found.nll is not None
    z = (found.nll + truth.log_px(x)) / error.sqrt()
    assert z.abs().max() < 5


def test_what_cannot_be_met_is_said(of_size):
    truth = of_size(3, 5)
    found = evaluate(truth.model(truth.wide_posterior(0.8)), [truth.sample(7)], samples=50, target_stderr=1e-6, most_samples=120)
    assert found.samples_of_each is not None
    assert found.samples_of_each.tolist() == [120] * 7
    assert "For 7 of 7 data the Monte Carlo standard error is still above the 1e-06 nats asked for" in str(found)


def test_the_draws_that_say_how_many_are_not_those_that_estimate(of_size):
    """Grown to 400 in one chunk, the sums are of the draws that 100, 100 and 200 would be after a pilot of 100 and 100."""
    truth = of_size(2, 4)
    model, x = truth.model(truth.wide_posterior(1.3)), truth.sample(3)
    grown = evaluate(model, [x], samples=100, target_stderr=1e-9, most_samples=400)
    first = evaluate(model, [x], samples=100)
    seed_noise(x.device, 0, "evaluation", 0)
    with torch.no_grad():
        pilot, log_w = (
            torch.cat([model.terms(x, samples=count).log_w for count in counts]) for counts in ((100, 100), (100, 100, 200))
        )
    assert grown.nll is not None
    assert first.nll is not None
    torch.testing.assert_close(-first.nll, pilot[:100].logsumexp(0) - math.log(100), rtol=0, atol=1e-12)
    torch.testing.assert_close(-grown.nll, log_w.logsumexp(0) - math.log(400), rtol=0, atol=1e-12)
    torch.testing.assert_close(effective(grown), log_w.softmax(0).square().sum(0).reciprocal())


@pytest.mark.parametrize(
    ("size", "kind", "samples", "target"),
    [(1, "1.5", 20, 0.08), (1, "1.3", 100, 0.03), (3, "1.3", 100, 0.04), (3, "0.9", 100, 0.03)],
)
def test_bounds_whose_samples_grow_are_bounds_and_their_errors_are_met(of_size, size, kind, samples, target):
    """Of a wide q they would not be, by 4 to 7 standard errors, if the draws that estimate said when they are enough."""
    found, truth = repeated(of_size(size, size + 3, seed=3), kind, samples=samples, target_stderr=target)
    lower, each = log_px(found).lower, found.samples_of_each
    assert lower.mean() <= truth + 3 * lower.std() / math.sqrt(REPETITIONS)
    assert each is not None
    assert each.double().mean() > samples
    assert (lower - truth).square().mean().sqrt() <= target
    missed = int((log_px(found).mc_variance.sqrt() > target).sum())
    assert missed < 0.15 * REPETITIONS
    assert (f"For {missed:,} of 1,000 data the Monte Carlo standard error is still above" in str(found)) == bool(missed)


def test_a_subset_of_the_data_may_go_on(linear_gaussian):
    model, x = linear_gaussian.model(linear_gaussian.wide_posterior(1.5)), linear_gaussian.sample(5)
    rows = torch.tensor([1, 4])
    with torch.no_grad():
        first, second = model.terms(x, samples=30), model.terms(x[rows], samples=50)
    weights = Weights(5, x.device, 80)
    weights.add(first, slice(None), 30)
    weights.add(second, rows, 50)
    expected = first.log_w.logsumexp(0) - math.log(30)
    expected[rows] = torch.cat((first.log_w[:, rows], second.log_w)).logsumexp(0) - math.log(80)
    torch.testing.assert_close(weights.log_mean, expected, rtol=0, atol=1e-12)
    assert weights.drawn.tolist() == [30, 80, 30, 30, 80]


def test_the_record_of_log_px_says_what_it_is(linear_gaussian):
    found = evaluate(linear_gaussian.model(linear_gaussian.wide_posterior(1.2)), [linear_gaussian.sample(9)], samples=50)
    record = log_px(found)
    assert (record.method, record.upper, record.samples, record.split) == ("importance sampling", None, 50, "test")
    assert found.nll is not None
    assert torch.equal(record.estimate, -found.nll)
    assert torch.equal(record.lower, record.estimate)
    assert record.seconds == found.seconds > 0
    low, high = record.interval(0.6827)
    torch.testing.assert_close((high - low) / 2, record.mc_variance.sqrt(), rtol=1e-3, atol=0)


def bits_model() -> VAE:
    torch.manual_seed(0)
    posterior = posteriors.Bernoulli(MLP(4, [6]), 3, estimator="enumerate")
    return VAE(priors.Uniform(3, "binary"), posterior, likelihoods.Bernoulli(MLP(3, [6]), 4))


def test_what_is_enumerated_is_exact_from_both_sides_and_has_no_weights_to_doubt():
    found = evaluate(bits_model(), [torch.ones(5, 4)], samples=100, target_stderr=0.01)
    record = log_px(found)
    assert record.method == "enumeration"
    assert record.upper is not None
    assert torch.equal(record.upper, record.lower)
    assert found.effective_samples is None
    assert found.pareto_k is None
    assert not {"effective_samples", "pareto_k_bad_fraction"} & set(found.metrics)


def test_a_point_mass_has_no_log_px_and_one_sample_no_tail(linear_gaussian):
    delta = VAE(priors.StandardNormal(2), posteriors.Delta(MLP(5, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 5))
    assert evaluate(delta, [torch.ones(2, 5)], samples=30, target_stderr=0.1).log_px is None
    found = evaluate(linear_gaussian.model(), [linear_gaussian.sample(4)], samples=1)
    assert found.effective_samples is None
    assert found.pareto_k is None
    found = evaluate(linear_gaussian.model(), [linear_gaussian.sample(4)], samples=20)
    assert found.pareto_k is None
    assert found.effective_samples is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 1.5}, "samples must be a positive integer; it is 1.5"),
        ({"target_stderr": 0.0}, "target_stderr must be a positive number of nats; it is 0.0"),
        ({"samples": 0}, "samples must be a positive integer; it is 0"),
        ({"samples": math.inf}, "samples must be a positive integer; it is inf"),
        ({"samples": math.nan}, "samples must be a positive integer; it is nan"),
        ({"samples": True}, "samples must be a positive integer; it is True"),
        ({"target_stderr": math.nan}, "it is nan"),
        ({"target_stderr": math.inf}, "it is inf"),
        ({"target_stderr": True}, "target_stderr must be a positive number of nats; it is True"),
        ({"target_stderr": "0.1 nats"}, "it is 0.1 nats"),
        ({"target_stderr": 0.1, "most_samples": math.inf}, r"an integer from samples \(1000\) up; it is inf"),
        ({"target_stderr": 0.1, "most_samples": math.nan}, "up; it is nan"),
        ({"samples": 10, "target_stderr": 0.1, "most_samples": 9}, r"an integer from samples \(10\) up; it is 9"),
        ({"most_samples": 9}, "most_samples is 9, and nothing makes the 1000 samples grow"),
    ],
)
def test_numbers_that_do_not_work_are_refused(linear_gaussian, options, message):
    with pytest.raises(InputError, match=message):
        evaluate(linear_gaussian.model(), [linear_gaussian.sample(2)], **options)

import math
from functools import partial
from typing import Any

import pytest
import torch

from amortized import VAE, Batch, Hierarchical, InputError, likelihoods, posteriors, priors
from amortized.evaluation import Baselines, baselines
from amortized.evaluation.baseline_rows import Counts, Levels, Reals, Rows, measure_of
from amortized.models import BottomUp
from amortized.networks import MLP, Categorical, Context

NAMES = ["uniform", "independent", "gaussian", "ppca", "factor_analysis", "mixture"]
GAUSSIANS = ["gaussian", "ppca", "factor_analysis"]
EVENT = (3, 2)


def vae(likelihood: Any = likelihoods.Bernoulli, **options):
    torch.manual_seed(0)
    width = 3 if options else 0
    posterior = posteriors.DiagonalGaussian(MLP(6, [], context_features=width), 2)
    return VAE(priors.StandardNormal(2), posterior, likelihood(MLP(2, [], context_features=width), EVENT), **options)


def draw(levels, n=60, seed=0):
    return torch.randint(levels, (n, *EVENT), generator=torch.Generator().manual_seed(seed)).float()


def fractions(n=60, seed=0):
    return torch.rand((n, *EVENT), generator=torch.Generator().manual_seed(seed)) * 0.98 + 0.01


CASES = {
    "bernoulli": (likelihoods.Bernoulli, Levels(2), draw(2)),
    "categorical": (partial(likelihoods.Categorical, classes=4), Levels(4, is_ordered=False), draw(4)),
    "binomial": (partial(likelihoods.Binomial, levels=4), Levels(4), draw(4)),
    "ordinal": (partial(likelihoods.Ordinal, levels=4), Levels(4), draw(4)),
    "discretized-logistic": (partial(likelihoods.DiscretizedLogistic, levels=16), Levels(16), draw(16)),
    "logistic-mixture": (partial(likelihoods.LogisticMixture, levels=16), Levels(16), draw(16)),
    "poisson": (likelihoods.Poisson, Counts(), draw(7)),
    "negative-binomial": (likelihoods.NegativeBinomial, Counts(), draw(7)),
    "zinb": (likelihoods.ZeroInflatedNegativeBinomial, Counts(), draw(7)),
    "multinomial": (likelihoods.Multinomial, Counts(given_total=True), draw(7)),
    "gaussian": (likelihoods.Gaussian, Reals(), fractions()),
    "laplace": (likelihoods.Laplace, Reals(), fractions()),
    "student-t": (likelihoods.StudentT, Reals(), fractions()),
    "continuous-bernoulli": (likelihoods.ContinuousBernoulli, Reals(is_unit=True), fractions()),
    "beta": (likelihoods.Beta, Reals(is_unit=True), fractions()),
}


@pytest.mark.parametrize("kind", CASES)
def test_the_measure_is_that_of_the_likelihood_and_every_baseline_is_there_or_excused(kind):
    likelihood, measure, x = CASES[kind]
    model = vae(likelihood)
    assert measure_of(model, x) == measure
    found = baselines(model, x[:40].split(7), x[40:].split(3), latent_dim=2)
    for name in NAMES:
        called = f"'{name.replace('_', ' ')}' is left out"
        assert (name in found.log_px) != any(called in note for note in found.notes)
    assert found.log_px["independent"].isfinite().all()
    assert found.bounds == (frozenset(GAUSSIANS) & set(found.log_px) if measure.is_discrete else frozenset())
    assert all(each.shape == (20,) and each.dtype == torch.float64 for each in found.log_px.values())


def test_models_with_latents_of_any_kind_tell_their_measure():
    x = draw(2)

    def likelihood(width):
        return likelihoods.Bernoulli(MLP(width, []), EVENT)

    bits = posteriors.Bernoulli(MLP(6, []), 2, estimator="enumerate")
    inference = BottomUp([posteriors.DiagonalGaussian(MLP(6, []), 3), posteriors.DiagonalGaussian(MLP(3, []), 2)])
    link = posteriors.DiagonalGaussian(MLP(2, []), 3)
    for model in (
        VAE(priors.StandardNormal(2), posteriors.Delta(MLP(6, []), 2), likelihood(2)),
        VAE(priors.Uniform(2, "binary"), bits, likelihood(2)),
        Hierarchical(priors.StandardNormal(2), [link], inference, likelihood(3)),
        vae().double(),
    ):
        data = x.to(next(model.parameters()).dtype)
        assert measure_of(model, data) == Levels(2)
        assert list(baselines(model, [data], [data], latent_dim=2).log_px) == NAMES


def test_the_exact_model_gains_what_the_baselines_do_not_know(linear_gaussian):
    truth = type(linear_gaussian)(2, 6)
    test = truth.sample(1_000, seed=2)
    model_log_px = truth.log_px(test)
    found = baselines(truth.model(), [truth.sample(2_000)], [test], latent_dim=2, model_log_px=model_log_px)
    value = {name: metric.value for name, metric in found.metrics.items()}
    marginal = truth.marginal
    independent = torch.distributions.Normal(marginal.mean, marginal.covariance_matrix.diagonal().sqrt())
    total_correlation = independent.entropy().sum() - marginal.entropy()
    for name, expected in (("independent", total_correlation.item()), *((name, 0.0) for name in GAUSSIANS)):
        assert abs(value[f"gain_over_{name}_nats"] - expected) < 4.5 * value[f"gain_over_{name}_stderr_nats"] + 35 / 4_000


def test_gains_are_paired_differences():
    x, model_log_px = draw(2), torch.linspace(-5, -3, 60)
    found = baselines(vae(), [x], [x], latent_dim=2, model_log_px=model_log_px, only=["independent"])
    difference = model_log_px.double() - found.log_px["independent"]
    gain, error = (found.metrics[f"gain_over_independent_{unit}"] for unit in ("nats", "stderr_nats"))
    assert gain.value == pytest.approx(difference.mean().item())
    assert error.value == pytest.approx(difference.std().item() / math.sqrt(60))
    assert (gain.split, gain.samples, gain.kind) == ("test", 0, "estimate")
    assert found.metrics["baseline_independent_nats"].kind == "exact"
    assert "gain_over_independent_nats" in str(found)


def test_without_the_model_there_are_baselines_and_no_gains():
    metrics = baselines(vae(), [draw(2)], [draw(2)], latent_dim=2).metrics
    assert metrics["baseline_uniform_nats"].value == pytest.approx(-6 * math.log(2))
    assert metrics["baseline_uniform_bits_per_dim"].value == pytest.approx(1)
    assert metrics["baseline_gaussian_nats"].kind == "lower bound"
    assert not [name for name in metrics if name.startswith("gain")]
    real = baselines(vae(likelihoods.Gaussian), [fractions()], [fractions()], latent_dim=2).metrics
    assert "baseline_uniform_bits_per_dim" not in real


def test_a_baseline_that_beats_the_model_or_equals_it_is_named():
    def notes(gains):
        zero = torch.zeros(len(gains)).double()
        return Baselines({"factor_analysis": zero}, frozenset(), torch.tensor(gains).double(), None, 10).notes

    assert "'factor analysis' beats the model by 2.00 nats (standard error 0.58)" in notes([-1.0, -2.0, -3.0])[0]
    assert "cannot be told from the baseline 'factor analysis'" in notes([-1.0, 0.0, 1.0])[0]
    assert notes([1.0, 2.0, 3.0]) == []


def test_a_mean_that_hangs_on_few_data_is_named():
    log_px = torch.randn(200, generator=torch.Generator().manual_seed(0)).double()
    assert Baselines({"gaussian": log_px}, frozenset(), None, None, 10).notes == []
    assert Baselines({"uniform": torch.zeros(200)}, frozenset(), None, None, 10).notes == []
    log_px[3] = -1_000
    (note,) = Baselines({"gaussian": log_px}, frozenset(), None, None, 10).notes
    assert "'gaussian' hangs on the worst 2 of the data" in note
    assert f"it is {log_px.sort().values[2:].mean():.2f} nats" in note


def test_one_datum_states_no_error_and_one_training_datum_fits_what_it_can():
    found = baselines(vae(), [draw(2, 1)], [draw(2, 1)], latent_dim=2, model_log_px=torch.tensor([-3.0]))
    assert set(found.log_px) == {"uniform", "independent"}
    assert not [name for name in found.metrics if "stderr" in name]
    torch.testing.assert_close(found.log_px["independent"], 6 * torch.tensor([2 / 3]).double().log())
    assert len([note for note in found.notes if "at least 10 training data, and there are 1" in note]) == 4


def test_missing_entries_are_left_out_where_that_is_possible():
    x = torch.where(torch.rand(60, *EVENT, generator=torch.Generator().manual_seed(1)) < 0.2, torch.nan, draw(2))
    found = baselines(vae(), [x], [x], latent_dim=2)
    assert list(found.log_px) == NAMES
    assert all(log_px.isfinite().all() for log_px in found.log_px.values())
    real = torch.where(x.isnan(), torch.nan, fractions())
    found = baselines(vae(likelihoods.Gaussian), [real], [real], latent_dim=2)
    assert list(found.log_px) == NAMES[:-1]
    assert "'mixture' is left out: it is fitted to complete data" in str(found)
    found = baselines(vae(), [x], [x], latent_dim=2)
    observed = (~x.isnan()).flatten(1).sum(1).double()
    torch.testing.assert_close(found.log_px["uniform"], -math.log(2) * observed)
    assert found.metrics["baseline_uniform_bits_per_dim"].value == pytest.approx(1)


def test_a_part_of_the_training_data_is_taken_at_random_however_they_are_cut():
    x = torch.arange(100.0)[:, None]
    whole, cut = (Rows.of(parts, "training", most=10, seed=3).x for parts in ([x], x.split(7)))
    assert torch.equal(whole, cut)
    assert whole.unique().numel() == 10
    assert not torch.equal(whole, Rows.of([x], "training", most=10, seed=4).x)
    draws = torch.stack([Rows.of(x.split(40), "training", most=10, seed=seed).x.mean() for seed in range(400)])
    error = math.sqrt(100**2 / 12 / 10 * 0.9)
    assert abs(draws.mean() - 49.5) < 4.5 * error / 20
    assert abs(draws.var() / error**2 - 1) < 4.5 * math.sqrt(2 / 400)
    found = baselines(vae(), [draw(2)], [draw(2)], latent_dim=2, rows=20)
    assert found.fitted == 20
    assert "fitted to 20 of the 60 training data" in str(found)


def test_the_same_seed_gives_the_same_and_leaves_no_trace():
    model, x = vae().train(), draw(9)
    model.parts["likelihood"] = likelihoods.DiscretizedLogistic(MLP(2, []), EVENT, levels=9)
    state = torch.random.get_rng_state()
    first, second = (baselines(model, x.split(11), [x], latent_dim=2, seed=7) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(first.log_px[name], second.log_px[name]) for name in NAMES)
    whole = baselines(model, [x], x.split(13), latent_dim=2, seed=7)
    assert all(torch.equal(first.log_px[name], whole.log_px[name]) for name in NAMES)
    assert not [parameter for parameter in model.parameters() if parameter.grad is not None]


def test_conditions_are_ignored_and_that_is_said():
    model = vae(context=Context({"digit": Categorical(3)}))
    batch = Batch(draw(2), context={"digit": torch.zeros(60, dtype=torch.long)})
    found = baselines(model, [batch], [batch], latent_dim=2, only=["uniform"])
    assert "told the condition" in str(found)


def test_entries_that_never_vary_are_named():
    x = fractions()
    x[:, 0, 0] = 0.25
    test = x.clone()
    test[:2, 0, 0] = 0.3
    found = baselines(vae(likelihoods.Gaussian), [x], [test], latent_dim=2)
    assert "1 of 6 entries never vary" in str(found)
    assert "In 2 of the data" in str(found)


def test_the_progress_counts_the_data_after_each_baseline():
    seen = []
    baselines(vae(), [draw(2)], [draw(2, 5)], latent_dim=2, only=["uniform", "factor-analysis"], progress=seen.append)
    assert seen == [5, 5]


def test_what_cannot_be_used_is_refused():
    x, model = draw(2), vae()
    run: Any = partial(baselines, model, [x], [x], latent_dim=2)
    with pytest.raises(InputError, match="baseline 'mixtures' is unknown; did you mean 'mixture'"):
        run(only=["mixtures"])
    for name in ("latent_dim", "rows"):
        with pytest.raises(InputError, match=f"{name} must be a positive integer; it is 0"):
            run(**{name: 0})
    with pytest.raises(InputError, match=r"model_log_px has shape \(3,\)"):
        run(model_log_px=torch.zeros(3))
    with pytest.raises(InputError, match="model_log_px is NaN for datum 4"):
        run(model_log_px=torch.where(torch.arange(60) == 4, torch.nan, 0.0))
    with pytest.raises(InputError, match="the valid split has no data"):
        baselines(model, [x], [], latent_dim=2, split="valid")
    with pytest.raises(InputError, match="there are no training data"):
        baselines(model, [], [x], latent_dim=2)
    with pytest.raises(InputError, match="training data have inf among"):
        baselines(model, [x / 0], [x], latent_dim=2)
    with pytest.raises(InputError, match="training data have nan among"):
        baselines(model, [Batch(x * torch.nan)], [x], latent_dim=2)
    with pytest.raises(InputError, match=r"the training data have 3, and the model scores whole numbers 0\.\.1"):
        baselines(model, [x + 2], [x], latent_dim=2)
    with pytest.raises(InputError, match="the training data have 2 entries and those of the test split 6"):
        baselines(model, [x[:, 0]], [x], latent_dim=2)

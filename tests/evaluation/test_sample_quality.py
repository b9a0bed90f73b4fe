import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from amortized import VAE, Batch, InputError, likelihoods, posteriors, priors
from amortized.evaluation import FeatureSpace, chunks, sample_quality
from amortized.networks import MLP, Context
from amortized.networks.context import Continuous

RAW = FeatureSpace("raw", "the entries of x", lambda x: x.flatten(1))
NUMBERS = ("precision", "recall", "density", "coverage", "frechet_distance")


class Sampler(nn.Module):
    """What of a model sample quality looks at: samples by a function of how many, their conditions and whether they are means."""

    event_shape = torch.Size((3,))

    def __init__(self, draw):
        super().__init__()
        self.draw = draw

    def sample(self, n, context=None, temperature=1.0, *, mean=False):
        return self.draw(n, context, mean)


def quality(draw, real, **how):
    model: object = Sampler(draw)
    return sample_quality(model, real, **how)  # pyright: ignore[reportArgumentType]


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def normal(n, context, mean):
    return torch.randn(n, 3)


def test_the_true_model_is_as_good_as_its_training_data_and_copies_nothing(linear_gaussian):
    model, real, training = linear_gaussian.model(), linear_gaussian.sample(500), linear_gaussian.sample(800, seed=2)
    found = sample_quality(model, real.split(120), n=500, reference=training.split(300))
    value = {name: metric.value for name, metric in found.metrics.items()}
    for name in NUMBERS:
        error = math.hypot(value[f"{name}_stderr"], value[f"{name}_of_training_data_stderr"])
        assert abs(value[name] - value[f"{name}_of_training_data"]) < 4.5 * error
    assert abs(value["density"] - 1) < 4.5 * value["density_stderr"]
    assert abs(value["frechet_distance"]) < 4.5 * value["frechet_distance_stderr"]
    assert abs(value["memorization_auc"] - 0.5) < 4.5 * value["memorization_auc_stderr"]
    assert not any("of samples is" in note or "may be copies" in note for note in found.notes)


def test_another_model_is_clearly_worse_and_the_notes_say_how(linear_gaussian):
    real, training = linear_gaussian.sample(300), linear_gaussian.sample(400, seed=2)
    torch.manual_seed(0)
    other = VAE(
        priors.StandardNormal(3), posteriors.DiagonalGaussian(MLP(5, [4]), 3), likelihoods.Gaussian(MLP(3, [4]), 5, scale=0.1)
    )
    found = sample_quality(other.double(), [real], reference=[training])
    value = {name: metric.value for name, metric in found.metrics.items()}
    assert value["coverage"] < 0.3 * value["coverage_of_training_data"]
    assert value["frechet_distance"] > 20 * value["frechet_distance_stderr"]
    assert "parts of the data are never sampled" in str(found)


def test_each_shortfall_is_named_by_what_it_means():
    real, training = noise(300, 3), noise(300, 3, seed=1)

    def said(draw):
        return " ".join(quality(draw, [real], reference=[training]).notes)

    narrow, wide, half = (
        said(draw)
        for draw in (
            lambda n, context, mean: 0.3 * torch.randn(n, 3),
            lambda n, context, mean: 4 * torch.randn(n, 3),
            lambda n, context, mean: torch.randn(n, 3) * torch.tensor([1.0, 1.0, 0.1]),
        )
    )
    assert "samples vary less than data do" in narrow
    assert "samples are unlike any data" not in narrow
    assert "samples are unlike any data" in wide
    assert "samples vary less than data do" not in wide
    assert "parts of the data are never sampled" in half


def test_a_model_that_copies_its_training_data_is_found_out():
    real, training = noise(200, 3), noise(300, 3, seed=1)
    copied = quality(lambda n, context, mean: training[:n] + 1e-3 * torch.randn(n, 3), [real], reference=[training])
    assert copied.metrics["memorization_auc"].value > 0.95
    assert "samples may be copies" in str(copied)
    assert copied.metrics["coverage"].value > 0.9  # which sees nothing of it
    fresh = quality(normal, [real], reference=[training])
    assert abs(fresh.metrics["memorization_auc"].value - 0.5) < 4.5 * fresh.metrics["memorization_auc_stderr"].value
    assert not any("may be copies" in note for note in fresh.notes)


def test_means_are_near_all_data_and_not_called_copies():
    real, training = noise(200, 3), noise(300, 3, seed=1)
    found = quality(lambda n, context, mean: 0.3 * torch.randn(n, 3) if mean else normal(n, context, mean), [real], mean=True)
    assert found.is_mean
    assert "means E[x | z]" in str(found)
    near = quality(lambda n, context, mean: 0.3 * torch.randn(n, 3), [real], reference=[training], mean=True)
    assert near.metrics["memorization_auc"].value > 0.6
    assert "may be copies" not in str(near)


def test_a_sample_has_the_conditions_of_its_datum(linear_gaussian):
    condition = noise(60, 3)
    batch = Batch(condition.clone(), context={"where": condition})
    found = quality(lambda n, context, mean: context["where"], [batch.rows(slice(40)), batch.rows(slice(40, 60))], space=RAW)
    assert found.metrics["precision"].value == found.metrics["coverage"].value == 1.0
    assert found.metrics["density"].value == pytest.approx(6 / 5)
    assert found.metrics["frechet_distance"].value == pytest.approx(0, abs=1e-9)


def test_a_conditional_model_is_sampled():
    context = Context({"where": Continuous([0.0] * 3, [1.0] * 3, width=3)})
    posterior = posteriors.DiagonalGaussian(MLP(5, [4], context_features=3), 2)
    model = VAE(
        priors.StandardNormal(2),
        posterior,
        likelihoods.Gaussian(MLP(2, [4], context_features=3), 5),
        context=context,
    )
    found = sample_quality(model, [Batch(noise(30, 5), context={"where": noise(30, 3)})], n=20)
    assert found.samples == found.real == 20


def test_a_sample_lacks_the_entries_that_its_datum_lacks():
    x, observed = noise(300, 3), noise(300, 3, seed=1) > 0
    holes = torch.where(observed, x, 1e3)
    found = quality(normal, [Batch(holes, observed=observed)], reference=[Batch(holes.flip(0), observed=observed.flip(0))])
    assert abs(found.metrics["frechet_distance"].value) < 4.5 * found.metrics["frechet_distance_stderr"].value
    assert found.metrics["precision"].value > 0.9
    by_nan = quality(normal, [torch.where(observed, x, torch.nan)])
    assert by_nan.metrics["precision"].value > 0.9


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_generator_alone(linear_gaussian):
    model, real = linear_gaussian.model(), linear_gaussian.sample(80)
    state = torch.random.get_rng_state()
    first, second, other = (sample_quality(model, [real], n=50, seed=seed).metrics for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert first == second
    assert first != other


def test_the_model_is_left_as_it_was(linear_gaussian):
    model = linear_gaussian.model().train()
    sample_quality(model, [linear_gaussian.sample(40)])
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_progress_counts_every_sample_once_however_they_are_cut(monkeypatch):
    monkeypatch.setattr(chunks, "CACHE_ENTRIES", 3 * 7)
    seen, sizes = [], []
    quality(lambda n, context, mean: sizes.append(n) or torch.randn(n, 3), [noise(50, 3)], n=30, progress=seen.append)
    assert seen == sizes == [7, 7, 7, 7, 2]


def test_the_metrics_name_their_split_their_errors_and_what_training_data_get():
    alone = quality(normal, [noise(50, 3)], split="valid")
    assert set(alone.metrics) == {name + suffix for name in NUMBERS for suffix in ("", "_stderr")}
    assert {metric.split for metric in alone.metrics.values()} == {"valid"}
    assert "No training data were given" in str(alone)
    assert "'columns-3'" in str(alone)
    assert "not the FID" in str(alone)
    beside = quality(normal, [noise(50, 3)], reference=[noise(50, 3, seed=1)])
    floor = {f"{name}_of_training_data{suffix}" for name in NUMBERS for suffix in ("", "_stderr")}
    assert set(beside.metrics) == set(alone.metrics) | floor | {"memorization_auc", "memorization_auc_stderr"}


def test_a_distance_of_too_few_data_for_their_dimensions_is_not_to_be_quoted():
    def wide(n, context, mean):
        return torch.randn(n, 30)

    assert "59 data are few for a Frechet distance in 30 dimensions" in str(quality(wide, [noise(59, 30)]))
    assert "are few for" not in str(quality(wide, [noise(60, 30)]))


def test_features_of_a_space_of_ones_own_are_used():
    blind = FeatureSpace("blind", "nothing", lambda x: torch.zeros(len(x), 1))
    found = quality(lambda n, context, mean: 1e3 + torch.randn(n, 3), [noise(50, 3)], space=blind)
    assert found.metrics["precision"].value == found.metrics["recall"].value == 1.0
    assert "'blind'" in str(found)


@pytest.mark.parametrize("name", ["n", "neighbors"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_numbers_that_are_no_counts_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name} must be a positive integer; it is {value}"):
        quality(normal, [noise(50, 3)], **{name: value})


@pytest.mark.parametrize(("n", "size"), [(1, 50), (2, 50), (6, 50), (50, 1), (50, 2), (50, 6)])
def test_too_few_data_are_refused_with_how_many_are_needed(n, size):
    with pytest.raises(InputError, match="at least 7"):
        quality(normal, [noise(size, 3)], n=n)


def test_no_data_and_samples_that_are_no_numbers_are_refused():
    with pytest.raises(InputError, match="the valid split has no data"):
        quality(normal, [], split="valid")
    with pytest.raises(InputError, match="the training split has no data"):
        quality(normal, [noise(20, 3)], reference=[])
    with pytest.raises(InputError, match="20 of the model's 20 samples are not finite"):
        quality(lambda n, context, mean: torch.full((n, 3), torch.nan), [noise(20, 3)])


def test_few_training_data_are_a_reference_as_well():
    found = quality(normal, [noise(50, 3)], reference=[noise(9, 3, seed=1)])
    assert found.floor is not None
    with pytest.raises(InputError, match="7 data and samples; there are 3"):
        quality(normal, [noise(50, 3)], reference=[noise(3, 3, seed=1)])


def test_labels_and_positions_do_not_stand_in_the_way():
    batch = Batch(noise(30, 3), labels=torch.arange(30), index=torch.arange(30))
    assert quality(normal, [batch, replace(batch, labels=batch.labels)]).real == 60

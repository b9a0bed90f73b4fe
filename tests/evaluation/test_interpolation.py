import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from amortized import VAE, Batch, InputError, likelihoods, posteriors, priors
from amortized.evaluation import FeatureSpace, chunks, smoothness
from amortized.models import Hierarchical, TopDown
from amortized.networks import MLP, Context
from amortized.networks.context import Continuous

RAW = FeatureSpace("raw", "the entries of x", lambda x: x.flatten(1))
SHARE = "interpolation_"


class Decoder(nn.Module):
    """p(x | z) with a mean of one's own."""

    def __init__(self, mean, event):
        super().__init__()
        self.mean, self.event_shape = mean, torch.Size((event,))

    def forward(self, z):
        return Independent(Normal(self.mean(z), 0.1), 1)


class First(nn.Module):
    """q(z | x), whose mean is the first entries of x."""

    def __init__(self, latent):
        super().__init__()
        self.event_shape = torch.Size((latent,))

    def forward(self, x):
        return Independent(Normal(x[:, : self.event_shape[0]], 0.1), 1)


class TwoModes(nn.Module):
    """p(z) = a mixture of N(-5, 1) and N(5, 1)."""

    event_shape = torch.Size((1,))

    def forward(self):
        modes = Independent(Normal(torch.tensor([[-5.0], [5.0]]).double(), 1.0), 1)
        return MixtureSameFamily(Categorical(torch.ones(2).double()), modes)


def model_of(mean, event, latent=1, prior=None):
    return VAE(prior or priors.StandardNormal(latent), First(latent), Decoder(mean, event)).double()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(found, name):
    return found.metrics[SHARE + name].value


def test_a_linear_decoder_makes_straight_paths_at_even_speed(linear_gaussian):
    found = smoothness(linear_gaussian.model(), [linear_gaussian.sample(60)], pairs=30, steps=7, space=RAW)
    assert value(found, "path_ratio") == pytest.approx(1.0, abs=1e-12)
    assert value(found, "roughness") == pytest.approx(1.0, abs=1e-12)
    assert value(found, "path_ratio_stderr") == pytest.approx(0.0, abs=1e-12)
    torch.testing.assert_close(found.feature_path_length, found.distance.square())
    assert found.moves.all()


def test_the_ends_are_the_means_of_pairs_that_share_no_datum(linear_gaussian):
    x = linear_gaussian.sample(21)
    found = smoothness(linear_gaussian.model(), x.split(4), pairs=50)
    assert len(found.length) == 10
    means = linear_gaussian.posterior(x).mean @ linear_gaussian.weight.T
    pairs = (found.distance[:, None, None] - torch.cdist(means, means)).abs() < 1e-9
    rows = pairs.nonzero()
    assert len(rows) == 20  # each pair as (i, j) and (j, i)
    assert len(set(rows[:, 1].tolist())) == 20


def test_the_prior_along_a_line_gains_what_the_square_of_its_length_says(linear_gaussian):
    x, steps = linear_gaussian.sample(60), 7
    found = smoothness(linear_gaussian.model(), [x], pairs=30, steps=steps)
    t = torch.arange(1, steps, dtype=torch.float64) / steps
    # The decoder is injective: |a - b| follows from the distance between the decoded ends, pair by pair.
    z = linear_gaussian.posterior(x).mean
    squared, decoded = torch.cdist(z, z).square(), torch.cdist(z @ linear_gaussian.weight.T, z @ linear_gaussian.weight.T)
    nearest = (found.distance[:, None] - decoded.flatten()).abs().argmin(1)
    expected = (t * (1 - t)).mean() / 2 * squared.flatten()[nearest]
    torch.testing.assert_close(found.log_prior_excess, expected, rtol=1e-6, atol=1e-9)


def test_a_decoder_that_jumps_once_is_as_rough_as_there_are_steps():
    model = model_of(lambda z: (z > 0).double().expand(*z.shape[:-1], 2), 2)
    found = smoothness(model, [noise(200, 2)], steps=9)
    assert value(found, "roughness") == pytest.approx(9.0)
    assert value(found, "path_ratio") == pytest.approx(1.0)
    still = 1 - float(found.moves.double().mean())
    assert 0.3 < still < 0.7  # both ends on one side of 0
    assert f"{still:.0%} of the paths do not move" in str(found)


def test_an_arc_is_as_much_longer_than_its_chord_as_geometry_says():
    model, steps = model_of(lambda z: torch.cat((z.cos(), z.sin()), -1), 2), 6
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    found = smoothness(model, [x], steps=steps, space=RAW)
    chord = 2 * math.sin(2 / (2 * steps))
    assert value(found, "path_ratio") == pytest.approx(steps * chord / (2 * math.sin(1.0)))
    assert value(found, "roughness") == pytest.approx(1.0)
    assert value(found, "feature_path_length") == pytest.approx(steps**2 * chord**2)
    assert not any("stderr" in name for name in found.metrics)  # one pair tells no error


def test_a_path_that_returns_to_where_it_began_is_all_detour():
    model = model_of(lambda z: z.square(), 1)
    x = torch.tensor([[-1.0], [1.0]], dtype=torch.float64)
    found = smoothness(model, [x], steps=8)
    assert found.length.item() == pytest.approx(2.0)
    assert found.distance.item() == 0
    assert "interpolation_path_ratio" not in found.metrics
    assert value(found, "roughness") == pytest.approx((1 - 0.75**2) / (2 / 8))


def test_the_ratio_is_that_of_the_sums_and_its_error_that_of_repetition():
    model = model_of(lambda z: torch.cat((z, z.square()), -1), 2)
    found = [smoothness(model, [noise(100, 2, seed=seed)], steps=5) for seed in range(100)]
    ratios = torch.tensor([value(each, "path_ratio") for each in found])
    errors = torch.tensor([value(each, "path_ratio_stderr") for each in found])
    assert value(found[0], "path_ratio") == pytest.approx(float(found[0].length.sum() / found[0].distance.sum()))
    assert abs(errors.square().mean().sqrt() / ratios.std() - 1) < 4.5 / math.sqrt(200)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_decoder_that_ignores_the_latent_is_called_collapsed(dtype):
    model = VAE(priors.StandardNormal(2), First(2), likelihoods.Gaussian(MLP(2, [8]), 5)).to(dtype)
    with torch.no_grad():
        next(model.parts["likelihood"].parameters()).zero_()
    found = smoothness(model, [noise(40, 5).to(dtype)])
    assert set(found.metrics) == {"interpolation_log_prior_excess_nats", "interpolation_log_prior_excess_stderr_nats"}
    assert "does not use the latent (collapse)" in str(found)


def test_a_decoder_that_hardly_uses_the_latent_is_not_praised_for_its_smoothness():
    x = noise(40, 2)
    assert "nearly collapsed" in str(smoothness(model_of(lambda z: 0.01 * z, 2, latent=2), [x]))
    assert "nearly collapsed" not in str(smoothness(model_of(lambda z: 0.5 * z, 2, latent=2), [x]))


def test_gaps_between_the_modes_of_the_prior_are_named():
    sides = torch.tensor([-5.0, 5.0]).double().repeat(20)[:, None]
    found = smoothness(model_of(lambda z: z, 1, prior=TwoModes()), [sides], steps=2)
    crossing = found.distance > 1
    torch.testing.assert_close(found.log_prior_excess[crossing], torch.full((int(crossing.sum()),), -12.5 + math.log(2)).double())
    assert "paths cross gaps between its modes" in str(found)
    assert "gaps" not in str(smoothness(model_of(lambda z: z, 1), [noise(60, 1)]))


def test_a_spherical_path_keeps_the_norm_and_so_the_prior():
    x = noise(40, 8)
    x = x / x.norm(dim=1, keepdim=True)
    found = smoothness(model_of(lambda z: z, 8, latent=8), [x], path="spherical")
    torch.testing.assert_close(found.log_prior_excess, torch.zeros(20).double(), rtol=0, atol=1e-10)
    assert value(found, "path_ratio") > 1.05
    assert value(found, "roughness") == pytest.approx(1.0)


def test_how_pairs_are_cut_does_not_matter_and_every_datum_is_counted_once(linear_gaussian, monkeypatch):
    model, x = linear_gaussian.model(), linear_gaussian.sample(40)
    whole = smoothness(model, [x], pairs=15)
    monkeypatch.setattr(chunks, "CACHE_ENTRIES", 5 * 17 * 4)
    seen = []
    cut = smoothness(model, [x], pairs=15, progress=seen.append)
    assert seen == [8, 8, 8, 6]
    torch.testing.assert_close(cut.length, whole.length)
    assert not torch.equal(smoothness(model, [x], pairs=15, seed=1).length, whole.length)


def test_the_model_and_the_generator_are_left_as_they_were(linear_gaussian):
    model, state = linear_gaussian.model().train(), torch.random.get_rng_state()
    smoothness(model, [linear_gaussian.sample(20)])
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_hierarchies_conditions_and_holes_are_no_exceptions():
    inference = TopDown([posteriors.DiagonalGaussian(MLP(5, [8]), 2), posteriors.DiagonalGaussian(MLP(7, [8]), 3)])
    link = posteriors.DiagonalGaussian(MLP(2, [8]), 3)
    deep = Hierarchical(priors.StandardNormal(2), [link], inference, likelihoods.Gaussian(MLP(3, [8]), 5))
    assert value(smoothness(deep, [noise(20, 5).float()]), "path_ratio") >= 1

    context = Context({"dose": Continuous(0.0, 1.0)})
    conditional = VAE(
        priors.StandardNormal(2),
        posteriors.DiagonalGaussian(MLP(5, [8], context_features=1), 2),
        likelihoods.Gaussian(MLP(2, [8], context_features=1), 5),
        context=context,
    )
    x = noise(20, 5).float()
    holes = Batch(x.where(x > -1, torch.nan), observed=x > -1, context={"dose": noise(20).float()})
    found = smoothness(conditional, [holes])
    assert value(found, "path_ratio") >= 1
    assert found.feature_path_length.isfinite().all()


def test_classes_go_through_their_modes_by_jumps():
    torch.manual_seed(0)
    likelihood = likelihoods.Categorical(MLP(2, [8]), 5, classes=4)
    model = VAE(priors.StandardNormal(2), posteriors.DiagonalGaussian(MLP(5, [8]), 2), likelihood)
    found = smoothness(model, [3 * noise(40, 5).float()], steps=8)
    assert found.moves.any()
    assert value(found, "roughness") > 2


def test_a_sphere_takes_spherical_paths_and_discrete_values_none():
    sphere = VAE(priors.Uniform(3, "sphere"), posteriors.VonMisesFisher(MLP(5, [8]), 3), likelihoods.Bernoulli(MLP(3, [8]), 5))
    x = (noise(20, 5) > 0).float()
    found = smoothness(sphere, [x])
    assert found.path == "spherical"
    assert value(found, "path_ratio") >= 1
    with pytest.raises(InputError, match="a sphere has the path 'spherical'"):
        smoothness(sphere, [x], path="linear")
    bits = VAE(priors.Uniform(6, "binary"), posteriors.Bernoulli(MLP(5, [8]), 6), likelihoods.Bernoulli(MLP(6, [8]), 5))
    with pytest.raises(InputError, match="between discrete values there is none"):
        smoothness(bits, [noise(20, 5).float()])


def test_the_metrics_name_their_split_and_the_notes_the_feature_space(linear_gaussian):
    found = smoothness(linear_gaussian.model(), [linear_gaussian.sample(20)], split="valid")
    names = {"path_ratio", "roughness", "feature_path_length"}
    expected = {SHARE + name + suffix for name in names for suffix in ("", "_stderr")}
    assert set(found.metrics) == expected | {SHARE + "log_prior_excess_nats", SHARE + "log_prior_excess_stderr_nats"}
    assert {metric.split for metric in found.metrics.values()} == {"valid"}
    assert "'columns-5'" in str(found)
    assert found.path == "linear"
    assert found.spread == pytest.approx(2 * 20 / 19)  # twice the variance, of which the space makes the biased one 1


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"pairs": 0}, "pairs must be an integer of at least 1; it is 0"),
        ({"pairs": 1.5}, "pairs must be an integer of at least 1; it is 1.5"),
        ({"steps": 1}, "steps must be an integer of at least 2; it is 1"),
        ({"path": "lineer"}, "unknown path 'lineer'; did you mean 'linear'"),
    ],
)
def test_what_makes_no_path_is_refused(linear_gaussian, how, message):
    with pytest.raises(InputError, match=message):
        smoothness(linear_gaussian.model(), [linear_gaussian.sample(20)], **how)


@pytest.mark.parametrize("size", [0, 1])
def test_fewer_than_two_data_are_refused(linear_gaussian, size):
    with pytest.raises(InputError, match=f"needs two data, and the valid split has {size}"):
        smoothness(linear_gaussian.model(), [linear_gaussian.sample(2)[:size]], split="valid")

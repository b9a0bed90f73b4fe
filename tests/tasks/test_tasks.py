import pytest
import torch
from torch import nn

from amortized.distributions import center, spherical
from amortized.errors import InputError
from amortized.likelihoods import Categorical, Gaussian
from amortized.models import VAE
from amortized.networks import MLP, Context
from amortized.networks.context import Continuous
from amortized.posteriors import DiagonalGaussian
from amortized.priors import StandardNormal
from amortized.tasks import encode, interpolate, reconstruct, running, sample
from amortized.terms import Batch

DIMENSION, LATENT = 5, 3


def linear_model(context: Context | None = None, condition=("posterior", "likelihood")) -> VAE:
    torch.manual_seed(0)
    features = {part: int(context is not None and part in condition) for part in ("posterior", "likelihood")}
    return VAE(
        StandardNormal(LATENT),
        DiagonalGaussian(MLP(DIMENSION, [], context_features=features["posterior"]), LATENT),
        Gaussian(MLP(LATENT, [], context_features=features["likelihood"]), DIMENSION, scale=0.5),
        context=context,
        condition=condition,
    ).double()


@pytest.fixture
def model() -> VAE:
    return linear_model()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(7, DIMENSION, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_codes_are_the_posterior_means_however_the_data_are_cut(model, x, monkeypatch):
    expected = model.posterior(x).mean.detach()
    torch.testing.assert_close(encode(model, x), expected)
    torch.testing.assert_close(encode(model, [x[:2], Batch(x[2:])]), expected)
    monkeypatch.setattr(running, "CHUNK_ENTRIES", 2 * DIMENSION)
    torch.testing.assert_close(encode(model, x), expected)


def test_drawn_codes_are_repeated_by_their_seed_alone(model, x):
    first = encode(model, x, sample=True, seed=3)
    torch.rand(4)
    assert torch.equal(first, encode(model, x, sample=True, seed=3))
    assert not torch.equal(first, encode(model, x, sample=True, seed=4))


def test_a_reconstruction_is_the_decoded_posterior_mean(model, x):
    expected = model.decode(model.posterior(x).mean).mean.detach()
    torch.testing.assert_close(reconstruct(model, [x]), expected)
    assert not torch.equal(reconstruct(model, [x], mean=False), expected)


def test_samples_have_the_moments_of_the_linear_gaussian_marginal(model):
    weight = model.decode(torch.eye(LATENT, dtype=torch.float64)).mean - model.decode(torch.zeros(LATENT).double()).mean
    covariance = (weight.T @ weight + 0.25 * torch.eye(DIMENSION)).detach()
    n = 20_000
    drawn = sample(model, n)
    # The standard error of a covariance of Gaussians: sqrt((s_ii s_jj + s_ij^2) / n).
    error = ((covariance.diagonal()[:, None] * covariance.diagonal() + covariance.square()) / n).sqrt()
    assert ((drawn.T.cov() - covariance).abs() < 5 * error).all()


def test_temperature_shrinks_the_decoded_means(model):
    warm, cold = (sample(model, 500, mean=True, temperature=t) for t in (1.0, 0.01))
    torch.testing.assert_close(cold.std(0), 0.01 * warm.std(0), rtol=1e-6, atol=0)


def test_samples_under_a_condition_differ_by_it_alone():
    model = linear_model(Context({"dose": Continuous(0.0, 1.0)}))
    low, high = (sample(model, 4, context={"dose": torch.full((4,), dose).double()}, mean=True) for dose in (0.0, 1.0))
    difference = high - low
    torch.testing.assert_close(difference, difference[:1].expand_as(difference))
    assert difference.abs().max() > 0.01


def test_a_task_leaves_mode_gradients_and_generator_as_they_were(model, x):
    model.posterior_dropout = nn.Dropout()
    model.train()
    state = torch.get_rng_state()
    for result in (sample(model, 2), encode(model, x, sample=True), reconstruct(model, x), interpolate(model, x, x)):
        assert not result.requires_grad
    assert model.training
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("path", ["linear", "spherical"])
def test_a_path_begins_and_ends_at_the_reconstructions(model, x, path):
    a, b = x[:3], x[3:6]
    made = interpolate(model, a, b, steps=5, path=path)
    assert made.shape == (3, 5, DIMENSION)
    torch.testing.assert_close(made[:, 0], reconstruct(model, a))
    torch.testing.assert_close(made[:, -1], reconstruct(model, b))


def test_a_linear_path_through_a_linear_decoder_has_equal_steps(model, x):
    steps = interpolate(model, x[:3], x[3:6], steps=6).diff(dim=1)
    torch.testing.assert_close(steps, steps[:, :1].expand_as(steps))


def test_a_spherical_path_keeps_the_norm_linear_and_its_turns_equal():
    a, b = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    t = torch.linspace(0, 1, 9).double()
    points = spherical(a, b, t)
    norms = torch.lerp(a.norm(dim=1), b.norm(dim=1), t[:, None])
    torch.testing.assert_close(points.norm(dim=2), norms)
    units = points / norms[..., None]
    turns = (units[1:] * units[:-1]).sum(2).arccos()
    torch.testing.assert_close(turns, turns[:1].expand_as(turns), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dimension", [1, 2, 10])
@pytest.mark.parametrize("factor", [1.0, -1.0, 0.0, 1.0 + 1e-7])
def test_a_spherical_path_between_parallel_ends_is_finite_and_meets_them(dimension, factor):
    a = torch.linspace(0.5, 2.0, dimension)[None]
    points = spherical(a, factor * a, torch.linspace(0, 1, 7))
    torch.testing.assert_close(points[[0, -1]], torch.stack((a, factor * a)), rtol=1e-5, atol=1e-6)
    if factor > 0:
        torch.testing.assert_close(points, a.expand_as(points), rtol=1e-5, atol=1e-6)
    assert spherical(0 * a, 0 * a, torch.linspace(0, 1, 3)).isfinite().all()


def test_the_condition_of_the_beginning_is_held_along_the_path(x):
    model = linear_model(Context({"dose": Continuous(0.0, 1.0)}), condition=("likelihood",))
    a = Batch(x[:2], context={"dose": torch.ones(2).double()})
    b = Batch(x[:2], context={"dose": torch.zeros(2).double()})
    made = interpolate(model, a, b, steps=3)
    torch.testing.assert_close(made, reconstruct(model, a)[:, None].expand_as(made))


def test_classes_have_no_mean_so_that_their_center_is_the_likeliest_one():
    likelihood = Categorical(MLP(LATENT, []), 4, classes=3)
    p = likelihood(torch.randn(6, LATENT))
    torch.testing.assert_close(center(p), p.mode)
    assert not center(p).is_floating_point()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: sample(m, 0), "must be positive; it is 0"),
        (lambda m, x: sample(m, 3, context={"label": torch.zeros(2)}), "'label' has 2 rows for 3 samples"),
        (lambda m, x: sample(m, 3, temperature=-1.0), "it is -1.0"),
        (lambda m, x: sample(m, 3, temperature=float("nan")), "it is nan"),
        (lambda m, x: encode(m, []), "no data to encode"),
        (lambda m, x: reconstruct(m, x[:0]), "no data to reconstruct"),
        (lambda m, x: interpolate(m, x, x, steps=1), "steps is 1"),
        (lambda m, x: interpolate(m, x, x, path="sperical"), "did you mean 'spherical'"),  # pyright: ignore[reportArgumentType]
        (lambda m, x: interpolate(m, x, x[:2]), "7 beginnings and 2 ends"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(model, x, call, message):
    with pytest.raises(InputError, match=message):
        call(model, x)

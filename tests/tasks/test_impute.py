"""Imputation against the exact conditional distribution p(x_m | x_o), and what it must leave alone."""

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from amortized import VAE, Batch, Hierarchical, InputError, likelihoods, posteriors, priors
from amortized.models import BottomUp
from amortized.networks import MLP, Context
from amortized.networks.context import Continuous
from amortized.tasks import hide, impute, reconstruct, running

OBSERVED = torch.tensor([True, False, True, True, False])
SIZES = [running.CHUNK_ENTRIES, 2**17]
"""Entries scored at once: all samples of all data, and some of the samples of one datum."""


def with_holes(x, observed=OBSERVED):
    observed = observed.expand(x.shape)
    return Batch(torch.where(observed, x, torch.nan), input=torch.where(observed, x, 0.0), observed=observed)


def given_observed(truth, observed=OBSERVED):
    """Gain, offset and covariance of the exact p(z | x_o) = N(gain x + offset, covariance), the gain of a missing entry 0."""
    weight = torch.where(observed[:, None], truth.weight, 0.0)
    covariance = torch.linalg.inv(torch.eye(truth.latent_dim).double() + weight.T @ weight / truth.scale**2)
    gain = covariance @ weight.T / truth.scale**2
    return gain, -gain @ truth.bias, covariance


def conditional(truth, x, observed=OBSERVED):
    """Mean (B, m) and covariance (m, m) of the exact p(x_m | x_o)."""
    gain, offset, covariance = given_observed(truth, observed)
    weight = truth.weight[~observed]
    mean = (torch.where(observed, x, 0.0) @ gain.T + offset) @ weight.T + truth.bias[~observed]
    return mean, weight @ covariance @ weight.T + truth.scale**2 * torch.eye(len(weight)).double()


def model_with(truth, *, error=0.0, factor=1.0):
    """The truth's model under its exact p(z | x_o), or under one that is off by `error` and `factor` times as wide."""
    gain, offset, covariance = given_observed(truth)
    tril = torch.linalg.cholesky(covariance)
    below = tril[tuple(torch.tril_indices(truth.latent_dim, truth.latent_dim, offset=-1))]
    constants = torch.cat((tril.diagonal().log() + math.log(factor), factor * below))
    return truth.model(truth.full_posterior(gain, offset + error, constants))


@pytest.fixture(params=SIZES, ids=["whole", "chunks"])
def chunked(request, monkeypatch):
    monkeypatch.setattr(running, "CHUNK_ENTRIES", request.param)


@pytest.mark.usefixtures("chunked")
def test_under_the_exact_posterior_a_mean_is_the_conditional_mean_and_all_samples_count(linear_gaussian):
    samples, x = 4000, linear_gaussian.sample(6)
    made = impute(model_with(linear_gaussian), with_holes(x), samples=samples)
    mean, covariance = conditional(linear_gaussian, x)
    spread = covariance.diagonal() - linear_gaussian.scale**2  # of E[x_m | z]
    z = (torch.from_numpy(made.x)[:, ~OBSERVED] - mean) / (spread / samples).sqrt()
    assert z.abs().max() < 4.5
    assert made.effective_samples == pytest.approx(samples, rel=1e-9)
    assert made.notes == []


def test_under_a_wrong_posterior_the_weights_bring_the_conditional_mean_back(linear_gaussian):
    x, model = linear_gaussian.sample(3), model_with(linear_gaussian, error=0.4, factor=1.3)
    mean, _ = conditional(linear_gaussian, x)
    runs = torch.stack([torch.from_numpy(impute(model, with_holes(x), samples=4000, seed=seed).x) for seed in range(20)])
    error = runs.std(0)[:, ~OBSERVED] / math.sqrt(len(runs))
    z = (runs.mean(0)[:, ~OBSERVED] - mean) / error
    assert z.abs().max() < 5  # by 19 degrees of freedom
    unweighted = (reconstruct(model, with_holes(x))[:, ~OBSERVED] - mean) / error
    assert unweighted.abs().min() > 20


@pytest.mark.usefixtures("chunked")
@pytest.mark.parametrize("options", [{}, {"error": 0.2, "factor": 1.2}], ids=["exact", "wrong"])
def test_draws_have_the_conditional_mean_and_covariance(linear_gaussian, options):
    count, samples = 8000, 8000
    x = linear_gaussian.sample(2)
    made = impute(model_with(linear_gaussian, **options), with_holes(x), samples=samples, draws=count)
    drawn = torch.from_numpy(made.x)[:, :, ~OBSERVED]
    assert drawn.shape == (count, 2, 2)
    mean, covariance = conditional(linear_gaussian, x)
    # Draws share the samples that they were drawn from: both numbers count.
    assert made.effective_samples is not None
    size = 1 / (1 / count + 1 / torch.from_numpy(made.effective_samples))
    variance = covariance.diagonal()
    assert ((drawn.mean(0) - mean) / (variance / size[:, None]).sqrt()).abs().max() < 4.5
    for row in range(2):
        error = ((variance[:, None] * variance + covariance.square()) / size[row]).sqrt()
        assert ((drawn[:, row].T.cov() - covariance) / error).abs().max() < 4.5


def test_what_was_observed_is_returned_as_it_was_given(linear_gaussian):
    x = linear_gaussian.sample(40)
    observed = hide(x, 0.3, seed=1).observed
    assert observed is not None
    batch, is_whole = with_holes(x, observed), observed.all(1)
    assert 0 < is_whole.sum() < 40
    model = model_with(linear_gaussian)
    one, several = impute(model, batch, samples=7), impute(model, [batch.rows(slice(9)), batch.rows(slice(9, None))], draws=3)
    for made in (one.x, *several.x):
        assert not torch.from_numpy(made).isnan().any()
        assert torch.equal(torch.from_numpy(made)[observed], x[observed])
    assert several.x.shape == (3, 40, 5)
    assert one.effective_samples is not None
    assert torch.equal(torch.from_numpy(one.effective_samples).isnan(), is_whole)


def test_a_seed_repeats_an_imputation_and_the_global_generator_is_left_alone(linear_gaussian):
    batch, model = with_holes(linear_gaussian.sample(3)), model_with(linear_gaussian)
    first = impute(model, batch, samples=5, seed=3).x
    torch.rand(4)
    assert (first == impute(model, batch, samples=5, seed=3).x).all()
    assert (first != impute(model, batch, samples=5, seed=4).x).any()


def scrambled(model, seed=0):
    """The model with weights that do something."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=noise, dtype=parameter.dtype), alpha=0.5)
    return model.double()


@pytest.mark.parametrize("estimator", ["enumerate", "sample"])
def test_classes_are_imputed_by_the_most_probable_one_under_the_exact_posterior(estimator):
    posterior = posteriors.Categorical(MLP(4, []), 2, 3, estimator=estimator)
    model = scrambled(
        VAE(priors.Uniform((2, 3), "categorical"), posterior, likelihoods.Categorical(MLP((2, 3), []), 4, classes=3))
    )
    x = torch.randint(0, 3, (30, 4), generator=torch.Generator().manual_seed(1)).double()
    batch = with_holes(x, torch.tensor([True, True, False, True]))
    support = posteriors.Categorical(MLP(4, []), 2, 3, estimator="enumerate").double()(x[:1]).draw(1).z
    px: Any = model.decode(support)
    px = px.base_dist
    log_joint = px.log_prob(x)[..., [0, 1, 3]].sum(-1)
    probabilities = torch.einsum("kb,kc->bc", log_joint.softmax(0), px.probs[:, 0, 2])
    made = impute(model, batch, samples=4000)
    margin = probabilities.topk(2).values @ torch.tensor([1.0, -1.0]).double()
    is_clear = margin > (1e-9 if estimator == "enumerate" else 0.05)
    assert is_clear.sum() > 10
    assert torch.equal(torch.from_numpy(made.x)[is_clear, 2], probabilities.argmax(1).double()[is_clear])
    assert (made.effective_samples is None) == (estimator == "enumerate")


def test_an_enumerated_posterior_gives_the_exact_conditional_mean_and_frequencies():
    posterior = posteriors.Bernoulli(MLP(4, []), 3, estimator="enumerate")
    model: Any = scrambled(VAE(priors.Uniform(3, "binary"), posterior, likelihoods.Bernoulli(MLP(3, []), 4)))
    x = (torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    observed = torch.tensor([False, True, True, True])
    support = torch.cartesian_prod(*3 * [torch.tensor([0.0, 1.0]).double()]).unsqueeze(1)
    px: Any = model.decode(support)
    px = px.base_dist
    log_joint = px.log_prob(x)[..., observed].sum(-1)
    exact = log_joint.softmax(0).T @ px.probs[:, 0, 0]
    torch.testing.assert_close(torch.from_numpy(impute(model, with_holes(x, observed)).x)[:, 0], exact, rtol=0, atol=1e-12)
    drawn = impute(model, with_holes(x, observed), draws=4000).x[:, :, 0]
    assert set(drawn.ravel()) == {0.0, 1.0}
    z = (torch.from_numpy(drawn).mean(0) - exact) / (exact * (1 - exact) / 4000).sqrt()
    assert z.abs().max() < 4.5


def test_a_posterior_drawn_in_strata_and_one_without_weights(linear_gaussian):
    torch.manual_seed(0)
    x = linear_gaussian.sample(3)
    mean, _ = conditional(linear_gaussian, x)
    mixture = posteriors.MixtureOfGaussians(MLP(5, []), 3, components=3).double()
    model = linear_gaussian.model(mixture)
    runs = torch.stack([torch.from_numpy(impute(model, with_holes(x), samples=4000, seed=seed).x) for seed in range(10)])
    z = (runs.mean(0)[:, ~OBSERVED] - mean) / (runs.std(0)[:, ~OBSERVED] / math.sqrt(10))
    assert z.abs().max() < 6.5  # by 9 degrees of freedom
    point = linear_gaussian.model(posteriors.Delta(MLP(5, []), 3).double())
    made = impute(point, with_holes(x))
    torch.testing.assert_close(torch.from_numpy(made.x)[:, ~OBSERVED], reconstruct(point, with_holes(x))[:, ~OBSERVED])
    assert (made.effective_samples, made.notes) == (None, [])


def test_two_layers_of_latents_give_the_conditional_mean_of_their_joint():
    model: Any = Hierarchical(
        priors.StandardNormal(2),
        [posteriors.DiagonalGaussian(MLP(2, []), 3)],
        BottomUp([posteriors.DiagonalGaussian(MLP(5, []), 3), posteriors.DiagonalGaussian(MLP(3, []), 2)]),
        likelihoods.Gaussian(MLP(3, []), 5, scale=0.7),
    ).double()
    torch.manual_seed(0)
    for part in (model.links[0], model.parts["likelihood"]):
        torch.nn.init.normal_(part.head.output.weight, std=0.7)
    with torch.no_grad():
        model.links[0].head.output.weight[3:] = 0  # a link of constant scales
        for part, size in zip(model.posteriors, (3, 2), strict=True):
            part.head.output.bias[size:] = 0.5  # posteriors wide enough for bounded weights
        a, b = model.links[0], model.parts["likelihood"]
        link = a(torch.zeros(2).double())
        above = a.head.output.weight[:3]
        weight = b.head.output.weight
        within = above @ above.T + link.variance.squeeze().diag()
        covariance = weight @ within @ weight.T + b(torch.zeros(3).double()).variance.squeeze().diag()
        center = b(link.mean).mean.squeeze()
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1)).double()
    gain = covariance[~OBSERVED][:, OBSERVED] @ torch.linalg.inv(covariance[OBSERVED][:, OBSERVED])
    mean = center[~OBSERVED] + (x - center)[:, OBSERVED] @ gain.T
    runs = torch.stack([torch.from_numpy(impute(model, with_holes(x), samples=10_000, seed=seed).x) for seed in range(10)])
    z = (runs.mean(0)[:, ~OBSERVED] - mean) / (runs.std(0)[:, ~OBSERVED] / math.sqrt(10))
    assert z.abs().max() < 6.5  # by 9 degrees of freedom
    assert impute(model, with_holes(x), draws=2).x.shape == (2, 3, 5)


def test_what_is_imputed_depends_on_the_condition():
    torch.manual_seed(0)
    model = VAE(
        priors.StandardNormal(3),
        posteriors.DiagonalGaussian(MLP(5, [], context_features=1), 3),
        likelihoods.Gaussian(MLP(3, [], context_features=1), 5, scale=0.5),
        context=Context({"dose": Continuous(0.0, 1.0)}),
    ).double()
    x = torch.randn(1, 5).double()
    for dose in (0.0, 3.0):
        context = {"dose": torch.tensor([dose]).double()}
        with torch.no_grad():
            px = model.decode(torch.cat((torch.zeros(1, 3), torch.eye(3))).double(), {"dose": context["dose"].expand(4)}).mean
        truth = SimpleNamespace(latent_dim=3, scale=0.5, bias=px[0], weight=(px[1:] - px[0]).T)
        mean, _ = conditional(truth, x)
        batch = replace(with_holes(x), context=context)
        runs = torch.stack([torch.from_numpy(impute(model, batch, samples=4000, seed=seed).x) for seed in range(10)])
        z = (runs.mean(0)[:, ~OBSERVED] - mean) / (runs.std(0)[:, ~OBSERVED] / math.sqrt(10))
        assert z.abs().max() < 6.5  # by 9 degrees of freedom


def test_few_effective_samples_are_said(linear_gaussian):
    model = model_with(linear_gaussian, error=3.0)
    made = impute(model, with_holes(linear_gaussian.sample(20)), samples=100)
    (note,) = made.notes
    assert "of 20 data are worth fewer than 10 of 100 samples" in note


@pytest.mark.parametrize(
    ("how", "hidden"),
    [("left", (slice(None), slice(2))), ("right", (slice(None), slice(2, None))), ("top", slice(1)), ("bottom", slice(1, None))],
)
@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_half_of_an_image_is_hidden(how, hidden, channels):
    x = torch.arange(2.0 * 3 * 5).reshape(2, 3, 5, *(1 for _ in channels)).expand(2, 3, 5, *channels)
    batch = hide(x, how)
    expected = torch.zeros(3, 5, dtype=torch.bool)
    expected[hidden] = True
    assert batch.observed is not None
    assert torch.equal(~batch.observed, expected.reshape(3, 5, *(1 for _ in channels)).expand_as(x))
    assert torch.equal(batch.x.isnan(), ~batch.observed)
    assert torch.equal(batch.x[batch.observed], x[batch.observed])


def test_a_fraction_is_hidden_at_random_for_the_encoder_too_and_holes_stay_holes():
    x = torch.ones(100, 50)
    x[:, 7] = torch.nan
    batch = hide(Batch(x, input=2 * x), "0.25", seed=1)
    assert batch.observed is not None
    assert batch.input is not None
    assert torch.equal(batch.input.isnan(), ~batch.observed)
    assert not batch.observed[:, 7].any()
    share = (~batch.observed).float().mean()
    expected = 0.02 + 0.98 * 0.25
    assert abs(share - expected) < 4.5 * math.sqrt(0.25 * 0.75 / 5000)
    same, other = (hide(x, 0.25, seed=seed).observed for seed in (1, 2))
    assert same is not None
    assert (batch.observed == same).all()
    assert (batch.observed != other).any()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("lefd", "did you mean 'left'"),
        ([0.5], "cannot hide"),
        (0.0, "between 0 and 1; it is 0"),
        (1.5, "it is 1.5"),
        ("left", "no image with a left half"),
    ],
)
def test_what_cannot_be_hidden_is_refused(how, message):
    with pytest.raises(InputError, match=message):
        hide(torch.ones(3, 4), how)


def test_what_cannot_be_imputed_is_refused(linear_gaussian):
    x, model = linear_gaussian.sample(3), model_with(linear_gaussian)
    with pytest.raises(InputError, match="nothing to impute; give data with NaN, or hide=0.5"):
        impute(model, x)
    with pytest.raises(InputError, match="there are no data"):
        impute(model, [])
    for name, count in (("samples", 0), ("samples", 1.5), ("samples", "5"), ("samples", True), ("draws", 0), ("draws", 2.5)):
        with pytest.raises(InputError, match=f"{name} must be a positive integer; it is {count!r}"):
            impute(model, with_holes(x), **{name: count})  # pyright: ignore[reportArgumentType]

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from amortized import VAE, Batch, InputError, likelihoods, posteriors, priors
from amortized.evaluation import LogPx, gaps, gaps_by_split
from amortized.evaluation.gaps import Gaps
from amortized.networks import MLP
from tests.conftest import LinearGaussian, set_linear


def as_full(q) -> MultivariateNormal:
    return q if isinstance(q, MultivariateNormal) else MultivariateNormal(q.base_dist.loc, torch.diag_embed(q.base_dist.variance))


def loss_of_independence(truth) -> float:
    """KL to N(m, C) of the best diagonal Gaussian, of precision diag(C^-1): 1/2 (sum log diag(C^-1) - log det C^-1)."""
    precision = torch.linalg.inv(truth.covariance)
    return 0.5 * float(precision.diagonal().log().sum() - precision.logdet())


def assert_near(found: Gaps, name: str, exact: float, slack: float):
    """A mean gap is the exact one, within its Monte Carlo error and what the steps may leave."""
    error = found.mc_stderr(name)
    assert abs(float(found.gaps[name].mean()) - exact) < 4.5 * error + slack


@pytest.mark.parametrize(("size", "kind"), [((1, 3), "diagonal"), ((3, 5), "full"), ((8, 12), "diagonal")], ids=str)
def test_gaps_are_the_exact_divergences(size, kind):
    truth = LinearGaussian(*size)
    model, x = truth.model(truth.random_posterior(kind)), truth.sample(10)
    found = gaps(model, [x], samples=400)
    with torch.no_grad():
        inference = kl_divergence(as_full(model.posterior(x)), truth.posterior(x))
    best = loss_of_independence(truth)
    family = best if kind == "diagonal" else 0.0
    assert found.family == {"diagonal": "gaussian", "full": "full-gaussian"}[kind]
    z = (found.inference_gap - inference) / found.mc_variance["inference_gap"].sqrt()
    assert z.abs().max() < 5
    assert_near(found, "approximation_gap", family, 0.01)
    assert_near(found, "amortization_gap", float(inference.mean()) - family, 0.01)
    assert_near(found, "approximation_gap_gaussian", best, 0.01)
    assert_near(found, "approximation_gap_full_gaussian", 0.0, 0.001)
    assert_near(found, "approximation_gap_flow", 0.0, 0.001)
    z = (found.log_px.estimate - truth.log_px(x)) / found.log_px.mc_variance.sqrt()
    assert z.abs().max() < 5


def test_the_exact_posterior_has_no_gaps(linear_gaussian):
    found = gaps(linear_gaussian.model(), [linear_gaussian.sample(10)], samples=400)
    for gap in (found.inference_gap, found.approximation_gap, found.amortization_gap, found.gaps["approximation_gap_flow"]):
        assert abs(float(gap.mean())) < 1e-3
    assert "little to gain" in str(found)


def test_with_the_exact_log_px_the_gap_of_the_exact_posterior_is_rounding(linear_gaussian):
    x = linear_gaussian.sample(10)
    found = gaps(linear_gaussian.model(), [x], samples=50, steps=20, log_px=linear_gaussian.log_px(x))
    torch.testing.assert_close(found.inference_gap, torch.zeros_like(found.elbo), rtol=0, atol=1e-9)


def test_the_parts_sum_to_the_whole_for_every_datum():
    found = gaps(vae(), [bits()], samples=30, steps=30)
    torch.testing.assert_close(found.approximation_gap + found.amortization_gap, found.inference_gap, rtol=0, atol=1e-10)
    assert found.metrics["inference_gap_nats"].value == pytest.approx(
        found.metrics["approximation_gap_nats"].value + found.metrics["amortization_gap_nats"].value, abs=1e-10
    )


class Square(nn.Module):
    """p(x | z) = N(z^2, scale^2): of x > 0 two values of z tell as much."""

    event_shape = torch.Size((1,))
    scale = 0.5

    def forward(self, z):
        return Independent(Normal(z.square(), self.scale, validate_args=False), 1, validate_args=False)


def two_modes() -> tuple[VAE, torch.Tensor]:
    torch.manual_seed(0)
    posterior = posteriors.DiagonalGaussian(MLP(1, []), 1).double()
    set_linear(posterior.head.output, torch.tensor([[0.5], [0.0]]).double(), torch.tensor([0.3, -1.0]).double())
    return VAE(priors.StandardNormal(1).double(), posterior, Square()), torch.tensor([[0.3], [2.0]]).double()


def quadrature(x):
    """A grid z (G,), log p(x, z) on it (G, B), and log p(x) (B,) by the trapezoid rule."""
    z = torch.linspace(-6, 6, 4001).double()
    log_joint = Normal(0.0, 1.0).log_prob(z)[:, None] + Normal(z.square()[:, None], Square.scale).log_prob(x[:, 0])
    return z, log_joint, log_joint.logsumexp(0) + math.log(float(z[1] - z[0]))


def best_bound(z, log_joint):
    """The highest bound of a Gaussian by brute force over means and deviations, (B,)."""
    found = torch.full(log_joint.shape[1:], -torch.inf).double()
    for loc in torch.linspace(0, 2, 81).double():
        q = Normal(loc, torch.linspace(0.05, 1.5, 146).double()[:, None])
        weight = q.log_prob(z).exp() * (z[1] - z[0])
        bounds = weight @ log_joint + q.entropy()
        found = torch.maximum(found, bounds.amax(0))
    return found


def test_of_a_posterior_with_two_modes_log_px_and_the_best_gaussian_are_those_of_quadrature():
    model, x = two_modes()
    z, log_joint, log_px = quadrature(x)
    found = gaps(model, [x], samples=2000, seed=1)
    assert ((found.log_px.estimate - log_px) / found.log_px.mc_variance.sqrt()).abs().max() < 4.5
    error = found.mc_variance["approximation_gap_gaussian"].sqrt()
    difference = found.gaps["approximation_gap_gaussian"] - (log_px - best_bound(z, log_joint))
    assert (difference.abs() < 4.5 * error + 0.02).all()
    assert found.gaps["approximation_gap_gaussian"][1] > 0.6  # one of two separate modes: log 2 are lost


class Lookup(nn.Module):
    """The exact posterior of the data that it has seen, and for any others that of the first of these."""

    has_density = True

    def __init__(self, truth: LinearGaussian, seen):
        super().__init__()
        self.truth, self.seen, self.event_shape = truth, seen, torch.Size((truth.latent_dim,))

    def forward(self, x):
        distance = torch.cdist(x, self.seen)
        nearest = torch.where(distance.amin(1) < 1e-9, distance.argmin(1), 0)
        return self.truth.posterior(self.seen[nearest])


def test_an_encoder_that_has_learned_its_data_by_heart_is_told(linear_gaussian):
    train, test = linear_gaussian.sample(8), linear_gaussian.sample(8, seed=5)
    model = linear_gaussian.model(Lookup(linear_gaussian, train))
    found = gaps_by_split(model, {"train": [train], "test": [test]}, samples=200)
    metrics = found.metrics
    with torch.no_grad():
        exact = float(kl_divergence(model.posterior(test), linear_gaussian.posterior(test)).mean())
    error = found.held.mc_stderr("amortization_gap")
    assert abs(metrics["amortization_overfit_nats"].value - exact) < 4.5 * error + 0.01
    assert metrics["amortization_overfit_nats"].split == "train - test"
    assert metrics["train_amortization_gap_nats"].value == pytest.approx(0, abs=1e-3)
    assert metrics["amortization_gap_nats"].split == "test"
    parts = ("log_px", "approximation", "amortization")
    total = sum(metrics[f"{name}_overfit_nats"].value for name in parts)
    assert metrics["elbo_overfit_nats"].value == pytest.approx(total, abs=1e-9)
    expected = math.hypot(*(float(each.log_px.estimate.std()) / math.sqrt(8) for each in (found.trained, found.held)))
    assert metrics["log_px_overfit_stderr_nats"].value == pytest.approx(expected)
    assert any(note.startswith("The encoder has learned its data by heart") for note in found.notes)


def vae(posterior: Any = posteriors.DiagonalGaussian, **options):
    torch.manual_seed(0)
    return VAE(priors.StandardNormal(2), posterior(MLP(5, [8]), 2, **options), likelihoods.Bernoulli(MLP(2, [8]), 5))


def bits(n=6):
    return (torch.rand(n, 5, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def test_a_posterior_that_is_no_gaussian_is_held_against_the_best_that_was_found():
    model, x = vae(posteriors.Planar), bits()
    found = gaps(model, [x], samples=200)
    assert found.family == "flow"
    torch.testing.assert_close(found.elbo_local, found.elbo_flow)
    assert found.amortization_gap.mean() > 0
    assert "no Gaussian" in str(found)


def test_missing_entries_have_no_part_in_it(linear_gaussian):
    model, x = linear_gaussian.model(), linear_gaussian.sample(4)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[:, 0] = False
    found = gaps(model, [Batch(x, observed=observed)], samples=200)
    seen = linear_gaussian.marginal
    exact = MultivariateNormal(seen.loc[1:], seen.covariance_matrix[1:, 1:]).log_prob(x[:, 1:])
    assert ((found.log_px.estimate - exact) / found.log_px.mc_variance.sqrt()).abs().max() < 4.5


def test_a_log_px_that_is_handed_in_is_taken_with_its_error(linear_gaussian):
    x = linear_gaussian.sample(6)
    model, exact = linear_gaussian.model(linear_gaussian.random_posterior("full")), linear_gaussian.log_px(x)
    variance = torch.full_like(exact, 0.25)
    found = gaps(model, [x], samples=50, steps=20, log_px=LogPx("AIS", exact, exact, None, variance, 1.0, "test", 9))
    alone = gaps(model, [x], samples=50, steps=20, log_px=exact)
    assert found.log_px.method == "AIS"
    torch.testing.assert_close(found.mc_variance["inference_gap"], alone.mc_variance["inference_gap"] + 0.25)
    torch.testing.assert_close(found.inference_gap, exact - found.elbo)


def test_a_log_px_below_a_bound_on_it_is_told(linear_gaussian):
    x = linear_gaussian.sample(6)
    found = gaps(linear_gaussian.model(), [x], samples=50, steps=20, log_px=linear_gaussian.log_px(x) - 1)
    assert any("too low; take another" in note for note in found.notes)


def test_the_part_to_blame_is_named(linear_gaussian):
    x = linear_gaussian.sample(6)
    far = gaps(linear_gaussian.model(linear_gaussian.random_posterior("full")), [x], samples=50, steps=60)
    assert far.notes[0].startswith("The encoder is to blame")
    precision = torch.linalg.inv(linear_gaussian.covariance).diagonal()
    best = linear_gaussian.diagonal_posterior(
        linear_gaussian.gain, -linear_gaussian.gain @ linear_gaussian.bias, -precision.log() / 2
    )
    narrow = gaps(linear_gaussian.model(best), [x], samples=200, steps=60)
    assert narrow.notes[0].startswith("The family of the posterior is to blame")
    assert "full-gaussian" in narrow.notes[0]


def test_the_model_is_left_as_it_was():
    model, seen = vae().train(), []
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    first, second = (gaps(model, bits().split(4), samples=20, steps=20, progress=seen.append) for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.elbo_flow, second.elbo_flow)
    assert sum(seen) == 2 * 6
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_one_sample_states_no_monte_carlo_error():
    assert not [name for name in gaps(vae(), [bits()], samples=1, steps=1).metrics if "_mc_" in name]


def test_what_cannot_be_used_is_refused():
    x = bits()
    for samples in (0, 2.5, True):
        with pytest.raises(InputError, match="samples must be a positive integer"):
            gaps(vae(), [x], samples=samples)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="steps must be a positive integer; it is 0"):
        gaps(vae(), [x], steps=0)
    with pytest.raises(InputError, match="no data"):
        gaps(vae(), [])
    with pytest.raises(InputError, match="log_px has 2 values and there are 6 data"):
        gaps(vae(), [x], samples=1, steps=1, log_px=torch.zeros(2))
    with pytest.raises(InputError, match="one finite number"):
        gaps(vae(), [x], log_px=torch.full((6,), math.nan))
    with pytest.raises(InputError, match="posterior with a density"):
        gaps(vae(posteriors.Delta), [x])
    with pytest.raises(InputError, match="needs two"):
        gaps_by_split(vae(), {"test": [x]})

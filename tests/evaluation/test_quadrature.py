"""Quadrature is exact where the truth is known by other means, finds modes unknown to q, and says where it is not exact."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad
from torch import nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal, Normal, kl_divergence

from amortized import VAE, Batch, Hierarchical, InputError, likelihoods, posteriors, priors
from amortized.evaluation import evaluate, quadrature
from amortized.evaluation.panels import ABSCISSAE, GAUSS, KRONROD, integrate
from amortized.models import BottomUp
from amortized.networks import MLP, Context
from amortized.networks import Categorical as Categories


def network_model(latent_dim=1, entries=6, activation="tanh", posterior: type[nn.Module] = posteriors.DiagonalGaussian) -> VAE:
    """A decoder whose weights are large, so that posteriors have several modes."""
    torch.manual_seed(0)
    decoder = likelihoods.Bernoulli(MLP(latent_dim, [10, 10], activation=activation), entries)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.mul_(3)
    return VAE(priors.StandardNormal(latent_dim), posterior(MLP(entries, [8]), latent_dim), decoder)


def bits(n=4, entries=6):
    return (torch.rand(n, entries, generator=torch.Generator().manual_seed(1)) < 0.5).float()


def by_scipy(model: VAE, x: torch.Tensor) -> float:
    """The log p(x) of one datum, piece by piece of the line."""
    model = model.double()

    @torch.no_grad()
    def joint(z):
        log_px = model.decode(torch.tensor([[z]], dtype=torch.float64)).log_prob(x.double())
        return math.exp(float(log_px) - z**2 / 2) / math.sqrt(2 * math.pi)

    edges = [-12, -8, -6, *range(-5, 6), 6, 8, 12]
    return math.log(sum(quad(joint, low, high, epsabs=1e-16, epsrel=1e-11)[0] for low, high in pairwise(edges)))


def test_the_rules_are_exact_for_polynomials_of_their_degree():
    for rule, abscissae, degree in ((KRONROD, ABSCISSAE, 22), (GAUSS, ABSCISSAE[1::2], 12)):
        for power in range(0, degree + 1, 2):
            total = sum(w * x**power * (1 if x == 0 else 2) for w, x in zip(rule, abscissae, strict=True))
            assert total == pytest.approx(2 / (power + 1), abs=1e-15)


def test_log_px_of_a_random_network_is_that_of_another_quadrature_to_1e_8():
    model, x = network_model(), bits(3)
    found = quadrature(model, [x])
    for datum, log_px in zip(x, found.log_px.tolist(), strict=True):
        assert log_px == pytest.approx(by_scipy(model, datum), abs=1e-8)
    assert found.error.max() < 1e-8


def test_log_px_is_the_elbo_and_the_gap_with_each_by_itself():
    """The ELBO against many draws from q; the gap against that of p(z|x), found on a fine grid of its own."""
    model, x = network_model().double(), bits(3).double()
    found = quadrature(model, [x])
    torch.testing.assert_close(found.elbo + found.kl_q_posterior, found.log_px, rtol=0, atol=1e-12)
    grid = torch.linspace(-15, 15, 20_001, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        q, step = model.posterior(x), 30 / 20_000
        log_q = q.log_prob(grid)
        log_posterior = model.decode(grid.expand(-1, 3, 1)).log_prob(x) + model.prior().log_prob(grid) - found.log_px
    gap = (log_q.exp() * (log_q - log_posterior)).sum(0) * step
    torch.testing.assert_close(found.kl_q_posterior, gap, rtol=0, atol=1e-8)
    torch.testing.assert_close(log_posterior.exp().sum(0) * step, torch.ones(3).double(), rtol=0, atol=1e-8)
    mean = (log_posterior.exp() * grid[..., 0]).sum(0) * step
    torch.testing.assert_close(found.mean[:, 0], mean, rtol=0, atol=1e-8)


@pytest.mark.parametrize("factor", [1.0, 1.3, 0.01])
@pytest.mark.parametrize(("size", "error"), [(1, 1e-8), (2, 1e-3)])
def test_a_linear_gaussian_model_is_met_in_all_that_is_known_of_it(linear_gaussian, size, error, factor):
    truth = type(linear_gaussian)(size, 4)
    x = truth.sample(3)
    found = quadrature(truth.model(truth.wide_posterior(factor)), x.split(2))
    p = truth.posterior(x)
    q = MultivariateNormal(p.loc, scale_tril=factor * torch.linalg.cholesky(truth.covariance))
    torch.testing.assert_close(found.log_px, truth.log_px(x), rtol=0, atol=error)
    torch.testing.assert_close(found.kl_q_posterior, kl_divergence(q, p), rtol=0, atol=error)
    torch.testing.assert_close(found.mean, p.loc, rtol=0, atol=error)
    torch.testing.assert_close(found.covariance, truth.covariance.expand(3, size, size), rtol=0, atol=error)
    assert found.error.max() < 10 * error
    assert found.notes == []
    assert {metric.kind for name, metric in found.metrics.items() if "err" not in name} == {"exact"}
    assert found.metrics["quadrature_log_px_nats"].value == pytest.approx(float(found.log_px.mean()))


@pytest.mark.parametrize("scale", [0.5, 1e-3])
def test_a_mixture_is_met_that_has_modes_of_which_q_knows_nothing(linear_gaussian, scale):
    """A prior of three Gaussians, as narrow as a thousandth, under a linear-Gaussian likelihood; q is elsewhere."""
    truth = type(linear_gaussian)(1, 4)
    model = truth.model()
    prior = priors.Mixture(1, 3).double()
    means, weights = torch.tensor([-4.0, 0.3, 3.0]).double(), torch.tensor([0.3, 0.1, 0.6]).double()
    with torch.no_grad():
        prior.loc.copy_(means[:, None])
        prior.log_scale.fill_(math.log(scale))
        prior.log_weights.copy_(weights.log())
    model.parts["prior"] = prior
    x = truth.sample(3)
    covariance = truth.scale**2 * torch.eye(4).double() + scale**2 * truth.weight @ truth.weight.T
    components = MultivariateNormal(truth.bias + means[:, None] * truth.weight[:, 0], covariance)
    expected = MixtureSameFamily(Categorical(weights), components).log_prob(x)
    torch.testing.assert_close(quadrature(model, [x]).log_px, expected, rtol=0, atol=1e-8)


def test_what_has_a_mode_that_no_draw_is_near_is_integrated_all_the_same():
    """Prior and q are N(0, 1); all of the likelihood is a Gaussian of width 0.05 at 6.5, in the prior's tail."""

    def densities(z):
        log_p = Normal(0 * spike, 1 + 0 * spike).log_prob(z[:, 0])
        return log_p + Normal(spike, width).log_prob(z[:, 0]), log_p, log_p

    spike, width = torch.tensor([6.5, 0.05], dtype=torch.float64)

    draws = torch.randn(1024, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = integrate(densities, draws, draws, tolerance=1e-9, most_points=2**15)
    assert found.log_px == pytest.approx(float(Normal(0 * spike, (1 + width**2).sqrt()).log_prob(spike)), abs=1e-8)


def flow_model() -> VAE:
    torch.manual_seed(0)
    posterior = posteriors.Planar(MLP(6, [8]), 2)
    return VAE(priors.Flow(2, transforms=2, hidden=(8,)), posterior, likelihoods.Bernoulli(MLP(2, [8]), 6))


def mixture_model() -> VAE:
    return network_model(2, posterior=posteriors.MixtureOfGaussians)


def hierarchical_model() -> Hierarchical:
    torch.manual_seed(0)
    gaussian = posteriors.DiagonalGaussian
    inference = BottomUp([gaussian(MLP(6, [8]), 1), gaussian(MLP(1, [8]), 1)])
    return Hierarchical(priors.StandardNormal(1), [gaussian(MLP(1, [8]), 1)], inference, likelihoods.Bernoulli(MLP(1, [8]), 6))


def conditional_model() -> VAE:
    torch.manual_seed(0)
    posterior = posteriors.DiagonalGaussian(MLP(6, [8], context_features=3), 2)
    decoder = likelihoods.Bernoulli(MLP(2, [8], context_features=3), 6)
    return VAE(priors.StandardNormal(2), posterior, decoder, context=Context({"kind": Categories(3)}))


@pytest.mark.parametrize("build", [flow_model, mixture_model, hierarchical_model, conditional_model])
def test_models_of_other_parts_agree_with_importance_sampling(build):
    """Missing entries and conditions are as the model takes them; a float32 model is integrated in float64."""
    model, x = build(), bits(3)
    observed = torch.ones_like(x, dtype=torch.bool)
    observed[0, :3] = False
    context = {"kind": torch.tensor([0, 1, 2])} if build is conditional_model else {}
    batch = Batch(x, observed=observed, context=context)
    found, sampled = quadrature(model, [batch]), evaluate(model, [batch], samples=4000)
    assert found.error.max() < 1e-2
    assert sampled.log_px is not None
    assert sampled.elbo is not None
    z = (sampled.log_px.estimate - found.log_px) / sampled.log_px.mc_variance.sqrt()
    assert z.abs().max() < 4.5
    assert (found.elbo - sampled.elbo).abs().max() < 0.2
    assert (found.kl_q_posterior > 0).all()
    assert next(model.parameters()).dtype == torch.float32
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_is_not_resolved_is_said_and_called_an_estimate():
    found = quadrature(network_model(2, activation="relu"), [bits(2)], tolerance=1e-10, most_points=30_000)
    assert (found.error > 1e-9).all()
    assert "For 2 of 2 data the quadrature is not as exact as wanted" in str(found)
    assert found.metrics["quadrature_log_px_nats"].kind == "estimate"
    finer = quadrature(network_model(2, activation="relu"), [bits(2)], tolerance=1e-3)
    assert ((found.log_px - finer.log_px).abs() < found.error + finer.error).all()


def test_the_record_that_methods_share_has_both_sides_and_no_sampling_error():
    found = quadrature(network_model(), [bits(2)], split="valid")
    record = found.record
    assert record.method == "quadrature"
    assert torch.equal(record.lower, found.log_px)
    assert record.mc_stderr == 0
    assert (record.split, record.samples) == ("valid", found.points)


def test_one_datum_has_no_error_over_data_and_progress_counts_all():
    seen = []
    assert "kl_q_posterior_stderr_nats" not in quadrature(network_model(), [bits(1)], progress=seen.append).metrics
    quadrature(network_model(), [bits(2), bits(1)], progress=seen.append)
    assert sum(seen) == 4


def test_what_cannot_be_integrated_is_refused_with_what_works():
    broken = network_model()
    nn.init.constant_(next(broken.parts["likelihood"].parameters()), torch.nan)
    with pytest.raises(InputError, match=r"a latent of 1 or 2 entries, and that of this model has 3; use importance sampling"):
        quadrature(network_model(3), [bits()])
    with pytest.raises(InputError, match="the test split has no data"):
        quadrature(network_model(), [])
    with pytest.raises(InputError, match="tolerance must be a positive number; it is 0"):
        quadrature(network_model(), [bits()], tolerance=0.0)
    with pytest.raises(InputError, match="not a number"):
        quadrature(broken, [bits()])
    discrete = VAE(priors.Uniform(2, "binary"), posteriors.Bernoulli(MLP(6, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 6))
    with pytest.raises(InputError, match="quadrature needs latents that are real numbers"):
        quadrature(discrete, [bits()])

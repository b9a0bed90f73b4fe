"""Calibration of every kind of model whose exact posterior is known: none is found wrong, and its neighbor is."""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal

from amortized import VAE, Batch, Hierarchical, InputError, likelihoods, posteriors, priors
from amortized.distributions import Bits, OneHot, VonMisesFisher
from amortized.evaluation import calibration
from amortized.models import BottomUp
from amortized.networks import MLP, Categorical, Context, Fill

NOT_REJECTED = 1e-3
REJECTED = 1e-6
S = 0.8


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


class Part(nn.Module):
    """A part made of a function."""

    has_density = True

    def __init__(self, event, call, space="real"):
        super().__init__()
        self.event_shape, self.call, self.space = torch.Size(event), call, space

    def forward(self, *given):
        return self.call(*given)


def gaussian(loc, scale):
    return Independent(Normal(loc, scale), 1)


def conditional(share):
    """z ~ N(c, 1), x | z, c ~ N(z + 3 c, s^2) with c in {0, 1, 2}: z | x, c ~ N(c + g (x - 4 c), 1 - g), g = 1 / (1 + s^2).

    The posterior is given `share` of c; with 1 it is exact.
    """
    codes, gain = torch.arange(3.0), 1 / (1 + S**2)
    return VAE(
        Part([1], lambda c: gaussian(c @ codes[:, None], 1.0)),
        Part([1], lambda x, c: gaussian((k := share * (c @ codes[:, None])) + gain * (x - 4 * k), (1 - gain) ** 0.5)),
        Part([1], lambda z, c: gaussian(z + 3 * (c @ codes[:, None]), S)),
        context=Context({"y": Categorical(3)}),
        condition=("prior", "posterior", "likelihood"),
    )


def with_labels(n):
    return Batch(torch.zeros(n, 1), context={"y": torch.arange(n) % 3})


def test_the_conditions_are_those_of_the_data_and_reach_every_part():
    exact = calibration(conditional(1.0), [with_labels(5), with_labels(40)])
    assert (exact.p_values > NOT_REJECTED).all()
    assert (calibration(conditional(0.8), [with_labels(45)]).p_values < REJECTED).any()


def test_a_model_with_conditions_asks_for_them():
    with pytest.raises(InputError, match="condition 'y' is missing"):
        calibration(conditional(1.0))


def missing(truth, sees_mask):
    """p(z | x_o) of the linear Gaussian model; without the mask every hole is taken for a zero that was observed."""

    def posterior(seen):
        values, mask = seen.chunk(2, -1)
        weight = (mask if sees_mask else torch.ones_like(mask)).unsqueeze(-1) * truth.weight
        precision = torch.eye(truth.latent_dim).double() + weight.mT @ weight / truth.scale**2
        pull = weight.mT @ (values - truth.bias).unsqueeze(-1) / truth.scale**2
        return MultivariateNormal(torch.linalg.solve(precision, pull).squeeze(-1), precision_matrix=precision)

    parts = truth.model().parts
    return VAE(parts["prior"], Part([truth.latent_dim], posterior), parts["likelihood"], fill=Fill(mask=True)).double()


def test_what_is_missing_of_the_data_is_missing_of_the_simulated_ones(linear_gaussian):
    holes = torch.rand(200, 5) < 0.4
    batches = [Batch.of(torch.where(holes, torch.nan, linear_gaussian.sample(200))), linear_gaussian.sample(20)]
    assert (calibration(missing(linear_gaussian, True), batches).p_values > NOT_REJECTED).all()
    assert (calibration(missing(linear_gaussian, False), batches).p_values < REJECTED).any()
    assert (calibration(missing(linear_gaussian, True), [linear_gaussian.sample(20)]).p_values > NOT_REJECTED).all()


def classes(sharpness):
    """One of 4 classes, each with its own probabilities of 6 bits; sharpness 1 is the exact posterior."""
    weight = 1.5 * torch.randn(6, 4, generator=torch.Generator().manual_seed(1))

    def posterior(x):
        log_px = x @ weight - nn.functional.softplus(weight).sum(0)
        return OneHot(sharpness * log_px.unsqueeze(1))

    likelihood = Part([6], lambda z: Independent(Bernoulli(logits=z.squeeze(-2) @ weight.T), 1))
    return VAE(priors.Uniform((1, 4), "categorical"), Part([1, 4], posterior, "categorical"), likelihood)


def test_one_hot_latents_are_ranked_by_their_likelihood_and_their_ties_at_random():
    exact = calibration(classes(1.0))
    assert exact.z_ranks.shape == (1000, 0)
    assert "calibration_p_value_z" not in exact.metrics
    assert "coverage_90" not in exact.metrics
    assert (exact.p_values > NOT_REJECTED).all()
    for sharpness in (0.0, 3.0):
        wrong = calibration(classes(sharpness))
        assert wrong.metrics["calibration_p_value_log_px"].value < REJECTED
        assert "entr" not in str(wrong)


def bits(sharpness):
    """z_d uniform on {0, 1}, x | z ~ N(z, s^2 I): the log-odds of z_d given x are (x_d - 1/2) / s^2; sharpness 1 is exact."""
    posterior = Part([3], lambda x: Bits(sharpness * (x - 0.5) / S**2), "binary")
    return VAE(priors.Uniform(3, "binary"), posterior, Part([3], lambda z: gaussian(z, S)))


def test_bits_are_ranked_entry_by_entry_with_their_ties_at_random():
    exact = calibration(bits(1.0))
    assert exact.z_ranks.shape == (1000, 3)
    assert (exact.p_values > NOT_REJECTED).all()
    assert (calibration(bits(2.5)).p_values < REJECTED).any()


def sphere(share):
    """z uniform on the sphere, x | z ~ N(z, s^2 I): z | x is von Mises-Fisher around x / |x|, with concentration |x| / s^2."""

    def posterior(x):
        length = x.norm(dim=-1)
        return VonMisesFisher(x / length.unsqueeze(-1), share * length / S**2)

    return VAE(priors.Uniform(3, "sphere"), Part([3], posterior, "sphere"), Part([3], lambda z: gaussian(z, S)))


def test_latents_on_the_sphere_are_ranked():
    assert (calibration(sphere(1.0)).p_values > NOT_REJECTED).all()
    assert (calibration(sphere(2.0)).p_values < REJECTED).any()


def hierarchical(size):
    """z_2 ~ N(0, 1), z_1 | z_2 ~ N(z_2, 1), x | z_1 ~ N(z_1, s^2): z_1 ~ N(0, 2), and both posteriors are of one line."""
    gain = 2 / (2 + S**2)
    first = Part([1], lambda x: gaussian(gain * x, size * (2 * (1 - gain)) ** 0.5))
    second = Part([1], lambda below: gaussian(below / 2, 0.5**0.5))
    link = Part([1], lambda above: gaussian(above, 1.0))
    return Hierarchical(priors.StandardNormal(1), [link], BottomUp([first, second]), Part([1], lambda z: gaussian(z, S)))


def test_the_groups_of_a_hierarchy_are_ranked_as_one_vector():
    exact = calibration(hierarchical(1.0))
    assert exact.z_ranks.shape == (1000, 2)
    assert (exact.p_values > NOT_REJECTED).all()
    assert (calibration(hierarchical(0.7)).p_values < REJECTED).any()


def test_a_scalar_latent_and_an_image_of_them_are_flattened():
    scalar = VAE(
        Part([], lambda: Normal(0.0, 1.0)),
        Part([], lambda x: Normal(x / (1 + S**2), S / (1 + S**2) ** 0.5)),
        Part([], lambda z: Normal(z, S)),
    )
    found = calibration(scalar)
    assert found.z_ranks.shape == (1000, 1)
    assert (found.p_values > NOT_REJECTED).all()
    posterior = posteriors.DiagonalGaussian(MLP(5, [4]), (2, 3))
    image = VAE(priors.StandardNormal((2, 3)), posterior, likelihoods.Bernoulli(MLP((2, 3), [4]), 5))
    assert calibration(image, simulations=20).z_ranks.shape == (20, 6)


def test_in_float32_the_exact_posterior_is_calibrated_and_a_narrow_one_is_not(linear_gaussian):
    assert (calibration(linear_gaussian.model().float()).p_values > NOT_REJECTED).all()
    assert (calibration(linear_gaussian.model(linear_gaussian.wide_posterior(0.7)).float()).p_values < REJECTED).any()

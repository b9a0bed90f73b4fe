import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from amortized import VAE, Batch, Hierarchical, InputError, likelihoods, posteriors, priors
from amortized.distributions import OneHot
from amortized.evaluation import activity, surgery
from amortized.models import BottomUp
from amortized.networks import MLP

double = torch.float64


class Hand(nn.Module):
    """q(z | x) = N(gain * x[:D], scale^2), written by hand, and known as a family without a mean where asked."""

    is_mean_field = has_density = True

    def __init__(self, gain, scale=0.1, *, knows_mean=True):
        super().__init__()
        self.gain, self.scale, self.knows_mean = torch.tensor(gain, dtype=double), scale, knows_mean
        self.event_shape = self.gain.shape

    def forward(self, x, context=None):
        loc = self.gain * x[:, : len(self.gain)]
        q = Independent(Normal(loc, torch.full_like(loc, self.scale)), 1)
        return q if self.knows_mean else Unknown(q.base_dist, 1)


class Unknown(Independent):
    @property
    def mean(self):
        raise NotImplementedError


def by_hand(gain, *, weight=1.0, **options):
    likelihood = likelihoods.Gaussian(MLP(len(gain), []), 4, scale=1.0)
    model = VAE(priors.StandardNormal(len(gain)), Hand(gain, **options), likelihood).double()
    with torch.no_grad():
        likelihood.head.output.weight.mul_(weight)
    return model


def data(n=400, seed=1):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=double)


def test_units_are_counted_by_the_variance_of_their_means():
    gain = [0.0, 0.05, 0.2, 1.0]
    found = activity(by_hand(gain), data().split(150))
    torch.testing.assert_close(found.variance, (torch.tensor(gain, dtype=double) * data()).var(0), rtol=1e-12, atol=1e-15)
    assert found.active.tolist() == [False, False, True, True]
    assert found.metrics["active_units"].value == 2
    assert found.metrics["active_share"].value == 0.5
    assert not found.collapsed
    assert "2 of 4 latent units are active" in str(found)
    assert activity(by_hand(gain), [data()], threshold=1e-4).metrics["active_units"].value == 3


def test_where_the_mean_is_not_known_the_noise_of_its_estimate_is_not_counted_as_activity():
    """100 draws of standard deviation 1 alone would make the variance of their mean 0.01, and half of the units active."""
    gain = [0.0, 0.0, 0.0, 0.4]
    found = activity(by_hand(gain, scale=1.0, knows_mean=False), [data(400)], samples=1)
    expected = (torch.tensor(gain, dtype=double) * data(400)).var(0)
    error = math.sqrt(2 / 400) * (expected + 0.01)  # of a variance, and of the noise that is subtracted
    assert ((found.variance - expected).abs() < 4.5 * error).all()
    for seed in range(10):
        few = activity(by_hand(gain, scale=1.0, knows_mean=False), data(64, seed).split(20), samples=3, seed=seed)
        assert few.active.tolist() == [False, False, False, True]


def test_a_rate_is_known_by_unit_and_is_that_of_the_closed_form():
    gain = [0.0, 0.5]
    found = activity(by_hand(gain, scale=0.3), [data()])
    assert found.rate_by_unit is not None
    assert found.rate is not None
    loc = torch.tensor(gain, dtype=double) * data()[:, :2]
    exact = 0.5 * (loc.square() + 0.09 - 1) - math.log(0.3)
    torch.testing.assert_close(found.rate_by_unit, exact.mean(0))
    torch.testing.assert_close(found.rate, exact.sum(1))
    assert found.rate_is_exact


def test_a_decoder_that_ignores_the_latent_is_called_collapsed_though_q_moves():
    found = activity(by_hand([1.0, 1.0], weight=0.0), [data()])
    assert found.metrics["active_units"].value == 2
    torch.testing.assert_close(found.gain, torch.zeros(400, dtype=double), rtol=0, atol=1e-12)
    assert found.collapsed
    assert "Posterior collapse: the decoder ignores the latent" in str(found)
    assert "warmup_epochs" in str(found)


def test_a_posterior_that_is_the_prior_is_called_collapsed_with_no_active_unit():
    model = by_hand([0.0, 0.0], scale=1.0)
    found = activity(model, [data()])
    assert found.metrics["active_units"].value == 0
    assert found.collapsed
    assert "Posterior collapse: 0 of 2 latent units are active, the rate is 0.000 nats" in str(found)
    assert surgery(model, [data(50)]).metrics["mutual_information_nats"].value == pytest.approx(0, abs=1e-12)


def test_a_rate_that_does_not_vary_with_the_data_is_no_activity_and_both_readings_of_it_are_named():
    found = activity(by_hand([0.0, 0.0], scale=0.01), [data()])
    assert found.rate is not None
    assert found.rate.mean() > 7
    assert found.collapsed
    assert "A rate without an active unit" in str(found)
    assert "A rate without" not in str(activity(by_hand([0.0, 0.0], scale=1.0), [data()]))


def test_a_model_that_is_trained_against_a_decoder_without_the_latent_collapses():
    """The ELBO's own maximum: with weights of z at zero, and held there, every unit goes to the prior."""
    torch.manual_seed(0)
    likelihood = likelihoods.Gaussian(MLP(2, []), 4, scale=1.0)
    model = VAE(priors.StandardNormal(2), posteriors.DiagonalGaussian(MLP(4, [8]), 2), likelihood).double()
    with torch.no_grad():
        likelihood.head.output.weight.zero_()
    before = activity(model, [data()])
    assert before.rate is not None
    assert before.rate.mean() > 0.05
    x, optimizer = data(100), torch.optim.Adam(model.parts["posterior"].parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        model.terms(x).kl.mean().backward()  # all of the bound that depends on q
        optimizer.step()
    found = activity(model, [data()])
    assert found.metrics["active_units"].value == 0
    assert found.collapsed
    assert "the decoder ignores the latent" in str(found)


def test_the_gain_is_the_difference_of_two_expectations_in_closed_form(linear_gaussian):
    """E_q - E_p of log p(x|z): both Gaussian, over a Gaussian likelihood."""
    model, x = linear_gaussian.model(), linear_gaussian.sample(300)
    found = activity(model, [x], samples=200)
    q = linear_gaussian.posterior(x)
    identity, zero = torch.eye(3, dtype=double), torch.zeros(3, dtype=double)
    under_q = linear_gaussian.expected_log_px(x, q.mean, linear_gaussian.covariance)
    exact = under_q - linear_gaussian.expected_log_px(x, zero, identity)
    error = found.gain - exact
    assert abs(float(error.mean())) < 4.5 * float(error.std()) / math.sqrt(300)
    assert found.metrics["latent_gain_nats"].value > 1


def test_a_point_mass_has_units_and_no_rate():
    torch.manual_seed(0)
    model = VAE(priors.StandardNormal(2), posteriors.Delta(MLP(4, [8]), 2), likelihoods.Gaussian(MLP(2, [8]), 4)).double()
    found = activity(model, [data(30)])
    assert found.rate is None
    assert found.rate_by_unit is None
    assert found.metrics["active_units"].value == 2
    assert "point mass" in str(found)
    assert not found.collapsed


def test_groups_of_latents_have_a_rate_each_which_sum_to_the_whole():
    torch.manual_seed(0)
    low, high = posteriors.DiagonalGaussian(MLP(4, [6]), 3), posteriors.DiagonalGaussian(MLP(3, [6]), 2)
    link = posteriors.DiagonalGaussian(MLP(2, [6]), 3)
    model = Hierarchical(priors.StandardNormal(2), [link], BottomUp([low, high]), likelihoods.Gaussian(MLP(3, [6]), 4)).double()
    found = activity(model, [data(40)], samples=20)
    assert found.variance.shape == (5,)
    assert found.rate is not None
    assert found.rate_by_group is not None
    assert found.rate_by_group.shape == (2,)
    assert float(found.rate_by_group.sum()) == pytest.approx(float(found.rate.mean()))
    assert {"rate_group_1_nats", "rate_group_2_nats"} <= set(found.metrics)
    assert found.metrics["rate_group_1_nats"].kind == "estimate"
    first = model.terms(data(40), samples=500).kl.mean((1, 2)).detach()
    torch.testing.assert_close(found.rate_by_group, first, rtol=0.1, atol=0.02)


def test_classes_are_units_by_variable():
    class Classes(nn.Module):
        event_shape, has_density, space = torch.Size((2, 3)), True, "categorical"

        def forward(self, x, context=None):
            return OneHot(torch.stack((8 * x[:, :3], 0 * x[:, :3]), 1))

    model = VAE(priors.Uniform((2, 3), "categorical"), Classes(), likelihoods.Gaussian(MLP((2, 3), [8]), 4)).double()
    found = activity(model, [data(50)])
    assert found.active.tolist() == [True, False]


@pytest.mark.parametrize("posterior", [posteriors.Planar, posteriors.InverseAutoregressive, posteriors.MixtureOfGaussians])
def test_every_posterior_is_looked_at(posterior):
    torch.manual_seed(0)
    model = VAE(priors.Mixture(2, 3), posterior(MLP(4, [8]), 2), likelihoods.Gaussian(MLP(2, [8]), 4))
    x = data(30).float()
    x[3, 1] = torch.nan
    found = activity(model.train(), [Batch.of(x)], samples=20)
    assert found.variance.shape == (2,)
    assert found.gain.isfinite().all()
    assert found.gain.dtype == double
    assert not found.rate_is_exact
    assert model.training


def test_the_same_seed_gives_the_same_numbers_and_progress_counts_every_datum():
    seen = []
    model = by_hand([1.0])
    first = activity(model, data(30).split(8), seed=3, split="valid", progress=seen.append)
    assert sum(seen) == 30
    assert torch.equal(first.gain, activity(model, data(30).split(8), seed=3).gain)
    assert not torch.equal(first.gain, activity(model, data(30).split(8), seed=4).gain)
    assert {(metric.split, metric.samples) for metric in first.metrics.values()} == {("valid", 10)}


def test_what_cannot_be_is_refused():
    model = by_hand([1.0])
    with pytest.raises(InputError, match="samples must be a positive integer; it is 0"):
        activity(model, [data()], samples=0)
    with pytest.raises(InputError, match="threshold is a variance, and cannot be -1"):
        activity(model, [data()], threshold=-1)
    for n in (0, 1):
        with pytest.raises(InputError, match=f"the test split has {n} data"):
            activity(model, [data(n)] if n else [])

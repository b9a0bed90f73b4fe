import itertools

import pytest
import torch

from amortized.distributions import ChannelLogisticMixture, DiscretizedLogistic, LogisticMixture


def channel_mixture(levels, *batch, channels=3, components=4, dtype=torch.float64, spread=1.0):
    torch.manual_seed(0)
    pairs = channels * (channels - 1) // 2
    logits = torch.randn(*batch, components, dtype=dtype)
    loc = spread * torch.randn(*batch, channels, components, dtype=dtype)
    scale = 0.05 + torch.rand(*batch, channels, components, dtype=dtype)
    coefficients = torch.tanh(torch.randn(*batch, pairs, components, dtype=dtype))
    return ChannelLogisticMixture(logits, loc, scale, coefficients, levels)


def mixture(levels, *batch, components=4, dtype=torch.float64):
    torch.manual_seed(0)
    logits, loc = torch.randn(2, *batch, components, dtype=dtype)
    return LogisticMixture(logits, loc, 0.05 + torch.rand(*batch, components, dtype=dtype), levels)


def every_pixel(levels, channels=3):
    return torch.tensor(list(itertools.product(range(levels), repeat=channels)), dtype=torch.float64)


def chi_square(counts, mass):
    expected = counts.sum() * mass
    kept = expected > 5
    return ((counts - expected)[kept].square() / expected[kept]).sum().item(), int(kept.sum()) - 1


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_the_mass_of_all_levels_is_one(levels):
    x = torch.arange(levels, dtype=torch.float64)[:, None]
    torch.testing.assert_close(mixture(levels, 6).log_prob(x).exp().sum(0), torch.ones(6, dtype=torch.float64))


@pytest.mark.parametrize(("levels", "channels"), [(2, 3), (6, 3), (5, 2), (3, 5), (9, 1)])
def test_the_mass_of_all_pixels_is_one(levels, channels):
    x = every_pixel(levels, channels)
    mass = channel_mixture(levels, 6, channels=channels).log_prob(x[:, None]).exp().sum(0)
    torch.testing.assert_close(mass, torch.ones(6, dtype=torch.float64))


def test_one_component_is_the_discretized_logistic():
    torch.manual_seed(0)
    loc, x = torch.randn(7, dtype=torch.float64), torch.randint(16, (3, 7))
    scale = torch.rand(7, dtype=torch.float64) + 0.05
    single = DiscretizedLogistic(loc, scale, 16)
    one = LogisticMixture(torch.randn(7, 1, dtype=torch.float64), loc[:, None], scale[:, None], 16)
    torch.testing.assert_close(one.log_prob(x), single.log_prob(x))
    torch.testing.assert_close(one.mean, single.mean)
    torch.testing.assert_close(one.variance, single.variance)


def test_each_channel_of_one_component_is_a_discretized_logistic_given_those_before_it():
    p, x = channel_mixture(16, components=1), torch.tensor([3.0, 15.0, 0.0], dtype=torch.float64)
    u = 2 * x / 15 - 1
    (loc, scale, a) = (value.squeeze(-1) for value in (p.loc, p.scale, p.coefficients))
    centers = torch.stack([loc[0], loc[1] + a[0] * u[0], loc[2] + a[1] * u[0] + a[2] * u[1]])
    torch.testing.assert_close(p.log_prob(x), DiscretizedLogistic(centers, scale, 16).log_prob(x).sum())


def test_the_channels_of_a_pixel_share_their_component():
    loc = torch.tensor([[-50.0, 50.0], [-50.0, 50.0]])  # the components are all black and all white
    p = ChannelLogisticMixture(torch.zeros(2), loc, torch.ones(2, 2), torch.zeros(1, 2), 4)
    torch.testing.assert_close(p.log_prob(torch.tensor([[0, 0], [3, 3]])).exp(), torch.tensor([0.5, 0.5]))
    assert set(map(tuple, p.sample((50,)).tolist())) == {(0.0, 0.0), (3.0, 3.0)}


def test_the_mean_and_the_variance_are_those_of_the_mass():
    p, x = mixture(9, 6), torch.arange(9, dtype=torch.float64)[:, None]
    mass = p.log_prob(x).exp()
    mean = (mass * x).sum(0)
    torch.testing.assert_close(p.mean, mean)
    torch.testing.assert_close(p.variance, (mass * (x - mean).square()).sum(0))


def test_the_center_is_the_mean_where_no_channel_depends_on_another():
    p, x = channel_mixture(5, 6), every_pixel(5)
    free = ChannelLogisticMixture(p.logits, p.loc, p.scale, torch.zeros_like(p.coefficients), 5)
    mean = (free.log_prob(x[:, None]).exp()[..., None] * x[:, None]).sum(0)
    torch.testing.assert_close(free.center, mean)
    exact = (p.log_prob(x[:, None]).exp()[..., None] * x[:, None]).sum(0)
    torch.testing.assert_close(p.center[:, 0], exact[:, 0])
    with pytest.raises(NotImplementedError):
        _ = p.mean


def test_the_center_is_the_mean_inside_the_range_of_levels():
    torch.manual_seed(0)
    loc, a = 0.1 * torch.randn(3, 4, dtype=torch.float64), 0.3 * torch.rand(3, 4, dtype=torch.float64)
    p = ChannelLogisticMixture(torch.zeros(4).double(), loc, torch.full_like(loc, 0.04), a, 31)  # no mass at the end levels
    x = every_pixel(31)
    exact = (p.log_prob(x).exp()[:, None] * x).sum(0)
    torch.testing.assert_close(p.center, exact, rtol=0, atol=1e-3)


def test_samples_agree_with_the_mass():
    torch.manual_seed(1)
    p = mixture(6, 2)
    counts = torch.stack([torch.bincount(column.long(), minlength=6) for column in p.sample((20_000,)).unbind(1)])
    for row in range(2):
        mass = p.log_prob(torch.arange(6.0).double()[:, None]).exp()[:, row]
        chi2, freedom = chi_square(counts[row], mass)
        assert abs(chi2 - freedom) < 4.5 * (2 * freedom) ** 0.5


def test_samples_of_pixels_agree_with_the_mass():
    torch.manual_seed(1)
    p, x = channel_mixture(4, 2), every_pixel(4)
    samples = p.sample((20_000,))
    assert samples.shape == (20_000, 2, 3)
    codes = (samples @ torch.tensor([16.0, 4.0, 1.0]).double()).long()
    for row in range(2):
        chi2, freedom = chi_square(torch.bincount(codes[:, row], minlength=64), p.log_prob(x[:, None])[:, row].exp())
        assert abs(chi2 - freedom) < 4.5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("loc", [-1e4, 0.0, 1e4])
@pytest.mark.parametrize("scale", [1e-4, 1e5])
def test_extremes_are_finite_with_their_gradients(loc, scale):
    given = [torch.tensor([0.0, 80.0]), torch.full((3, 2), loc), torch.full((3, 2), scale), torch.ones(3, 2)]
    given = [value.requires_grad_() for value in given]
    log_prob = ChannelLogisticMixture(*given, levels=256).log_prob(torch.tensor([[0, 255, 128], [255, 0, 1]]))
    log_prob.sum().backward()
    assert log_prob.isfinite().all()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in given)


def test_float32_agrees_with_float64():
    x = torch.randint(256, (50, 6, 3), generator=torch.Generator().manual_seed(0))
    x = x.byte()  # a type in which 2 x would overflow
    double = channel_mixture(256, 6)
    tensors = [value.float() for value in (double.logits, double.loc, double.scale, double.coefficients)]
    single = ChannelLogisticMixture(*tensors, levels=256).log_prob(x)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double.log_prob(x), rtol=1e-5, atol=1e-4)


def test_an_expanded_distribution_scores_the_same():
    p, x = channel_mixture(5, 6), torch.randint(5, (2, 6, 3))
    assert p.expand((2, 6)).batch_shape == (2, 6)
    torch.testing.assert_close(p.expand((2, 6)).log_prob(x), p.log_prob(x))
    q = mixture(5, 6)
    torch.testing.assert_close(q.expand((2, 6)).log_prob(x[..., 0]), q.log_prob(x[..., 0]))


def test_validation_refuses_a_level_that_does_not_exist():
    for p, x in ((mixture(4), torch.tensor(4.0)), (channel_mixture(4), torch.tensor([0.0, 4.0, 1.0]))):
        with pytest.raises(ValueError, match="support"):
            p.log_prob(x)

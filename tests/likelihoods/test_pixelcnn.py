import itertools

import pytest
import torch

from amortized.distributions import Autoregressive, center, masked_log_prob
from amortized.errors import InputError
from amortized.likelihoods import PixelCNN
from amortized.networks import MLP, ConvDecoder

SMALL = {"channels": 12, "layers": 2, "kernel": 3, "context_channels": 3}
TINY = [((2, 2), 2), ((1, 2, 3), 3), ((2, 3), 3)]


def build(event, **options):
    torch.manual_seed(0)
    return PixelCNN(MLP(5, [8], activation="tanh"), event, **{**SMALL, **options})


def tiny(event, levels):
    """A likelihood with few images, all of them, and its distribution at two latents."""
    likelihood = build(event, levels=levels).double()
    with torch.no_grad():
        likelihood.decoder.output.weight.mul_(100)  # so that the entries depend on one another
    p = likelihood(torch.randn(2, 5).double())
    images = torch.tensor(list(itertools.product(range(levels), repeat=p.event_shape.numel()))).double()
    return p, images.view(-1, 1, *event)


@pytest.mark.parametrize(("event", "levels"), [((5, 4), 2), ((4, 3, 3), 2), ((3, 4), 5), ((3, 2, 3), 4)])
def test_shapes_and_gradients(event, levels):
    likelihood, x = build(event, levels=levels), torch.randint(levels, (6, *event)).float()
    for lead in ((6,), (2, 6)):
        z = torch.randn(*lead, 5, requires_grad=True)
        p = likelihood(z)
        assert (p.batch_shape, p.event_shape) == (lead, event)
        assert p.sample().shape == (*lead, *event)
        likelihood.check(p.sample((2,)).flatten(0, -1 - len(event)))
        likelihood.zero_grad()
        p.log_prob(x).sum().backward()
        assert z.grad is not None
        assert (z.grad.abs().sum(-1) > 0).all()
        for name, parameter in likelihood.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(("event", "levels"), TINY)
def test_the_mass_of_all_images_is_one(event, levels):
    p, images = tiny(event, levels)
    torch.testing.assert_close(p.log_prob(images).exp().sum(0), torch.ones(2).double())


@pytest.mark.parametrize(("event", "levels"), TINY)
def test_samples_agree_with_the_mass(event, levels):
    p, images = tiny(event, levels)
    n = 6000
    places = levels ** torch.arange(p.event_shape.numel() - 1, -1, -1).view(event)
    counts = torch.bincount((p.sample((n,))[:, 1].long() * places).flatten(1).sum(1), minlength=len(images))
    expected = n * p.log_prob(images)[:, 1].exp()
    kept = expected > 5
    chi2, freedom = ((counts - expected)[kept].square() / expected[kept]).sum(), int(kept.sum()) - 1
    assert freedom >= 10
    assert abs(chi2 - freedom) < 4.5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize(("event", "levels"), [((5, 6), 2), ((4, 3, 2), 3)])
def test_it_samples_what_a_pass_for_each_entry_samples(event, levels):
    likelihood = build(event, levels=levels)
    with torch.no_grad():
        likelihood.decoder.output.weight.mul_(1e5)  # so that the draws are no matter of chance
        likelihood.decoder.tilt.normal_().mul_(1e4)
    p = likelihood(torch.randn(6, 5))
    in_passes = Autoregressive(p.conditionals, p.order, p.order.numel(), p.batch_shape, support=p.support)
    assert torch.equal(p.sample(), in_passes.sample())
    assert p.sample().unique().numel() > 1


def test_entries_depend_on_one_another_given_z():
    p, images = tiny((2, 2), 2)
    mass = p.log_prob(images)[:, 0].exp()
    mean = (mass[:, None] * images.flatten(1)).sum(0)  # of every entry
    if_they_did_not = torch.where(images.flatten(1) == 1, mean, 1 - mean).prod(1)
    assert (mass - if_they_did_not).abs().sum() > 0.1


def test_every_latent_sample_scores_as_it_does_alone():
    likelihood, x = build((4, 3)).double(), torch.randint(2, (6, 4, 3)).double()
    z = torch.randn(3, 6, 5).double()
    together = likelihood(z).log_prob(x)
    torch.testing.assert_close(together, torch.stack([likelihood(one).log_prob(x) for one in z]))
    torch.testing.assert_close(likelihood(z[0, 0]).log_prob(x[0]), together[0, 0])
    torch.testing.assert_close(likelihood(z[0]).expand((3, 6)).log_prob(x), together[:1].expand(3, 6))


@pytest.mark.parametrize(("levels", "mean"), [(2, 0.3), (8, 5.5)])
def test_it_starts_near_the_mean_of_the_data_wherever_z_is(levels, mean):
    likelihood = build((4, 4), levels=levels)
    wanted = mean + torch.linspace(-0.2, 0.2, 16).view(4, 4)
    likelihood.initialize(wanted)
    with torch.no_grad():
        likelihood.decoder.output.weight.zero_()
    x = torch.zeros(1, 4, 4)
    entries = likelihood(torch.randn(1, 5)).conditionals(x).base_dist
    probabilities = torch.stack((1 - entries.probs, entries.probs), -1) if levels == 2 else entries.probs
    means = (probabilities * torch.arange(levels)).sum(-1)[0]
    torch.testing.assert_close(means, wanted, rtol=1e-4, atol=1e-4)
    untouched = build((4, 4), levels=levels)
    untouched.initialize(wanted)
    assert (untouched(torch.randn(400, 5)).sample().mean(0) - wanted).abs().max() < 0.2 * levels


def test_the_ends_of_the_levels_are_possible_means():
    for levels in (2, 256):
        likelihood = build((2, 2), levels=levels)
        likelihood.initialize(torch.tensor([[0.0, levels - 1.0], [0.0, levels - 1.0]]))
        assert likelihood(torch.zeros(1, 5)).log_prob(torch.zeros(1, 2, 2)).isfinite().all()
        assert likelihood.decoder.tilt.isfinite().all()


def test_what_z_knows_is_learned_and_what_the_neighbors_know_as_well():
    torch.manual_seed(0)
    likelihood = PixelCNN(MLP(1, [8]), (3, 3), **SMALL)
    optimizer = torch.optim.Adam(likelihood.parameters(), 0.02)
    for _ in range(80):
        z, first = torch.randn(64, 1).sign(), torch.randint(2, (64, 1, 1)).float()
        x = torch.where(z.view(-1, 1, 1) > 0, first, torch.tensor([[0.0, 1, 0]]).T).expand(64, 3, 3)
        optimizer.zero_grad()
        (-likelihood(z).log_prob(x).mean()).backward()
        optimizer.step()
    striped, coin = likelihood(-torch.ones(1, 1)), likelihood(torch.ones(1, 1))
    assert striped.log_prob(torch.tensor([[0.0, 1, 0]]).T.expand(1, 3, 3)).item() == pytest.approx(0, abs=0.2)
    for value in (0.0, 1.0):  # one bit is left: that of the first pixel, which the others repeat
        assert coin.log_prob(torch.full((1, 3, 3), value)).item() == pytest.approx(-0.6931, abs=0.3)


def test_a_convolutional_decoder_and_bfloat16_are_taken():
    likelihood = PixelCNN(ConvDecoder(5, (5, 4, 3), channels=(4, 4)), (5, 4, 3), levels=256, **SMALL)
    z, x = torch.randn(2, 3, 5), torch.randint(256, (3, 5, 4, 3)).float()
    exact = likelihood(z).log_prob(x)
    assert exact.shape == (2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert likelihood(z).log_prob(x).dtype == torch.float32
    half = likelihood.to(torch.bfloat16)(z.bfloat16())
    assert half.log_prob(x).dtype == torch.float32
    torch.testing.assert_close(half.log_prob(x), exact, rtol=0.01, atol=1)
    assert half.sample().max() <= 255


def test_its_center_is_a_draw_and_missing_entries_are_refused():
    likelihood = build((3, 3))
    p = likelihood(torch.randn(4, 5))
    assert likelihood.factorizes is False
    assert set(center(p).unique().tolist()) == {0.0, 1.0}
    with pytest.raises(InputError, match="not independent"):
        masked_log_prob(p, torch.zeros(4, 3, 3), torch.ones(4, 3, 3))


@pytest.mark.parametrize(
    ("event", "options", "message"),
    [
        (12, {}, "needs images .* or use 'bernoulli'"),
        ((2, 2, 2, 2), {}, "needs images"),
        ((3, 3), {"levels": 1}, "levels must be"),
        ((3, 3), {"kernel": 2}, "kernel must be"),
        ((3, 3), {"context_channels": 0}, "context_channels must be"),
    ],
)
def test_what_makes_no_pixelcnn_is_refused(event, options, message):
    with pytest.raises(InputError, match=message):
        build(event, **options)


def test_it_knows_its_support():
    with pytest.raises(InputError, match="'pixelcnn' needs integers 0..1"):
        build((4, 3)).check(torch.full((2, 4, 3), 4.0))

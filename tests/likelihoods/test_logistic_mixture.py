import itertools

import pytest
import torch

from amortized.distributions import DiscretizedLogistic, center, masked_log_prob
from amortized.errors import InputError
from amortized.likelihoods import LogisticMixture
from amortized.networks import MLP, ConvDecoder

IMAGE = (3, 4, 3)


def build(event, levels=4, **options):
    torch.manual_seed(0)
    return LogisticMixture(MLP(5, [8], activation="tanh"), event, levels=levels, **options)


def at_zero(event, **options):
    """The likelihood of a decoder whose features are zero: of its bias alone."""
    likelihood = LogisticMixture(MLP(5, []), event, levels=256, **options).double()
    return likelihood, torch.zeros(1, 5, dtype=torch.float64)


def test_shapes_and_gradients_of_images_with_channels():
    likelihood, x = build(IMAGE), torch.randint(4, (6, *IMAGE)).float()
    for lead in ((6,), (2, 6)):
        z = torch.randn(*lead, 5, requires_grad=True)
        p = likelihood(z)
        assert (p.batch_shape, p.event_shape) == (lead, IMAGE)
        assert p.sample((3,)).shape == (3, *lead, *IMAGE)
        likelihood.zero_grad()
        p.log_prob(x).sum().backward()
        assert z.grad is not None
        assert (z.grad.abs().sum(-1) > 0).all()
        for parameter in likelihood.parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            assert parameter.grad.abs().sum() > 0


@pytest.mark.parametrize("event", [(1, 1, 3), (1, 2, 2)])
def test_the_mass_of_all_images_is_one(event):
    p = build(event, components=3).double()(torch.randn(2, 5).double())
    entries = event[1] * event[2]
    images = torch.tensor(list(itertools.product(range(4), repeat=entries))).double().view(-1, 1, *event)
    torch.testing.assert_close(p.log_prob(images).exp().sum(0), torch.ones(2).double())


def test_a_channel_depends_on_those_before_it_and_on_no_other_pixel():
    likelihood = build((1, 2, 3), levels=256).double()
    x = torch.randint(256, (1, 2, 3)).double().requires_grad_()
    score = likelihood(torch.randn(5).double()).log_prob(x)
    hessian = torch.autograd.functional.hessian(likelihood(torch.randn(5).double()).log_prob, x).view(6, 6)  # pyright: ignore[reportAttributeAccessIssue]
    assert score.shape == ()
    assert (hessian[:3, 3:] == 0).all()
    assert (hessian[:3, :3] != 0).all()


@pytest.mark.parametrize(("event", "factorizes"), [(4, True), ((4, 3), True), ((4, 3, 1), True), ((4, 3, 2), False)])
def test_missing_entries_are_left_out_where_it_factorizes(event, factorizes):
    likelihood = build(event)
    assert likelihood.factorizes == factorizes
    p, observed = likelihood(torch.randn(2, 5)), torch.rand(2, *likelihood.event_shape) < 0.5
    x = torch.randint(4, (2, *likelihood.event_shape)).float()
    if factorizes:
        by_entry = p.base_dist.log_prob(x) * observed
        torch.testing.assert_close(masked_log_prob(p, x, observed), by_entry.flatten(1).sum(1))
    else:
        with pytest.raises(InputError, match="not independent"):
            masked_log_prob(p, x, observed)


def test_one_component_without_channels_is_the_discretized_logistic():
    likelihood = build((4, 3), levels=16, components=1)
    z, x = torch.randn(2, 5), torch.randint(16, (2, 4, 3)).float()
    mixture = likelihood(z).base_dist
    single = DiscretizedLogistic(mixture.loc.squeeze(-1), mixture.scale.squeeze(-1), 16)
    torch.testing.assert_close(likelihood(z).log_prob(x), single.log_prob(x).sum((1, 2)))


@pytest.mark.parametrize("components", [1, 10])
@pytest.mark.parametrize("event", [(6,), (2, 3), (2, 2, 3)])
def test_it_starts_at_the_mean_of_the_data(event, components):
    likelihood, z = at_zero(event, components=components)
    mean = torch.linspace(2, 250, likelihood.event_shape.numel()).view(event)
    likelihood.initialize(mean)
    torch.testing.assert_close(center(likelihood(z))[0].float(), mean, rtol=1e-4, atol=1e-4)
    assert likelihood(z).log_prob(mean.round().double()).isfinite().all()


def test_it_starts_with_components_that_differ():
    likelihood, z = at_zero((6,))
    likelihood.initialize(torch.full((6,), 127.5))
    loc = likelihood(z).base_dist.loc[0, 0]
    assert loc.unique().numel() == 10
    assert loc.diff().min() > 0.1


def test_the_ends_of_the_levels_are_possible_means():
    likelihood, z = at_zero((2, 2, 3))
    likelihood.initialize(torch.tensor([0.0, 255.0, 128.0]))
    p, x = likelihood(z), torch.tensor([0.0, 255.0, 128.0]).expand(2, 2, 3)
    assert p.log_prob(x).isfinite().all()
    assert all(parameter.isfinite().all() for parameter in likelihood.parameters())


def test_a_convolutional_decoder_gives_images():
    for event in ((6, 5), IMAGE):
        likelihood = LogisticMixture(ConvDecoder(5, event, channels=(4, 4)), event, levels=8)
        likelihood.initialize(torch.full(event, 3.0))
        assert likelihood(torch.randn(2, 3, 5)).log_prob(torch.randint(8, (3, *event))).shape == (2, 3)


def test_two_modes_are_learned_that_one_logistic_cannot_have():
    torch.manual_seed(0)
    likelihood = LogisticMixture(MLP(1, []), 1, levels=32, components=2)
    likelihood.initialize(torch.tensor([15.5]))
    optimizer = torch.optim.Adam(likelihood.parameters(), 0.05)
    x, z = torch.tensor([[3.0], [28.0]]), torch.zeros(2, 1)
    for _ in range(200):
        optimizer.zero_grad()
        (-likelihood(z).log_prob(x).mean()).backward()
        optimizer.step()
    assert -likelihood(z).log_prob(x).mean() < 0.6931 + 0.2  # the entropy of a fair coin; a single logistic is above 3


@pytest.mark.parametrize(("options", "message"), [({"levels": 1}, "levels"), ({"components": 0}, "components")])
def test_options_that_make_no_likelihood_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        build((4, 3), **options)


def test_it_knows_its_support():
    with pytest.raises(InputError, match="'logistic-mixture' needs integers 0..3"):
        build((4, 3)).check(torch.full((2, 4, 3), 4.0))

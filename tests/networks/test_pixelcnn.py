import math

import pytest
import torch
from torch.nn.functional import logsigmoid

from amortized.errors import InputError
from amortized.networks import GatedPixelCNN


def network(event, **options):
    torch.manual_seed(0)
    options = {"channels": 24, "layers": 3, "kernel": 3, "context_channels": 2, **options}
    net = GatedPixelCNN(event, **options).double()
    with torch.no_grad():
        net.tilt.normal_()
    return net


def features(net, rows=1):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, net.context_channels, *net.event_shape[:2], generator=generator, dtype=torch.float64)


def dependencies(net):
    """(entries, entries) whether the logits of an entry (row) change with the level of an entry (column)."""
    event, s = net.event_shape, features(net)
    x = torch.randint(net.levels, (1, *event)).double()
    score = lambda x: net(x, s).reshape(event.numel(), -1).sin().sum(-1)  # noqa: E731
    return torch.autograd.functional.jacobian(score, x).reshape(event.numel(), event.numel()) != 0


@pytest.mark.parametrize("levels", [2, 4])
@pytest.mark.parametrize("event", [(4, 5), (5, 3, 1), (3, 4, 3), (4, 1), (1, 5, 2)])
def test_an_entry_sees_exactly_the_entries_before_it(event, levels):
    net = network(event, levels=levels, layers=5)  # whose reach, 5, is the whole image: no entry before may be missed
    before = torch.ones(net.event_shape.numel(), net.event_shape.numel()).tril(-1).bool()
    assert torch.equal(dependencies(net), before)


@pytest.mark.parametrize(("kernel", "layers"), [(3, 1), (3, 2), (5, 1)])
def test_the_field_of_view_is_a_rectangle_without_a_blind_spot(kernel, layers):
    net = network((7, 7), kernel=kernel, layers=layers)
    rows, columns = torch.arange(49) // 7, torch.arange(49) % 7
    above, aside = rows[:, None] - rows, columns - columns[:, None]
    in_row = (above == 0) & (aside < 0) & (aside >= -net.reach)
    over = (above > 0) & (above <= net.reach + 1) & (aside.abs() <= net.reach)
    assert torch.equal(dependencies(net), in_row | over)


@pytest.mark.parametrize("levels", [2, 3])
def test_the_feature_map_reaches_the_pixel_itself_and_every_layer(levels):
    net, s = network((3, 3, 2), levels=levels), features(network((3, 3, 2))).requires_grad_()
    x = torch.randint(levels, (1, 3, 3, 2))
    for entry in range(18):
        (gradient,) = torch.autograd.grad(net(x, s).reshape(18, -1)[entry].sin().sum(), s)
        assert (gradient[0].flatten(1)[:, : entry // 2 + 1] != 0).all()
    net(x, s).sin().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in net.parameters())


@pytest.mark.parametrize(("event", "levels"), [((6, 7), 2), ((5, 4, 3), 4), ((5, 6, 2), 2)])
def test_filling_says_of_each_entry_what_one_pass_says(event, levels):
    net = network(event, levels=levels, kernel=3, layers=1)  # a short reach, so that what is left out matters
    s, said = features(net, 3), []

    def draw(logits):
        said.append(logits)
        return torch.randint(levels, (3,))

    x = net.fill(3, s, draw)
    assert x.shape == (3, *event)
    assert x.unique().tolist() == list(range(levels))
    torch.testing.assert_close(torch.stack(said, 1), net(x, s).reshape(3, len(said), *(() if levels == 2 else (levels,))))


def test_the_tilt_alone_is_an_exponential_family_of_the_levels():
    net = network((2, 2), levels=4)
    with torch.no_grad():
        net.output.weight.zero_()
        net.output.bias.zero_()
    logits = net(torch.zeros(1, 2, 2), features(net))[0]
    torch.testing.assert_close(logits, net.tilt[..., None] * torch.tensor([0, 1 / 3, 2 / 3, 1]).double())


def nll_nats(net, x):
    return -logsigmoid((2 * x - 1) * net(x)).sum((1, 2)).mean()


def test_it_learns_to_copy_the_pixel_above():
    torch.manual_seed(0)
    net = GatedPixelCNN((4, 4), channels=8, layers=2, kernel=3)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        x = torch.randint(2, (32, 1, 4)).float().expand(32, 4, 4)
        optimizer.zero_grad()
        nll_nats(net, x).backward()
        optimizer.step()
    x = torch.cartesian_prod(*[torch.arange(2.0)] * 4)[:, None].expand(16, 4, 4)
    assert nll_nats(net, x).item() == pytest.approx(4 * math.log(2), abs=0.1)  # the entropy of the first row is all that is left


def test_integers_of_any_type_and_bfloat16_are_taken():
    net = network((3, 3), levels=256)
    x = torch.randint(256, (2, 3, 3))
    torch.testing.assert_close(net(x.byte(), features(net, 2)), net(x.double(), features(net, 2)))
    single = network((3, 3), levels=256).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert single(x, features(net, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": 4}, "kernel must be an odd integer"),
        ({"levels": 1}, "levels must be an integer of 2 or more"),
        ({"channels": 2}, "channels must be an integer of 3 or more"),
        ({"layers": 0}, "layers must be an integer of 1 or more"),
        ({"event": (12,)}, "event must be"),
    ],
)
def test_arguments_that_make_no_network_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        GatedPixelCNN(**{"event": (3, 3, 3), **options})


def test_shapes_that_do_not_fit_are_refused():
    net = network((3, 3))
    with pytest.raises(InputError, match="takes images"):
        net(torch.zeros(1, 3, 4), features(net))
    with pytest.raises(InputError, match="feature map"):
        net(torch.zeros(1, 3, 3))

import pytest
import torch
from torch import nn

from amortized.errors import InputError
from amortized.networks import MLP, ConvDecoder, ConvEncoder, apply

K, B, C = 3, 4, 5
NETWORKS = {
    "mlp": lambda **kwargs: MLP((2, 3), [7, 6], **kwargs),
    "gated mlp": lambda **kwargs: MLP((2, 3), [7, 6], gated=True, norm="layer", **kwargs),
    "encoder": lambda **kwargs: ConvEncoder((5, 7, 2), (3, 4), **kwargs),
    "decoder": lambda **kwargs: ConvDecoder(6, (5, 7), (4, 3), norm="layer", **kwargs),
}


class Shaped(nn.Module):
    """A user's network that names the shape of its input, and takes no context."""

    def __init__(self, inner, in_shape):
        super().__init__()
        self.inner = inner
        self.in_shape = in_shape

    def forward(self, x):
        return self.inner(x)


def rows(*lead, network):
    return torch.randn(*lead, *network.in_shape, dtype=torch.float64)


@pytest.mark.parametrize("inject", ["none", "input", "layers", "film"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_fold_over_samples_and_data_equals_a_loop_over_samples(name, inject):
    conditions = {} if inject == "none" else {"context_features": C, "inject": inject}
    network = NETWORKS[name](**conditions).double()
    nn.init.normal_(network.get_parameter("layers.0.film.weight")) if inject == "film" else None
    x = rows(K, B, network=network)
    context = torch.randn(B, C, dtype=torch.float64) if conditions else None
    looped = torch.stack([network(x[k]) if context is None else network(x[k], context) for k in range(K)])
    torch.testing.assert_close(apply(network, x, context), looped, rtol=0, atol=1e-12)


def test_a_context_is_expanded_over_the_leading_dimensions():
    network = MLP(6, [7], context_features=C).double()
    x, context = rows(2, K, B, network=network), torch.randn(B, C, dtype=torch.float64)
    torch.testing.assert_close(apply(network, x, context), apply(network, x, context.expand(2, K, B, C)), rtol=0, atol=0)


def test_one_event_without_leading_dimensions_gives_one_row_of_features():
    network = MLP(6, [7]).double()
    x = rows(network=network)
    torch.testing.assert_close(apply(network, x), network(x[None])[0], rtol=0, atol=0)


def test_a_network_of_vectors_takes_an_image_as_its_flattened_row():
    network = MLP(6, [7]).double()
    x = torch.randn(K, B, 2, 3, dtype=torch.float64)
    torch.testing.assert_close(apply(network, x), network(x.reshape(K * B, 6)).reshape(K, B, 7), rtol=0, atol=0)


@pytest.mark.parametrize("wrap", [lambda linear: linear, lambda linear: nn.Sequential(linear)])
def test_a_plain_module_gets_the_context_concatenated_to_its_input(wrap):
    plain = wrap(nn.Linear(6 + C, 7)).double()
    x, context = torch.randn(K, B, 6, dtype=torch.float64), torch.randn(B, C, dtype=torch.float64)
    expected = plain(torch.cat((x, context.expand(K, B, C)), -1))
    torch.testing.assert_close(apply(plain, x, context), expected, rtol=0, atol=1e-12)


def test_a_plain_module_with_an_input_shape_counts_the_context_in_it():
    plain = nn.Linear(6 + C, 7).double()
    shaped = Shaped(plain, (6 + C,))
    x, context = torch.randn(B, 2, 3, dtype=torch.float64), torch.randn(B, C, dtype=torch.float64)
    torch.testing.assert_close(apply(shaped, x, context), apply(plain, x, context), rtol=0, atol=0)


def test_no_rows_give_no_features():
    assert apply(MLP(6, [7]), torch.zeros(K, 0, 6)).shape == (K, 0, 7)


@pytest.mark.parametrize(
    ("network", "x", "context", "message"),
    [
        (MLP(6, [7]), (B, 5), None, r"takes events of shape \(6,\); its input has shape \(4, 5\)"),
        (MLP(8, [7]), (2, 4), None, r"takes events of shape \(8,\)"),
        (ConvEncoder((4, 4)), (B, 4, 4, 1), None, r"takes events of shape \(4, 4\)"),
        (MLP(6, [7], context_features=C), (K, B, 6), (K, C), r"context of shape \(3, 5\) does not fit .* leading shape \(3, 4\)"),
        (MLP(6, [7], context_features=C), (6,), (B, C), "does not fit"),
        (MLP(6, [7], context_features=C), (B, 6), None, "built for a context of width 5 and got none"),
        (MLP(6, [7], context_features=C), (B, 6), (B, 4), "width 5 and got one of width 4"),
        (MLP(6, [7]), (B, 6), (B, C), "width 0 and got one of width 5"),
        (Shaped(nn.Flatten(), (2, 3)), (B, 2, 3), (B, C), "Shaped takes no context"),
    ],
)
def test_an_input_or_a_context_of_another_shape_is_refused(network, x, context, message):
    with pytest.raises(InputError, match=message):
        apply(network, torch.zeros(x), None if context is None else torch.zeros(context))

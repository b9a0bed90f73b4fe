import pytest
import torch
from torch import nn

from amortized.errors import InputError
from amortized.networks import MLP, ConvDecoder, ConvEncoder, Head

K, B = 3, 4


class FeatureMap(nn.Module):
    """A user's own network that makes a feature map."""

    def __init__(self):
        super().__init__()
        self.in_features = 6
        self.out_shape = (2, 3, 5)

    def forward(self, x):
        return x.repeat(1, 5).reshape(-1, 2, 3, 5)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("event", [7, (7,), (5, 7), (5, 7, 3), (5, 7, 1), (2, 2)], ids=str)
@pytest.mark.parametrize(
    "network", [MLP(6, [8]), MLP(6, []), ConvDecoder(6, (5, 7)), nn.Linear(6, 8)], ids=lambda n: type(n).__name__
)
def test_a_head_makes_count_tensors_of_the_events_shape(network, event, count):
    head = Head(network, event, count)
    outputs = head(torch.randn(K, B, 6))
    assert head.event_shape == torch.Size((event,) if isinstance(event, int) else event)
    assert [tuple(out.shape) for out in outputs] == [(K, B, *head.event_shape)] * count


def test_a_convolutional_head_keeps_each_pixel_and_channel_in_its_place():
    torch.manual_seed(0)
    head = Head(ConvDecoder(6, (5, 7)), (5, 7, 3), 2).double()
    x = torch.randn(K, B, 6, dtype=torch.float64)
    maps = torch.stack([head.output(head.network(x[k])) for k in range(K)])  # (K, B, 2 * 3, 5, 7)
    for position, out in enumerate(head(x)):
        for channel in range(3):
            torch.testing.assert_close(out[..., channel], maps[:, :, 3 * position + channel], rtol=0, atol=1e-12)


def test_a_feature_map_of_another_size_than_the_event_is_flattened():
    head = Head(FeatureMap(), 40, 1).double()
    x = torch.randn(K, B, 6, dtype=torch.float64)
    expected = head.output(head.network(x.reshape(K * B, 6)).flatten(1)).reshape(K, B, 40)
    torch.testing.assert_close(head(x)[0], expected, rtol=0, atol=1e-12)


def test_a_head_on_no_hidden_layer_is_exactly_linear():
    torch.manual_seed(0)
    head = Head(MLP((2, 3), []), (4, 5), 2).double()
    weight, bias = (head.output.get_parameter(name) for name in ("weight", "bias"))
    weight, bias = weight.reshape(2, 4, 5, 6), bias.reshape(2, 4, 5)
    x = torch.randn(K, B, 2, 3, dtype=torch.float64)
    for position, out in enumerate(head(x)):
        expected = torch.einsum("hwi,kbi->kbhw", weight[position], x.flatten(2)) + bias[position]
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("network", [MLP(6, [8]), ConvDecoder(6, (5, 7))], ids=["linear", "convolutional"])
def test_a_bias_that_is_set_is_the_output_where_the_weights_are_zero(network):
    head = Head(network, (5, 7, 3), 2).double()
    nn.init.zeros_(head.output.get_parameter("weight"))
    before = head(torch.zeros(1, 6, dtype=torch.float64))[0]
    value = torch.rand(5, 7, 3, dtype=torch.float64)
    head.set_bias(1, value)
    first, second = head(torch.randn(1, 6, dtype=torch.float64))
    expected = value.mean((0, 1)).expand(5, 7, 3) if isinstance(network, ConvDecoder) else value
    torch.testing.assert_close(second[0], expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(first, before, rtol=0, atol=0)
    assert head.output.get_parameter("bias").requires_grad


def test_parameters_keep_the_type_of_the_weights_under_autocast():
    head = Head(MLP(6, [8]), 3, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = head(torch.randn(B, 6))
    assert {out.dtype for out in outputs} == {torch.float32}


def test_a_context_passes_through_the_head_to_the_network():
    torch.manual_seed(0)
    head = Head(ConvEncoder((5, 7), (3,), context_features=2), 4, 1)
    x, context = torch.randn(B, 5, 7), torch.randn(B, 2)
    torch.testing.assert_close(head(x, context)[0], head.output(head.network(x, context)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Head(nn.Sequential(nn.Linear(3, 4)), 5, 1), "network Sequential does not say how many features it has"),
        (lambda: Head(MLP(3, [4]), -5, 1), "event must be positive integers; it is -5"),
        (lambda: Head(MLP(3, [4]), (28, 0), 1), "event must be positive integers"),
        (lambda: Head(MLP(3, [4]), 5, 2).set_bias(2, torch.zeros(5)), "0 to 1; it is 2"),
        (lambda: Head(MLP(3, [4]), 5, 2).set_bias(0, torch.zeros(4)), r"shape \(5,\); it has shape \(4,\)"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(build, message):
    with pytest.raises(InputError, match=message):
        build()

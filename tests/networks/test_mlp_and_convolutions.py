import itertools

import pytest
import torch
from torch import nn

from amortized.errors import InputError
from amortized.networks import MLP, ConvDecoder, ConvEncoder
from amortized.networks.layers import ACTIVATIONS

C = 3
SIZES = [(1, 1), (8, 8), (28, 20), (28, 28), (32, 32, 3), (105, 105), (5, 7)]
BUILDERS = {
    "mlp": lambda **kwargs: MLP((3, 4), [6, 5], **kwargs),
    "encoder": lambda **kwargs: ConvEncoder((5, 7, 2), (3, 4), **kwargs),
    "decoder": lambda **kwargs: ConvDecoder(6, (5, 7), (4, 3), **kwargs),
}
STYLES = [
    {"activation": activation, "norm": norm, "dropout": dropout, "gated": gated}
    for activation, norm, dropout, gated in itertools.product(
        ("tanh", "silu"), (None, "batch", "layer"), (0.0, 0.5), (False, True)
    )
]
INJECTIONS = ["input", "layers", "film"]


def rows(network, count=4, dtype=torch.float32):
    return torch.randn(count, *network.in_shape, dtype=dtype)


def out_shape(network):
    return getattr(network, "out_shape", None) or (network.out_features,)


@pytest.mark.parametrize("inject", ["none", *INJECTIONS])
@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize("name", BUILDERS)
def test_the_output_has_the_promised_shape_and_every_parameter_a_gradient(name, style, inject):
    conditions = {} if inject == "none" else {"context_features": C, "inject": inject}
    network = BUILDERS[name](**style, **conditions)
    out = network(rows(network), torch.randn(4, C)) if conditions else network(rows(network))
    assert tuple(out.shape[1:]) == tuple(out_shape(network))
    (out * torch.randn_like(out)).sum().backward()
    assert [key for key, parameter in network.named_parameters() if parameter.grad is None] == []
    # Dropout may hide a few entries of a small network, never all gradients of a whole parameter of a network without it.
    if not style["dropout"] and style["norm"] is None:
        assert [key for key, parameter in network.named_parameters() if not parameter.grad.any()] == []


@pytest.mark.parametrize("channels", [[4], [4, 3], [4, 3, 2]])
@pytest.mark.parametrize("shape", SIZES, ids=str)
def test_the_encoder_halves_rounding_up_and_the_decoder_returns_to_the_size(shape, channels):
    encoder, decoder = ConvEncoder(shape, channels[::-1]), ConvDecoder(6, shape, channels)
    height, width = shape[:2]
    for _ in channels:
        height, width = -(-height // 2), -(-width // 2)
    assert encoder.out_features == 4 * height * width
    assert encoder(rows(encoder, 2)).shape == (2, encoder.out_features)
    assert decoder.smallest == (4, height, width)
    assert decoder(rows(decoder, 2)).shape == (2, *decoder.out_shape)
    assert decoder.out_shape == (channels[-1], *shape[:2])


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("gated", [False, True])
def test_film_at_initialization_is_the_network_without_a_context(name, gated):
    plain = BUILDERS[name](gated=gated, norm="layer").double()
    film = BUILDERS[name](gated=gated, norm="layer", context_features=C, inject="film").double()
    missing, unexpected = film.load_state_dict(plain.state_dict(), strict=False)
    assert unexpected == []
    assert all(".film." in key for key in missing)
    x, context = rows(plain, dtype=torch.float64), torch.randn(4, C, dtype=torch.float64)
    torch.testing.assert_close(film(x, context), plain(x), rtol=0, atol=0)


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("inject", INJECTIONS)
def test_the_context_changes_the_row_it_belongs_to_and_no_other(name, inject):
    network = BUILDERS[name](context_features=C, inject=inject, activation="tanh").double()
    for key, parameter in network.named_parameters():
        nn.init.normal_(parameter, std=0.3) if ".film." in key else None
    x, context = rows(network, dtype=torch.float64), torch.randn(4, C, dtype=torch.float64)
    changed = context.clone()
    changed[1] += 1
    difference = (network(x, changed) - network(x, context)).flatten(1).abs().amax(1)
    assert difference[1] > 1e-6
    assert (difference[[0, 2, 3]] < 1e-14).all()


def test_a_context_enters_a_convolution_as_constant_channels():
    conditional = ConvEncoder((5, 7, 2), (3,), context_features=C).double()
    plain = ConvEncoder((5, 7, 2 + C), (3,)).double()
    plain.load_state_dict(conditional.state_dict())
    x, context = rows(conditional, dtype=torch.float64), torch.randn(4, C, dtype=torch.float64)
    channels = context[:, None, None].expand(4, 5, 7, C)
    torch.testing.assert_close(conditional(x, context), plain(torch.cat((x, channels), -1)), rtol=0, atol=1e-12)


def test_a_gray_image_with_and_without_its_channel_is_the_same_image():
    without, with_one = ConvEncoder((5, 7)).double(), ConvEncoder((5, 7, 1)).double()
    with_one.load_state_dict(without.state_dict())
    x = rows(without, dtype=torch.float64)
    torch.testing.assert_close(without(x), with_one(x[..., None]), rtol=0, atol=1e-12)


def test_a_gated_layer_is_the_product_of_an_affine_map_and_a_sigmoid():
    network = MLP(4, [3], gated=True).double()
    (affine,) = [module for module in network.modules() if isinstance(module, nn.Linear)]
    a, b = affine.weight.chunk(2)
    shift_a, shift_b = affine.bias.chunk(2)
    x = rows(network, dtype=torch.float64)
    torch.testing.assert_close(network(x), (x @ a.T + shift_a) * torch.sigmoid(x @ b.T + shift_b), rtol=0, atol=1e-14)


def test_layer_normalization_makes_moments_zero_and_one_within_a_row():
    features = MLP(40, [30], norm="layer", activation="identity").double()(torch.randn(5, 40, dtype=torch.float64))
    torch.testing.assert_close(features.mean(1), torch.zeros(5, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(features.var(1, correction=0), torch.ones(5, dtype=torch.float64), rtol=1e-3, atol=0)


def test_no_hidden_layer_is_the_identity_on_input_and_context():
    x, context = torch.randn(4, 2, 3), torch.randn(4, C)
    torch.testing.assert_close(MLP((2, 3), [])(x), x.flatten(1), rtol=0, atol=0)
    network = MLP((2, 3), [], context_features=C)
    assert network.out_features == 6 + C
    torch.testing.assert_close(network(x, context), torch.cat((x.flatten(1), context), 1), rtol=0, atol=0)


def test_dropout_acts_in_training_only():
    network = MLP(50, [50], dropout=0.5, activation="identity")
    x = rows(network)
    zeros = (network(x) == 0).double().mean().item()
    assert abs(zeros - 0.5) < 5 * (0.25 / 200) ** 0.5
    assert (network.eval()(x) != 0).all()


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("norm", [None, "batch", "layer"])
def test_networks_run_under_bfloat16_autocast(name, norm):
    network = BUILDERS[name](norm=norm, context_features=C, inject="film")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(rows(network), torch.randn(4, C))
    assert out.isfinite().all()


@pytest.mark.parametrize("name", BUILDERS)
def test_a_functional_call_with_constant_parameters_gives_the_same_without_their_gradient(name):
    network = BUILDERS[name](context_features=C)
    constants = {key: parameter.detach() for key, parameter in network.named_parameters()}
    x, context = rows(network).requires_grad_(), torch.randn(4, C)
    out = torch.func.functional_call(network, constants, (x, context))
    torch.testing.assert_close(out, network(x, context), rtol=0, atol=0)
    out.sum().backward()
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_named_activation_is_finite_at_large_inputs(activation):
    assert MLP(3, [4], activation=activation)(1e3 * torch.randn(5, 3)).isfinite().all()


@pytest.mark.parametrize(
    ("network", "x"), [(MLP(3, [4], norm="batch"), (1, 3)), (ConvEncoder((1, 1), (4,), norm="batch"), (1, 1, 1))]
)
def test_batch_normalization_of_one_row_is_refused_in_training_only(network, x):
    with pytest.raises(InputError, match="norm 'batch' needs two or more rows in training"):
        network(torch.zeros(x))
    assert network.eval()(torch.zeros(x)).shape == (1, 4)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: MLP(3, [300, -3]),
            r"network width must be a positive integer; hidden\[1\] is -3; give e.g. hidden=\[300, 300\]",
        ),
        (lambda: MLP(3, [0]), r"hidden\[0\] is 0"),
        (lambda: MLP(3, [2.5]), r"hidden\[0\] is 2.5"),  # pyright: ignore[reportArgumentType]
        (lambda: MLP(3, 300), "hidden must be a list of 0 or more layer widths; it is 300"),  # pyright: ignore[reportArgumentType]
        (lambda: MLP(-3, [4]), "in_shape must be positive integers; it is -3"),
        (lambda: MLP((), [4]), "in_shape must be positive integers"),
        (lambda: MLP(3, [4], dropout=1.0), r"dropout is a probability in \[0, 1\); it is 1.0"),
        (lambda: MLP(3, [4], dropout=-0.1), "dropout is a probability"),
        (lambda: MLP(3, [4], dropout=float("nan")), "dropout is a probability"),
        (lambda: MLP(3, [4], activation="rleu"), "unknown activation 'rleu': did you mean 'relu'?"),
        (lambda: MLP(3, [4], norm="bacth"), "unknown norm 'bacth': did you mean 'batch'?"),
        (lambda: MLP(3, [4], inject="layer"), "unknown inject 'layer': did you mean 'layers'?"),
        (lambda: MLP(3, [4], context_features=-1), "context_features must be an integer, 0 or more; it is -1"),
        (lambda: MLP(3, [], context_features=2, inject="film"), "inject 'film' acts on hidden layers"),
        (lambda: ConvEncoder((28,)), r"in_shape must be \(height, width\) or \(height, width, channels\); it is \(28,\)"),
        (lambda: ConvEncoder((28, 28), []), "channels must be a list of 1 or more"),
        (lambda: ConvEncoder((28, 28), (32, 0)), r"channels\[1\] is 0"),
        (lambda: ConvDecoder(0, (28, 28)), "in_shape must be positive integers; it is 0"),
        (lambda: ConvDecoder(3, (28, 0)), "image_shape must be positive integers"),
        (lambda: MLP(3, [4])(torch.zeros(2, 4)), r"MLP takes rows of shape \(3,\); its input has shape \(2, 4\)"),
        (lambda: ConvEncoder((4, 4))(torch.zeros(2, 4, 5)), "ConvEncoder takes rows of shape"),
        (lambda: ConvDecoder(3, (4, 4))(torch.zeros(2, 3), torch.zeros(2, 1)), "width 0 and got one of width 1"),
    ],
)
def test_wrong_arguments_are_refused_in_one_sentence(build, message):
    with pytest.raises(InputError, match=message):
        build()

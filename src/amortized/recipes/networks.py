"""Descriptions of networks, each of which builds an encoder and a decoder."""

from typing import Annotated, Literal

from torch import nn

from amortized.errors import InputError
from amortized.networks import MLP, ConvDecoder, ConvEncoder
from amortized.recipes.schema import BY_KIND, BY_NAME, Description, Probability, Size


class NetworkDescription(Description):
    """What the networks have in common."""

    activation: Literal["relu", "tanh", "gelu", "silu", "elu", "leaky-relu", "softplus", "identity"] = "relu"
    """The nonlinearity between layers."""
    norm: Literal["batch", "layer"] | None = None
    """Normalization of each layer."""
    dropout: Probability = 0.0
    """Probability that an activation is dropped in training."""
    inject: Literal["input", "layers", "film"] = "input"
    """Where a condition enters: at the input, at all layers, or as a feature-wise affine map of each."""

    def _options(self, context_features: int) -> dict:
        names = ("activation", "norm", "dropout", "inject")
        return {name: getattr(self, name) for name in names} | {"context_features": context_features}


class MLPDescription(NetworkDescription):
    """A multilayer perceptron."""

    kind: Literal["mlp"] = "mlp"
    hidden: list[Size] = [300, 300]
    """Width of each hidden layer of the encoder; the decoder takes them in reverse. None is a linear map."""

    @property
    def _gated(self) -> bool:
        return False

    def encoder(self, in_shape: tuple[int, ...], context_features: int = 0) -> nn.Module:
        """The network of q(z | x)."""
        return MLP(in_shape, self.hidden, gated=self._gated, **self._options(context_features))

    def decoder(self, in_shape: tuple[int, ...], event_shape: tuple[int, ...], context_features: int = 0) -> nn.Module:
        """The network of p(x | z)."""
        return MLP(in_shape, self.hidden[::-1], gated=self._gated, **self._options(context_features))


class GatedMLPDescription(MLPDescription):
    """A multilayer perceptron with gated layers (Tomczak and Welling 2018)."""

    kind: Literal["gated-mlp"] = "gated-mlp"  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def _gated(self) -> bool:
        return True


class ConvDescription(NetworkDescription):
    """Convolutions that halve the image's size at each layer, and the mirror image of that for decoding."""

    kind: Literal["conv"] = "conv"
    channels: list[Size] = [32, 64]
    """Channels of each layer of the encoder; the decoder takes them in reverse."""
    gated: bool = False
    """Whether the layers are gated."""

    def encoder(self, in_shape: tuple[int, ...], context_features: int = 0) -> nn.Module:
        """The network of q(z | x)."""
        _check_image(in_shape)
        return ConvEncoder(in_shape, self.channels, gated=self.gated, **self._options(context_features))

    def decoder(self, in_shape: tuple[int, ...], event_shape: tuple[int, ...], context_features: int = 0) -> nn.Module:
        """The network of p(x | z)."""
        _check_image(event_shape)
        channels = self.channels[::-1]
        return ConvDecoder(in_shape, event_shape, channels, gated=self.gated, **self._options(context_features))


def _check_image(shape: tuple[int, ...]) -> None:
    if len(shape) not in (2, 3):
        raise InputError(f"network 'conv' needs images of shape (H, W) or (H, W, C); a datum has shape {shape}; use 'mlp'.")


Network = Annotated[MLPDescription | GatedMLPDescription | ConvDescription, BY_KIND, BY_NAME]

"""Convolutional networks for images of any size.

An encoder layer (kernel 3, stride 2, padding 1) maps n pixels to ceil(n / 2). The decoder goes back over the same sizes: a
transposed convolution maps n pixels to 2 (n - 1) - 2 + 3 + output_padding = 2 n - 1 + output_padding, so that output_padding =
t - (2 n - 1), which is 0 or 1, reaches the encoder's t exactly (Dumoulin and Visin 2016, arXiv 1603.07285, relationship 14).

Images are (N, H, W) or (N, H, W, C), channels last; moving the channels to the front inside is a view, which torch knows as the
channels-last memory format. The weights have that format too, so that no layer has to rearrange what it is given.
"""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from amortized.networks.layers import Layer, LayerStyle, check_call, check_image_shape, check_shape, check_widths


class ConvEncoder(nn.Module):
    """Images (N, H, W) or (N, H, W, C) to flat features (N, out_features), halving the size at each layer.

    Args:
        in_shape: Shape of one image, (H, W) or (H, W, C).
        channels: Number of channels of each layer.
        activation: As in `MLP`.
        norm: None, 'batch' or 'layer' (over channels and space).
        dropout: Probability that an activation is dropped in training.
        gated: The gate h = A x * sigmoid(B x) in the place of the activation.
        context_features: Width C of the encoded condition; 0 takes none.
        inject: Where the condition enters: at the 'input' or at all 'layers', as constant channels, or as an affine map of
            each layer's channels ('film').

    Raises:
        InputError: An argument, a row or a context is not what the network takes.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        channels: Sequence[int] = (32, 64),
        *,
        activation: str = "relu",
        norm: str | None = None,
        dropout: float = 0.0,
        gated: bool = False,
        context_features: int = 0,
        inject: str = "input",
    ):
        super().__init__()
        style = LayerStyle(activation, norm, dropout, gated, context_features, inject)
        height, width, in_channels = check_image_shape("in_shape", in_shape)
        widths = check_widths("channels", channels, least=1)
        self.in_shape = tuple(in_shape)
        self.context_features = context_features
        halve = partial(nn.Conv2d, kernel_size=3, stride=2, padding=1)
        counts = (in_channels, *widths)
        self.layers = nn.ModuleList(
            Layer(halve, counts[depth], count, style, first=depth == 0) for depth, count in enumerate(widths)
        )
        height, width = _halved((height, width), len(widths))[-1]
        self.out_features = widths[-1] * height * width
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map images (N, *in_shape), and the context (N, C), to features (N, out_features)."""
        check_call(self, self.in_shape, self.context_features, x, context)
        features = x.unsqueeze(1) if x.ndim == 3 else x.movedim(-1, 1)
        for layer in self.layers:
            features = layer(features, context)
        return features.flatten(1)


class ConvDecoder(nn.Module):
    """Latents (N, *in_shape) to a feature map (N, F, H, W) of the image's size: the mirror image of `ConvEncoder`.

    A fully connected layer makes channels[0] maps of the smallest size; each of as many transposed convolutions as there are
    channels doubles it. The condition is concatenated to the latent.

    Args:
        in_shape: Shape of the latent; more than one dimension is flattened.
        image_shape: Shape of the image, (H, W) or (H, W, C); the number of channels is the head's concern.
        channels: Number of channels at each size below the image's, smallest first; the last is also that of the image's size.
        activation: As in `MLP`.
        norm: None, 'batch' or 'layer' (over channels and space).
        dropout: Probability that an activation is dropped in training.
        gated: The gate h = A x * sigmoid(B x) in the place of the activation.
        context_features: Width C of the encoded condition; 0 takes none.
        inject: Where the condition enters, as in `ConvEncoder`; the 'input' is the latent.

    Raises:
        InputError: An argument, a row or a context is not what the network takes.
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        image_shape: Sequence[int],
        channels: Sequence[int] = (64, 32),
        *,
        activation: str = "relu",
        norm: str | None = None,
        dropout: float = 0.0,
        gated: bool = False,
        context_features: int = 0,
        inject: str = "input",
    ):
        super().__init__()
        style = LayerStyle(activation, norm, dropout, gated, context_features, inject)
        height, width, _ = check_image_shape("image_shape", image_shape)
        widths = check_widths("channels", channels, least=1)
        self.in_shape = check_shape("in_shape", in_shape)
        self.context_features = context_features
        sizes = _halved((height, width), len(widths))[::-1]
        self.smallest = (widths[0], *sizes[0])
        self.project = Layer(nn.Linear, math.prod(self.in_shape), math.prod(self.smallest), style, first=True)
        counts = (*widths, widths[-1])
        self.layers = nn.ModuleList(
            Layer(_doubling(sizes[depth], sizes[depth + 1]), counts[depth], counts[depth + 1], style, first=False)
            for depth in range(len(widths))
        )
        self.out_shape = (widths[-1], height, width)
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map latents (N, *in_shape), and the context (N, C), to a feature map (N, F, H, W)."""
        check_call(self, self.in_shape, self.context_features, x, context)
        features = self.project(x.flatten(1), context).unflatten(1, self.smallest)
        for layer in self.layers:
            features = layer(features, context)
        return features


def _halved(size: tuple[int, int], times: int) -> list[tuple[int, int]]:
    sizes = [size]
    for _ in range(times):
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def _doubling(size: tuple[int, int], target: tuple[int, int]) -> partial[nn.Module]:
    extra = (target[0] - (2 * size[0] - 1), target[1] - (2 * size[1] - 1))
    return partial(nn.ConvTranspose2d, kernel_size=3, stride=2, padding=1, output_padding=extra)

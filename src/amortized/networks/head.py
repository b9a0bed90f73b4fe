"""The last layer of a part: from the features of any network to the parameters of a family.

A family with `count` parameters per entry of its event gets them from one affine map: fully connected from flat features, and a
3x3 convolution where the features are a map of the event's own height and width.
"""

import math

import torch
from torch import Tensor, nn

from amortized.errors import InputError
from amortized.networks.folding import apply, broadcasts_to, fold_call
from amortized.networks.layers import check_shape


class Head(nn.Module):
    """A network and the affine map from its features to `count` tensors of the event's shape.

    Args:
        network: Any module that `apply` can call, with `out_features: int`, or with `out_shape: (F, H, W)` for a feature map.
        event: Shape of the event, an integer for a vector.
        count: Number of tensors.

    Attributes:
        event_shape: Shape of the event.

    Raises:
        InputError: The network does not say how many features it has.

    Example:
        >>> from amortized.networks import MLP
        >>> loc, log_scale = Head(MLP(784, [300]), event=40, count=2)(torch.zeros(7, 5, 784))
        >>> loc.shape
        torch.Size([7, 5, 40])
    """

    def __init__(self, network: nn.Module, event: int | tuple[int, ...], count: int):
        super().__init__()
        self.event_shape = torch.Size(check_shape("event", event))
        self.count = count
        self.network = network
        shape = _features_shape(network)
        self.is_map = len(shape) == 3 and len(self.event_shape) in (2, 3) and shape[1:] == tuple(self.event_shape[:2])
        self.feature_shape = shape
        self.features = shape if self.is_map else (math.prod(shape),)
        self.output = (
            nn.Conv2d(shape[0], count * math.prod(self.event_shape[2:]), kernel_size=3, padding=1)
            if self.is_map
            else nn.Linear(self.features[0], count * self.event_shape.numel())
        )
        if self.is_map:
            self.output.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] as in the convolutional networks

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, ...]:
        """Map (*lead, *in_shape), and the context (B, C), to `count` tensors (*lead, *event).

        They have the type of the weights also where autocast computes in bfloat16: log-densities need its digits.
        """
        features = apply(self.network, x, context)
        features = features if self.is_map else features.flatten(-len(self.feature_shape))
        return fold_call(self._rows, features, self.features).unbind(-1 - len(self.event_shape))

    @torch.no_grad()
    def set_bias(self, position: int, value: Tensor) -> None:
        """Set the bias of one of the `count` outputs, so that a decoder can start at the mean of the data.

        A convolution has one bias per channel: it takes the mean of `value` over height and width.

        Args:
            position: Which of the outputs.
            value: The bias, of the event's shape or one that broadcasts to it.
        """
        if not 0 <= position < self.count:
            raise InputError(f"the position of an output of this head is 0 to {self.count - 1}; it is {position}.")
        if not broadcasts_to(value.shape, self.event_shape):
            raise InputError(f"a bias must fit the event's shape {tuple(self.event_shape)}; it has shape {tuple(value.shape)}.")
        full = value.expand(self.event_shape)
        channels = full.double().flatten(0, 1).mean(0) if self.is_map else full
        bias: Tensor = self.output.get_parameter("bias")
        bias.view(self.count, -1)[position] = channels.flatten().to(bias)

    def _rows(self, features: Tensor) -> Tensor:
        out = self.output(features).to(self.output.weight.dtype)
        if not self.is_map:
            return out.reshape(out.shape[0], self.count, *self.event_shape)
        height, width = self.event_shape[:2]
        maps = out.reshape(out.shape[0], self.count, -1, height, width)
        return maps.movedim(2, -1) if len(self.event_shape) == 3 else maps.squeeze(2)


def _features_shape(network: nn.Module) -> tuple[int, ...]:
    if (shape := getattr(network, "out_shape", None)) is not None:
        return tuple(shape)
    if (features := getattr(network, "out_features", None)) is not None:
        return (features,)
    raise InputError(
        f"network {type(network).__name__} does not say how many features it has;"
        " set its attribute 'out_features', or 'out_shape' for a feature map (F, H, W)."
    )

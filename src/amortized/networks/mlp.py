"""The multilayer perceptron h_l = layer(h_{l-1}) of a flattened input, plain or gated; `layers` has the equation of one layer."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from amortized.errors import InputError
from amortized.networks.layers import Layer, LayerStyle, append_context, check_call, check_shape, check_widths


class MLP(nn.Module):
    """A multilayer perceptron: rows (N, *in_shape) to features (N, out_features).

    Args:
        in_shape: Shape of one row; more than one dimension is flattened.
        hidden: Width of each layer. An empty list is the identity on the flattened input and the context, if any: with a `Head`,
            a linear map.
        activation: 'relu', 'tanh', 'gelu', 'silu', 'elu', 'leaky-relu', 'softplus' or 'identity'.
        norm: None, 'batch' or 'layer', before the activation.
        dropout: Probability that an activation is dropped in training.
        gated: The gate h = A x * sigmoid(B x) in the place of the activation.
        context_features: Width C of the encoded condition; 0 takes none.
        inject: Where the condition enters: at the 'input', at all 'layers', or as an affine map of each layer's values ('film').

    Raises:
        InputError: An argument, a row or a context is not what the network takes.

    Example:
        >>> import torch
        >>> MLP((28, 28), [300, 300])(torch.zeros(5, 28, 28)).shape
        torch.Size([5, 300])
    """

    def __init__(
        self,
        in_shape: int | Sequence[int],
        hidden: Sequence[int],
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
        widths = check_widths("hidden", hidden)
        if context_features and inject == "film" and not widths:
            raise InputError("inject 'film' acts on hidden layers; hidden is []; give a layer, or take inject='input'.")
        self.in_shape = check_shape("in_shape", in_shape)
        self.context_features = context_features
        sizes = (math.prod(self.in_shape), *widths)
        self.layers = nn.ModuleList(
            Layer(nn.Linear, sizes[depth], width, style, first=depth == 0) for depth, width in enumerate(widths)
        )
        self.out_features = widths[-1] if widths else sizes[0] + context_features

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map rows (N, *in_shape), and the context (N, C), to features (N, out_features)."""
        check_call(self, self.in_shape, self.context_features, x, context)
        features = x.flatten(1)
        if not len(self.layers):
            return append_context(features, context)
        for layer in self.layers:
            features = layer(features, context)
        return features

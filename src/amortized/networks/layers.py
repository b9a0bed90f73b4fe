"""One layer of a network, and the three ways in which a condition enters it.

With A, B affine maps (fully connected or convolutional), f the activation, s the logistic sigmoid and c the encoded condition:

    plain    h = f( film( norm(A x), c ) )
    gated    h = film( norm(A x), c ) * s(B x)        Tomczak and Welling 2018 (arXiv 1705.07120)

    inject = "input"     x becomes [x, c] at the first layer
    inject = "layers"    x becomes [x, c] at every layer (scVI, Lopez et al. 2018)
    inject = "film"      film(a, c) = a * (1 + u(c)) + v(c), with u and v linear in c (Perez et al. 2018, arXiv 1709.07871)

u = v = 0 at initialization, so that a network starts as the one without a condition. Over a feature map, c enters as constant
channels, and u, v act on channels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amortized.errors import InputError, is_count, nearest

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "leaky-relu": nn.LeakyReLU,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}
NORMS = ("batch", "layer")
INJECTIONS = ("input", "layers", "film")


@dataclass(frozen=True)
class LayerStyle:
    """What all layers of one network have in common; checked at construction."""

    activation: str = "relu"
    norm: str | None = None
    dropout: float = 0.0
    gated: bool = False
    context_features: int = 0
    inject: str = "input"

    def __post_init__(self) -> None:
        """Refuse names and values that mean nothing."""
        _check_name("activation", self.activation, ACTIVATIONS)
        _check_name("inject", self.inject, INJECTIONS)
        if self.norm is not None:
            _check_name("norm", self.norm, NORMS)
        if not 0.0 <= self.dropout < 1.0:
            raise InputError(f"dropout is a probability in [0, 1); it is {self.dropout}; give e.g. dropout=0.1.")
        if not is_count(self.context_features, least=0):
            raise InputError(
                f"context_features must be an integer, 0 or more; it is {self.context_features!r}; 0 is for no context."
            )


class Layer(nn.Module):
    """An affine map, the condition, a normalization, a nonlinearity and dropout, in the order of the module's equations.

    Args:
        affine: Makes the affine map from its numbers of inputs and outputs: `nn.Linear`, or a convolution.
        in_width: Number of inputs (channels), those of the condition not counted.
        width: Number of outputs (channels).
        style: What it shares with the other layers of its network.
        first: Whether this is the layer at the input.
    """

    def __init__(self, affine: Callable[[int, int], nn.Module], in_width: int, width: int, style: LayerStyle, *, first: bool):
        super().__init__()
        conditions = style.context_features
        self.appends_context = bool(conditions) and (style.inject == "layers" or (style.inject == "input" and first))
        self.gated = style.gated
        self.affine = affine(in_width + conditions * self.appends_context, 2 * width if style.gated else width)
        self.norm = _norm(style.norm, width, flat=isinstance(self.affine, nn.Linear))
        self.film = nn.Linear(conditions, 2 * width) if conditions and style.inject == "film" else None
        if self.film is not None:
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)
        self.activation = nn.Identity() if style.gated else ACTIVATIONS[style.activation]()
        self.dropout = nn.Dropout(style.dropout) if style.dropout else nn.Identity()

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (N, in_width, ...) to (N, width, ...), given the context (N, C) if the network has one."""
        if self.appends_context and context is not None:
            x = append_context(x, context)
        value = self.affine(x)
        gate = None
        if self.gated:
            value, gate = value.chunk(2, dim=1)
        if self.norm is not None:
            value = self.norm(_enough_for(self.norm, value))
        if self.film is not None and context is not None:
            scale, shift = _over_space(self.film(context), value).chunk(2, dim=1)
            value = value * (1 + scale) + shift
        value = self.activation(value)
        return self.dropout(value if gate is None else value * gate.sigmoid())


def append_context(x: Tensor, context: Tensor | None) -> Tensor:
    """Concatenate the context (N, C) to the features (N, F, ...) as C more of them, constant over space; None adds none."""
    if context is None:
        return x
    return torch.cat((x, _over_space(context, x).expand(-1, -1, *x.shape[2:])), dim=1)


def check_call(network: nn.Module, in_shape: tuple[int, ...], context_features: int, x: Tensor, context: Tensor | None) -> None:
    """Refuse rows or a context that `network` was not built for."""
    name = type(network).__name__
    if tuple(x.shape[1:]) != in_shape:
        raise InputError(
            f"network {name} takes rows of shape {in_shape}; its input has shape {tuple(x.shape)}. Make the two agree."
        )
    width = 0 if context is None else context.shape[-1]
    if width != context_features:
        given = f"got one of width {width}" if context is not None else "got none"
        raise InputError(
            f"network {name} was built for a context of width {context_features} and {given};"
            f" build it with context_features={width}, or change what it is given."
        )


def check_shape(name: str, shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape as a tuple of positive integers."""
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if not sizes or not all(is_count(size) for size in sizes):
        raise InputError(f"{name} must be positive integers; it is {shape!r}; give e.g. {name}=784 or {name}=(28, 28).")
    return sizes


def check_image_shape(name: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """The height, width and number of channels of images (H, W) or (H, W, C)."""
    sizes = check_shape(name, shape)
    if len(sizes) not in (2, 3):
        raise InputError(f"{name} must be (height, width) or (height, width, channels); it is {shape!r}; give e.g. (28, 28).")
    return sizes[0], sizes[1], sizes[2] if len(sizes) == 3 else 1


def check_widths(name: str, widths: Sequence[int], *, least: int = 0) -> tuple[int, ...]:
    """Layer widths as a tuple of positive integers, `least` of them or more."""
    if isinstance(widths, int | str) or len(widths) < least:
        raise InputError(f"{name} must be a list of {least} or more layer widths; it is {widths!r}; give e.g. {name}=[300, 300].")
    for position, width in enumerate(widths):
        if not is_count(width):
            raise InputError(
                f"network width must be a positive integer; {name}[{position}] is {width!r}; give e.g. {name}=[300, 300]."
            )
    return tuple(widths)


def _check_name(kind: str, name: str, valid: Sequence[str] | dict[str, Callable[[], nn.Module]]) -> None:
    if name not in valid:
        raise InputError(f"unknown {kind} {name!r}: {nearest(str(name), valid)}")


def _norm(name: str | None, width: int, *, flat: bool) -> nn.Module | None:
    if name == "batch":
        return nn.BatchNorm1d(width) if flat else nn.BatchNorm2d(width)
    # One group is all of a row: on vectors that is layer normalization, on feature maps its usual counterpart.
    return None if name is None else nn.GroupNorm(1, width)


def _enough_for(norm: nn.Module, value: Tensor) -> Tensor:
    if norm.training and not isinstance(norm, nn.GroupNorm) and value.numel() == value.shape[1]:
        raise InputError(
            "norm 'batch' needs two or more rows in training; the batch has 1 row."
            " Use a larger batch, drop the last incomplete one, or take norm='layer'."
        )
    return value


def _over_space(rows: Tensor, x: Tensor) -> Tensor:
    return rows.reshape(*rows.shape, *(1 for _ in x.shape[2:]))

"""Calling a network on any leading dimensions.

Posterior samples come as (K, B, *event), data as (B, *event), while a network sees rows: (N, *in_shape). `apply` folds the
leading dimensions into N = K B rows, repeats the context (B, C) over K, calls the network and unfolds. Nothing else does.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from amortized.errors import InputError


def apply(network: nn.Module, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Call `network` on `x` with any leading dimensions.

    A network says what it takes with `in_shape` (or `in_features`; without either it takes the last dimension) and whether it
    takes a context with `context_features`. One without `context_features` gets the context concatenated to its flat input.

    Args:
        network: Any module that maps rows (N, *in_shape) to rows (N, *out).
        x: (*lead, *in_shape) its input; a network of flat vectors also takes an event with as many entries.
        context: (B, C) encoded conditions, expanded to the leading dimensions (K, B); None where there are none.

    Returns:
        (*lead, *out) the network's output.

    Raises:
        InputError: The shape of `x` or of `context` does not fit.
    """
    in_shape = getattr(network, "in_shape", None)
    takes_context = hasattr(network, "context_features")
    appended = 0 if takes_context or context is None else context.shape[-1]
    if in_shape is None:
        in_shape = (getattr(network, "in_features", x.shape[-1] + appended) - appended,)
    elif appended and len(in_shape) == 1:
        in_shape = (in_shape[0] - appended,)
    elif appended:
        raise InputError(
            f"network {type(network).__name__} takes no context, and its input {tuple(in_shape)} cannot be extended by one;"
            " give it an attribute 'context_features' and a second argument 'context'."
        )
    call = network if takes_context or context is None else _appending(network)
    return fold_call(call, x, tuple(in_shape), context)


def fold_call(function: Callable[..., Tensor], x: Tensor, in_shape: tuple[int, ...], context: Tensor | None = None) -> Tensor:
    """Call a function of rows (N, *in_shape) on (*lead, *in_shape): fold, call, unfold."""
    lead = x.shape[: x.ndim - _event_dimensions(x, in_shape)]
    rows = x.reshape(math.prod(lead), *in_shape)
    out = function(rows) if context is None else function(rows, _fold_context(context, lead))
    return out.reshape(*lead, *out.shape[1:])


def broadcasts_to(shape: torch.Size, target: torch.Size) -> bool:
    """Whether a tensor of `shape` can be expanded to `target`."""
    aligned = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, wanted) for size, wanted in aligned)


def _event_dimensions(x: Tensor, in_shape: tuple[int, ...]) -> int:
    if tuple(x.shape[max(0, x.ndim - len(in_shape)) :]) == in_shape:
        return len(in_shape)
    if len(in_shape) == 1:  # a network of flat vectors takes an image, as long as a leading dimension remains
        for dimensions in range(2, x.ndim):
            if math.prod(x.shape[-dimensions:]) == in_shape[0]:
                return dimensions
    raise InputError(f"the network takes events of shape {in_shape}; its input has shape {tuple(x.shape)}. Make the two agree.")


def _fold_context(context: Tensor, lead: torch.Size) -> Tensor:
    if not broadcasts_to(context.shape[:-1], lead):
        raise InputError(
            f"a context of shape {tuple(context.shape)} does not fit an input with leading shape {tuple(lead)};"
            " give one row of context per datum."
        )
    width = context.shape[-1]
    return context.expand(*lead, width).reshape(math.prod(lead), width)


def _appending(network: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda rows, context: network(torch.cat((rows, context), -1))

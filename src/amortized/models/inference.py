"""Calling parts: posteriors with constant parameters for the path gradient, priors at a temperature, and what is checked."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.conditional import Conditional, call_detached
from amortized.distributions import draw
from amortized.errors import InputError
from amortized.models.model import Gradient
from amortized.terms import Latent


@dataclass(frozen=True)
class Value:
    """A value that was drawn for a group of latents.

    Attributes:
        draw: (K, B, *event) with the gradient of the posteriors; what the next group is drawn given.
        z: (K, B, *event) where the terms are scored: the same, or a copy of it.
    """

    draw: Tensor
    z: Tensor

    @classmethod
    def of(cls, draw: Tensor, gradient: Gradient) -> "Value":
        """A draw, and where the terms are scored: at a leaf of its own with the split gradient, at a constant with the score."""
        draw = draw.detach() if gradient == "score" else draw
        return cls(draw, draw.detach().requires_grad_() if gradient == "split" else draw)


@dataclass(frozen=True)
class Hold:
    """What a posterior is called with: for drawing from it and for its parameters' gradient, or to be scored as a constant.

    Attributes:
        is_constant: Whether the latter.
    """

    is_constant: bool = False

    def __call__(self, value: Tensor) -> Tensor:
        """A value that depends on parameters of the encoder."""
        return value.detach() if self.is_constant else value

    def group(self, value: Value) -> Tensor:
        """A value drawn for another group, which the path gradient goes through."""
        return value.z if self.is_constant else value.draw


def with_path(
    call: Callable[[Conditional, Hold], Distribution], part: nn.Module, gradient: Gradient, device: torch.device
) -> tuple[Distribution, Distribution | None]:
    """A posterior, and the same with its parameters held constant where the path gradient is asked for.

    Args:
        call: Calls the part that it is given, with every value that depends on parameters of the encoder, and every value drawn
            for another group, taken through the `Hold` that it is given.
        part: The posterior.
        gradient: Of which "path" and "split" ask for the second.
        device: Where it lies.

    Returns:
        q, and q_path or None. The second call sees the random state of the first, so that dropout masks agree.
    """
    if gradient in ("total", "score"):
        return call(part, Hold()), None
    before = random_state(device)
    q = call(part, Hold())
    after = random_state(device)
    _set_random_state(before, device)
    try:
        return q, call(partial(call_detached, part), Hold(is_constant=True))
    finally:
        _set_random_state(after, device)


def call_again(part: nn.Module, given: tuple[Tensor, ...], state: Tensor, device: torch.device) -> Distribution:
    """Call a part as it was called from a random state: with its dropout masks, and without updating statistics twice."""
    after = random_state(device)
    _set_random_state(state, device)
    try:
        return torch.func.functional_call(part, {name: buffer.clone() for name, buffer in part.named_buffers()}, given)
    finally:
        _set_random_state(after, device)


@contextmanager
def held_still(*parts: nn.Module) -> Iterator[None]:
    """Hold parts in evaluation mode, so that what they compute is a function without randomness, row by row."""
    modes = [(module, module.training) for part in parts for module in part.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def call_at_temperature(prior: nn.Module, given: tuple[Tensor, ...], temperature: float) -> Distribution:
    """Call a prior at a temperature.

    Raises:
        InputError: It has none, and the temperature is not 1; or the temperature is no number from 0 on.
    """
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature cannot be negative or infinite; it is {temperature}; 1 is the prior itself.")
    if temperature == 1.0:
        return prior(*given)
    if "temperature" not in inspect.signature(prior.forward).parameters:
        raise InputError(f"prior {type(prior).__name__} takes no temperature; {temperature} was asked for; leave it at 1.")
    return prior(*given, temperature=temperature)


def check_posterior(q: Distribution, part: nn.Module, rows: int) -> None:
    """Refuse a q that is not one distribution per datum."""
    if q.batch_shape != (rows,):
        raise InputError(
            f"posterior {type(part).__name__} gave a distribution of batch {tuple(q.batch_shape)} for {rows} data; it must be"
            f" ({rows},): give its network the full shape of one datum, such as MLP((1, 28, 28), ...)."
        )


def make_latent(
    q: Distribution, p: Distribution, value: Value, q_path: Distribution | None, *, is_averaged: bool = True
) -> Latent:
    """The record of a latent at the value drawn for it."""
    return Latent(q, p, value.z, q_path, is_averaged=is_averaged, draw=None if value.draw is value.z else value.draw)


def draw_given(q: Distribution, part: nn.Module, lead: torch.Size) -> Tensor:
    """Draw one value of a group of latents for each value (*lead) of the group drawn before it.

    Args:
        q: The group's posterior, of batch (*lead).
        part: What gave it.
        lead: (K, B).

    Returns:
        (*lead, *event), with the gradient that the family has.

    Raises:
        InputError: q has another batch, or is drawn as several values that have weights of their own.
    """
    if q.batch_shape != lead:
        raise InputError(
            f"posterior {type(part).__name__} gave a distribution of batch {tuple(q.batch_shape)} for latents of leading shape"
            f" {tuple(lead)}; the two must agree: give its network the shape of what it is called with."
        )
    # Not through `draw` where it would be the same: a flow knows its own draw by identity, and a slice is another tensor.
    if q.has_rsample and not hasattr(q, "draw"):
        return q.rsample()
    drawn = draw(q, 1)
    if len(drawn.z) != 1 or drawn.log_weight is not None:
        refuse_weights(part)
    return drawn.z[0]


def refuse_weights(part: nn.Module) -> NoReturn:
    """Refuse a posterior of a group that is not drawn first and has draws with weights of their own."""
    raise InputError(
        f"posterior {type(part).__name__} is drawn as several values that have weights of their own, which would multiply what is"
        " drawn before it; give it to the group that is drawn first, or take another family such as DiagonalGaussian."
    )


def check_spaces(prior: nn.Module, posterior: nn.Module) -> None:
    """Refuse a prior over another space, or of another shape, than the posterior's.

    Raises:
        InputError: A density on the sphere cannot be compared with one on the reals, nor a mass with a density.
    """
    names = [type(part).__name__ for part in (prior, posterior)]
    spaces = [getattr(part, "space", "real") for part in (prior, posterior)]
    if spaces[0] != spaces[1]:
        raise InputError(
            f"prior {names[0]} has space '{spaces[0]}' and posterior {names[1]} has space '{spaces[1]}'; give both the same, e.g."
            f" the prior Uniform(..., space='{spaces[1]}') where that is discrete or a sphere."
        )
    shapes = [getattr(part, "event_shape", None) for part in (prior, posterior)]
    if shapes[0] is not None and shapes[1] is not None and tuple(shapes[0]) != tuple(shapes[1]):
        raise InputError(
            f"prior {names[0]} has events of shape {tuple(shapes[0])} and posterior {names[1]} of shape {tuple(shapes[1])};"
            " make the two agree."
        )


def random_state(device: torch.device) -> Tensor:
    """The state of the generator of the device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)

"""Calling parts: posteriors with constant parameters for the path gradient, priors at a temperature, and what is checked."""

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.conditional import Conditional, call_detached
from amortized.distributions import draw
from amortized.errors import InputError
from amortized.models.model import Gradient

Hold = Callable[[Tensor], Tensor]
"""What is done to a value that depends on parameters of the encoder: nothing, or to take it for a constant."""


def with_path(
    call: Callable[[Conditional, Hold], Distribution], part: nn.Module, gradient: Gradient, device: torch.device
) -> tuple[Distribution, Distribution | None]:
    """A posterior, and the same with its parameters held constant where the path gradient is asked for.

    Args:
        call: Calls the part that it is given, with every value that depends on parameters of the encoder held by the function
            that it is given; values drawn from other posteriors are left as they are, since the path goes through them.
        part: The posterior.
        gradient: "total" or "path".
        device: Where it lies.

    Returns:
        q, and q_path or None. The second call sees the random state of the first, so that dropout masks agree.
    """
    if gradient == "total":
        return call(part, _unchanged), None
    before = _random_state(device)
    q = call(part, _unchanged)
    after = _random_state(device)
    _set_random_state(before, device)
    try:
        return q, call(partial(call_detached, part), Tensor.detach)
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


def _unchanged(value: Tensor) -> Tensor:
    return value


def _random_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_random_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)

"""Compiling the step: model and objective as one graph, by `torch.compile`.

A small model spends a third of a step on calling operations, not on computing them; compiled, their loops are fused and called
from one function. On a GPU the graph is captured and replayed as a whole. Shapes are static: a batch of another one takes the
plain path.

Compiling takes a while, so that a short run does better without. Whether to is decided from the work alone, never by a clock: the
same run then takes the same path every time, and one that goes on keeps the path it began with. Random numbers are those of the
plain path (`fallback_random`), so that the two differ by rounding only, unless there is dropout, whose masks are other ones.
"""

import shutil
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

from amortized.errors import InputError
from amortized.models.model import Model
from amortized.objectives import Objective
from amortized.training.settings import Settings
from amortized.training.step import Trainable

LEAST_STEPS = 20_000
"""Steps that pay for compiling: it takes 10 to 40 seconds, and saves 1 to 2 milliseconds a step, however large the step is."""

REFUSAL = "the training step cannot be compiled ({}); set training.compile=off, or 'auto'."

LARGEST_SWEEP = 256
"""Models of different shapes that may be compiled in one process; torch's own limit of 8 is there against loops."""


def wants_compiling(settings: Settings, steps: int, device: torch.device) -> bool:
    """Whether a run of this many steps is to be compiled."""
    if settings.compile != "auto":
        return settings.compile == "on"
    return steps >= LEAST_STEPS and device.type in ("cpu", "cuda")


def compile_step(module: Trainable, device: torch.device, trial: Callable[[], Any], *, needed: bool) -> str | None:
    """Compile a module in place.

    Args:
        module: Model and objective.
        device: Where they are.
        trial: Calls the module, forward and backward, on data like those of every step.
        needed: Whether it was asked for; where it was not, the module is left as it was if it cannot be compiled.

    Returns:
        Why it could not be compiled, or None.

    Raises:
        InputError: It cannot be compiled, and was asked for.
    """
    reason = _obstacle(module.model, module.objective, device) or _failure(module, device, trial)
    if reason is not None and needed:
        raise InputError(REFUSAL.format(reason))
    return reason


def check_compiling(settings: Settings, model: Model, objective: Objective, device: torch.device) -> None:
    """Refuse to compile, where it is asked for, what is known not to be compiled, before anything is written.

    Raises:
        InputError: The sentence says why.
    """
    if settings.compile == "on" and (reason := _obstacle(model, objective, device)) is not None:
        raise InputError(REFUSAL.format(reason))


def _obstacle(model: Model, objective: Objective, device: torch.device) -> str | None:
    """Why a model is known not to be compiled under an objective, or None."""
    assert isinstance(model, nn.Module)
    if objective.gradient in ("path", "split"):
        return f"objective '{objective.name}' calls the posterior a second time, as a constant"
    annealed = [type(each).__name__ for each in model.modules() if getattr(each, "is_annealed", False)]
    if annealed:
        return f"the temperature of {annealed[0]} changes from step to step"
    if device.type == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++", "cl"))):
        return "there is no C++ compiler"
    return None


def _failure(module: Trainable, device: torch.device, trial: Callable[[], Any]) -> str | None:
    validates = Distribution._validate_args  # the compiler switches it off for the whole process
    options: dict[str, Any] = {"fallback_random": True}
    if device.type == "cuda":
        options["triton.cudagraphs"] = True
    module.compile(fullgraph=True, dynamic=False, options=options)
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    try:
        with warnings.catch_warnings(), torch._dynamo.config.patch(recompile_limit=LARGEST_SWEEP):
            warnings.simplefilter("ignore")  # those of the compiler are about its own code
            trial()
    except Exception as error:  # the compiler's own errors are of many kinds, and those of its backend of any
        module._compiled_call_impl = None
        return _first_line(error)
    finally:
        Distribution.set_default_validate_args(validates)
        with torch.no_grad():
            for name, value in module.named_buffers():
                value.copy_(buffers[name])
    return None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    lines = lines[1:] if lines[0].endswith("raised:") and len(lines) > 1 else lines  # what the backend said follows
    return lines[0].rstrip(".")

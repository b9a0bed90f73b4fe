"""From a part of a model to a graph: traced once, for any number of rows, and held against the part itself."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from amortized.errors import InputError
from amortized.export.parts import Part

BATCHES = (1, 3, 17)
"""Numbers of rows on which a graph is held against torch."""

TRACED = 5
"""Rows with which a part is traced: a number that stands for no other size."""

TOLERANCE = 1e-4
"""The largest difference of an exported value, relative to the largest value of its tensor."""

NOISY = ("torch.onnx", "torch.export", "torch._export", "onnxscript", "onnx_ir")


def trace(part: Part) -> torch.export.ExportedProgram:
    """The part as a graph with any number of rows.

    Raises:
        InputError: It does what no graph can say, such as to look at a value and choose.
    """
    rows = torch.export.Dim("batch", min=1)
    first, *others = ({0: rows} for _ in part.inputs)
    shapes = (first, tuple(others)) if others else (first,)
    problems = []
    with hushed():
        for strict in (False, True):  # the second reads code that the first runs; each knows things that the other refuses
            try:
                program = torch.export.export(part.module, part.rows(TRACED), dynamic_shapes=shapes, strict=strict)
            except Exception as error:  # of many kinds, all of which say that it cannot be traced
                problems.append(error)
            else:
                return _anonymous(program)
    raise InputError(
        f"the {part.name} cannot be exported: torch.export cannot trace {_where(part)} ({_reason(problems[0])}); write it without"
        " choices that depend on a tensor's values or on the number of rows."
    ) from problems[0]


def check(part: Part, call: Callable[..., Sequence[Any]], what: str) -> float:
    """Hold a graph against the part on several numbers of rows.

    Args:
        part: The part.
        call: The graph, called with the inputs in their order.
        what: What the graph is, for the error.

    Returns:
        The largest difference, relative to the largest value of the output.

    Raises:
        InputError: The two differ.
    """
    worst = 0.0
    for count in BATCHES:
        given = part.rows(count)
        with torch.no_grad():
            both = zip(part.outputs, part.module(*given), call(*given), strict=True)
        for name, wanted, got in both:
            difference = _difference(torch.as_tensor(got), wanted)
            if not difference <= TOLERANCE:
                raise InputError(
                    f"the {what} of the {part.name} differs from torch by {difference:.1e} of the largest value of '{name}' with"
                    f" {count} rows; at most {TOLERANCE:.0e} is allowed; use another version of torch, or leave this part out."
                )
            worst = max(worst, difference)
    return worst


@contextmanager
def hushed() -> Iterator[None]:
    """Hold back what exporters print, and the checks of distributions' arguments, which look at values."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels, validates = [logger.level for logger in loggers], Distribution._validate_args
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            Distribution.set_default_validate_args(False)
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            Distribution.set_default_validate_args(validates)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _anonymous(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program without the stack traces that its nodes carry, which name paths of this machine."""
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _difference(got: Tensor, wanted: Tensor) -> float:
    if got.shape != wanted.shape or not torch.equal(got.isfinite(), wanted.isfinite()):
        return float("inf")
    finite = wanted.isfinite()
    size = float(torch.where(finite, wanted, 0.0).abs().max()) or 1.0
    return float(torch.where(finite, got - wanted, 0.0).abs().max()) / size


def _where(part: Part) -> str:
    model: Any = part.module.get_submodule("model")
    own = getattr(model, "parts", {})
    name = {"encoder": "posterior", "decoder": "likelihood"}.get(part.name, part.name)
    return f"{name} {type(own[name]).__name__}" if name in own else f"the model {type(model).__name__}"


def _reason(error: Exception) -> str:
    first = str(error).strip().splitlines() or [type(error).__name__]
    return first[0][:160].rstrip(" .:")

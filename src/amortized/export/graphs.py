"""The two formats in which a part leaves: an ONNX graph, and a program of `torch.export`. Each carries what it is about."""

import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch

from amortized.errors import InputError
from amortized.export.parts import Part
from amortized.export.tracing import check, hushed, trace

KEY = "amortized"
"""Under which the description lies in a graph's metadata."""


def onnx_of(part: Part, description: dict[str, Any]) -> tuple[bytes, float]:
    """The part as an ONNX graph.

    Args:
        part: The part.
        description: What it is about, kept as JSON in the graph's metadata.

    Returns:
        The file's content, and the largest relative difference between onnxruntime and torch.

    Raises:
        InputError: ONNX cannot say what the part does, its packages are not installed, or onnxruntime computes something else.
    """
    onnxruntime = _packages()
    program = trace(part)
    with hushed():
        try:
            made = torch.onnx.export(
                program,
                input_names=list(part.inputs),
                output_names=list(part.outputs),
                dynamo=True,
                verbose=False,
                custom_translation_table=_translations(),
            )
        except Exception as error:  # of several kinds
            raise InputError(
                f"the {part.name} cannot be exported to ONNX, which has no operator for all that it does ({_missing(error)});"
                " take --to torch."
            ) from error
    assert made is not None
    proto = made.model_proto
    _strip(proto)
    _describe(proto, description)
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]

    def call(*given: torch.Tensor) -> Sequence[Any]:
        by_name = {name: value.numpy() for name, value in zip(part.inputs, given, strict=True)}
        return session.run(list(part.outputs), {name: by_name[name] for name in names})

    return content, check(part, call, "ONNX graph")


def torch_of(part: Part, description: dict[str, Any]) -> tuple[bytes, float]:
    """The part as a program of `torch.export`, which needs torch alone to be loaded.

    Args:
        part: The part.
        description: What it is about, kept as the program's extra file `amortized.json`.

    Returns:
        The file's content, and the largest relative difference between the program, loaded again, and the part.

    Raises:
        InputError: The part cannot be traced, or the program computes something else.
    """
    program, buffer = trace(part), io.BytesIO()
    with hushed():
        torch.export.save(program, buffer, extra_files={f"{KEY}.json": json.dumps(description)})
        content = buffer.getvalue()
        loaded: Callable[..., Sequence[Any]] = torch.export.load(io.BytesIO(content)).module()
    return content, check(part, loaded, "program")


def _packages() -> Any:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"export to ONNX and HTML needs {error.name}, which is not installed: pip install 'amortized[export]'."
        ) from error
    onnxruntime.set_default_logger_severity(3)  # it warns of its own optimizations
    return onnxruntime


def _translations() -> dict[Any, Any]:
    """Operators that torch does not translate."""
    from onnxscript import opset18

    op: Any = opset18

    def hypot(a: Any, b: Any) -> Any:
        return op.Sqrt(op.Add(op.Mul(a, a), op.Mul(b, b)))

    def prod(a: Any, dims: Sequence[int], **_: Any) -> Any:
        return op.ReduceProd(a, op.Constant(value_ints=list(dims)), keepdims=0)

    ops = torch.ops.prims
    return {ops.hypot.default: hypot, ops.prod.default: prod}


def _strip(proto: Any) -> None:
    """Take away the stack traces that nodes carry, which name paths of this machine."""
    for graph in (proto.graph, *proto.functions):
        for node in graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        for value in (*graph.value_info, *getattr(graph, "input", ()), *getattr(graph, "output", ())):
            if hasattr(value, "metadata_props"):
                del value.metadata_props[:]


def _describe(proto: Any, description: dict[str, Any]) -> None:
    proto.producer_name, proto.producer_version = description["library"], description["version"]
    proto.doc_string = description["about"]
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(description)


def _missing(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split())[:160].rstrip(" .:")

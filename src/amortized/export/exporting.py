"""Exporting a run: which parts there are, what is said about them, and where they are written."""

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from amortized.errors import InputError, nearest
from amortized.export.graphs import onnx_of, torch_of
from amortized.export.parts import Part, decoder_of, encoder_of
from amortized.export.tracing import BATCHES
from amortized.files import write_atomically
from amortized.models import LatentModel
from amortized.models.model import Model, evaluating
from amortized.report.view import View
from amortized.terms import Batch

if TYPE_CHECKING:
    from amortized.runs import Run

Format = Literal["onnx", "torch", "html"]
UNSEEN_BY_ENCODER = ("likelihood",)
UNSEEN_BY_DECODER = ("posterior", "prior", "links")
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: The files.
        differences: Of each part, the largest difference from torch, relative to the largest value of its tensor.
        left_out: Why a part is not among them, by its name.
    """

    files: tuple[Path, ...]
    differences: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def export(run: "Run", to: str = "onnx", out: str | os.PathLike[str] | None = None) -> Exported:
    """Write a run's model in a form that works without this library.

    Args:
        run: The run.
        to: "onnx", a folder with `encoder.onnx` and `decoder.onnx`; "torch", one with `encoder.pt2` and `decoder.pt2`, programs of
            `torch.export`; or "html", a page that explores the model by itself.
        out: The folder, or the file of the page; by default `onnx`, `torch` or `explorer.html` in the run folder.

    Each graph takes any number of rows and was held against torch on several; data are given in the units that the model scores,
    NaN where an entry is missing, and conditions as integer codes of classes or as numbers. What a graph is about, its inputs and
    outputs, is in its metadata, as JSON under "amortized".

    Returns:
        The files, how far they are from torch, and what was left out for what reason.

    Raises:
        InputError: Nothing of the model can be exported, a package is not installed, or `out` cannot be written to.
    """
    if to not in get_args(Format):
        raise InputError(f"cannot export to '{to}'; {nearest(to, get_args(Format))}")
    if out is None and run.path is None:
        raise InputError("this run has no folder to export into; give out, a folder, or a file .html for a page.")
    assert run.path is not None or out is not None
    if to == "html":
        from amortized.export.page import export_page

        return export_page(run, Path(out) if out is not None else run.path / "explorer.html")  # pyright: ignore[reportOptionalOperand]
    target = Path(out) if out is not None else run.path / to  # pyright: ignore[reportOptionalOperand]
    return _export_graphs(run, onnx_of if to == "onnx" else torch_of, target, SUFFIXES[to])


def plain(model: Model, *, without: Sequence[str] = ()) -> Model:
    """A copy of a model on the CPU, in evaluation mode: what is traced, so that tracing leaves nothing on the model itself.

    Args:
        model: The model.
        without: Parts that are not needed, so that no file carries their weights.
    """
    assert isinstance(model, nn.Module)
    copied = copy.deepcopy(model).cpu().eval()
    if isinstance(copied, LatentModel):
        for name in without:
            copied.parts.pop(name) if name in copied.parts else None
    return copied  # pyright: ignore[reportReturnType]


def rows_of(view: View) -> Batch:
    """Some of the run's data, on the CPU, or draws from the model where the data are gone."""
    count = max(BATCHES)
    try:
        return view.batch.rows(slice(count)).to(torch.device("cpu"))
    except InputError:
        context = middle(view, count)
        with evaluating(view.model, view.seed, "export"):
            return Batch(view.model.sample(count, context).cpu(), context=context)


def middle(view: View, count: int) -> dict[str, Tensor]:
    """Conditions of so many rows: all classes in turn, and numbers at their means."""
    return {
        name: torch.arange(count) % condition.classes
        if condition.classes is not None
        else torch.tensor(condition.loc).expand(count, condition.width).contiguous()
        for name, condition in view.spec.conditions.items()
    }


def latents_of(model: Model, context: dict[str, Tensor]) -> Tensor:
    """(B, *event) draws from the prior to hold a decoder against torch on."""
    count, p = max(BATCHES), model.prior(context)
    return p.sample() if p.batch_shape == (count,) else p.sample((count,)).reshape(count, *p.event_shape)


def describe(run: "Run", part: Part) -> dict[str, Any]:
    """What a part is about, as JSON can say it."""
    spec, model = run.spec, part.module.get_submodule("model")
    inside = type(getattr(model, "preprocess", None)).__name__ if part.name == "encoder" else type(model).__name__
    about = {
        "encoder": "q(z | x): data in the units that the model scores, NaN where missing, to the latent's center and scale.",
        "decoder": "E[x | z]: latents to data in their own units.",
    }[part.name]
    return {
        "library": "amortized",
        "version": version("amortized"),
        "part": part.name,
        "about": about,
        "inputs": {name: _tensor(value) for name, value in part.inputs.items()},
        "outputs": {name: _tensor(value) for name, value in zip(part.outputs, part.module(*part.rows(1)), strict=True)},
        "model": type(model).__name__,
        "preprocessing_inside": inside if part.name == "encoder" else None,
        "event": {
            "shape": list(spec.event_shape),
            "support": spec.support,
            "levels": spec.levels,
            "columns": list(spec.columns),
            "raw_data_divided_by": spec.divisor,
        },
        "conditions": {
            name: {"classes": condition.classes, "names": list(condition.names)}
            if condition.classes is not None
            else {"width": condition.width, "mean": list(condition.loc), "deviation": list(condition.scale)}
            for name, condition in spec.conditions.items()
        },
    }


def _export_graphs(run: "Run", write: Callable[..., tuple[bytes, float]], folder: Path, suffix: str) -> Exported:
    view = View(run, most=max(BATCHES))
    model, batch = plain(run.model), rows_of(view)
    made: dict[str, bytes] = {}
    differences: dict[str, float] = {}
    left_out: dict[str, str] = {}
    with evaluating(model, view.seed, "export"):
        z = latents_of(model, batch.context)
        makers: dict[str, Callable[[], Part]] = {
            "encoder": lambda: encoder_of(plain(model, without=UNSEEN_BY_ENCODER), batch),
            "decoder": lambda: decoder_of(plain(model, without=UNSEEN_BY_DECODER), z, batch.context),
        }
        for name, make in makers.items():
            try:
                part = make()
                made[name], differences[name] = write(part, describe(run, part))
            except InputError as error:
                left_out[name] = str(error)
    if not made:
        raise InputError(" ".join(left_out.values()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to '{folder}': {error.strerror}; give the path of a folder.") from error
    files = []
    for name, content in made.items():
        files.append(folder / f"{name}{suffix}")
        write_atomically(files[-1], content)
    return Exported(tuple(files), differences, left_out)


def _tensor(value: Tensor) -> dict[str, Any]:
    return {"shape": ["batch", *value.shape[1:]], "dtype": str(value.dtype).removeprefix("torch.")}

"""What an export takes of a run: a copy of the model, some rows to trace and to check it with, and what is said about a part."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from amortized.errors import InputError
from amortized.export.parts import Part
from amortized.export.tracing import BATCHES
from amortized.models import LatentModel
from amortized.models.model import Model, evaluating
from amortized.report.view import View
from amortized.terms import Batch

if TYPE_CHECKING:
    from amortized.runs import Run

UNSEEN_BY_ENCODER = ("likelihood",)
UNSEEN_BY_FOLLOWER = ("likelihood",)
UNSEEN_BY_DECODER = ("posterior", "prior", "links")


def plain(model: Model, *, without: Sequence[str] = ()) -> Any:
    """A copy of a model, a module too, on the CPU and in evaluation mode: tracing leaves nothing on the model itself.

    Its weights need no gradient, so that what a program computes of it becomes an array without being detached.

    Args:
        model: The model.
        without: Parts that are not needed, so that no file carries their weights.
    """
    assert isinstance(model, nn.Module)
    copied = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    if isinstance(copied, LatentModel):
        for name in without:
            if name in copied.parts:
                del copied.parts[name]
    return copied


def rows_of(view: View) -> Batch:
    """Some of the run's data, on the CPU, or draws from the model where the data are gone; numbers of a condition as (B, width).

    There are always as many: those of a small split come over again.
    """
    count = max(BATCHES)
    try:
        batch = view.batch.rows(torch.arange(count) % len(view.batch)).to(torch.device("cpu"))
        conditions = view.spec.conditions
        shapes = {name: () if each.classes is not None else (each.width,) for name, each in conditions.items()}
        return replace(batch, context={name: batch.context[name].reshape(-1, *shape) for name, shape in shapes.items()})
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


def latents_of(model: Model, context: Mapping[str, Tensor]) -> Tensor:
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
        "follower": "Latents of several groups of which an entry was moved to those in which later groups are at their centers.",
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


def _tensor(value: Tensor) -> dict[str, Any]:
    return {"shape": ["batch", *value.shape[1:]], "dtype": str(value.dtype).removeprefix("torch.")}

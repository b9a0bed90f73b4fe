"""The data that are asked of a run: a split of its own, or others that were handed over."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from amortized.data import Data, Rows, arrange, is_same
from amortized.errors import InputError, nearest
from amortized.models import LatentModel
from amortized.recipes import known_transform, load_fitted, load_other, make_batches
from amortized.terms import Batch

if TYPE_CHECKING:
    from amortized.fitted import Fitted

SPLITS = ("train", "valid", "test", "all")


@dataclass(frozen=True, eq=False)
class Reading:
    """Data as a model sees them in evaluation.

    Attributes:
        name: The split, or what the data are.
        whole: All that the split is a part of.
        count: How many there are.
        batches: Once through them, on the model's device and in its precision.
    """

    name: str
    whole: Data
    count: int
    batches: Iterator[Batch]


def read(run: "Fitted", data: Any = None, split: str = "test") -> Reading:
    """A split of the run's own data, or of others; data that bring no splits are used whole.

    Raises:
        InputError: There is no such split, or it is empty, or the data do not fit the model.
    """
    if split not in SPLITS:
        raise InputError(f"unknown split '{split}'; {nearest(split, SPLITS)}")
    own = _own(run, data)
    whole = arrange(load_other(run.recipe, data), run.spec.columns) if own is None else own
    name = split if own is not None else f"{split} of {whole.name}"
    if own is None and not (len(whole.valid) or len(whole.test)):
        name, split = whole.name, "train"
    parts = whole.parts(split)
    if not parts:
        raise InputError(f"the {split} split of '{whole.name}' is empty; name another split.")
    if tuple(whole.event_shape) != run.spec.event_shape:
        raise InputError(
            f"data '{whole.name}' have shape {tuple(whole.event_shape)}; the model was fitted on {run.spec.event_shape};"
            " give data of that shape."
        )
    batches = chain.from_iterable(_batches(run, rows, whole, check=data is not None) for rows in parts)
    return Reading(name, whole, sum(map(len, parts)), batches)


def _own(run: "Fitted", data: Any) -> Data | None:
    """The data that the run was fitted on, where they are asked for; None for others, or for a source that changed since."""
    if data is not None and not is_same(data, run.recipe.data.source):
        return None
    whole = load_fitted(run.recipe, run.source, judged=False)
    if run.folder is None or not run.folder.has_other_data(whole):
        return whole
    if data is None:
        raise InputError(
            f"the data '{whole.name}' changed since this run was fitted, and its splits with them; restore them, or give"
            " the data explicitly, as DATA, to use them whole."
        )
    return None


def _batches(run: "Fitted", rows: Rows, whole: Data, *, check: bool) -> Iterator[Batch]:
    """The batches of a split, on the model's device and in its precision."""
    assert isinstance(run.model, nn.Module)
    weight = next(run.model.parameters(), torch.zeros(()))
    likelihood: Any = run.model.parts["likelihood"] if isinstance(run.model, LatentModel) else None
    for fields in make_batches(rows, run.recipe, known_transform(run.recipe, run.spec)).epoch(0):
        context = {
            name: run.spec.condition(name).known(name, values, whole.context_names.get(name, ()))
            for name, values in fields.get("context", {}).items()
        }
        batch = Batch(**{**fields, "context": context}).to(weight.device, weight.dtype)
        if check and hasattr(likelihood, "check"):
            likelihood.check(batch.x, observed=batch.observed)
        yield batch

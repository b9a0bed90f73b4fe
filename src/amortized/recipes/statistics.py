"""What is read off the data of a recipe: batches, and what a model must know of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from amortized import data as datasets
from amortized.data import (
    Batches,
    Data,
    LoaderBatches,
    Rows,
    Split,
    StreamedSplit,
    Support,
    Transform,
    in_order,
    make_transform,
    mean_and_scale,
    sample_rows,
    to_batches,
)
from amortized.recipes.likelihoods import known_levels
from amortized.recipes.recipe import Recipe
from amortized.recipes.spec import Condition, Spec, Statistics

CORRUPTIONS = {"noise": datasets.Noise, "masking": datasets.Masking, "salt-pepper": datasets.SaltPepper}
EVALUATION_BATCH = 1024


def data_transform(recipe: Recipe, data: Data) -> Transform:
    """What is done to every batch."""
    description = recipe.data
    corrupt = None if description.corrupt is None else CORRUPTIONS[description.corrupt.kind](description.corrupt.amount)
    return make_transform(data.support, binarize=description.binarize, scale=description.scale, corrupt=corrupt, seed=recipe.seed)


def known_transform(recipe: Recipe, spec: Spec) -> Transform:
    """What is done to data that are scored by a fitted model: what was done to its own, but for corruption."""
    support = Support(spec.support, spec.levels, 0.0, 0.0, "the model was fitted on such data")  # pyright: ignore[reportArgumentType]
    return Transform(support, recipe.data.binarize, spec.divisor, seed=recipe.seed)


def make_batches(
    split: Rows, recipe: Recipe, transform: Transform, *, device: torch.device | None = None, training: bool = False
) -> Batches | LoaderBatches:
    """Batches of a split: shuffled with fresh noise for training, else in order with frozen noise."""
    size = recipe.training.batch_size if training else EVALUATION_BATCH
    return to_batches(split, batch_size=size, training=training, transform=transform, seed=recipe.seed, device=device)


def describe_data(data: Data, transform: Transform) -> Spec:
    """What a model must know of the data."""
    support = transform.support
    levels = support.levels if support.levels is not None else int(support.high) + 1 if support.kind == "counts" else None
    train = data.train
    if isinstance(train, Split):
        context = train.context
    elif isinstance(train, StreamedSplit):
        context = train.own_context()
    else:
        context = sample_rows(train, EVALUATION_BATCH).get("context", {})
    conditions = {name: _condition(values, data.context_names.get(name, ())) for name, values in context.items()}
    return Spec(
        tuple(data.event_shape),
        data.is_image,
        support.kind,
        levels,
        transform.divisor,
        data.columns,
        conditions,
        data.label_names,
    )


def compute_statistics(recipe: Recipe, data: Data, spec: Spec, transform: Transform) -> Statistics:
    """The constants that a new model takes from its training data."""
    assert recipe.model is not None
    likelihood: Any = recipe.model.likelihood
    how = recipe.data.standardize
    if how == "auto":
        how = "global" if data.is_image else "columns"
    if not likelihood.standardizes:
        how = "none"
    shift, unit = mean_and_scale(data.train, how)
    if likelihood.kind == "categorical":
        mean = _frequencies(data.train, known_levels(likelihood.kind, likelihood.classes, spec))
    else:
        mean = mean_and_scale(data.train, "columns")[0] / spec.divisor
    batches = make_batches(data.train, recipe, transform)
    return Statistics(shift / spec.divisor, unit / spec.divisor, mean, lambda: (fields["x"].cpu() for fields in batches.epoch(0)))


def _condition(values: Tensor, names: Sequence[str]) -> Condition:
    if not values.is_floating_point():
        return Condition(classes=max(len(names), int(values.max()) + 1), names=tuple(names))
    rows = values.double().reshape(len(values), -1)
    loc, scale = rows.mean(0), rows.std(0, correction=0)
    return Condition(None, (), rows.shape[1], tuple(loc.tolist()), tuple(scale.tolist()))


def _frequencies(rows: Rows, classes: int) -> Tensor:
    """(*event, classes) of the observed codes; even where none was observed."""
    total = torch.zeros(*rows.event_shape, classes)
    for batch in in_order(rows, EVALUATION_BATCH):
        x = batch["x"]
        missing = x.isnan()
        codes = torch.nn.functional.one_hot(torch.where(missing, 0, x).long(), classes)
        total += torch.where(missing.unsqueeze(-1), 0, codes).sum(0)
    observed = total.sum(-1, keepdim=True)
    return torch.where(observed > 0, total / observed, 1 / classes)

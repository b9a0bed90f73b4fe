"""From a recipe and data to what the training loop takes."""

from collections.abc import Sequence
from dataclasses import dataclass
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
    Support,
    Transform,
    make_transform,
    mean_and_scale,
    sample_rows,
    to_batches,
)
from amortized.errors import InputError
from amortized.likelihoods import check_support
from amortized.models import VAE, Model
from amortized.networks import Categorical, Context, Continuous, LogCounts, OneHot, Standardize
from amortized.objectives import Objective, check_compatible
from amortized.recipes.parts import known_levels
from amortized.recipes.recipe import DataDescription, ModelDescription, Recipe, make_recipe
from amortized.recipes.spec import Condition, Spec, Statistics
from amortized.seeds import derive_seed

DEFAULT_LIKELIHOOD = {
    "binary": "bernoulli",
    "levels": "discretized-logistic",
    "counts": "negative-binomial",
    "unit": "gaussian",
    "real": "gaussian",
}
"""The likelihood of data by the kind of their support."""

CORRUPTIONS = {"noise": datasets.Noise, "masking": datasets.Masking, "salt-pepper": datasets.SaltPepper}
EVALUATION_BATCH = 1024


@dataclass(frozen=True)
class Plan:
    """All that training takes.

    Attributes:
        recipe: With every choice made.
        spec: What the model must know of its data.
        model: With new weights, or the user's own.
        objective: With its schedules in steps.
        train: The training batches.
        valid: The validation batches; None where there are no such data.
        notes: Sentences that the user should see: what was chosen, and why.
    """

    recipe: Recipe
    spec: Spec
    model: Model
    objective: Objective
    train: Batches | LoaderBatches
    valid: Batches | LoaderBatches | None
    notes: tuple[str, ...]


def plan(
    recipe: Recipe,
    data: Data,
    *,
    model: Model | None = None,
    objective: Objective | None = None,
    device: torch.device | None = None,
) -> Plan:
    """Choose what the recipe leaves open, and build.

    Args:
        recipe: The description.
        data: The data.
        model: A model composed by hand, in the place of the recipe's.
        objective: An objective of the user's own, in the place of the recipe's.
        device: Where data in memory are kept.

    Raises:
        InputError: The recipe's parts do not fit each other or the data.
    """
    transform = data_transform(recipe, data)
    spec = describe_data(data, transform)
    train = make_batches(data.train, recipe, transform, device=device, training=True)
    valid = make_batches(data.valid, recipe, transform, device=device) if len(data.valid) else None
    notes = data.notes
    if model is None:
        recipe, announced = choose_likelihood(recipe, transform)
        notes = (*announced, *notes)
        model = _new_model(recipe, data, spec, transform)
    elif tuple(model.event_shape) != spec.event_shape:
        raise InputError(
            f"the model is of data of shape {tuple(model.event_shape)}; those of '{data.name}' have shape {spec.event_shape};"
            " make the two agree."
        )
    if objective is None:
        if recipe.objective is None:
            raise InputError("this recipe has no objective: it was one of the user's own; give it again.")
        objective = recipe.objective.build(len(train))
    check_compatible(objective, model.offers, _words(model, recipe))
    if valid is None and recipe.training.patience is not None:
        recipe = make_recipe([recipe.model_dump()], {"training.patience": None})
        notes = (*notes, "There are no validation data: training goes on to its end, and the last weights are kept.")
    return Plan(recipe, spec, model, objective, train, valid, notes)


def _words(model: Model, recipe: Recipe) -> str:
    posterior = "" if recipe.model is None else f" with posterior '{recipe.model.posterior.kind}'"
    return f"a {type(model).__name__}{posterior}"


def _new_model(recipe: Recipe, data: Data, spec: Spec, transform: Transform) -> VAE:
    if recipe.model is None:
        raise InputError("this recipe has no model: it was composed by hand; give the model again, to `amortized.train`.")
    check_data(recipe.model.likelihood, data, transform)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "weights"))
        return build(recipe.model, spec, recipe.data, _statistics(recipe.model.likelihood, recipe.data, data, spec))


def data_transform(recipe: Recipe, data: Data) -> Transform:
    """What is done to every batch."""
    description = recipe.data
    corrupt = None if description.corrupt is None else CORRUPTIONS[description.corrupt.kind](description.corrupt.amount)
    return make_transform(data.support, binarize=description.binarize, scale=description.scale, corrupt=corrupt, seed=recipe.seed)


def known_transform(recipe: Recipe, spec: Spec) -> Transform:
    """What is done to data that are scored by a fitted model: what was done to its own, but for corruption."""
    support = Support(spec.support, spec.levels, 0.0, 0.0, "the model was fitted on such data")  # pyright: ignore[reportArgumentType]
    return Transform(support, recipe.data.binarize, spec.divisor, seed=recipe.seed)


def choose_likelihood(recipe: Recipe, transform: Transform) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe with a likelihood, and the announcement where it was chosen here."""
    if recipe.model is None or recipe.model.likelihood is not None:
        return recipe, ()
    kind = DEFAULT_LIKELIHOOD[transform.support.kind]
    chosen = make_recipe([recipe.model_dump()], {"model.likelihood": {"kind": kind}})
    return chosen, (f"Likelihood '{kind}': {transform.support.reason}.",)


def check_data(likelihood: Any, data: Data, transform: Transform) -> None:
    """Refuse data that the likelihood cannot score."""
    support = transform.support
    if transform.binarize is not None or transform.divisor != 1.0:
        middle = [] if transform.binarize else [0.5 * (support.low + support.high)]
        check_support(likelihood.kind, torch.tensor([[support.low, support.high, *middle]]))
        return
    sizes = {name: value for name in ("levels", "classes") if (value := getattr(likelihood, name, None)) is not None}
    seen = [("x", data.rows_seen)] if data.rows_seen is not None else []
    seen += [(f"{name}_x", split.x) for name, split in data.splits.items() if isinstance(split, Split) and len(split)]
    for name, x in seen:
        check_support(likelihood.kind, x, name=name, **sizes)


def describe_data(data: Data, transform: Transform) -> Spec:
    """What a model must know of the data."""
    support = transform.support
    levels = support.levels if support.levels is not None else int(support.high) + 1 if support.kind == "counts" else None
    train = data.train
    context = train.context if isinstance(train, Split) else sample_rows(train, EVALUATION_BATCH).get("context", {})
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


def build(model: ModelDescription, spec: Spec, data: DataDescription, statistics: Statistics | None = None) -> VAE:
    """Build a model.

    Args:
        model: The description; its likelihood is chosen.
        spec: What it must know of its data.
        data: How the data's conditions are encoded.
        statistics: Constants from the training data; None where weights that hold them are loaded next.
    """
    likelihood: Any = model.likelihood
    context = _context(spec, data)
    features = {part: context.features if context is not None and part in model.condition else 0 for part in PARTS}
    new = statistics is None
    shift, unit = (torch.zeros(spec.event_shape), torch.ones(spec.event_shape)) if new else (statistics.shift, statistics.unit)
    preprocess, in_shape = _preprocess(likelihood, spec, shift, unit)
    px = likelihood.build(model.latent_dim, model.network, features["likelihood"], spec, {"shift": shift, "unit": unit})
    if statistics is not None:
        px.initialize(statistics.mean)
    return VAE(
        prior=model.prior.build(model.latent_dim, model.network, features["prior"]),
        posterior=model.posterior.build(in_shape, model.latent_dim, model.network, features["posterior"]),
        likelihood=px,
        context=context,
        condition=model.condition if context is not None else (),
        preprocess=preprocess,
    )


PARTS = ("prior", "posterior", "likelihood")


def make_batches(
    split: Rows, recipe: Recipe, transform: Transform, *, device: torch.device | None = None, training: bool = False
) -> Batches | LoaderBatches:
    """Batches of a split: shuffled with fresh noise for training, else in order with frozen noise."""
    size = recipe.training.batch_size if training else EVALUATION_BATCH
    return to_batches(split, batch_size=size, training=training, transform=transform, seed=recipe.seed, device=device)


def _condition(values: Tensor, names: Sequence[str]) -> Condition:
    if not values.is_floating_point():
        return Condition(classes=max(len(names), int(values.max()) + 1), names=tuple(names))
    rows = values.double().reshape(len(values), -1)
    loc, scale = rows.mean(0), rows.std(0, correction=0)
    return Condition(None, (), rows.shape[1], tuple(loc.tolist()), tuple(scale.tolist()))


def _context(spec: Spec, data: DataDescription) -> Context | None:
    if not spec.conditions:
        return None
    width = data.embedding_width if data.encoding == "embedding" else None
    return Context(
        {
            name: Continuous(condition.loc, condition.scale, condition.width)
            if condition.classes is None
            else Categorical(condition.classes, data.encoding, width)
            for name, condition in spec.conditions.items()
        }
    )


def _preprocess(likelihood: Any, spec: Spec, shift: Tensor, unit: Tensor) -> tuple[torch.nn.Module | None, tuple[int, ...]]:
    """What the encoder sees of the data, and its shape."""
    kind = likelihood.kind
    if kind in ("gaussian", "laplace"):
        return Standardize(shift, unit), spec.event_shape
    if kind == "categorical":
        classes = known_levels(kind, likelihood.classes, spec)
        return OneHot(classes), (*spec.event_shape, classes)
    if spec.support == "counts" or kind in ("poisson", "negative-binomial"):
        return LogCounts(), spec.event_shape
    if spec.support == "levels" and spec.levels is not None and spec.levels > 1:
        half = torch.tensor((spec.levels - 1) / 2.0)
        return Standardize(half, half), spec.event_shape
    return None, spec.event_shape


def _statistics(likelihood: Any, description: DataDescription, data: Data, spec: Spec) -> Statistics:
    how = description.standardize
    if how == "auto":
        how = "global" if data.is_image else "columns"
    if likelihood.kind not in ("gaussian", "laplace"):
        how = "none"
    shift, unit = mean_and_scale(data.train, how)
    if likelihood.kind == "categorical":
        return Statistics(shift, unit, _frequencies(data.train, known_levels(likelihood.kind, likelihood.classes, spec)))
    mean, _ = mean_and_scale(data.train, "columns")
    return Statistics(shift / spec.divisor, unit / spec.divisor, mean / spec.divisor)


def _frequencies(rows: Rows, classes: int) -> Tensor:
    total = torch.zeros(*rows.event_shape, classes)
    for numbers in torch.arange(len(rows)).split(EVALUATION_BATCH):
        total += torch.nn.functional.one_hot(rows.fetch(numbers)["x"].long(), classes).sum(0)
    return total / len(rows)

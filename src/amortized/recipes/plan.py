"""From a recipe and data to what the training loop takes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from amortized.data import (
    Batches,
    Data,
    LoaderBatches,
    Transform,
)
from amortized.errors import InputError
from amortized.models import LatentModel, Model
from amortized.objectives import Objective, check_compatible
from amortized.recipes.build import build
from amortized.recipes.choices import check_data, check_holes, choose_parts
from amortized.recipes.objective import Setting
from amortized.recipes.recipe import Recipe, make_recipe
from amortized.recipes.spec import Spec
from amortized.recipes.statistics import compute_statistics, data_transform, describe_data, make_batches
from amortized.seeds import derive_seed


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
    recipe = _with_place(recipe, data)
    transform = data_transform(recipe, data)
    spec = describe_data(data, transform)
    train = make_batches(data.train, recipe, transform, device=device, training=True)
    valid = make_batches(data.valid, recipe, transform, device=device) if len(data.valid) else None
    notes = data.notes
    if model is None:
        recipe, announced = choose_parts(recipe, transform, len(data.train))
        notes = (*announced, *notes)
        model = _new_model(recipe, data, spec, transform)
    elif tuple(model.event_shape) != spec.event_shape:
        raise InputError(
            f"the model is of data of shape {tuple(model.event_shape)}; those of '{data.name}' have shape {spec.event_shape};"
            " make the two agree."
        )
    check_holes(model, data)
    if objective is None:
        if recipe.objective is None:
            raise InputError("this recipe has no objective: it was one of the user's own; give it again.")
        with _seeded(recipe, "auxiliary"):
            objective = recipe.objective.build(_setting(recipe, model, len(train), len(data.train)))
    objective = objective.with_data_size(len(data.train))
    check_compatible(objective, model.offers, _words(model, recipe))
    if recipe.training.batch_size < objective.rows:
        raise InputError(
            f"objective '{objective.name}' compares the data of a minibatch with each other, and training.batch_size is"
            f" {recipe.training.batch_size}; give {objective.rows} or more, 64 are usual."
        )
    if valid is None and recipe.training.patience is not None:
        recipe = make_recipe([recipe.model_dump()], {"training.patience": None})
        notes = (*notes, "There are no validation data: training goes on to its end, and the last weights are kept.")
    return Plan(recipe, spec, model, objective, train, valid, notes)


def _with_place(recipe: Recipe, data: Data) -> Recipe:
    """The recipe with where the data are held: their order and their splits depend on it, so a run that goes on must keep it."""
    place = {"data.stream": "off" if data.window_mib is None else "on", "data.window_mib": data.window_mib}
    return make_recipe([recipe.model_dump()], place)


def _setting(recipe: Recipe, model: Model, steps_per_epoch: int, rows: int) -> Setting:
    settings = recipe.training
    steps = settings.epochs * steps_per_epoch if settings.steps is None else settings.steps
    told = (getattr(model, name, None) for name in ("latent_size", "seen_shape"))
    return Setting(steps_per_epoch, steps, rows, *told)


@contextmanager
def _seeded(recipe: Recipe, purpose: str) -> Iterator[None]:
    """Draw new weights from the stream that `purpose` names."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, purpose))
        yield


def _words(model: Model, recipe: Recipe) -> str:
    posterior = "" if recipe.model is None else f" with posterior '{recipe.model.posterior.kind}'"
    return f"a {type(model).__name__}{posterior}"


def _new_model(recipe: Recipe, data: Data, spec: Spec, transform: Transform) -> LatentModel:
    if recipe.model is None:
        raise InputError("this recipe has no model: it was composed by hand; give the model again, to `amortized.train`.")
    check_data(recipe.model.likelihood, data, transform)
    with _seeded(recipe, "weights"):
        return build(recipe.model, spec, recipe.data, compute_statistics(recipe, data, spec, transform))

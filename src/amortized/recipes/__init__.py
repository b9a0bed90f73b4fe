"""Recipes: the validated description of a model and its training, and how it is built."""

from amortized.recipes import messages
from amortized.recipes.build import build
from amortized.recipes.loading import load_data, load_fitted, load_other
from amortized.recipes.named import NAMED, named
from amortized.recipes.plan import Plan, plan
from amortized.recipes.recipe import SHORT, DataDescription, ModelDescription, Recipe, dotted, file_layer, make_recipe, read_yaml
from amortized.recipes.spec import Condition, Spec
from amortized.recipes.statistics import known_transform, make_batches


def options() -> dict[str, str]:
    """Every option of a recipe by its dotted name: what it is, and its default."""
    return messages.options(Recipe)


__all__ = [
    "NAMED",
    "SHORT",
    "Condition",
    "DataDescription",
    "ModelDescription",
    "Plan",
    "Recipe",
    "Spec",
    "build",
    "dotted",
    "file_layer",
    "known_transform",
    "load_data",
    "load_fitted",
    "load_other",
    "make_batches",
    "make_recipe",
    "named",
    "options",
    "plan",
    "read_yaml",
]

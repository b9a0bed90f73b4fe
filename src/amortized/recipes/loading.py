"""The data of a recipe: those that a model is fitted on, and others that it meets later."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from amortized import data as datasets
from amortized.data import Data
from amortized.data.streams import is_torch_source
from amortized.errors import InputError, NoRoomError, NotThereError
from amortized.recipes.recipe import Recipe


def load_fitted(recipe: Recipe, source: Any = None, *, judged: bool = True, say: Callable[[str], None] | None = None) -> Data:
    """The data of a run that began, as `load_data` has them: these stay where they were held then, in memory or on the disk."""
    try:
        return load_data(recipe, source, judged=judged, say=say)
    except NoRoomError as error:
        raise InputError(
            f"{error.needs}, but a run that began holds its data as it did; go on where more is free, or raise the limit."
        ) from None


def load_data(recipe: Recipe, source: Any = None, *, judged: bool = True, say: Callable[[str], None] | None = None) -> Data:
    """The data that a recipe describes, from its own source or from one handed over.

    Args:
        recipe: The description.
        source: What is handed over.
        judged: Whether all data that stream are looked through, as a fit needs; without, they can be used.
        say: Is told in a sentence what takes long.
    """
    description = recipe.data
    source = description.source if source is None else source
    if isinstance(source, Data):
        return source
    if source is None:
        raise InputError("this run's data were handed over in Python, and are not in its folder; give them again.")
    return datasets.load(
        source,
        labels=description.labels,
        context=description.context,
        splits=description.splits,
        seed=recipe.seed,
        stream=description.stream,
        window_mib=description.window_mib,
        judged=judged,
        say=say,
    )


def load_other(recipe: Recipe, source: Any) -> Data:
    """Data for a model that is fitted already: one row will do, and only splits that they bring are told apart.

    The labels' name is that of the data fitted on; others may not have them.
    """
    if isinstance(source, Data):
        return source
    given: dict[str, Any] = {"splits": (1.0, 0.0, 0.0), "seed": recipe.seed, "least_rows": 1, "judged": False}
    if is_torch_source(source):
        return datasets.load(source, **given)
    if recipe.data.labels is not None:
        with suppress(NotThereError):
            return datasets.load(source, labels=recipe.data.labels, context=recipe.data.context, **given)
    return datasets.load(source, context=recipe.data.context, **given)

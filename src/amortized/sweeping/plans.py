"""The points of a sweep before they are fitted: all that can be refused is refused here, and what is finished is found."""

import itertools
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amortized.data import Data
from amortized.errors import InputError, is_count, nearest
from amortized.fitting import described
from amortized.folder import Folder, read_json
from amortized.recipes import Recipe, dotted, load_data, plan
from amortized.sweeping.record import Point

PARTS = ("train", "valid", "test")

WHEREABOUTS = frozenset(
    ("data.stream", "data.window_mib", "training.accelerator", "training.devices", "training.strategy")
    + ("training.compile", "training.checkpoint_seconds")
)
"""Options that a finished point may have had otherwise: where and how it was computed, not what."""


@dataclass(frozen=True)
class Planned:
    """A point that is to be fitted.

    Attributes:
        name: Of the point and its folder.
        values: Of the options.
        recipe: As asked for.
        resolved: With every choice made.
        whole: The data.
    """

    name: str
    values: dict[str, Any]
    recipe: Recipe
    resolved: Recipe
    whole: Data


def planned(
    data: Any,
    over: Mapping[str, Sequence[Any]],
    recipe: str | Recipe | None,
    config: str | os.PathLike[str] | None,
    samples: int,
    split: str,
    options: Mapping[str, Any],
) -> list[Planned]:
    """Every point, checked as far as can be without training."""
    names = _names(over, options)
    _check_evaluation(samples, split)
    plans: list[Planned] = []
    loaded: dict[str, Data] = {}
    for values in itertools.product(*over.values()):
        asked = described(data, recipe=recipe, config=config, options={**options, **dict(zip(names, values, strict=True))})
        if asked.training.devices != 1:
            raise InputError("a sweep fits its points in one process; leave out devices, or fit each point by itself.")
        key = asked.model_copy(update={"model": None, "objective": None}).to_yaml()
        if key not in loaded:
            loaded[key] = load_data(asked, None if isinstance(data, str | os.PathLike) else data)
        whole = loaded[key]
        if not whole.parts(split):
            raise InputError(f"the {split} split of '{whole.name}' is empty, and the points are evaluated on it; name another.")
        resolved = plan(asked, whole).recipe
        shown = {name: _shown(asked, name, value) for name, value in zip(names, values, strict=True)}
        name = _name(shown)
        if any(name == each.name or asked == each.recipe for each in plans):
            raise InputError(f"the sweep has the point '{name}' twice; give each value once.")
        plans.append(Planned(name, shown, asked, resolved, whole))
    return plans


def _names(over: Mapping[str, Sequence[Any]], options: Mapping[str, Any]) -> list[str]:
    """The dotted names of what is swept over."""
    if not over:
        raise InputError("a sweep is over the values of an option; give over={'objective.beta': [0.5, 1, 2]}.")
    for name, values in over.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not len(values):
            raise InputError(f"the values of '{name}' are {values!r}; give a list of one or more.")
    names, fixed = list(map(dotted, over)), set(map(dotted, options))
    for position, name in enumerate(names):
        if name in fixed:
            raise InputError(f"'{name}' is swept over, and is given one value besides; leave out one of the two.")
        if name in names[:position]:
            raise InputError(f"'{name}' is swept over twice; give all its values at once.")
    return names


def _check_evaluation(samples: int, split: str) -> None:
    if not is_count(samples):
        raise InputError(f"samples must be a positive integer; it is {samples!r}; 100 are usual.")
    if split not in PARTS:
        raise InputError(f"unknown split '{split}'; {nearest(split, PARTS)}")


def _shown(recipe: Recipe, name: str, given: Any) -> Any:
    """The value of an option as the recipe reads it; that of a whole description as it was given."""
    value: Any = recipe.model_dump(mode="json")
    for key in name.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return given if isinstance(value, Mapping) or value is None else value


def _name(values: Mapping[str, Any]) -> str:
    last = [name.rpartition(".")[2] for name in values]
    short = [tail if last.count(tail) == 1 else name for name, tail in zip(values, last, strict=True)]
    texts = (re.sub(r"[^\w.+-]+", "-", str(value)).strip("-") for value in values.values())
    return ",".join(f"{name}={text}" for name, text in zip(short, texts, strict=True))


def kept(folder: Path, plans: Sequence[Planned], samples: int, split: str) -> dict[str, Point]:
    """The points that are finished in a folder, by name.

    Raises:
        InputError: The folder holds something else, or a run that is not what is asked for.
    """
    for each in plans:
        _check_same(Folder(folder / each.name), each)
    record = folder / "sweep.json"
    if not record.exists():
        if folder.exists() and not (folder.is_dir() and _holds_only(folder, plans)):
            raise InputError(f"'{folder}' is there and holds no sweep of these options; give another --out.")
        return {}
    known = read_json(record)
    if (known.get("samples"), known.get("split")) != (samples, split):
        return {}
    try:
        points = [Point(**fields) for fields in known.get("points", ())]
    except TypeError as error:
        raise InputError(f"'{record}' is damaged ({error}); remove it: the runs beside it are kept.") from error
    names = {each.name for each in plans if Folder(folder / each.name).weights.exists()}
    return {point.name: point for point in points if point.name in names}


def _holds_only(folder: Path, plans: Sequence[Planned]) -> bool:
    """Whether all that lies in a folder are points of the sweep, and files that were being written."""
    names = {each.name for each in plans}
    return all(path.name in names or path.name.startswith(".") for path in folder.iterdir())


def _check_same(folder: Folder, wanted: Planned) -> None:
    """Refuse a run folder whose run is another than the point that is wanted."""
    if not folder.config.is_file():
        return
    ours, theirs = (_flat(recipe.model_dump(mode="json")) for recipe in (wanted.resolved, folder.read_recipe()))
    for name in sorted((ours.keys() | theirs.keys()) - WHEREABOUTS):
        if ours.get(name) != theirs.get(name):
            raise InputError(
                f"'{folder.path}' holds a run with {name} = {theirs.get(name)}, and {ours.get(name)} is asked for; give"
                " another --out, or the same options."
            )
    if folder.has_other_data(wanted.whole):
        raise InputError(f"'{folder.path}' holds a run on other data than '{wanted.whole.name}' is now; give another --out.")


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat

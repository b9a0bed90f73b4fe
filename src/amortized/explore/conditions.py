"""The conditions under which a page encodes and decodes: as it gives them, filled in where it does not."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.explore.asking import numbers, one_or_list, shown
from amortized.recipes.spec import Condition, Spec

LONGEST = 200
"""Characters of a class's name that is asked for."""


def describe(spec: Spec) -> list[dict[str, Any]]:
    """The conditions of a model, in the order in which it takes them."""
    return [_described(name, condition) for name, condition in spec.conditions.items()]


def tensors(spec: Spec, given: Mapping[str, Any] | None, n: int) -> dict[str, Tensor]:
    """The conditions of n rows.

    Args:
        spec: What the model knows of them.
        given: A value for each, for all rows: the name of a class (its code where classes have no names), or numbers; one that is
            left out is the first class, or the mean.
        n: How many rows.

    Raises:
        InputError: A name or a value is unknown.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"context is {shown(given)}; give an object with a value for each condition.")
    for name in given or {}:
        spec.condition(name[:LONGEST])
    return {name: _rows(name, condition, given, n) for name, condition in spec.conditions.items()}


def as_given(spec: Spec, context: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """The conditions of N rows as a page gives them: of each, N names of classes, codes or numbers."""
    return {name: _values(condition, context[name].cpu()) for name, condition in spec.conditions.items() if name in context}


def _described(name: str, condition: Condition) -> dict[str, Any]:
    if condition.classes is None:
        loc, scale = list(condition.loc), list(condition.scale)
        return {"name": name, "classes": None, "width": condition.width, "loc": loc, "scale": scale}
    return {"name": name, "classes": [_class(condition, code) for code in range(condition.classes)]}


def _class(condition: Condition, code: int) -> str:
    return condition.names[code] if condition.names else str(code)


def _rows(name: str, condition: Condition, given: Mapping[str, Any] | None, n: int) -> Tensor:
    if not given or name not in given:
        value = _class(condition, 0) if condition.classes is not None else condition.loc
        return condition.rows(name, value, n)
    value = given[name]
    if condition.classes is None:
        row = numbers(f"condition '{name}'", value if isinstance(value, list | tuple) else [value], condition.width)
        return condition.rows(name, row, n)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(shown(value)) > LONGEST:
        raise InputError(f"condition '{name}' is {shown(value)}; give the name of a class.")
    if isinstance(value, int) and abs(value) > 1e9 or isinstance(value, str) and len(value) > LONGEST:
        raise InputError(f"condition '{name}' has no class {shown(value)}; give one of its {condition.classes} classes.")
    return condition.rows(name, value, n)


def _values(condition: Condition, values: Tensor) -> list[Any]:
    if condition.classes is not None:
        return [_class(condition, code) for code in values.tolist()]
    rows = values.reshape(len(values), -1).to(torch.float32).numpy()
    return [one_or_list(np.where(np.isfinite(row), row, 0).tolist()) for row in rows]

"""Nested values, such as those of a recipe, by dotted names."""

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values within nested mappings, each with its dotted name; an empty mapping is a value.

    Example:
        >>> dict(leaves({"seed": 0, "model": {"prior": {"kind": "vamp"}, "hidden": [8, 8]}}))
        {'seed': 0, 'model.prior.kind': 'vamp', 'model.hidden': [8, 8]}
    """
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value

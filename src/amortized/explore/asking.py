"""What a page asks, as it comes out of JSON, to what the model is asked; and its answers, to what JSON can say.

A question may come from anyone: whatever is no number, too long, too many or not finite is refused by one short sentence.
"""

import json
import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortized.errors import InputError, nearest

FARTHEST = 1e6
"""The largest entry of a latent that is decoded, in absolute value."""

LONGEST = 300
"""Characters of a sentence that says what is wrong."""


def parse(body: bytes) -> dict[str, Any]:
    """The question in the body of a request.

    Raises:
        InputError: It is no JSON object, or has NaN, an infinity or a number that no computer holds.
    """
    try:
        question = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # a wrong encoding, more digits than Python reads, or too deep a nesting
        reason = str(error) if isinstance(error, InputError | json.JSONDecodeError) else type(error).__name__
        raise InputError(f"the request's body is no JSON that can be read ({reason}); send an object.") from error
    if not isinstance(question, dict):
        raise InputError(f"the request's body is {shown(question)}; send a JSON object.")
    return question


def check_keys(question: dict[str, Any], needed: Collection[str], optional: Collection[str]) -> None:
    """Refuse a question with a key that means nothing, or without one that it needs."""
    for key in question:
        if key not in (*needed, *optional):
            raise InputError(f"unknown key {shown(key)}; {nearest(key[:40], (*needed, *optional))}")
    for key in needed:
        if key not in question:
            raise InputError(f"the request has no '{key}'; it needs {', '.join(map(repr, needed))}.")


def numbers(name: str, value: Any, count: int, *, holes: bool = False, most: float = math.inf) -> NDArray[np.float32]:
    """A list of so many numbers, as float32.

    Args:
        name: What to call it.
        value: The list, or an array of one dimension.
        count: How many there must be.
        holes: Whether an entry may be missing, None (or NaN, of an array), which becomes NaN.
        most: The largest absolute value.

    Raises:
        InputError: It is something else.
    """
    if isinstance(value, np.ndarray):
        value = listed(value) if holes else value.tolist()
    if not isinstance(value, list | tuple):
        raise InputError(f"{name} is {shown(value)}; give a list of {count} numbers.")
    if len(value) != count:
        raise InputError(f"{name} has {len(value)} entries; it needs {count}.")
    return np.array([_number(name, place, entry, holes, most) for place, entry in enumerate(value)], dtype=np.float32)


def rows(name: str, value: Any, count: int, most_rows: int, *, most: float = math.inf) -> NDArray[np.float32]:
    """A list of 1 to `most_rows` lists of `count` numbers each, as float32 (n, count).

    Raises:
        InputError: It is something else.
    """
    value = value.tolist() if isinstance(value, np.ndarray) else value
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{name} is {shown(value)}; give a list of rows of {count} numbers each.")
    if len(value) > most_rows:
        raise InputError(f"{name} has {len(value)} rows; ask for at most {most_rows} at once.")
    return np.stack([numbers(f"row {row} of {name}", entries, count, most=most) for row, entries in enumerate(value)])


def integer(name: str, value: Any, low: int, high: int) -> int:
    """An integer from `low` to `high`.

    Raises:
        InputError: It is something else.
    """
    if not is_integer(value) or not low <= value <= high:
        raise InputError(f"{name} is {shown(value)}; give an integer from {low} to {high}.")
    return int(value)


def number(name: str, value: Any, low: float, high: float) -> float:
    """A number from `low` to `high`.

    Raises:
        InputError: It is something else.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating) or not low <= value <= high:
        raise InputError(f"{name} is {shown(value)}; give a number from {low:g} to {high:g}.")
    return float(value)


def is_integer(value: Any) -> bool:
    """Whether a value is an integer, and no truth value."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def shown(value: Any) -> str:
    """A value in a sentence: short, whatever it is."""
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and abs(value) > 1e18:  # of which Python writes no more than some thousand digits
        return "a very large integer"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def sentence(error: Exception) -> str:
    """What an error says, in one line that is not long."""
    text = " ".join(str(error).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def listed(values: NDArray[Any]) -> list[Any]:
    """An array as nested lists of Python numbers that read back as the same float32; what is not finite becomes None."""
    values = np.asarray(values, dtype=np.float32)
    finite = np.isfinite(values)
    if finite.all():
        return values.tolist()
    said = values.astype(object)
    said[~finite] = None
    return said.tolist()


def known(value: float | None) -> float | None:
    """A number that JSON can say; None for one that it cannot."""
    return float(value) if value is not None and math.isfinite(value) else None


def _number(name: str, place: int, entry: Any, holes: bool, most: float) -> float:
    if holes and entry is None:
        return math.nan
    if isinstance(entry, bool) or not isinstance(entry, int | float):
        raise InputError(f"{name} has {shown(entry)} at position {place}; give a number.")
    if not -most <= entry <= most or not abs(entry) <= float(np.finfo(np.float32).max):
        limit = f"of at most {most:g} in absolute value" if most < math.inf else "that is finite in float32"
        raise InputError(f"{name} has {shown(entry)} at position {place}; give a number {limit}.")
    return float(entry)


def _refuse(constant: str) -> Any:
    raise InputError(f"{constant} is no number of JSON")


def one_or_list(values: Sequence[float]) -> float | list[float]:
    """A number alone, or several as a list."""
    return values[0] if len(values) == 1 else list(values)

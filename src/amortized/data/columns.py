"""Columns by name: data that a model meets later, in the order of the table that it was fitted on.

Names that are the numbers 0, 1, ... in order are those of data that have no names; they are taken by position, and so are any by
a model that was fitted on such data. Where a name occurs twice, its columns are told apart by their order.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from amortized.data.record import Data, Split
from amortized.data.windows import StreamedSplit
from amortized.errors import InputError


def arrange(data: Data, columns: Sequence[str]) -> Data:
    """The data with their columns in another order.

    Args:
        data: A data set.
        columns: The names of the model's columns, in its order.

    Raises:
        InputError: The data have other names.
    """
    columns = tuple(columns)
    if data.columns in (columns, _numbers(len(data.columns))):
        return data
    if Counter(data.columns) != Counter(columns):
        if columns == _numbers(len(columns)):
            return data
        raise _other_names(data, columns)
    order = [position for _, position in sorted(zip(_sorted(columns), _sorted(data.columns), strict=True))]
    parts = {}
    for name, part in data.splits.items():
        if isinstance(part, StreamedSplit):
            parts[name] = part.with_columns(order)
        else:
            assert isinstance(part, Split)  # the rows of a `Dataset` have no names
            parts[name] = replace(part, x=part.x[:, order])
    return replace(data, **parts, columns=columns)


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _sorted(names: Sequence[str]) -> list[int]:
    """The positions of names in their sorted order; equal ones keep theirs."""
    return sorted(range(len(names)), key=names.__getitem__)


def _other_names(data: Data, columns: Sequence[str]) -> InputError:
    missing, unknown = Counter(columns) - Counter(data.columns), Counter(data.columns) - Counter(columns)
    if missing:
        has = ", ".join(map(repr, data.columns[:8])) + (", ..." if len(data.columns) > 8 else "")
        return InputError(
            f"data '{data.name}' have no column '{next(iter(missing))}', which the model was fitted on; they have {has}; name the"
            " columns as they were, or add it, empty where it is not known."
        )
    return InputError(
        f"data '{data.name}' have a column '{next(iter(unknown))}', which the model was not fitted on; leave it out, or name the"
        " columns as they were."
    )

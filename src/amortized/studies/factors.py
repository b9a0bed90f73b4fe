"""The true factors of data, where they are known: what a disentangled representation is held against."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortized.data import read_array
from amortized.errors import InputError
from amortized.terms import Batch

ARRAY = "factors"


def find_factors(
    given: Any, source: Any, split: str, batches: Sequence[Batch], rows: Collection[int]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The factors of some data, (N, F) integer codes, and their names.

    Args:
        given: An array (rows, F), the name of one, or None for that called `factors`.
        source: Of the data, in whose file an array of that name may lie.
        split: Which part of them.
        batches: The data.
        rows: How many rows the factors may have: those of the array that the data were cut from.

    Raises:
        InputError: There are none, or they are not one row for each row of the data's source.
    """
    values, names = given_factors(given, source, split)
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or len(values) not in rows:
        wanted = " or ".join(map(str, sorted(rows)))
        raise InputError(
            f"factors need a row for each row of the data, {wanted}; their shape is {values.shape}; give an array (N, F)."
        )
    index = np.concatenate([_index(batch) for batch in batches])
    codes = np.column_stack([np.unique(column, return_inverse=True)[1] for column in values.T])
    names = tuple(names) if len(names) == values.shape[1] else tuple(f"factor {number}" for number in range(values.shape[1]))
    return codes[index], names


def given_factors(given: Any, source: Any, split: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """The array of factors as it is, and their names where these lie beside it.

    Raises:
        InputError: There is no such array.
    """
    if given is not None and not isinstance(given, str):
        return np.asarray(given), ()
    values = read_array(source, given or ARRAY, split)
    if values is None:
        raise InputError(
            f"there is no array '{given or ARRAY}' beside the data; give factors= an array (N, F), or lay one of that name beside"
            " x in an .npz."
        )
    found = read_array(source, "factor_names", split)
    return values, () if found is None else tuple(map(str, found))


def _index(batch: Batch) -> NDArray[np.int64]:
    if batch.index is None:
        raise InputError("factors need data that know their rows; give data from a file or an array.")
    return batch.index.cpu().numpy()

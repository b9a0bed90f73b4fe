"""The true factors of data, where they are known: what a disentangled representation is held against."""

import numpy as np
from numpy.typing import NDArray

from amortized.data import read_array
from amortized.errors import InputError
from amortized.studies.material import Material
from amortized.terms import Batch

ARRAY = "factors"


def find_factors(material: Material, batches: list[Batch]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The factors of some data, (N, F) integer codes, and their names.

    Raises:
        InputError: There are none, or they are not one row for each row of the data's source.
    """
    values, names = _given(material)
    if values.ndim == 1:
        values = values[:, None]
    index = np.concatenate([_index(batch) for batch in batches])
    if values.ndim != 2 or len(values) <= index.max():
        raise InputError(
            f"factors need a row for each row of the data; their shape is {values.shape}, and a row of the data has number"
            f" {index.max()}; give an array (N, F)."
        )
    codes = np.column_stack([np.unique(column, return_inverse=True)[1] for column in values.T])
    names = tuple(names) if len(names) == values.shape[1] else tuple(f"factor {number}" for number in range(values.shape[1]))
    return codes[index], names


def _given(material: Material) -> tuple[NDArray, tuple[str, ...]]:
    given = material.factors
    if given is not None and not isinstance(given, str):
        return np.asarray(given), ()
    name, source = given or ARRAY, material.run.recipe.data.source if material.data is None else material.data
    values = read_array(source, name, material.split)
    if values is None:
        raise InputError(
            f"there is no array '{name}' beside the data; give factors= an array (N, F), or lay one of that name beside x in an"
            " .npz."
        )
    found = read_array(source, "factor_names", material.split)
    return values, () if found is None else tuple(map(str, found))


def _index(batch: Batch) -> NDArray[np.int64]:
    if batch.index is None:
        raise InputError("factors need data that know their rows; give data from a file or an array.")
    return batch.index.cpu().numpy()

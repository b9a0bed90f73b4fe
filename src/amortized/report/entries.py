"""What a figure of a table needs: the entries of a datum by name, and those of them that are shown where there are many."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amortized.data.support import is_image_shape
from amortized.errors import InputError
from amortized.recipes import Spec
from amortized.report.view import View

MOST = 12
"""Entries of a table that have a panel of their own."""

LONGEST_NAME = 24


def is_image(spec: Spec) -> bool:
    """Whether data are shown as images."""
    return spec.is_image and is_image_shape(tuple(spec.event_shape))


def is_categorical(view: View) -> bool:
    """Whether the numbers of data are codes of classes, between which there is nothing."""
    recipe = view.run.recipe.model
    return recipe is not None and recipe.likelihood is not None and recipe.likelihood.kind == "categorical"


def flat(x: NDArray[Any]) -> NDArray[np.float64]:
    """(N, D) data (N, *event) as rows of a table."""
    return x.reshape(len(x), -1).astype(np.float64)


def entry_names(spec: Spec) -> list[str]:
    """The name of each entry of a datum: that of its column, or its position."""
    shape = tuple(spec.event_shape)
    if len(spec.columns) == int(np.prod(shape)):
        names = list(spec.columns)
        return [f"column {name}" for name in names] if names == [str(place) for place in range(len(names))] else names
    return [f"entry {', '.join(map(str, place))}" for place in np.ndindex(*shape)]


def short(name: str, most: int = LONGEST_NAME) -> str:
    """A name that fits above a panel, without its middle where it is too long."""
    tail = (most - 1) // 3
    return plain(name if len(name) <= most else f"{name[: most - 1 - tail].rstrip()}…{name[len(name) - tail :].lstrip()}")


def plain(name: str) -> str:
    """A name as text of a figure, where what stands between dollars would be taken for a formula."""
    return re.sub(r"(?<!\\)\$", r"\\$", name)


def spreads(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) the standard deviation of each column of (N, D), NaN left out; 1 for a column that does not vary."""
    with np.errstate(all="ignore"):
        spread = np.sqrt(variances(x))
    return np.where((spread > 0) & np.isfinite(spread), spread, 1.0)


def variances(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) the variance of each column of (N, D), NaN left out; NaN for a column without data."""
    return means(np.square(x - means(x)))


def means(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) the mean of each column of (N, D), NaN left out; NaN for a column without data."""
    known = ~np.isnan(x)
    with np.errstate(all="ignore"):
        return np.where(known, x, 0.0).sum(0) / known.sum(0)


def foremost(scores: NDArray[np.float64], most: int = MOST) -> list[int]:
    """The places of the largest scores, in the order of the table; NaN is the least."""
    order = np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")
    return sorted(order[:most].tolist())


def left_out(shown: Sequence[int], total: int, why: str) -> str:
    """The sentence that says which columns are not shown; empty where all are."""
    if len(shown) == total:
        return ""
    left = total - len(shown)
    return f"The {len(shown)} of {total:,} columns {why}; {left:,} {'is' if left == 1 else 'are'} left out."


def sites(view: View, n: int) -> NDArray[np.int64]:
    """The rows of n of the data shown, drawn at random, in their order."""
    rng = np.random.default_rng(view.seed)
    return np.sort(rng.permutation(len(view.batch))[:n])


def name_of(view: View, site: int, most: int = 10) -> str:
    """What a datum is called in a figure: its index, and its label, so many characters of it, where it has one."""
    index = index_of(view, site)
    return f"{index}" if view.labels is None else f"{index} ({short(view.label_name(int(view.labels[site])), most)})"


def index_of(view: View, site: int) -> int:
    """The place of a datum among all data."""
    return site if view.batch.index is None else int(view.batch.index[site])


def check_positive(n: int | None) -> None:
    """Refuse a number of data that is none.

    Raises:
        InputError: It is below 1.
    """
    if n is not None and n < 1:
        raise InputError(f"n must be a positive integer; it is {n}; give how many are to be shown.")


def say(ax: Any, sentence: str) -> None:
    """Put a sentence in the place of what a panel would show."""
    ax.text(0.5, 0.5, sentence, ha="center", va="center", fontsize=7, transform=ax.transAxes)
    ax.set(xticks=[], yticks=[])

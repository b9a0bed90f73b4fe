"""Missing entries: NaN in x means that the entry was not observed.

The bound is over the observed entries (Mattei and Frellsen 2019, arXiv 1812.02633, section 2). A batch of data with holes says
which entries are there, `observed`, and its `x` keeps NaN in the others, through every transform: no fill can be taken for data.
"""

from typing import Any

import torch
from torch import Tensor

from amortized.errors import InputError

HOLES = frozenset({"", "na", "n/a", "nan", "null", "none", "?"})
"""The text by which programs write that there is no value, in whatever case."""


def is_hole(text: str) -> bool:
    """Whether text says that there is no value."""
    return text.strip().lower() in HOLES


def has_missing(x: Tensor) -> bool:
    """Whether any entry is missing."""
    return x.is_floating_point() and bool(x.isnan().any())


def mark(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch with `observed`, (B, *event) true where the entry of `x` is not missing."""
    return {**batch, "observed": ~batch["x"].isnan()}


def with_holes(x: Tensor, observed: Tensor) -> Tensor:
    """`x` with NaN where nothing was observed; numbers that are no floats become float32.

    Raises:
        InputError: `observed` has another shape than `x`.
    """
    if observed.shape != x.shape:
        raise InputError(
            f"'observed' of a batch has shape {tuple(observed.shape)}, but its x {tuple(x.shape)}; give true or false for every"
            " entry."
        )
    return torch.where(observed.bool(), x if x.is_floating_point() else x.to(torch.float32), torch.nan)


def missing_note(share: float, of: str = "the entries") -> str:
    """The sentence that says how much is missing."""
    return f"{100 * share:.3g}% of {of} are missing (NaN); the bound is over the observed ones."

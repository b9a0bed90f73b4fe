"""What a model must know of its data to be built, and what of them its constants are computed from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortized.errors import InputError


@dataclass(frozen=True)
class Condition:
    """One condition of the data.

    Attributes:
        classes: Number of classes; None for a continuous condition.
        names: The name of each class, where it has one.
        width: Number of entries of a continuous condition.
        loc: Their means over the training data.
        scale: Their standard deviations over the training data.
    """

    classes: int | None = None
    names: tuple[str, ...] = ()
    width: int = 1
    loc: tuple[float, ...] = (0.0,)
    scale: tuple[float, ...] = (1.0,)

    def code(self, name: str, value: Any) -> int:
        """The code of a class, given by its name or by its code.

        Raises:
            InputError: There is no such class.
        """
        classes = self.classes or 0
        if isinstance(value, str) and value in self.names:
            return self.names.index(value)
        if isinstance(value, int | str) and str(value).isdigit() and int(value) < classes:
            return int(value)
        known = f"its classes are {', '.join(map(repr, self.names))}, with codes" if self.names else "its codes are"
        raise InputError(f"condition '{name}' has no class '{value}'; {known} 0 to {classes - 1}.")

    def rows(self, name: str, value: Any, n: int) -> Tensor:
        """The condition of n samples: one value for all of them, or one each.

        Raises:
            InputError: The value is not one of this condition, or there are not n of them.
        """
        if self.classes is not None:
            values = np.asarray(value).tolist()
            values = values if isinstance(values, list) else [values] * n
            rows = torch.tensor([self.code(name, each) for each in values])
        else:
            try:
                rows = torch.as_tensor(np.asarray(value, dtype=np.float32)).reshape(-1, self.width)
            except (TypeError, ValueError) as error:
                raise InputError(f"condition '{name}' is a number; it was given {value!r}.") from error
            rows = rows.expand(n, self.width) if len(rows) == 1 else rows
        if len(rows) != n:
            raise InputError(f"condition '{name}' has {len(rows)} values for {n} samples; give one for all, or one each.")
        return rows

    def draw(self, name: str, n: int, generator: torch.Generator) -> Tensor:
        """The condition of n samples, evenly over its classes.

        Raises:
            InputError: It is continuous, so there is nothing even to draw from.
        """
        if self.classes is None:
            raise InputError(
                f"condition '{name}' has no value, and no classes to draw from; give --context {name}={self.loc[0]:g}."
            )
        return torch.randperm(n, generator=generator) % self.classes


@dataclass(frozen=True)
class Spec:
    """What a model must know of its data to be built; stored beside the weights.

    Attributes:
        event_shape: The shape of one datum.
        is_image: Whether that is an image.
        support: The kind of values: "binary", "levels", "counts", "unit" or "real".
        levels: The number of levels or classes of discrete data.
        divisor: What the raw data are divided by, before they are binarized or scored.
        columns: The names of a table's columns.
        conditions: The conditions by name.
        label_names: The name of each label.
    """

    event_shape: tuple[int, ...]
    is_image: bool
    support: str
    levels: int | None = None
    divisor: float = 1.0
    columns: tuple[str, ...] = ()
    conditions: dict[str, Condition] = field(default_factory=dict)
    label_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Statistics:
    """Constants that a new model takes from its training data; a loaded one finds them among its weights.

    Attributes:
        shift: (*event) subtracted to standardize.
        unit: (*event) divided by to standardize.
        mean: (*event) mean, or (*event, classes) frequencies of categorical data.
    """

    shift: Tensor
    unit: Tensor
    mean: Tensor

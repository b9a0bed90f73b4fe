"""What a model must know of its data to be built, and what of them its constants are computed from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from amortized.errors import InputError, nearest


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
        """The code of a class, given by its name, or by its code where the classes have no names.

        Raises:
            InputError: There is no such class.
        """
        classes = self.classes or 0
        text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
        if text in self.names:
            return self.names.index(text)
        if not self.names and text.isdecimal() and int(text) < classes:
            return int(text)
        known = f"its classes are {', '.join(map(repr, self.names))}" if self.names else f"its codes are 0 to {classes - 1}"
        raise InputError(f"condition '{name}' has no class '{text}'; {known}.")

    def known(self, name: str, values: Tensor, names: Sequence[str]) -> Tensor:
        """The condition of other data as the model knows it.

        Args:
            name: Of the condition.
            values: (N,) integer codes in the numbering of those data, or (N,) or (N, width) numbers.
            names: What those data call the codes; empty where they have no names.

        Raises:
            InputError: The data have a class that the model never saw, or numbers where it knows classes.
        """
        if values.is_floating_point():
            if self.classes is not None:
                raise InputError(f"condition '{name}' has {self.classes} classes; these data give it as numbers; give classes.")
            return values
        codes, positions = values.unique(return_inverse=True)
        called = [names[code] if names else code for code in codes.tolist()]
        if self.classes is not None:
            return torch.tensor([self.code(name, each) for each in called], dtype=torch.long)[positions]
        return self.rows(name, called, len(called))[positions]

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
            except (TypeError, ValueError, RuntimeError) as error:
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

    def condition(self, name: str) -> Condition:
        """The condition of a name.

        Raises:
            InputError: The model has none of that name.
        """
        if name not in self.conditions:
            known = nearest(name, self.conditions) if self.conditions else "this model has none"
            raise InputError(f"unknown condition '{name}'; {known}")
        return self.conditions[name]

    def draw_conditions(self, n: int, given: Mapping[str, Any], generator: torch.Generator) -> dict[str, Tensor]:
        """One row of every condition for each of n samples: as given, or drawn.

        Raises:
            InputError: A name or a value is unknown, or a number was not given.
        """
        rows = {name: self.condition(name).rows(name, value, n) for name, value in given.items()}
        return {
            name: rows[name] if name in rows else condition.draw(name, n, generator)
            for name, condition in self.conditions.items()
        }


@dataclass(frozen=True)
class Statistics:
    """Constants that a new model takes from its training data; a loaded one finds them among its weights.

    Attributes:
        shift: (*event) subtracted to standardize.
        unit: (*event) divided by to standardize.
        mean: (*event) mean, or (*event, classes) frequencies of categorical data.
        batches: Gives the training data x in batches, NaN where an entry is missing, in an order that does not change.
    """

    shift: Tensor
    unit: Tensor
    mean: Tensor
    batches: Callable[[], Iterable[Tensor]]

    def seen(self, show: Callable[[Tensor], Tensor]) -> Callable[[], Iterable[Tensor]]:
        """Gives the training data as the encoder sees them, by what shows a batch of x to it."""
        return lambda: map(show, self.batches())

"""Descriptions of schedules: hyper-parameters of an objective that change from step to step."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from amortized import objectives
from amortized.objectives import Schedule
from amortized.recipes.schema import BRANCHES, BY_KIND, BY_NAME, Description, PositiveFloat, Size


class ScheduleDescription(Description, ABC):
    """A value that goes from `start` to `end` and stays there; over the whole training unless told how long."""

    start: float = 0.0
    """The value at the first step."""
    end: float = 1.0
    """The value in the end."""
    epochs: Annotated[float, Field(ge=0)] | None = None
    """How long the way takes."""
    steps: Annotated[int, Field(ge=0)] | None = None
    """The same in steps; takes precedence."""

    def build(self, steps_per_epoch: int, total: int) -> Schedule:
        """The schedule of a training of `total` steps."""
        length = total if self.epochs is None else round(self.epochs * steps_per_epoch)
        return self.over(length if self.steps is None else self.steps)

    @abstractmethod
    def over(self, steps: int) -> Schedule:
        """The schedule over so many steps."""


class LinearSchedule(ScheduleDescription):
    """The same change at every step (Sonderby et al. 2016)."""

    kind: Literal["linear"] = "linear"

    def over(self, steps: int) -> Schedule:
        """The schedule."""
        return objectives.Linear(self.start, self.end, steps)


class CosineSchedule(ScheduleDescription):
    """Slow at both ends."""

    kind: Literal["cosine"] = "cosine"

    def over(self, steps: int) -> Schedule:
        """The schedule."""
        return objectives.Cosine(self.start, self.end, steps)


class SigmoidSchedule(ScheduleDescription):
    """Late, and then fast (Bowman et al. 2016)."""

    kind: Literal["sigmoid"] = "sigmoid"
    sharpness: PositiveFloat = 6.0
    """The logit at the end; larger is more like a step in the middle."""

    def over(self, steps: int) -> Schedule:
        """The schedule."""
        return objectives.Sigmoid(self.start, self.end, steps, self.sharpness)


class CyclicalSchedule(ScheduleDescription):
    """A rise again and again, each followed by a rest (Fu et al. 2019)."""

    kind: Literal["cyclical"] = "cyclical"
    cycles: Size = 4
    """How often."""
    ratio: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The part of each cycle in which the value rises."""

    def over(self, steps: int) -> Schedule:
        """The schedule."""
        return objectives.Cyclical(self.start, self.end, steps, self.cycles, self.ratio)


def _linear_by_default(value: Any) -> Any:
    return {"kind": "linear", **value} if isinstance(value, Mapping) else value


ScheduleKind = Annotated[
    LinearSchedule | CosineSchedule | SigmoidSchedule | CyclicalSchedule, BY_KIND, BeforeValidator(_linear_by_default), BY_NAME
]
"""A schedule by its kind, which is linear where only other options are given."""


def _branch(value: Any) -> str:
    is_name = isinstance(value, str) and not _is_number(value)
    return BRANCHES[is_name or isinstance(value, Mapping | ScheduleDescription)]


def _is_number(text: str) -> bool:
    try:
        float(text.removeprefix("."))  # YAML writes infinity as .inf
    except ValueError:
        return False
    return True


def within(least: float | None = None, most: float | None = None) -> AfterValidator:
    """Lets a hyper-parameter go from `least` to `most`, also where a schedule moves it."""

    def check(value: Any) -> Any:
        is_schedule = isinstance(value, ScheduleDescription)
        for name, number in (("its start", value.start), ("its end", value.end)) if is_schedule else (("input", value),):
            for limit, word, is_beyond in ((least, "greater", operator.lt), (most, "less", operator.gt)):
                if limit is not None and is_beyond(number, limit):
                    context = {"name": name, "word": word, "limit": limit}
                    raise PydanticCustomError("range", "{name} should be {word} than or equal to {limit}", context)
        return value

    return AfterValidator(check)


_NUMBER, _SCHEDULE = map(Tag, BRANCHES)
Hyper = Annotated[Annotated[float, _NUMBER] | Annotated[ScheduleKind, _SCHEDULE], Discriminator(_branch)]
"""A hyper-parameter: a number, or a schedule."""
Weight = Annotated[Hyper, within(least=0.0)]
"""A hyper-parameter that is not negative."""
Share = Annotated[Hyper, within(least=0.0, most=1.0)]
"""A hyper-parameter from 0 to 1."""

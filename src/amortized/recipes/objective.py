"""What the descriptions of objectives have in common: each builds its `Objective` once the data and the model are known."""

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from amortized.objectives import Objective
from amortized.recipes.schedules import ScheduleDescription
from amortized.recipes.schema import Description, Size


@dataclass(frozen=True)
class Setting:
    """What an objective may know of data and model.

    Attributes:
        steps_per_epoch: The length of an epoch.
        steps: The length of the training.
        rows: The number N of training data.
        latent_size: Entries of all latents together; None for a model that does not tell.
        seen_shape: Shape of one datum as the encoder sees it; None likewise.
    """

    steps_per_epoch: int
    steps: int
    rows: int
    latent_size: int | None = None
    seen_shape: tuple[int, ...] | None = None


class ObjectiveDescription(Description, ABC):
    """What the objectives have in common: fields are the function's hyper-parameters, but for those named in `fixed`."""

    function: ClassVar[Callable[..., Tensor]]
    fixed: ClassVar[frozenset[str]] = frozenset()
    """Fields that the function takes as they are, the same at every step."""

    samples: Size = 1
    """Posterior samples per datum in training."""

    def build(self, setting: Setting) -> Objective:
        """The objective.

        Raises:
            InputError: It cannot be had on these data or with this model.
        """
        hyper = {name: value for name, value in self._values(setting).items() if name not in self.fixed}
        kind: str = self.kind  # pyright: ignore[reportAttributeAccessIssue] each description has one
        return Objective(self._function(setting), self.samples, hyper, fixed=self._fixed(setting), kind=kind)

    def _function(self, setting: Setting) -> Callable[..., Tensor]:
        return type(self).function

    def _values(self, setting: Setting) -> dict[str, Any]:
        """The fields by name, schedules with their length in steps."""
        names = [name for name in type(self).model_fields if name not in ("kind", "samples")]
        given = {name: getattr(self, name) for name in names}
        return {name: scheduled(value, setting) for name, value in given.items()}

    def _fixed(self, setting: Setting) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.fixed}


def scheduled(value: Any, setting: Setting) -> Any:
    """A field as the objective takes it: a description of a schedule becomes the schedule."""
    is_schedule = isinstance(value, ScheduleDescription)
    return value.build(setting.steps_per_epoch, setting.steps) if is_schedule else value

"""Hyper-parameters that change while training: functions of the step, never of the time."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from amortized.errors import InputError


@dataclass(frozen=True)
class Schedule(ABC):
    """A value that goes from `start` to `end` in `steps` steps and stays there.

    Attributes:
        start: The value at step 0.
        end: The value from step `steps` on.
        steps: How many steps the way takes.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self):
        if self.steps < 0:
            raise InputError(f"a schedule's steps must not be negative; they are {self.steps}; 0 means no warm-up.")

    def at(self, step: int | None) -> float:
        """The value at a step; None asks for the end."""
        if step is None or step >= self.steps:
            return self.end
        return self.start + (self.end - self.start) * self.progress(step / self.steps)

    @abstractmethod
    def progress(self, fraction: float) -> float:
        """The part of the way that is done after a fraction of the steps, in [0, 1]."""


@dataclass(frozen=True)
class Linear(Schedule):
    """Linear warm-up (Sonderby et al. 2016, arXiv 1602.02282, section 2.3).

    Example:
        >>> Linear(0.0, 1.0, steps=10).at(3)
        0.3
    """

    def progress(self, fraction: float) -> float:
        """The fraction itself."""
        return fraction

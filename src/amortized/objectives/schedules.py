r"""Hyper-parameters that change while training: functions of the step, never of the time.

    value = start + (end - start) progress(step / steps),    progress from 0 to 1

    linear      f                                                    Sonderby et al. 2016, arXiv 1602.02282, section 2.3
    cosine      (1 - cos(pi f)) / 2
    sigmoid     logistic(s (2 f - 1)), stretched to 0 and 1          Bowman et al. 2016, arXiv 1511.06349, section 3.1
    cyclical    min(1, g / r), g the part of the cycle that is done  Fu et al. 2019, arXiv 1903.10145, equation 6

with f = step / steps. In the code s is `sharpness` and r is `ratio`, the part of each cycle in which the value rises.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from numbers import Integral, Real

from amortized.errors import InputError

LEAST_SHARPNESS = 1e-6
"""Of a sigmoid, which is then a straight line to 13 digits."""


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
        if not is_whole(self.steps):
            raise InputError(f"a schedule's steps must be an integer of 0 or more; it is {self.steps!r}; 0 means no warm-up.")
        for name in ("start", "end"):
            if not is_finite(getattr(self, name)):
                raise InputError(f"a schedule's {name} must be a finite number; it is {getattr(self, name)!r}; give e.g. 1.0.")

    def at(self, step: int | None) -> float:
        """The value at a step; None asks for the end."""
        if step is None or step >= self.steps:
            return self.end
        return self.start + (self.end - self.start) * self.progress(step / self.steps)

    def is_settled(self, step: int) -> bool:
        """Whether the value is that of the end from this step on."""
        return step >= self.steps or self.start == self.end

    @abstractmethod
    def progress(self, fraction: float) -> float:
        """The part of the way that is done after a fraction of the steps, in [0, 1]."""


@dataclass(frozen=True)
class Linear(Schedule):
    """The same change at every step.

    Example:
        >>> Linear(0.0, 1.0, steps=10).at(3)
        0.3
    """

    def progress(self, fraction: float) -> float:
        """The fraction itself."""
        return fraction


@dataclass(frozen=True)
class Cosine(Schedule):
    """Slow at both ends.

    Example:
        >>> round(Cosine(0.0, 4.0, steps=10).at(5), 9)
        2.0
    """

    def progress(self, fraction: float) -> float:
        """Half a period of the cosine."""
        return 0.5 * (1.0 - math.cos(math.pi * fraction))


@dataclass(frozen=True)
class Sigmoid(Schedule):
    """Late, and then fast.

    Attributes:
        sharpness: The logit at the end; larger is more like a step in the middle.

    Example:
        >>> Sigmoid(0.0, 1.0, steps=10).at(5)
        0.5
    """

    sharpness: float = 6.0

    def __post_init__(self):
        super().__post_init__()
        if not (is_finite(self.sharpness) and self.sharpness >= LEAST_SHARPNESS):
            raise InputError(
                f"a sigmoid schedule's sharpness must be a finite number of {LEAST_SHARPNESS:g} or more; it is"
                f" {self.sharpness!r}; 6 is usual, and the schedule Linear has none."
            )

    def progress(self, fraction: float) -> float:
        """The logistic function, stretched so that it begins at 0 and ends at 1."""
        return 0.5 * (1.0 + math.tanh(self.sharpness * (fraction - 0.5)) / math.tanh(0.5 * self.sharpness))


@dataclass(frozen=True)
class Cyclical(Schedule):
    """A linear rise again and again, each followed by a rest at the end value.

    Attributes:
        cycles: How often.
        ratio: The part of each cycle in which the value rises.

    Example:
        >>> rises = Cyclical(0.0, 1.0, steps=40, cycles=4, ratio=0.5)
        >>> [rises.at(step) for step in (0, 2, 5, 9, 10, 39)]
        [0.0, 0.4, 1.0, 1.0, 0.0, 1.0]
    """

    cycles: int = 4
    ratio: float = 0.5

    def __post_init__(self):
        super().__post_init__()
        if not is_whole(self.cycles, least=1) or not (is_finite(self.ratio) and 0 < self.ratio <= 1):
            raise InputError(
                f"a cyclical schedule has cycles, 1 or more, and a ratio above 0 and up to 1; they are {self.cycles} and"
                f" {self.ratio}; 4 and 0.5 are usual."
            )

    def progress(self, fraction: float) -> float:
        """The rise within the present cycle."""
        done = round(self.cycles * fraction, 9) % 1.0  # rounded, so that a cycle begins at its first step
        return min(1.0, done / self.ratio)


def is_number(value: object) -> bool:
    """Whether a value is a number, which may be infinite."""
    return isinstance(value, Real) and not isinstance(value, bool) and not math.isnan(value)


def is_finite(value: object) -> bool:
    """Whether a value is a finite number."""
    return is_number(value) and not math.isinf(value)  # pyright: ignore[reportArgumentType] a number


def is_whole(value: object, least: int = 0) -> bool:
    """Whether a value is an integer of any kind, `least` or more; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least

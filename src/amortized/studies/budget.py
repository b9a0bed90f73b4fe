"""Doing the most informative work first, within the time that there is.

An evaluation is a list of steps, the most informative first. Each can be done in several sizes, whose work is counted in rows of
the decoder. Without a budget a step is done in its usual size. Within one, each step has a share of the time that is left:

    share = time left * weight of the step / weights of this step and those after it

A step is done in its smallest size first, which tells what a row costs, and again in the largest that its share still holds.
What it leaves of its share is left to the others. A step whose smallest size would take several shares, at what a row of the
first step cost, is left out.
"""

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from amortized.errors import InputError
from amortized.evaluation import Finding

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}
WORTH = 2.0
"""What was kept is done again where this many times the work fits, and at least as much of everything."""

SHARES = 3.0
"""How many of its shares the smallest size of a step may take: what it will take is a rough guess."""

TOO_SMALL = "the budget is too small for it"
"""Why a step is left out that the model and the data would allow."""

Advance = Callable[[int], Any] | None
Run = Callable[[Mapping[str, int], Advance], Finding]


@dataclass(frozen=True)
class Size:
    """How much of a step is done.

    Attributes:
        work: In rows of the decoder, a backward pass counting two.
        options: What that means, such as {"data": 64, "chains": 16}.
    """

    work: float
    options: Mapping[str, int]

    def covers(self, other: "Size") -> bool:
        """Whether it is at least as much of everything."""
        return all(self.options.get(name, 0) >= count for name, count in other.options.items())


@dataclass(frozen=True)
class Step:
    """One analysis of an evaluation.

    Attributes:
        name: By which it can be asked for.
        title: What it is, in a few words.
        sizes: In which it can be done, the smallest first.
        run: Does it, of the options of a size.
        usual: The size without a budget, a position in `sizes`.
        weight: Of its share of a budget.
    """

    name: str
    title: str
    sizes: Sequence[Size]
    run: Run
    usual: int = -1
    weight: float = 1.0


@dataclass(frozen=True, eq=False)
class Done:
    """A step that was done.

    Attributes:
        finding: What came of it.
        size: In which it was done.
        seconds: How long that took.
        is_kept: Whether it was done by an earlier evaluation.
    """

    finding: Finding
    size: Size
    seconds: float
    is_kept: bool = False


@dataclass
class Budget:
    """The time for an evaluation.

    Attributes:
        seconds: How much; None for as long as it takes.
        began: When it began, by the monotonic clock.
        cost: Seconds of a decoder's row in the first step; None where nothing was done yet.
        is_firm: Whether a first step that takes longer is refused, so that one who set the time hears of the least that it takes.
    """

    seconds: float | None = None
    is_firm: bool = True
    began: float = field(default_factory=time.monotonic)
    cost: float | None = None

    @property
    def left(self) -> float:
        """Seconds left."""
        return math.inf if self.seconds is None else self.seconds - (time.monotonic() - self.began)


def carry_out(
    steps: Sequence[Step],
    budget: Budget,
    kept: Mapping[str, Done],
    advance: Callable[[Step], Advance] = lambda step: None,
) -> Iterator[tuple[Step, Done | str]]:
    """Do the steps in their order.

    Args:
        steps: Of which the first is the one that something must be known of.
        budget: The time that there is.
        kept: What was done before, by the name of the step.
        advance: What is to be called with the number of data done, while a step is done.

    Yields:
        Each step with what came of it, or with why it was left out.

    Raises:
        InputError: The budget is too small for the first step, or that refuses the model.
    """
    for number, step in enumerate(steps):
        share = budget.left * step.weight / sum(each.weight for each in steps[number:])
        try:
            done = _do(step, share, budget, kept.get(step.name), advance)
        except InputError as error:
            if number == 0:
                raise
            done = str(error)
        yield step, done


def _do(step: Step, share: float, budget: Budget, kept: Done | None, advance: Callable[[Step], Advance]) -> Done | str:
    if budget.seconds is None:
        size = step.sizes[step.usual]
        return kept if kept is not None and kept.size.covers(size) else _timed(step, size, budget, advance)
    if kept is not None:
        budget.cost = budget.cost or kept.seconds / kept.size.work
        larger = (size for size in step.sizes if size.covers(kept.size))
        size = _largest(larger, share * kept.size.work / max(kept.seconds, 1e-9))
        is_worth_it = size is not None and size.work > WORTH * kept.size.work
        return _timed(step, size, budget, advance) if is_worth_it else kept  # pyright: ignore[reportArgumentType]
    smallest, is_first = step.sizes[0], budget.cost is None
    if budget.cost is not None and (budget.left <= 0 or smallest.work * budget.cost > SHARES * share):
        return TOO_SMALL
    done = _timed(step, smallest, budget, advance)
    if is_first and budget.is_firm and budget.left < 0:
        _refuse(step, budget)
    size = _largest(step.sizes[1:], (share - done.seconds) * smallest.work / max(done.seconds, 1e-9))
    return done if size is None else _timed(step, size, budget, advance)


def _refuse(step: Step, budget: Budget) -> NoReturn:
    assert budget.seconds is not None
    least = budget.seconds - budget.left
    raise InputError(
        f"a budget of {budget.seconds:g} s is too small for anything: {step.title} in its smallest size takes about"
        f" {least:.2g} s here; give at least --budget {math.ceil(2 * least)}s."
    )


def _timed(step: Step, size: Size, budget: Budget, advance: Callable[[Step], Advance]) -> Done:
    began = time.monotonic()
    finding = step.run(size.options, advance(step))
    seconds = time.monotonic() - began
    if budget.cost is None:
        budget.cost = seconds / size.work
    return Done(finding, size, seconds)


def _largest(sizes: Iterable[Size], work: float) -> Size | None:
    """The largest size of at most so much work."""
    return max((size for size in sizes if size.work <= work), key=lambda size: size.work, default=None)


def to_seconds(text: str | float) -> float:
    """A duration such as "2m", "90s", "1.5h" or a number of seconds.

    Raises:
        InputError: It is none, or not positive.
    """
    match = re.fullmatch(r"\s*(\d+\.?\d*|\.\d+)\s*([smh]?)\s*", str(text))
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not 0 < seconds < math.inf:
        raise InputError(f"a budget must be a time such as '90s', '2m' or '1h'; it is '{text}'.")
    return seconds

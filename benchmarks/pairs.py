"""Two sides measured in turn: ours, theirs, ours, theirs, ...

A machine drifts by more than many differences, so that what counts is the median of the pairs' ratios. Each side is a worker in
an interpreter of its own (worker.py), which waits for its orders while the other one works.
"""

import json
import os
import signal
import statistics
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

WORKER = Path(__file__).with_name("worker.py")
PATIENCE = 1800.0
"""Seconds after which a worker that has not answered is given up."""

SECONDS_TO_END = 20.0
"""For a worker to end by itself, which lets a job remove what it made."""

Measure = Literal["speed", "difference", "seconds"]


@dataclass(frozen=True)
class Job:
    """What a worker does.

    Attributes:
        module: The file that has it.
        name: The function there.
        options: What it is called with.
        is_rival: Whether it runs in the environment of the rivals.
    """

    module: str
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    is_rival: bool = False


@dataclass(frozen=True)
class Timing:
    """Units of work that were done, and the seconds that they took."""

    units: float
    seconds: float


class FailedError(Exception):
    """A side could not be measured; the message is one line."""


class Side:
    """A worker with its job, ready to be timed.

    Args:
        job: What it does.
        python: The interpreter that does it.
        threads: The processors it may use.
        folder: Its working directory; what it prints is kept there.

    Raises:
        FailedError: The job cannot be built.
    """

    def __init__(self, job: Job, python: str, threads: int, folder: Path):
        self.name = f"{job.module}.{job.name}"
        environment = {name: value for name, value in os.environ.items() if not (job.is_rival and name == "PYTHONPATH")}
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [python, str(WORKER), job.module, job.name, str(threads), json.dumps(job.options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder,
                env=environment,
                text=True,
                process_group=0,
            )
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def run(self, amount: int) -> Timing:
        """Do so much work.

        Raises:
            FailedError: The job went wrong, or the worker ended.
        """
        assert self.process.stdin is not None
        try:
            print(amount, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            raise FailedError(f"{self.name} ended before it was told to") from None
        return Timing(**self._answer())

    def close(self) -> None:
        """Let the worker end, and whatever it started, by force if need be."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):  # an order that was never read
            self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(SECONDS_TO_END)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        timer = threading.Timer(PATIENCE, self.process.kill)
        timer.start()
        try:
            line = self.process.stdout.readline()
        finally:
            timer.cancel()
        if not line:
            raise FailedError(f"{self.name} ended without an answer (exit status {self.process.wait()})")
        answer = json.loads(line)
        if "error" in answer:
            raise FailedError(" ".join(answer["error"].split()))
        return answer


def calibrate(side: Side, seconds: float) -> int:
    """The amount of work that takes about `seconds`.

    It is done once more, so that what a job makes for an amount is there before it is timed.
    """
    amount = 1
    while (took := side.run(amount).seconds) < seconds / 4:
        amount *= min(16, max(2, round(seconds / max(took, 1e-9) / 2)))
    amount = max(1, round(amount * seconds / took))
    side.run(amount)
    return amount


def take_turns(sides: Sequence[Side], rounds: int, seconds: float) -> list[list[Timing]]:
    """`rounds` timings of each side, one of every side before the next of any."""
    amounts = [calibrate(side, seconds) for side in sides]
    timings: list[list[Timing]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, amount, found in zip(sides, amounts, timings, strict=True):
            found.append(side.run(amount))
    return timings


def compare(measure: Measure, timings: Sequence[Sequence[Timing]]) -> dict[str, float]:
    """What the timings of one side or two say.

    Args:
        measure: "speed" is the ratio of units per second, "difference" that of seconds per unit, and "seconds" those of a side
            that stands alone.
        timings: Of our side and, where there is one, of theirs, in pairs.

    Returns:
        The medians of `ours` and `theirs`, and of the pairs' `value` with its `low` and `high`.
    """
    if measure == "speed":
        sides = [[timing.units / timing.seconds for timing in side] for side in timings]
        values = [ours / theirs for ours, theirs in zip(*sides, strict=True)]
    else:
        sides = [[timing.seconds / timing.units for timing in side] for side in timings]
        values = sides[0] if measure == "seconds" else [ours - theirs for ours, theirs in zip(*sides, strict=True)]
    medians = dict(zip(("ours", "theirs"), map(statistics.median, sides), strict=False))
    return medians | {"value": statistics.median(values), "low": min(values), "high": max(values)}

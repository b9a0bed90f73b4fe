"""Training seen while it goes on: what a page is told of it, and the reporter that tells.

The loop tells a `Live` what it tells the bar; that keeps it in a `Feed`, from which the server's thread reads whatever the pages
do not know yet. The loop never waits for a page. Pictures are made at rows of the history, of the model as it is validated, and
so seldom that they take a hundredth of the time at most.
"""

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from amortized.explore.glimpses import Glimpses
from amortized.training.progress import Silent

SHARE = 0.01
"""Of the time, at most, that pictures take."""

LEAST_SECONDS = 1.0
"""Between two pictures."""


@dataclass
class Told:
    """What one page knows: how many rows and lines, and the numbers of the pictures and of the state that it saw last."""

    rows: int = 0
    lines: int = 0
    pictures: int = 0
    version: int = -1


class Feed:
    """All that there is to tell of a run, written by the thread that trains and read by the one that serves.

    Args:
        about: What the page says of the run throughout.
    """

    def __init__(self, about: Mapping[str, Any]):
        self.about = dict(about)
        self.has_ended = False
        self._lock = threading.Lock()
        self._state: dict[str, Any] = {"state": "starting"}
        self._rows: list[dict[str, Any]] = []
        self._lines: list[str] = []
        self._pictures: tuple[int, Mapping[str, Any] | None] = (0, None)
        self._version = 0

    def tell(
        self,
        *,
        rows: Sequence[Mapping[str, Any]] = (),
        line: str | None = None,
        pictures: Mapping[str, Any] | None = None,
        **state: Any,
    ) -> None:
        """Add to what there is to tell."""
        with self._lock:
            self._version += 1
            self._state |= state
            self._rows += [dict(row) for row in rows]
            self._lines += [] if line is None else [line]
            if pictures is not None:
                self._pictures = (self._pictures[0] + 1, pictures)

    def end(self, **state: Any) -> None:
        """Tell how it ended; nothing comes after that."""
        self.tell(**state)
        self.has_ended = True

    def news(self, told: Told) -> dict[str, Any] | None:
        """What a page that was told so much does not know yet; None where that is nothing. From now on it was told that."""
        with self._lock:
            if told.version == self._version:
                return None
            number, pictures = self._pictures
            found: dict[str, Any] = self._state | {"from": told.rows, "rows": self._rows[told.rows :]}
            found["lines"] = self._lines[told.lines :]
            if told.version < 0:
                found["about"] = self.about
            if told.pictures != number:
                found["pictures"] = pictures
            told.rows, told.lines, told.pictures, told.version = len(self._rows), len(self._lines), number, self._version
        return _finite(found)


def _finite(value: Any) -> Any:
    """As JSON has it, which knows no infinite numbers."""
    if isinstance(value, Mapping):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class Live(Silent):
    """A reporter that feeds pages.

    Args:
        feed: What the pages read.
        glimpses: Makes the pictures.
    """

    def __init__(self, feed: Feed, glimpses: Glimpses):
        self.feed, self.glimpses = feed, glimpses
        self._began = self._due = time.perf_counter()
        self._step = self._cost = 0

    def begin(self, total: int, done: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Tell what was done before."""
        self._step, self._began = done, time.perf_counter()
        before = history[-1]["seconds"] if history else 0.0
        self.feed.tell(rows=history, state="training", total=total, done=done, step=done, seconds=before, before=before)

    def look(self) -> None:
        """Make new pictures, if the last ones are old enough."""
        if time.perf_counter() >= self._due:
            self._picture()

    def _picture(self) -> None:
        began = time.perf_counter()
        self.feed.tell(pictures=self.glimpses.make(), pictured=self._step)
        self._cost = time.perf_counter() - began
        self._due = began + max(LEAST_SECONDS, self._cost / SHARE)

    def say(self, line: str) -> None:
        """Tell the line."""
        self.feed.tell(line=line)

    def advance(self, steps: int, shown: Mapping[str, float]) -> None:
        """Tell how far it is, and the running means."""
        self._step += steps
        self.feed.tell(step=self._step, shown=dict(shown), spent=time.perf_counter() - self._began)

    def row(self, row: Mapping[str, Any], speed: float) -> None:
        """Tell the row."""
        self.feed.tell(rows=[row], epoch=row["epoch"])

    def __exit__(self, *raised: Any) -> None:
        error = raised[0] if raised else None
        if error is None and self._cost < max(LEAST_SECONDS, SHARE * (time.perf_counter() - self._began)):
            self._picture()  # of the weights that were kept
        self.feed.tell(state="evaluating" if error is None else "failed", spent=time.perf_counter() - self._began)

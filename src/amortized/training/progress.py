"""What a person sees while a model trains: a bar on a terminal, plain lines elsewhere, and what else is told of it."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol


class Reporter(AbstractContextManager, Protocol):
    """Is told what happens; shows it. It is entered when it has been told of the beginning."""

    def begin(self, total: int, done: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Hear that `done` of `total` steps, with these rows of the history, were done before."""

    def look(self) -> None:
        """Look at the model, which stands as it is validated: with averaged weights, where there are any, and calibrated."""

    def say(self, line: str) -> None:
        """Show a line."""

    def advance(self, steps: int, shown: Mapping[str, float]) -> None:
        """Show that `steps` steps are done and what the running means are."""

    def row(self, row: Mapping[str, Any], speed: float) -> None:
        """Show a finished row of the history; `speed` is in examples per second."""


class Silent:
    """Shows nothing: for tests, and for every process but the first."""

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *_: object) -> None: ...

    def begin(self, total: int, done: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing."""

    def look(self) -> None:
        """Do nothing."""

    def say(self, line: str) -> None:
        """Do nothing."""

    def advance(self, steps: int, shown: Mapping[str, float]) -> None:
        """Do nothing."""

    def row(self, row: Mapping[str, Any], speed: float) -> None:
        """Do nothing."""


class Lines(Silent):
    """One line per row of the history, at most about one a second; for logs and pipes."""

    def __init__(self):
        self.total = 0
        self._printed = float("-inf")
        self._pending = ""

    def __exit__(self, *_: object) -> None:
        self._print_pending()

    def begin(self, total: int, done: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Keep the total, which each line tells."""
        self.total = total

    def say(self, line: str) -> None:
        """Print the line, after the last row that was held back."""
        self._print_pending()
        print(line, flush=True)

    def row(self, row: Mapping[str, Any], speed: float) -> None:
        """Print the row, unless one was printed within the last second of training."""
        self._pending = describe(row, self.total, speed)
        if row["seconds"] - self._printed >= 1.0:
            self._print_pending()
            self._printed = row["seconds"]

    def _print_pending(self) -> None:
        if self._pending:
            print(self._pending, flush=True)
        self._pending = ""


class Bar(Silent):
    """A progress bar with the running means, for a terminal."""

    def __init__(self):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns)
        self._task = self._bar.add_task("")

    def begin(self, total: int, done: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Set the bar to where it starts."""
        self._bar.update(self._task, total=total, completed=done)

    def __enter__(self) -> "Bar":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print the line above the bar."""
        self._bar.console.print(line, highlight=False, markup=False)

    def advance(self, steps: int, shown: Mapping[str, float]) -> None:
        """Move the bar."""
        text = "  ".join(f"{name} {value:,.2f}" if abs(value) < 1e4 else f"{name} {value:,.0f}" for name, value in shown.items())
        self._bar.update(self._task, advance=steps, description=text)


class Several:
    """Tells several reporters, in their order.

    Args:
        reporters: The reporters.
    """

    def __init__(self, *reporters: Reporter):
        self.reporters = reporters
        self._entered = ExitStack()

    def __enter__(self) -> "Several":
        for reporter in self.reporters:
            self._entered.enter_context(reporter)
        return self

    def __exit__(self, *raised: Any) -> None:
        self._entered.__exit__(*raised)

    def begin(self, total: int, done: int, history: Sequence[Mapping[str, Any]]) -> None:
        """Tell each."""
        for reporter in self.reporters:
            reporter.begin(total, done, history)

    def look(self) -> None:
        """Tell each."""
        for reporter in self.reporters:
            reporter.look()

    def say(self, line: str) -> None:
        """Tell each."""
        for reporter in self.reporters:
            reporter.say(line)

    def advance(self, steps: int, shown: Mapping[str, float]) -> None:
        """Tell each."""
        for reporter in self.reporters:
            reporter.advance(steps, shown)

    def row(self, row: Mapping[str, Any], speed: float) -> None:
        """Tell each."""
        for reporter in self.reporters:
            reporter.row(row, speed)


def describe(row: Mapping[str, Any], total: int, speed: float) -> str:
    """A row of the history as one line of plain text."""
    parts = [f"step {row['step']}/{total}", f"epoch {row['epoch']}"]
    for split in ("train", "valid"):
        names = [name for name in ("elbo", "rate", "distortion") if f"{split}_{name}_nats" in row]
        if names:
            parts.append(f"{split}: " + " ".join(f"{name} {row[f'{split}_{name}_nats']:.2f}" for name in names))
    parts.append(f"{speed:,.0f} examples/s")
    return "  ".join(parts)


def make_reporter() -> Reporter:
    """A bar where the output is a terminal, lines elsewhere."""
    return Bar() if sys.stdout.isatty() else Lines()

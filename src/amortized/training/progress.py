"""What a person sees while a model trains: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol


class Reporter(AbstractContextManager, Protocol):
    """Is told what happens; shows it."""

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

    def say(self, line: str) -> None:
        """Do nothing."""

    def advance(self, steps: int, shown: Mapping[str, float]) -> None:
        """Do nothing."""

    def row(self, row: Mapping[str, Any], speed: float) -> None:
        """Do nothing."""


class Lines(Silent):
    """One line per row of the history, at most about one a second; for logs and pipes."""

    def __init__(self, total: int):
        self.total = total
        self._printed = float("-inf")
        self._pending = ""

    def __exit__(self, *_: object) -> None:
        self._print_pending()

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

    def __init__(self, total: int, done: int):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), TextColumn("{task.percentage:>3.0f}%"), TextColumn("{task.description}"), TimeRemainingColumn())
        self._bar = Progress(*columns)
        self._task = self._bar.add_task("", total=total, completed=done)

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


def describe(row: Mapping[str, Any], total: int, speed: float) -> str:
    """A row of the history as one line of plain text."""
    parts = [f"step {row['step']}/{total}", f"epoch {row['epoch']}"]
    for split in ("train", "valid"):
        names = [name for name in ("elbo", "rate", "distortion") if f"{split}_{name}_nats" in row]
        if names:
            parts.append(f"{split}: " + " ".join(f"{name} {row[f'{split}_{name}_nats']:.2f}" for name in names))
    parts.append(f"{speed:,.0f} examples/s")
    return "  ".join(parts)


def make_reporter(total: int, done: int) -> Reporter:
    """A bar where the output is a terminal, lines elsewhere."""
    return Bar(total, done) if sys.stdout.isatty() else Lines(total)

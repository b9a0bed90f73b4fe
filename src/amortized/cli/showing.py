"""How an evaluation is shown while it goes on: each step's table as soon as it is done, under a line that tells how far it is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amortized.studies.budget import Advance, Done, Step


class Shown:
    """Prints the steps of an evaluation.

    Args:
        bar: Of rich, on a terminal; None elsewhere.
    """

    def __init__(self, bar: Any = None):
        self.bar = bar
        self.task: Any = None

    def begin(self, step: "Step") -> "Advance":
        """Show that a step has begun."""
        if self.bar is None:
            return None
        if self.task is not None:
            self.bar.remove_task(self.task)
        self.task = task = self.bar.add_task(step.title, total=None)
        return lambda count: self.bar.advance(task, count)

    def end(self, step: "Step", done: "Done | str") -> None:
        """Print what came of a step."""
        from amortized.evaluation.records import as_text
        from amortized.studies.evaluation import heading

        if isinstance(done, str):
            print(f"{step.title}: left out; {done}\n", flush=True)
        else:
            print(as_text(heading(step.title, done), done.finding.metrics, done.finding.notes), end="\n\n", flush=True)


class Hidden(Shown):
    """Prints nothing: for the processes that are not the first."""

    def end(self, step: "Step", done: "Done | str") -> None:
        """Print nothing."""


@contextmanager
def showing(*, shown: bool = True) -> Iterator[Shown]:
    """Print each step as it is done, with a bar on a terminal."""
    if not (shown and sys.stdout.isatty()):
        yield Shown() if shown else Hidden()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}, {task.completed:,.0f} data"), TimeElapsedColumn()
    with Progress(*columns, transient=True, console=Console(highlight=False, markup=False)) as bar:
        yield Shown(bar)

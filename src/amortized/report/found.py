"""Where the figures of an evaluation take their numbers from: what it kept in the run folder, or what it returned."""

from typing import TYPE_CHECKING

from amortized.errors import InputError
from amortized.evaluation import Finding
from amortized.report.view import View
from amortized.studies import Evaluation
from amortized.studies.budget import Done

if TYPE_CHECKING:
    from amortized.runs import Run


def finding_of(source: "Run | View | Evaluation", name: str) -> Finding:
    """What an analysis found.

    Args:
        source: A run, or its view, whose folder keeps what evaluations found; or what `Run.evaluate` returned.
        name: Of the analysis, as in `amortized.studies.ANALYSES`.

    Raises:
        InputError: It was not done.
    """
    if isinstance(source, Evaluation):
        return source[name]
    done = done_of(source, name)
    if done is None:
        raise InputError(f"'{name}' was not evaluated{way_out(View.of(source), name)}")
    return done.finding


def done_of(source: "Run | View | Evaluation", name: str) -> Done | None:
    """What an analysis found and in which size it was done; None where it was not."""
    return (source.done if isinstance(source, Evaluation) else View.of(source).kept).get(name)


def way_out(view: View, name: str) -> str:
    """How an analysis that is missing is to be had, as the end of a sentence."""
    path = view.run.path
    if path is None:
        return f", and a run without a folder keeps nothing; give what `run.evaluate(only='{name}')` returns."
    split = "" if view.split == "test" else f" --split {view.split}"
    return f"; do it by: amortized evaluate {path} --only {name}{split}"

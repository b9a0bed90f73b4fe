"""Where the figures of an evaluation take their numbers from: what it kept in the run folder, or what it returned."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from amortized.errors import InputError
from amortized.evaluation import Finding, Metric
from amortized.report.view import View
from amortized.studies import Evaluation

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
    view = View.of(source)
    if name not in view.kept:
        raise InputError(f"'{name}' was not evaluated{way_out(view, name)}")
    return view.kept[name].finding


def metrics_of(source: "Run | View | Evaluation", name: str) -> Mapping[str, Metric]:
    """The numbers that an analysis found; none where it was not done."""
    if isinstance(source, Evaluation):
        return source.done[name].finding.metrics if name in source.done else {}
    kept = View.of(source).kept
    return kept[name].finding.metrics if name in kept else {}


def way_out(view: View, name: str) -> str:
    """How an analysis that is missing is to be had, as the end of a sentence."""
    path = view.run.path
    if path is None:
        return f" and a run without a folder keeps nothing; give what `run.evaluate(only='{name}')` returns."
    split = "" if view.split == "test" else f" --split {view.split}"
    return f"; do it by: amortized evaluate {path} --only {name}{split}"

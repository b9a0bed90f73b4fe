"""Where the figures of an evaluation take their numbers from: what it kept in the run folder, or what it returned."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from amortized.errors import InputError
from amortized.evaluation import Evidence, Finding, Metric
from amortized.evaluation.evidence import METRICS
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


def evidence_of_all(view: View) -> Mapping[str, Metric]:
    """The evidence of all data as the fit wrote it to `metrics.json`, where evaluations kept that of a part of them only.

    Of a part by many samples and of all data by few, the second is the one to quote: the error over the data is the larger.

    Args:
        view: Of the run.

    Returns:
        The metrics by name, nats; empty where what was kept is of all data, or is what `metrics.json` has.
    """
    kept = view.kept["evidence"].finding if "evidence" in view.kept else None
    written = view.run.metrics.get(view.split, {})
    if not isinstance(kept, Evidence) or len(kept.distortion) >= view.count or "distortion_nats" not in written:
        return {}
    if math.isclose(written["distortion_nats"]["value"], kept.metrics["distortion_nats"].value, rel_tol=1e-9):
        return {}
    return {name: Metric(**entry) for name, entry in written.items() if name in METRICS}


def way_out(view: View, name: str) -> str:
    """How an analysis that is missing is to be had, as the end of a sentence."""
    path = view.run.path
    if path is None:
        return f", and a run without a folder keeps nothing; give what `run.evaluate(only='{name}')` returns."
    split = "" if view.split == "test" else f" --split {view.split}"
    return f"; do it by: amortized evaluate {path} --only {name}{split}"

"""The evaluation that a page is made of: what earlier ones kept in the run folder, and what is missing within a given time."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from amortized.errors import InputError
from amortized.report.found import evidence_of_all
from amortized.report.neighbors import Neighbors
from amortized.report.view import View
from amortized.studies.analyses import ANALYSES
from amortized.studies.budget import Step
from amortized.studies.evaluation import evaluate_run

WANTED = ("evidence", "surgery", "baselines", "gaps", "calibration", "sample-quality")
"""The analyses that a page shows."""

DEAREST = "gaps"
"""The analysis that takes as long as all the others, and has as much time for itself."""

TRIED = ((8, 16), (50, 50))
"""Data, and samples of each, by which it is seen what a row costs; the second where the first are too quick to tell."""

TELLING = 0.03
"""Seconds that tell."""


@dataclass(frozen=True)
class Measured:
    """What is known of a run.

    Attributes:
        metrics: Its numbers by name, those of what was evaluated before those of the fit, but for the evidence of all data, which
            stands before that of a part.
        notes: What a reader must know of them, by the name of the analysis.
        refused: Why an analysis is impossible for this model or these data, by its name.
        missing: The analyses that are possible and were not done: for some there was no time.
        trouble: Why there are no data to evaluate; None where there are.
        neighbors: Whether samples are copies, as the picture of them says it; None where nothing is known of that.
    """

    metrics: Mapping[str, float]
    notes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    trouble: str | None = None
    neighbors: Neighbors | None = None


def measure(view: View, seconds: float) -> Measured:
    """Evaluate what was not evaluated yet; the view then holds all of it.

    Args:
        view: Of the run.
        seconds: About how long it may take.
    """
    try:
        material = view.material
    except InputError as error:
        return Measured(_written(view, None), trouble=str(error))
    refused: dict[str, str] = {}
    steps: dict[str, Step] = {}
    for name, make in ANALYSES.items():
        try:
            steps[name] = make(material)
        except InputError as error:
            refused[name] = str(error)
    wanted = [name for name in WANTED if name in steps and name not in view.kept]
    if wanted:
        cost = _cost(view)
        wanted = [name for name in wanted if cost * steps[name].sizes[0].work < seconds]
    for names in ([name for name in wanted if name != DEAREST], [name for name in wanted if name == DEAREST]):
        if names:
            refused |= _evaluate(view, names, seconds)
    kept = view.kept
    notes = {name: done.finding.notes for name, done in kept.items()}
    missing = [name for name in ANALYSES if name not in kept and name not in refused]
    metrics = _written(view, view.split)
    is_unknown = "surgery" in steps and "surgery" not in kept
    if is_unknown and np.isfinite(view.z).all():  # of a collapse one must be warned all the same
        active = float(view.is_active.sum())
        metrics |= {"active_units": active, "active_share": active / view.latents}
    return Measured(metrics, notes, refused, missing, neighbors=_neighbors(view))


def _neighbors(view: View) -> Neighbors | None:
    try:
        return view.neighbors
    except Exception:  # whatever it is, the section of the neighbors says it
        return None


def _cost(view: View) -> float:
    """Seconds of a decoder's row, now: what evaluations took at other times, or elsewhere, says little of it."""
    cost = 0.0
    for data, samples in TRIED:
        rows = view.batch.rows(slice(data))
        view.material.evidence_of([rows], 2, None)  # what is loaded at first use is no cost of a row
        began = time.monotonic()
        view.material.evidence_of([rows], samples, None)
        took = time.monotonic() - began
        cost = took / (len(rows) * samples)
        if took > TELLING:
            break
    return cost


def _evaluate(view: View, wanted: Sequence[str], seconds: float) -> dict[str, str]:
    """Evaluate, and give the reasons of what could not be done.

    `metrics.json` stays what the fit, or an evaluation that was asked for, wrote: how much a page had time for is chance.
    """
    run, split = view.run, view.split
    before = dict(run.metrics.get(split, {}))
    try:
        made = evaluate_run(run, split=split, budget=max(seconds, 1e-3), only=list(wanted), pictures=False, firm=False)
        view.add(made.done)
        return {}
    except InputError as error:  # the others were done and kept
        view.add({})
        reason = str(error)
        named = [name for name in wanted if reason.startswith(f"'{name}' cannot be done: ")]
        return {name: reason.removeprefix(f"'{name}' cannot be done: ") for name in named}
    finally:
        run.metrics[split] = before
        if run.folder is not None:
            run.folder.write_metrics({split: before})


def _written(view: View, split: str | None) -> dict[str, float]:
    """The numbers of `metrics.json`, and over them those that are kept of the analyses."""
    metrics = view.run.metrics
    known = metrics.get(split or next((name for name in ("test", "valid") if name in metrics), ""), {})
    table = {name: entry["value"] for name, entry in known.items()}
    if split is None:
        return table
    whole = evidence_of_all(view)
    for analysis, done in view.kept.items():
        if analysis != "evidence" or not whole:
            table |= {name: metric.value for name, metric in done.finding.metrics.items()}
    return table

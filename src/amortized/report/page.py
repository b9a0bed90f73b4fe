"""The page of a run: one file that opens anywhere, asks nothing of the network, and begins with what is wrong."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortized.errors import InputError
from amortized.evaluation import Evidence
from amortized.evaluation.baselines import BASELINES
from amortized.files import write_atomically
from amortized.reading import read
from amortized.report.found import evidence_of_all
from amortized.report.measuring import Measured, measure
from amortized.report.neighbors import Neighbors
from amortized.report.sections import EVIDENCE, SECTIONS, plate_of, section_of
from amortized.report.story import again, baselines, data_name, headline, paragraph, title_of
from amortized.report.verdict import Row, Verdict
from amortized.report.verdicts import verdicts
from amortized.report.view import View

if TYPE_CHECKING:
    from amortized.runs import Run

SECONDS = 10.0
"""About how long a page may take."""

EVALUATION = 0.25
"""Of that, what the evaluation may take; the pictures take the rest."""

DATA = 1000
"""Of a split, at most, that pictures are made of."""

NOTES = {"latents": ("surgery",), "gaps": ("gaps",), "calibration": ("calibration",), "neighbors": ("sample-quality",)}
"""The analyses whose notes stand in a section."""

TELLS = {
    "evidence": "the ELBO and log p(x)",
    "surgery": "where the rate goes, and the units in use",
    "baselines": "the gain over simpler models",
    "annealing": "log p(x) from both sides, by annealed importance sampling",
    "gaps": "what the encoder and the family of the posterior lose",
    "calibration": "whether q(z|x) is the posterior",
    "quadrature": "the exact log p(x), by integration",
    "representation": "what the latents say of the labels",
    "disentanglement": "how the latents divide the true factors",
    "sample-quality": "samples beside data, and whether they are copies",
    "interpolation": "how smoothly data turn into each other",
}
"""What each analysis is for."""

LOOKED_FOR = {
    "evidence": "a bound far below log p(x), or an estimate of that far off",
    "surgery": "posterior collapse",
    "gaps": "a large amortization gap",
    "calibration": "intervals of q(z|x) that hold much less than they say",
    "sample-quality": "samples that copy training data",
}
"""What a warning needs."""


def write_report(
    run: "Run | str | os.PathLike[str] | Sequence[Run | str | os.PathLike[str]]",
    path: str | os.PathLike[str] | None = None,
    *,
    seconds: float = SECONDS,
) -> Path:
    """Write the page of a run, or of several side by side, as one HTML file that needs nothing else.

    What `evaluate` kept in the run folder is shown; what is missing is evaluated as far as the time allows, and kept as well.

    Args:
        run: A run or its folder; or several, which are held against the first.
        path: The file; by default `report.html` in the run folder, and `comparison.html` beside the first of several.
        seconds: About how long it may take, for each run.

    Returns:
        The file.

    Raises:
        InputError: A run has no folder and no path is given, a folder is no run, or the file cannot be written.
    """
    from amortized.report.comparing import comparison_page

    several = not isinstance(run, str | os.PathLike) and isinstance(run, Sequence)
    runs = [load(each) for each in (run if several else [run])]  # pyright: ignore[reportGeneralTypeIssues]
    if not runs:
        raise InputError("a report needs a run; there is none; give one, or its folder.")
    file = _target(runs, path)
    views = [View(holding(each), most=DATA) for each in runs]
    text = run_page(views[0], seconds) if len(views) == 1 else comparison_page(views, seconds)
    write_atomically(file, text)
    return file


def load(run: "Run | str | os.PathLike[str]") -> "Run":
    """A run, or that of a folder."""
    from amortized.loading import load_run

    return load_run(run) if isinstance(run, str | os.PathLike) else run


def holding(run: "Run") -> "Run":
    """The run with its data in hand, which are then read once; without, where they cannot be read."""
    try:
        return replace(run, source=read(run, None, "train").whole)
    except InputError:
        return run


def _target(runs: "Sequence[Run]", path: str | os.PathLike[str] | None) -> Path:
    """The file to write, refused before anything is computed for it."""
    if path is None:
        if runs[0].path is None:
            raise InputError("this run has no folder for its report; give a path.")
        path = runs[0].path / "report.html" if len(runs) == 1 else runs[0].path.absolute().parent / "comparison.html"
    file = Path(path)
    if file.is_dir():
        raise InputError(f"cannot write '{file}': it is a folder; give the name of a file.")
    if not file.absolute().parent.is_dir():
        raise InputError(f"cannot write '{file}': there is no folder '{file.parent}'; create it, or give another path.")
    return file


def run_page(view: View, seconds: float) -> str:
    """The page of one run, as HTML."""
    run = view.run
    measured = measure(view, EVALUATION * seconds)
    metrics = dict(measured.metrics)
    sections = [section_of(name, view, metrics) for name in SECTIONS]
    found = warnings_of(run, metrics, measured.neighbors)
    fixed = [("warnings", "Warnings" if found else "No warnings"), ("what", "What it is"), ("evidence", "Evidence")]
    return render(
        "report.html",
        title=f"{title_of(run)} · amortized",
        heading=f"Report of {title_of(run)}",
        subtitle=f"{data_name(run)}{'' if run.path is None else f' · {run.path}'}",
        contents=[*fixed, *((each.name, each.title) for each in sections), ("missing", "Not done"), ("recipe", "Repeat it")],
        found=found,
        all_well=all_well(measured, run.history),
        story=paragraph(view),
        trouble=None if measured.trouble is None else f"What needs the data is missing from this page: {measured.trouble}",
        evidence_lead=evidence_lead(view, measured),
        headline=headline(view, metrics),
        evidence_plate=plate_of(EVIDENCE, view, metrics),
        baselines=baselines(metrics, list(BASELINES)),
        evidence_notes=[note for name in ("evidence", "baselines", "annealing") for note in measured.notes.get(name, ())],
        sections=sections,
        notes={name: [note for each in names for note in measured.notes.get(each, ())] for name, names in NOTES.items()},
        missing=[(name, TELLS.get(name, ""), _command(run, view, name)) for name in measured.missing],
        refused=[(name, reason) for name, reason in measured.refused.items()],
        again="\n".join(again(run)),
        recipe=run.recipe.to_yaml(),
    )


def render(template: str, **values: Any) -> str:
    """A page from its template; every value is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("amortized.report")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    common = {"version": version("amortized"), "written": f"{datetime.now():%Y-%m-%d %H:%M}", "wide": False}
    return environment.get_template(template).render(**{**common, **values})


def warnings_of(run: "Run", metrics: Mapping[str, float], neighbors: Neighbors | None = None) -> list[Verdict]:
    """What a reader of the page of a run must be warned of."""
    keeps_best = run.recipe.training.patience is not None
    copies = None if neighbors is None else neighbors.sentence if neighbors.is_memorizing else ""
    return verdicts(run.history, metrics, keeps_best=keeps_best, finished=is_finished(run), copies=copies)


def is_finished(run: "Run") -> bool:
    """Whether training came to its end, of a run from a folder as far as its history tells."""
    if run.outcome is not None or run.folder is None:
        return run.finished
    settings, history = run.recipe.training, run.history
    if not history:
        return False
    at_end = history[-1]["step"] >= settings.steps if settings.steps is not None else history[-1]["epoch"] >= settings.epochs
    values = [row.get("valid_objective_nats", float("-inf")) for row in history]
    stale = len(values) - 1 - max(range(len(values)), key=values.__getitem__)
    return at_end or (settings.patience is not None and stale >= settings.patience)


def all_well(measured: Measured, history: Sequence[Row]) -> str:
    """What was looked for, where nothing was found."""
    has_validation = bool(history) and any(name.startswith("valid_") for name in history[-1])
    looked = ["over-fitting by much"] if has_validation else []
    looked += ["training that is unstable or too short"] if history else []
    known = {"evidence": "elbo_nats", "surgery": "active_units", "gaps": "amortization_gap_nats", "calibration": "coverage_90"}
    known |= {"sample-quality": "memorization_auc"}
    seen = [name for name, metric in known.items() if metric in measured.metrics]
    if measured.neighbors is not None:  # which tell more of copies
        seen = [name for name in seen if name != "sample-quality"]
        seen += [] if measured.neighbors.copies is None else ["sample-quality"]
    looked += [LOOKED_FOR[name] for name in seen]
    unseen = [text for name, text in LOOKED_FOR.items() if name not in seen]
    if history and not has_validation:
        unseen.insert(0, "over-fitting, for there are no validation data")
    if looked:
        text = f"Looked for, and not found: {'; '.join(looked)}. What is usual, or small, is told in its section below."
    else:
        text = "There was nothing to look at."
    return f"{text} Not looked for: {'; '.join(unseen)}." if unseen else text


def evidence_lead(view: View, measured: Measured) -> str:
    """Of how many data the evidence is, and by how many samples."""
    found = view.kept["evidence"].finding if measured.trouble is None and "evidence" in view.kept else None
    if isinstance(found, Evidence):
        whole, count = evidence_of_all(view), len(found.distortion)
        if whole:
            samples = whole["distortion_nats"].samples
            text = (
                f"Of all {view.count:,} data of the {view.split} split, by {samples:,} posterior samples each, as the fit found"
            )
            text += f" it. The notes below are of {count:,} of them, by {found.samples:,} samples."
        else:
            part = f"all {count:,}" if count == view.count else f"{count:,} of the {view.count:,}"
            how = "exactly" if found.is_exact else f"by {found.samples:,} posterior samples each"
            text = f"Of {part} data of the {view.split} split, {how}."
        return text if found.elbo is not None else f"{text} The posterior is a point: there is no bound on log p(x)."
    entry = view.run.metrics.get(view.split, {}).get("distortion_nats") if measured.trouble is None else None
    if entry is not None:
        return f"Of the {view.split} split, by {entry['samples']:,} posterior samples each, as the fit found it."
    return "As the fit found it." if measured.metrics else "It was not evaluated, and no number of it is known."


def _command(run: "Run", view: View, name: str) -> str:
    if run.path is None or run.recipe.model is None or run.recipe.data.source is None:
        return f"run.evaluate(only={name!r}, split={view.split!r})"
    split = "" if view.split == "test" else f" --split {view.split}"
    return f"amortized evaluate {run.path} --only {name}{split}"

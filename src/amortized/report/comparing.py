"""Runs side by side on one page: what differs between them, and by how much."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from amortized.errors import InputError
from amortized.evaluation import Evidence
from amortized.evaluation.records import in_digits, standard_error
from amortized.nesting import leaves
from amortized.report.learning_figure import learning_figure
from amortized.report.measuring import Measured, measure
from amortized.report.page import EVALUATION, render, warnings_of
from amortized.report.sections import SECTIONS, Drawing, Section, plate_of, section_of
from amortized.report.story import headline, paragraph
from amortized.report.view import View
from amortized.studies import Comparison, compare
from amortized.studies.comparison import Compared, values_of

if TYPE_CHECKING:
    from amortized.runs import Run

SHOWN = ("learning", "latents", "data", "traversals", "aggregate", "gaps")
"""The sections whose pictures stand side by side."""

FEW_SAMPLES = 10
"""Posterior samples of a comparison, where not all runs kept the evidence of all data by more."""

TITLES = {
    "elbo_nats": "ELBO",
    "nll_nats": "−log p(x)",
    "rate_nats": "Rate",
    "distortion_nats": "Distortion",
}
IGNORED = {"training.accelerator", "training.checkpoint_seconds"}
"""What differs between machines, and not between models."""


def comparison_page(views: Sequence[View], seconds: float) -> str:
    """The page of several runs, as HTML; the first is what the others are held against."""
    runs = [view.run for view in views]
    names = names_of(runs)
    measured = [measure(view, EVALUATION * seconds) for view in views]
    made, trouble = _compared(runs, views)
    sections = [(name, _sections(name, views, measured, names)) for name in SHOWN]
    found = [warnings_of(run, each.metrics, each.neighbors) for run, each in zip(runs, measured, strict=True)]
    fixed = [("warnings", "Warnings" if any(found) else "No warnings"), ("evidence", "Evidence"), ("recipes", "What differs")]
    return render(
        "comparison.html",
        title=f"{len(runs)} runs · amortized",
        heading=f"{len(runs)} runs side by side",
        subtitle=f"Held against {names[0]}: {', '.join(names[1:])}",
        contents=[*fixed, ("what", "What they are"), *((name, section[0].title) for name, section in sections)],
        wide=True,
        names=names,
        found=found,
        columns=[] if made is None else [name for name in TITLES if any(name in values_of(each.evidence) for each in made.runs)],
        titles=TITLES,
        rows=[] if made is None else list(_rows(made, names, [is_like(run, runs[0]) for run in runs])),
        notes=[] if made is None else made.notes,
        trouble=trouble,
        headlines=[headline(view, dict(each.metrics)) for view, each in zip(views, measured, strict=True)],
        differences=differences(runs),
        stories=[paragraph(view) for view in views],
        sections=sections,
    )


def names_of(runs: "Sequence[Run]") -> list[str]:
    """What to call the runs: their folders, with what stands above where two are called the same, or numbers."""
    paths = [None if run.path is None else run.path.absolute() for run in runs]
    names: list[str] = []
    for depth in (1, 2, 3):
        names = [f"run {number}" if path is None else "/".join(path.parts[-depth:]) for number, path in enumerate(paths, 1)]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {name}" for number, name in enumerate(names, 1)]


def _compared(runs: "Sequence[Run]", views: Sequence[View]) -> tuple[Comparison | None, str]:
    """The comparison, by the samples that all have been evaluated with; or why there is none."""
    try:
        kept = [view.kept["evidence"].finding if "evidence" in view.kept else None for view in views]
        whole = [
            each.samples if isinstance(each, Evidence) and len(each.distortion) == view.count else FEW_SAMPLES
            for each, view in zip(kept, views, strict=True)
        ]
        splits = {view.split for view in views}
        if len(splits) > 1:
            return None, f"They have no split in common ({', '.join(sorted(splits))}), so that nothing can be compared on it."
        return compare(list(runs), split=splits.pop(), samples=min(whole)), ""
    except InputError as error:
        return None, f"They cannot be compared on the same data: {error}"


def is_like(run: "Run", first: "Run") -> bool:
    """Whether a datum of one run is of the kind of the other's, so that nats of the one can be held against nats of the other."""
    return (run.spec.event_shape, run.spec.support) == (first.spec.event_shape, first.spec.support)


def _rows(made: Comparison, names: Sequence[str], alike: Sequence[bool]) -> Iterator[dict[str, Any]]:
    for each, name, is_alike in zip(made.runs, names, alike, strict=True):
        values = {
            metric: in_digits(float(of.mean()), standard_error(of)).replace("-", "−")
            for metric, of in values_of(each.evidence).items()
        }
        yield {"name": name, "values": values, "kind": "value"}
        if each is not made.runs[0] and is_alike:
            yield {
                "name": _words(each, names[0]),
                "values": {k: _signed(v) for k, v in each.differences.items()},
                "kind": "difference",
            }


def _words(each: Compared, first: str) -> str:
    return f"difference from {first}" if each.is_paired else f"difference from {first}, on other data"


def _signed(difference: Any) -> str:
    text = in_digits(difference.value, difference.stderr)
    return text.replace("-", "−") if difference.value < 0 else f"+{text}"


def differences(runs: "Sequence[Run]") -> list[tuple[str, list[str]]]:
    """The options in which recipes differ, with the value of each run."""
    recipes = [dict(leaves(run.recipe.model_dump(mode="json"))) for run in runs]
    names = [name for name in dict.fromkeys(name for each in recipes for name in each) if name not in IGNORED]
    table = [(name, [_said(each, name) for each in recipes]) for name in names]
    return [(name, values) for name, values in table if len(set(values)) > 1]


def _said(recipe: Mapping[str, Any], name: str) -> str:
    value = recipe.get(name, "")
    return "none" if value is None else str(value)


def _sections(name: str, views: Sequence[View], measured: Sequence[Measured], names: Sequence[str]) -> list[Section]:
    """A section of each run, to stand side by side; of learning curves that can be in the same axes, one of all."""
    if name == "learning" and all(is_like(view.run, views[0].run) for view in views):
        title, lead, _ = SECTIONS[name]
        drawing = Drawing(lambda _: learning_figure(views, names), lambda *_: f"Learning curves of {', '.join(names)}.")
        return [Section(name, title, lead, [plate_of(drawing, views[0], {})])]
    return [section_of(name, view, each.metrics) for view, each in zip(views, measured, strict=True)]

"""Fitting and evaluating the points of a sweep, one after the other."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from amortized.evaluation import activity
from amortized.files import write_atomically
from amortized.fitting import fit
from amortized.folder import Folder, write_json
from amortized.recipes import Recipe
from amortized.report.rate_distortion_figure import write_rate_distortion
from amortized.runs import Run
from amortized.sweeping.plans import Planned, kept, planned
from amortized.sweeping.record import METRICS, Point, Sweep, columns


def sweep(
    data: Any = None,
    *,
    over: Mapping[str, Sequence[Any]],
    out: str | os.PathLike[str] | None = None,
    recipe: str | Recipe | None = None,
    config: str | os.PathLike[str] | None = None,
    samples: int = 100,
    split: str = "test",
    quiet: bool = False,
    **options: Any,
) -> Sweep:
    """Fit a model at every combination of some options' values, and evaluate each.

    Args:
        data: Anything that `fit` takes.
        over: The values of each option that is swept over, by its short or dotted name.
        out: The folder, with a run folder for each point; a sweep that was stopped goes on there. None writes nothing.
        recipe: As in `fit`.
        config: As in `fit`.
        samples: Posterior samples per datum in the evaluation.
        split: "train", "valid" or "test", the data that the points are evaluated on.
        quiet: Say nothing.
        **options: Of all points, as in `fit`.

    Returns:
        The points; all of them, unless a signal ended it.

    Raises:
        InputError: A value cannot be used, or the folder holds other points. All are checked before anything is trained.

    Example:
        >>> found = sweep("digits", over={"objective.beta": [0.5, 2]}, latent_dim=2, epochs=1, quiet=True)
        >>> [point.name for point in found.points]
        ['beta=0.5', 'beta=2.0']
    """
    plans = planned(data, over, recipe, config, samples, split, options)
    folder = None if out is None else Path(out)
    known = {} if folder is None else kept(folder, plans, samples, split)
    given = None if isinstance(data, str | os.PathLike) else data
    made = Sweep(_in_order(plans, known), len(plans), split, samples, folder)
    for number, each in enumerate(plans, start=1):
        if not quiet:
            print(f"Point {number} of {len(plans)}: {each.name}{' is finished' if each.name in known else ''}")
        if each.name not in known:
            run = _run(each, given, folder, quiet)
            if not run.finished:
                assert run.outcome is not None
                return replace(made, signal=run.outcome.signal)
            known[each.name] = _point(each, run, samples, split)
            made = replace(made, points=_in_order(plans, known))
            if folder is not None:
                made = _write(made, folder)
    return made if folder is None else _write(made, folder)


def _in_order(plans: Sequence[Planned], known: Mapping[str, Point]) -> tuple[Point, ...]:
    return tuple(known[each.name] for each in plans if each.name in known)


def _run(each: Planned, data: Any, folder: Path | None, quiet: bool) -> Run:
    path = None if folder is None else folder / each.name
    if path is not None and Folder(path).config.is_file():
        return fit(data, resume=path, report=False, quiet=quiet)
    return fit(data, recipe=each.recipe, out=path, report=False, quiet=quiet)


def _point(each: Planned, run: Run, samples: int, split: str) -> Point:
    evidence = run.evidence(split=split, samples=samples, seed=run.recipe.seed)
    latents = activity(run.model, run.batches(split=split)[1], split=split, seed=run.recipe.seed)
    found = evidence.metrics | latents.metrics
    return Point(each.name, each.values, {name: found[name].value for name in METRICS if name in found}, latents.collapsed)


def _write(made: Sweep, folder: Path) -> Sweep:
    """Write the points so far, and their picture."""
    points = [asdict(point) for point in made.points]
    write_json(folder / "sweep.json", {"split": made.split, "samples": made.samples, "points": points})
    text = io.StringIO()
    writer = csv.DictWriter(text, columns(made.rows), lineterminator="\n")
    writer.writeheader()
    writer.writerows(made.rows)
    write_atomically(folder / "sweep.csv", text.getvalue())
    return replace(made, has_figure=write_rate_distortion(folder / "rate-distortion.png", made.rows, list(made.points[0].values)))

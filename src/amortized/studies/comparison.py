"""Runs side by side, with their differences.

Where runs are evaluated on the same data, the difference of two means has the standard error of the mean of the differences,

    d_n = a_n - b_n,    stderr = std(d) / sqrt(N)

which is far smaller than that of either mean, because what makes a datum hard is common to both. Where the data differ, the two
errors add in squares, and of data that come from elsewhere the difference says nothing.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation import Evidence
from amortized.evaluation.records import standard_error
from amortized.reading import read
from amortized.showing import Table, Tabled

if TYPE_CHECKING:
    from amortized.runs import Run

COMPARED = ("elbo_nats", "nll_nats", "rate_nats", "distortion_nats")
"""What is known of each datum, and so can be paired."""


@dataclass(frozen=True)
class Difference:
    """How much a metric of one run differs from that of the first.

    Attributes:
        value: The difference of the means.
        stderr: Its standard error.
    """

    value: float
    stderr: float


@dataclass(frozen=True, eq=False)
class Compared:
    """One of the runs.

    Attributes:
        name: What to call it.
        split: The data that it was evaluated on.
        evidence: What was found.
        is_paired: Whether these are the data of the first run.
        differences: From the first run, by metric; those that both have.
    """

    name: str
    split: str
    evidence: Evidence
    is_paired: bool
    differences: dict[str, Difference]


@dataclass(frozen=True, eq=False)
class Comparison(Tabled):
    """Runs side by side.

    Attributes:
        runs: In the order that they were given, the first being what the others are held against.
    """

    runs: tuple[Compared, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """For each run and metric: run, metric, value, stderr, difference, difference_stderr and whether that is paired."""
        return [
            {
                "run": each.name,
                "metric": metric,
                "value": float(values.mean()),
                "stderr": standard_error(values),
                "difference": getattr(each.differences.get(metric), "value", None),
                "difference_stderr": getattr(each.differences.get(metric), "stderr", None),
                "is_paired": each.is_paired,
            }
            for each in self.runs
            for metric, values in values_of(each.evidence).items()
        ]

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the differences."""
        others = [each.name for each in self.runs if not each.is_paired]
        notes = [note for each in self.runs for note in (f"{each.name}: {text}" for text in each.evidence.notes)]
        masses = {each.evidence.dimensions is None for each in self.runs}
        if len(masses) > 1:
            notes.append("Some of these models give the data a mass and others a density: their log p(x) cannot be compared.")
        if others:
            first = self.runs[0].name
            notes.append(
                f"Not paired, because their data are not those of {first}: {', '.join(others)}; give DATA, or fit with the same"
                " seed, to compare on the same."
            )
        return notes

    def __str__(self) -> str:
        """A table, a row for each run, and under it the difference from the first."""
        columns, lines = self._lines()
        width = max(len(name) for name, *_ in lines) + 2
        rows = [f"{name:<{width}}" + "".join(cell.rjust(24) for cell in cells) for name, *cells in lines]
        return "\n".join(["".rjust(width) + "".join(f"{column:>24}" for column in columns), *rows, *self.notes])

    def tables(self) -> list[Table]:
        """One table, as `str` gives it."""
        columns, lines = self._lines()
        head = f"Comparison: {self.runs[0].split} split, in the mean over the data, with standard errors"
        return [Table(head, ("", *columns), lines, self.notes, right=range(1, len(columns) + 1))]

    def _lines(self) -> tuple[list[str], list[list[str]]]:
        """The metrics that a run has, and a line for each run and each difference, its name first."""
        columns = [metric for metric in COMPARED if any(metric in values_of(each.evidence) for each in self.runs)]
        lines = []
        for each in self.runs:
            values = values_of(each.evidence)
            cells = [(float(values[name].mean()), standard_error(values[name])) if name in values else None for name in columns]
            lines.append([each.name, *map(_cell, cells)])
            if each is not self.runs[0]:
                cells = [(d.value, d.stderr) if (d := each.differences.get(name)) else None for name in columns]
                lines.append(["  difference", *(_cell(cell, signed=True) for cell in cells)])
        return columns, lines


def compare(
    runs: "Sequence[Run | str | PathLike[str]]",
    data: Any = None,
    *,
    split: str = "test",
    samples: int = 1000,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> Comparison:
    """Evaluate runs on the same data and give their differences from the first.

    Evidence that is kept in a run's folder, of as many samples or more, is taken from there.

    Args:
        runs: Two or more, or their folders.
        data: What to evaluate all of them on; None takes of each run the split of its own data.
        split: "train", "valid" or "test".
        samples: Posterior samples per datum.
        seed: Of the samples.
        progress: Called with the number of data done.

    Raises:
        InputError: There are fewer than two runs, or one cannot be evaluated.
    """
    from amortized.loading import load_run
    from amortized.runs import Run

    if len(runs) < 2:
        raise InputError(f"a comparison needs at least two runs; it has {len(runs)}; give the folders of more.")
    loaded = [run if isinstance(run, Run) else load_run(run) for run in runs]
    names = _names(loaded)
    made: list[Compared] = []
    digests: list[str] = []
    for run, name in zip(loaded, names, strict=True):
        digests.append(_digest(run, data, split))
        show = None if progress is None else _Quiet(progress)
        evaluation = run.evaluate(data, split=split, samples=samples, seed=seed, only="evidence", show=show)
        is_paired = digests[-1] == digests[0]
        first = made[0].evidence if made else evaluation.evidence
        differences = {} if not made else _differences(evaluation.evidence, first, is_paired=is_paired)
        made.append(Compared(name, evaluation.split, evaluation.evidence, is_paired, differences))
    return Comparison(tuple(made))


def values_of(evidence: Evidence) -> dict[str, Tensor]:
    """What is known of each datum, by metric, each (N,)."""
    values = dict(zip(COMPARED, (evidence.elbo, evidence.nll, evidence.rate, evidence.distortion), strict=True))
    return {name: value for name, value in values.items() if value is not None}


def _differences(ours: Evidence, first: Evidence, *, is_paired: bool) -> dict[str, Difference]:
    made, theirs = {}, values_of(first)
    for name, values in values_of(ours).items():
        if name not in theirs:
            continue
        difference = float(values.mean() - theirs[name].mean())
        if is_paired:
            made[name] = Difference(difference, standard_error(values - theirs[name]))
        else:
            made[name] = Difference(difference, math.hypot(standard_error(values), standard_error(theirs[name])))
    return made


def _digest(run: "Run", data: Any, split: str) -> str:
    """Of the data of a split, in their order: x, what is observed of it, and nothing of how they came to be there."""
    digest = hashlib.sha256()
    for batch in read(run, data, split).batches:
        digest.update(batch.x.float().cpu().numpy().tobytes())
        if batch.observed is not None:
            digest.update(batch.observed.cpu().numpy().tobytes())
    return digest.hexdigest()


def _names(runs: "Sequence[Run]") -> list[str]:
    """The folders' names, with the folder above where two are the same, or numbers."""
    paths = [run.path for run in runs]
    names = [f"run {number}" if path is None else path.name for number, path in enumerate(paths, 1)]
    if len(set(names)) == len(names):
        return names
    return [name if path is None else str(path) for name, path in zip(names, paths, strict=True)]


def _cell(value: tuple[float, float] | None, *, signed: bool = False) -> str:
    if value is None:
        return ""
    mean, error = value
    return f"{mean:{'+' if signed else ''}.3f} ± {error:.3f}"


class _Quiet:
    """Tells of the data done, and of nothing else."""

    def __init__(self, progress: Callable[[int], Any]):
        self.progress = progress

    def begin(self, step: Any) -> Callable[[int], Any]:
        return self.progress

    def end(self, step: Any, done: Any) -> None:
        pass

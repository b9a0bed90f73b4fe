"""What the analyses of an evaluation give: numbers by name, and what a reader must know before quoting them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Protocol

from torch import Tensor

from amortized.showing import Table, Tabled


@dataclass(frozen=True)
class Metric:
    """One number of an evaluation.

    Attributes:
        value: The number; its name says sign and unit.
        split: The data it is about; "model" where the model drew them itself.
        samples: Posterior samples per datum.
        kind: "exact", "lower bound", "upper bound" or "estimate".
    """

    value: float
    split: str
    samples: int
    kind: str


class Finding(Protocol):
    """What an analysis found.

    A name carries sign and unit (`gap_nats`); the standard error of `gap_nats` is `gap_stderr_nats`, that of `mig` `mig_stderr`,
    and an error over Monte Carlo samples alone is `gap_mc_stderr_nats`.
    """

    @property
    def metrics(self) -> dict[str, Metric]:
        """The numbers by name; those that cannot be told are left out."""
        ...

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers, a sentence each."""
        ...


class Found(Tabled):
    """A finding that shows its metrics as a table, and its notes below."""

    def tables(self: Finding) -> list[Table]:
        """The metrics, with their standard errors, and the notes."""
        metrics = self.metrics
        splits = list(dict.fromkeys(metric.split for metric in metrics.values()))
        return [as_table(f"{_spaced(type(self).__name__)}: {', '.join(splits)}", metrics, self.notes)]


@dataclass(frozen=True, eq=False)
class LogPx:
    """The log-likelihood log p(x) of N data by one method, nats.

    Attributes:
        method: How it was estimated.
        estimate: (N,) float64, the best estimate.
        lower: (N,) a stochastic lower bound: its mean over repetitions is at most log p(x).
        upper: (N,) a stochastic upper bound; None where there is none, as for data that the model did not draw itself.
        mc_variance: (N,) Monte Carlo variance of `estimate`, nats^2; NaN where it cannot be told.
        seconds: How long it took.
        split: The data it is about; "model" where the model drew them itself.
        samples: Posterior samples, or chains, per datum.
    """

    method: str
    estimate: Tensor
    lower: Tensor
    upper: Tensor | None
    mc_variance: Tensor
    seconds: float
    split: str
    samples: int

    @property
    def mc_stderr(self) -> float:
        """The standard error of the mean estimate over Monte Carlo samples alone, nats."""
        return float(self.mc_variance.sum().sqrt()) / len(self.mc_variance)

    def interval(self, level: float = 0.95) -> tuple[Tensor, Tensor]:
        """The ends, each (N,) nats, of intervals that cover log p(x) at that level where the Monte Carlo error is normal."""
        half = NormalDist().inv_cdf((1 + level) / 2) * self.mc_variance.sqrt()
        return self.estimate - half, self.estimate + half

    @property
    def data_stderr(self) -> float:
        """The standard error of the mean estimate over the data, that of Monte Carlo included, nats."""
        return standard_error(self.estimate)


def standard_error(values: Tensor) -> float:
    """The standard error of the mean of independent values (N,); NaN for one."""
    return float(values.double().std(correction=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def as_metrics(table: Mapping[str, float | tuple[float, str]], split: str, samples: int) -> dict[str, Metric]:
    """Metrics of the same data by name, of values with their kinds or of estimates; those that are NaN are left out."""
    entries = {name: entry if isinstance(entry, tuple) else (entry, "estimate") for name, entry in table.items()}
    return {name: Metric(value, split, samples, kind) for name, (value, kind) in entries.items() if not math.isnan(value)}


def as_rows(metrics: Mapping[str, Metric]) -> list[tuple[str, str, str]]:
    """Metrics for reading: name, the value with its standard error, and the kind; an error that belongs to a value has no row."""
    errors = {error_name(name, which) for name in metrics for which in ("stderr", "mc_stderr")}
    rows = []
    for name, metric in metrics.items():
        if name not in errors:
            error, mc_error = (metrics.get(error_name(name, which)) for which in ("stderr", "mc_stderr"))
            value = in_digits(metric.value, None if error is None else error.value)
            kind = metric.kind if mc_error is None else f"{metric.kind}, Monte Carlo error {mc_error.value:.2g}"
            rows.append((name, value, kind))
    return rows


def as_table(head: str, metrics: Mapping[str, Metric], notes: Sequence[str]) -> Table:
    """A finding as a table to be shown."""
    return Table(head, ("metric", "value", "kind"), as_rows(metrics), notes)


def error_name(name: str, which: str = "stderr") -> str:
    """What the standard error of a metric is called, or with "mc_stderr" that over Monte Carlo samples alone."""
    return f"{name.removesuffix('_nats')}_{which}_nats" if name.endswith("_nats") else f"{name}_{which}"


def in_digits(value: float, stderr: float | None = None) -> str:
    """A number with its standard error, in two digits of that; four digits where there is none."""
    if stderr is None or not 1e-9 * abs(value) < stderr < math.inf:
        return f"{value:,.4f}" if 1e-3 <= abs(value) < 1e6 or value == 0 else f"{value:.3g}"
    decimals = min(max(1 - math.floor(math.log10(stderr)), 0), 6)
    return f"{value:,.{decimals}f} ± {stderr:,.{decimals}f}"


def as_text(head: str, metrics: Mapping[str, Metric], notes: Sequence[str]) -> str:
    """A finding as a small table."""
    rows = as_rows(metrics)
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return "\n".join([head, *(f"{name:<{widths[0]}}   {value:>{widths[1]}}   {kind}" for name, value, kind in rows), *notes])


def _spaced(name: str) -> str:
    """The name of a class as words."""
    return "".join(f" {letter.lower()}" if letter.isupper() and position else letter for position, letter in enumerate(name))

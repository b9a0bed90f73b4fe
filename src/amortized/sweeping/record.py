"""What a sweep gives: its points, as a table, and what a reader must know of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

from amortized.showing import Table, Tabled

METRICS = (
    "rate_nats",
    "distortion_nats",
    "elbo_nats",
    "elbo_stderr_nats",
    "nll_nats",
    "nll_stderr_nats",
    "nll_mc_stderr_nats",
    "active_units",
)
"""What is kept of each point, where it has it."""


@dataclass(frozen=True)
class Point:
    """One fit of a sweep.

    Attributes:
        name: Of the point and its folder, such as "beta=0.5".
        values: Of the options that are swept over, by dotted name.
        metrics: Numbers by name, as in `METRICS`.
        collapsed: Whether the latent says nothing of the data, or the decoder ignores it.
    """

    name: str
    values: Mapping[str, Any]
    metrics: Mapping[str, float]
    collapsed: bool = False


@dataclass(frozen=True, eq=False)
class Sweep(Tabled):
    """The points of a sweep that are finished.

    Attributes:
        points: In the order in which they were fitted.
        planned: How many there are to be.
        split: The data they were evaluated on.
        samples: Posterior samples per datum.
        path: Their folder; None where nothing was written.
        signal: The signal that stopped the sweep, if one did.
        has_figure: Whether a picture was written.
    """

    points: tuple[Point, ...]
    planned: int
    split: str = "test"
    samples: int = 100
    path: Path | None = None
    signal: Signals | None = None
    has_figure: bool = False

    @property
    def finished(self) -> bool:
        """Whether all points are there."""
        return len(self.points) == self.planned

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row for each point: its name, the values of its options, its numbers."""
        return [{"name": point.name, **point.values, **point.metrics} for point in self.points]

    @property
    def notes(self) -> list[str]:
        """Which points collapsed, and what was not written."""
        collapsed = [point.name for point in self.points if point.collapsed]
        notes = [f"Posterior collapse at {', '.join(collapsed)}; `evaluate` says what may help."] if collapsed else []
        if self.path is not None and self.points and not self.has_figure:
            notes.append("There is no rate-distortion.png: it needs rates, and matplotlib, the extra 'amortized[plots]'.")
        return notes

    def __str__(self) -> str:
        """The points as a table."""
        (table,) = self.tables()
        lines = [table.columns, *table.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        rows = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
        return "\n".join([table.head, *rows, *self.notes])

    def tables(self) -> list[Table]:
        """The points, without their names and errors."""
        names = [name for name in columns(self.rows) if not name.endswith(("name", "stderr_nats"))]
        rows = [[_cell(row.get(name, "")) for name in names] for row in self.rows]
        head = f"{self.split} split, {self.samples:,} posterior samples each"
        return [Table(head, names, rows, self.notes, right=range(len(names)))]


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """All names that the rows have, in order."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _cell(value: Any) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

"""How the dots of a map are told apart by label: seven colors, then the same with another mark, and a name in each cloud."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amortized.report.entries import plain, short
from amortized.report.style import PALETTE
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLORS, MARKS = PALETTE[:7], "o^s"
CLASSES = len(MARKS) * len(COLORS)
"""Classes that are told apart; of more, those with the fewest data are drawn as one."""

OTHERS = "0.6"
LONGEST = 10
"""Characters of a name that is written among the dots."""

APART = 0.05
"""Of the axes' width, between the names of two classes: those that are closer are not written."""


@dataclass(frozen=True, eq=False)
class Coloring:
    """What the color of each of N dots stands for.

    Attributes:
        title: What is told apart.
        names: Of the classes, by code; empty for numbers.
        codes: (N,) the class of each dot, -1 for one that belongs to none of them; None for numbers.
        numbers: (N,) the number of each dot; None for classes.
    """

    title: str
    names: Sequence[str] = ()
    codes: NDArray[np.int64] | None = None
    numbers: NDArray[np.float64] | None = None

    def rows(self, seed: int) -> NDArray[np.float64]:
        """(N,) the height of each dot where each class has a row of its own, with some noise."""
        assert self.codes is not None
        return self.codes + np.random.default_rng(seed).uniform(-0.3, 0.3, len(self.codes))

    def draw(self, axes: "Axes", places: NDArray[Any], size: float, *, named: bool) -> None:
        """Draw dots at places (N, 2); with `named` the name of each class stands at the middle of its dots."""
        if self.codes is None:
            axes.scatter(*places.T, s=size, c=self.numbers, cmap="viridis", linewidth=0, rasterized=True)
            return
        for code in [-1, *range(len(self.names))]:
            those = places[self.codes == code]
            if not len(those):
                continue
            color = OTHERS if code < 0 else COLORS[code % len(COLORS)]
            mark = "o" if code < 0 else MARKS[code // len(COLORS)]
            label = "other classes" if code < 0 else self.names[code]
            axes.scatter(*those.T, s=size, color=color, marker=mark, alpha=0.75, linewidth=0, label=label, rasterized=True)
        if named:
            self._write_names(axes, places)

    def _write_names(self, axes: "Axes", places: NDArray[Any]) -> None:
        codes = [code for code in range(len(self.names)) if (self.codes == code).any()]
        middles = np.array([np.median(places[self.codes == code], axis=0) for code in codes])
        low, high = axes.get_xlim()
        written = [short(self.names[code].replace("\\$", "$"), LONGEST) for code in codes]
        lengths = np.array([len(name) for name in written])
        for row, (name, place) in enumerate(zip(written, middles, strict=True)):
            away = np.abs(np.delete(middles, row, axis=0) - place)
            away[:, 0] /= np.maximum(1, (np.delete(lengths, row) + len(name)) / 4)  # a long name reaches far to the sides
            if not (np.linalg.norm(away, axis=1) < APART * (high - low)).any():
                _write(axes, name, place)


def color_by(view: View) -> Coloring | None:
    """By what the data of a view are colored: their labels, or else a condition; None where there is neither."""
    labels = view.batch.labels
    if labels is not None:
        values = labels.cpu().numpy().reshape(len(labels), -1)[:, 0]
        if labels.is_floating_point():
            return Coloring("label", numbers=values.astype(np.float64))
        return _classes("label", values.astype(np.int64), view.label_name)
    for name, condition in view.spec.conditions.items():
        values = view.batch.context[name].cpu().numpy()
        if condition.classes is not None:
            names = condition.names or tuple(map(str, range(condition.classes)))
            return _classes(name, values.astype(np.int64), lambda code, names=names: names[code])
        if values.ndim == 1 or values.shape[1] == 1:
            return Coloring(name, numbers=values.reshape(-1).astype(np.float64))
    return None


def _classes(title: str, values: NDArray[np.int64], name_of: Any) -> Coloring:
    found, counts = np.unique(values, return_counts=True)
    if len(found) > CLASSES:
        found = np.sort(found[np.argsort(-counts, kind="stable")[:CLASSES]])
    codes = np.full(len(values), -1)
    for code, value in enumerate(found):
        codes[values == value] = code
    return Coloring(plain(title), [_short(name_of(int(value))) for value in found], codes)


def _short(name: str) -> str:
    return plain(name if len(name) <= 18 else name[:17] + "…")


def _write(axes: "Axes", name: str, place: NDArray[Any]) -> None:
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.5, foreground="white")]
    axes.text(
        float(place[0]),
        float(place[1]),
        name,
        fontsize=9,
        fontweight="bold",
        color="0.1",
        ha="center",
        va="center",
        path_effects=halo,
        zorder=5,
    )

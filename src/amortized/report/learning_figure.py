r"""How training went: the ELBO and its two parts, rate and distortion, of train and validation data against the step.

    ELBO = -distortion - rate        distortion = -E_q[log p(x|z)],  rate = KL( q(z|x) || p(z) ),  nats

The axes show what the rows after the first tenth span where the first ones would leave nothing to be seen of the others.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amortized.errors import InputError
from amortized.report.style import PALETTE, style
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from amortized.runs import Run

TITLES = {
    "elbo": "ELBO",
    "objective": "objective",
    "rate": "rate: KL(q(z|x) || p(z))",
    "distortion": "distortion: -E[log p(x|z)]",
}
SPLITS = {"train": (PALETTE[0], "-", "train"), "valid": (PALETTE[1], "--", "validation")}
NAMES = [name for _, _, name in SPLITS.values()]
OWN = {"step", "epoch", "lr", "seconds"}
"""Columns of the history that are no terms and no hyper-parameters of the objective."""

MOST_KEYS = 6
"""Of a row of the legend."""

SHARE, FEW = 0.4, 5
"""The axes leave out the first rows where the others span less than this share of all, and there are more than a few."""


def learning_figure(run: "Run | View | Sequence[Run | View]", names: Sequence[str] | None = None) -> "Figure":
    """Draw the learning curves of a run: ELBO, rate and distortion, of the training and of the validation data.

    The steps at which a schedule of the objective, such as that of beta, has not come to its end are shaded. A dotted line stands
    at the step whose weights were kept, where training stops at the best ones. A posterior without a density has no ELBO: its
    objective is shown. Of several runs the curves lie in the same axes, in a color each.

    Args:
        run: The run, or its view, or several of them.
        names: What several are called, in their order; by default "run 1" and so on.

    Returns:
        A figure of matplotlib's.

    Raises:
        InputError: No run has a history, there are not as many names as runs, or matplotlib is not installed.
    """
    is_one = not isinstance(run, Sequence)
    runs = [each.run if isinstance(each, View) else each for each in (run if isinstance(run, Sequence) else [run])]
    histories = [each.history for each in runs]
    called = [f"run {number}" for number in range(1, len(runs) + 1)] if names is None else list(names)
    if len(called) != len(runs):
        raise InputError(f"there are {len(called)} names for {len(runs)} runs; give a name for each, or none.")
    shown = [name for name in ("elbo", "rate", "distortion") if _has(histories, name)]
    if "elbo" not in shown and _has(histories, "objective"):
        shown.insert(0, "objective")
    if not shown:
        raise InputError("the run has no history of its training: no row was written; fit it for an epoch at least.")
    with style() as mpl:
        figure = mpl.figure.Figure(figsize=(3.1 * len(shown) + 0.2, 2.9), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            _draw(axes, histories, name, colored=not is_one)
            if is_one:
                _mark(axes, histories[0], warm_up(histories[0]), kept_step(runs[0]))
        found = _handles(figure) if is_one else _keys(mpl, called)
        columns = len(found) if len(found) < MOST_KEYS else MOST_KEYS
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=columns, fontsize=8)
        return figure


def _handles(figure: "Figure") -> dict[str, Any]:
    """The legend of one run, of all axes: the first may lack a split, as relaxed classes have no ELBO in training."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        found |= {label: handle for handle, label in zip(handles, labels, strict=True) if label not in found}
    order = sorted(found, key=lambda label: NAMES.index(label) if label in NAMES else len(NAMES))
    return {label: found[label] for label in order}


def _keys(mpl: Any, names: Sequence[str]) -> dict[str, Any]:
    """The legend of several runs: a color for each, a line for each split."""
    line = mpl.lines.Line2D
    colors = {name: line([], [], color=PALETTE[number % len(PALETTE)]) for number, name in enumerate(names)}
    return colors | {name: line([], [], color="0.4", linestyle=dashes) for _, dashes, name in SPLITS.values()}


def warm_up(history: Sequence[Mapping[str, Any]]) -> tuple[int, dict[str, float]]:
    """Until when a hyper-parameter of the objective moved.

    Args:
        history: The rows of `history.csv`.

    Returns:
        The step at which all had come to their last values, 0 where none moved, and of each that moved its last value.
    """
    moved: dict[str, float] = {}
    end, steps = 0, column(history, "step")
    for name in dict.fromkeys(name for row in history for name in row):
        if name in OWN or name.endswith("_nats"):
            continue
        values = column(history, name)
        changes = np.flatnonzero(values != values[-1]) if np.isfinite(values).all() else []
        if len(changes):
            moved[name] = float(values[-1])
            end = max(end, int(steps[changes[-1] + 1]))
    return end, moved


def kept_step(run: "Run") -> int | None:
    """The step of the weights that were kept, where training stops at the best ones; None elsewhere."""
    if run.recipe.training.patience is None:
        return None
    if run.outcome is not None:
        return run.outcome.best_step
    values = column(run.history, "valid_objective_nats")
    return None if np.isnan(values).all() else int(run.history[int(np.nanargmax(values))]["step"])


def column(history: Sequence[Mapping[str, Any]], name: str) -> NDArray[np.float64]:
    """(R,) a column of the history, NaN where a row has no number there."""
    values = (row.get(name) for row in history)
    return np.array([value if isinstance(value, int | float) else math.nan for value in values], dtype=np.float64)


def _has(histories: Sequence[Sequence[Mapping[str, Any]]], name: str) -> bool:
    return any(bool(np.isfinite(column(rows, f"{split}_{name}_nats")).any()) for rows in histories for split in SPLITS)


def _draw(axes: "Axes", histories: Sequence[Sequence[Mapping[str, Any]]], name: str, *, colored: bool) -> None:
    shown = []
    for number, history in enumerate(histories):
        for split, (color, line, label) in SPLITS.items():
            values = column(history, f"{split}_{name}_nats")
            values[~np.isfinite(values)] = math.nan
            if np.isnan(values).all():
                continue
            shown.append(values)
            color = PALETTE[number % len(PALETTE)] if colored else color
            few = "o" if len(values) < 4 else None
            axes.plot(column(history, "step"), values, line, color=color, label=label, marker=few, markersize=4)
    axes.set(title=TITLES[name], xlabel="step", ylabel="nats per datum")
    axes.set_xlim(0 if max(map(len, histories)) > 1 else None, None)
    axes.xaxis.set_major_locator(_locator())
    limits = limits_of(shown)
    if limits is not None:
        axes.set_ylim(*limits)


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, integer=True)


def limits_of(curves: Sequence[NDArray[np.float64]]) -> tuple[float, float] | None:
    """The ends of an axis on which curves, each (R,), are seen; None where it may show all of them."""
    rest = [curve[max(1, len(curve) // 10) :] if len(curve) > FEW else curve for curve in curves]
    rest = [curve for curve in rest if not np.isnan(curve).all()]
    if max(map(len, curves)) <= FEW or not rest:
        return None
    low, high = min(map(np.nanmin, rest)), max(map(np.nanmax, rest))
    span = max(map(np.nanmax, curves)) - min(map(np.nanmin, curves))
    margin = 0.08 * (high - low)
    return (float(low - margin), float(high + margin)) if 0 < high - low < SHARE * span else None


def _mark(axes: "Axes", history: Sequence[Mapping[str, Any]], moved: tuple[int, Mapping[str, float]], kept: int | None) -> None:
    end, values = moved
    if values:
        said = ", ".join(f"{name} goes to {last:.3g}" for name, last in values.items())
        axes.axvspan(0, end, color="0.9", linewidth=0, zorder=0, label=f"warm-up: {said}")
    if kept is not None:
        axes.axvline(kept, color="0.3", linestyle=":", linewidth=1.2, label=f"weights kept: step {kept:,}")

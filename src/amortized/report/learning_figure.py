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

SHARE, FEW = 0.4, 5
"""The axes leave out the first rows where the others span less than this share of all, and there are more than a few."""


def learning_figure(run: "Run | View") -> "Figure":
    """Draw the learning curves of a run: ELBO, rate and distortion, of the training and of the validation data.

    The steps at which a schedule of the objective, such as that of beta, has not come to its end are shaded. A dotted line stands
    at the step whose weights were kept, where training stops at the best ones. A posterior without a density has no ELBO: its
    objective is shown.

    Args:
        run: The run, or its view.

    Returns:
        A figure of matplotlib's.

    Raises:
        InputError: The run has no history, or matplotlib is not installed.
    """
    run = run.run if isinstance(run, View) else run
    history = run.history
    names = [name for name in ("elbo", "rate", "distortion") if _has(history, name)]
    if "elbo" not in names and _has(history, "objective"):
        names.insert(0, "objective")
    if not names:
        raise InputError("the run has no history of its training: no row was written; fit it for an epoch at least.")
    with style() as mpl:
        figure = mpl.figure.Figure(figsize=(3.1 * len(names) + 0.2, 2.9), layout="constrained")
        for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
            _draw(axes, history, name)
            _mark(axes, history, warm_up(history), kept_step(run))
        found: dict[str, Any] = {}
        for axes in figure.axes:  # of which the first may lack a split: relaxed classes have no ELBO in training
            handles, labels = axes.get_legend_handles_labels()
            found |= {label: handle for handle, label in zip(handles, labels, strict=True) if label not in found}
        labels = sorted(found, key=lambda label: NAMES.index(label) if label in NAMES else len(NAMES))
        figure.legend([found[label] for label in labels], labels, loc="outside lower center", ncols=len(labels), fontsize=8)
        return figure


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


def _has(history: Sequence[Mapping[str, Any]], name: str) -> bool:
    return any(bool(np.isfinite(column(history, f"{split}_{name}_nats")).any()) for split in SPLITS)


def _draw(axes: "Axes", history: Sequence[Mapping[str, Any]], name: str) -> None:
    steps, shown = column(history, "step"), []
    for split, (color, line, label) in SPLITS.items():
        values = column(history, f"{split}_{name}_nats")
        values[~np.isfinite(values)] = math.nan
        if np.isnan(values).all():
            continue
        shown.append(values)
        axes.plot(steps, values, line, color=color, label=label, marker="o" if len(values) < 4 else None, markersize=4)
    axes.set(title=TITLES[name], xlabel="step", ylabel="nats per datum")
    axes.set_xlim(0 if len(history) > 1 else None, None)
    axes.xaxis.set_major_locator(_locator())
    limits = limits_of(shown)
    if limits is not None:
        axes.set_ylim(*limits)


def _locator() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4, integer=True)


def limits_of(curves: Sequence[NDArray[np.float64]]) -> tuple[float, float] | None:
    """The ends of an axis on which curves (R,) are seen; None where it may show all of them."""
    rows = len(curves[0])
    rest = [curve[max(1, rows // 10) :] for curve in curves]
    if rows <= FEW or all(np.isnan(curve).all() for curve in rest):
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

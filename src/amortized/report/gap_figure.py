r"""Where the nats go between log p(x) and the ELBO, as a bar.

    ELBO | amortization gap | approximation gap | log p(x)                Cremer, Li and Duvenaud 2018, arXiv 1801.03558

The bar ends at log p(x), and its length is KL( q(z|x) || p(z|x) ): bars of several splits so have one scale.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from amortized.evaluation import Metric
from amortized.evaluation.records import error_name, in_digits
from amortized.report.found import done_of, finding_of
from amortized.report.style import PALETTE, style
from amortized.report.view import View
from amortized.studies import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from amortized.runs import Run

PARTS = {
    "amortization_gap": ("amortization gap: what the encoder loses", PALETTE[1]),
    "approximation_gap": ("approximation gap: what the family of q loses", PALETTE[0]),
}


def gap_figure(run: "Run | View | Evaluation") -> "Figure":
    """Draw how the inference gap, log p(x) - ELBO, divides into what the encoder loses and what the posterior's family loses.

    Args:
        run: A run, or its view, of which an evaluation kept the analysis 'gaps'; or what `Run.evaluate` returned.

    Returns:
        A figure of matplotlib's: a bar for the data of the evaluation, and one for training data where there are any, each part
        with its standard error, nats.

    Raises:
        InputError: The gaps were not evaluated, or matplotlib is not installed.
    """
    finding = finding_of(run, "gaps")
    rows, done = gap_rows(finding.metrics), done_of(run, "gaps")
    with style() as mpl:
        figure = mpl.figure.Figure(figsize=(6.4, 1.2 + 0.75 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, rows, None if done is None else done.size.options.get("data"))
        figure.legend(*_unique(axes), loc="outside upper center", ncols=2, fontsize=8)
        return figure


def gap_rows(metrics: Mapping[str, Metric]) -> dict[str, dict[str, tuple[float, float | None]]]:
    """The gaps by the split and their names, each with its standard error over the data where there is one, nats."""
    own = metrics["inference_gap_nats"].split
    rows: dict[str, dict[str, tuple[float, float | None]]] = {}
    for split, prefix in ((own, ""), *((("train", "train_"),) if "train_inference_gap_nats" in metrics else ())):
        rows[split] = {}
        for name in (*PARTS, "inference_gap"):
            error = metrics.get(error_name(f"{prefix}{name}_nats"))
            rows[split][name] = metrics[f"{prefix}{name}_nats"].value, None if error is None else error.value
    return rows


def _draw(axes: "Axes", rows: Mapping[str, Mapping[str, tuple[float, float | None]]], count: int | None) -> None:
    starts = [-sum(max(gaps[name][0], 0.0) for name in PARTS) for gaps in rows.values()]
    errors = [gaps["inference_gap"][1] or 0.0 for gaps in rows.values()]
    longest = max(max(error - start for start, error in zip(starts, errors, strict=True)), 1e-6)
    for row, (gaps, left) in enumerate(zip(rows.values(), starts, strict=True)):
        total, error = gaps["inference_gap"]
        axes.text(left, row - 0.36, f"ELBO, {in_digits(total, error)} below", ha="left", va="bottom", fontsize=8)
        for name, (label, color) in PARTS.items():
            length = max(gaps[name][0], 0.0)
            axes.barh(row, length, left=left, height=0.42, color=color, label=label)
            _write(axes, in_digits(*gaps[name]), left, length, row, longest)
            left += length
        axes.errorbar(starts[row], row - 0.28, xerr=error, color="0.2", linewidth=1, capsize=3)
    axes.axvline(0, color="0.3", linewidth=1)
    axes.text(0, 1.0, "log p(x)", ha="right", va="bottom", fontsize=8, transform=axes.get_xaxis_transform())
    axes.set_yticks(range(len(rows)), list(rows))
    of = "the data" if count is None else f"{count:,} data" + (" of each split" if len(rows) > 1 else "")
    axes.set(xlim=(-1.05 * longest, 0.0), ylim=(len(rows) - 0.4, -0.6), xlabel=f"nats below log p(x), in the mean over {of}")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _write(axes: "Axes", text: str, left: float, length: float, row: int, longest: float) -> None:
    """The number of a part: within its bar where that is long enough, else below its right end."""
    if length > 0.25 * longest:
        axes.text(left + 0.5 * length, row, text, ha="center", va="center", fontsize=8, color="white")
    else:
        axes.text(left + length, row + 0.25, text, ha="right", va="top", fontsize=8)


def _unique(axes: "Axes") -> tuple[list[object], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    return list(found.values()), list(found)

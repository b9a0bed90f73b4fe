r"""Where the nats go between log p(x) and the ELBO, as a bar.

    ELBO | amortization gap | approximation gap | log p(x)                Cremer, Li and Duvenaud 2018, arXiv 1801.03558

The bar ends at log p(x), and its length is KL( q(z|x) || p(z|x) ): bars of several splits so have one scale.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from amortized.evaluation import Metric
from amortized.evaluation.records import error_name, in_digits
from amortized.report.found import finding_of
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
    rows = gap_rows(finding.metrics)
    with style() as mpl:
        figure = mpl.figure.Figure(figsize=(6.4, 1.25 + 0.7 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, rows)
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


def _draw(axes: "Axes", rows: Mapping[str, Mapping[str, tuple[float, float | None]]]) -> None:
    longest = max(max(gaps["inference_gap"][0], sum(max(gaps[name][0], 0) for name in PARTS)) for gaps in rows.values())
    longest = max(longest, 1e-6)
    for row, gaps in enumerate(rows.values()):
        lengths = {name: max(gaps[name][0], 0.0) for name in PARTS}
        left = -sum(lengths.values())
        total, error = gaps["inference_gap"]
        axes.errorbar(left, row - 0.34, xerr=error, color="0.3", linewidth=1, capsize=2.5)
        axes.annotate(f"ELBO: {in_digits(-total, error)}", (left, row - 0.42), ha="left", va="bottom", fontsize=8)
        for name, (label, color) in PARTS.items():
            axes.barh(row, lengths[name], left=left, height=0.42, color=color, label=label)
            _write(axes, in_digits(*gaps[name]), (left + lengths[name] / 2, row), lengths[name] / longest)
            left += lengths[name]
    axes.axvline(0, color="0.3", linewidth=1)
    axes.annotate("log p(x)", (0, -0.42), xytext=(-3, 0), textcoords="offset points", ha="right", va="bottom", fontsize=8)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(
        xlim=(-1.08 * longest, 0.02 * longest), ylim=(len(rows) - 0.6, -0.8), xlabel="nats below log p(x), mean over the data"
    )
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _write(axes: "Axes", text: str, place: tuple[float, float], share: float) -> None:
    """The number of a part, within its bar where it is long enough, else below it."""
    is_within = share > 0.2
    down = 0.0 if is_within else 0.33
    color = "white" if is_within else "0.15"
    axes.text(place[0], place[1] + down, text, ha="center", va="center", fontsize=8, color=color)


def _unique(axes: "Axes") -> tuple[list[object], list[str]]:
    handles, labels = axes.get_legend_handles_labels()
    found = dict(zip(labels, handles, strict=True))
    return list(found.values()), list(found)

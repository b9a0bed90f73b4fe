"""Simulation-based calibration in one picture: coverage against its level, and histograms of ranks.

The bands are what a posterior that is exact stays in, by the binomial distribution: that of the coverage at each level by itself,
those of the histograms in all bins of all quantities together. The colors are two that are told apart with any color vision.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from amortized.evaluation import Calibration
from amortized.evaluation.ranks import counts, covered
from amortized.report.found import finding_of
from amortized.report.style import PALETTE, style
from amortized.report.view import View
from amortized.studies import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from amortized.runs import Run

INSIDE = 0.95
"""The probability that an exact posterior stays in a band."""

OF_Z, OF_LOG_P, BAND = *PALETTE[:2], "0.85"
MOST_LINES = 64
"""Entries of z that have a line of their own."""


def calibration_figure(calibration: "Calibration | Run | View | Evaluation") -> "Figure":
    """Draw what simulation-based calibration found.

    Args:
        calibration: What it found; or a run, or its view, of which an evaluation kept it; or what `Run.evaluate` returned.

    Returns:
        A figure of matplotlib's: the coverage of central intervals, the ranks of the entry of z with the smallest p-value, where
        there is one, and those of log p(x|z) and log p(x, z). `figure.savefig("calibration.png")` writes it.

    Raises:
        InputError: It was not evaluated, or matplotlib is not installed.
    """
    if not isinstance(calibration, Calibration):
        finding = finding_of(calibration, "calibration")
        assert isinstance(finding, Calibration)
        calibration = finding
    with style():
        return _draw(calibration)


def _draw(calibration: Calibration) -> "Figure":
    from matplotlib.figure import Figure

    histograms = [("log p(x|z)", calibration.log_px_ranks, OF_LOG_P), ("log p(x, z)", calibration.log_joint_ranks, OF_LOG_P)]
    entries = calibration.z_ranks.shape[1]
    if entries:
        worst = int(calibration.p_values[:entries].nan_to_num(1.0).argmin())
        histograms.insert(0, (f"z, entry {worst} (worst of {entries})", calibration.z_ranks[:, worst], OF_Z))
    figure = Figure(figsize=(3.4 * (1 + len(histograms)), 3.6), layout="constrained")
    first, *others = figure.subplots(1, 1 + len(histograms))
    _draw_coverage(first, calibration)
    for axes, (name, ranks, color) in zip(others, histograms, strict=True):
        _draw_ranks(axes, ranks, calibration, color)
        axes.set_title(name, fontsize="medium")
    n = len(calibration.log_px_ranks)
    figure.suptitle(f"Is q the posterior? {n:,} data that the model made, {calibration.draws:,} posterior samples each")
    return figure


def _draw_coverage(axes: "Axes", calibration: Calibration) -> None:
    from scipy.stats import binom

    n, levels = len(calibration.log_px_ranks), torch.linspace(0, 1, 101, dtype=torch.float64)
    low, high = (binom.ppf(share, n, levels.numpy()) / n for share in ((1 - INSIDE) / 2, (1 + INSIDE) / 2))
    axes.fill_between(levels.numpy(), low, high, color=BAND, linewidth=0, label=f"exact posterior, {INSIDE:.0%}")
    axes.plot([0, 1], [0, 1], color="0.4", linewidth=0.8)
    of_z = _coverage(calibration.z_ranks, calibration.draws, levels)
    if of_z.shape[1]:
        axes.plot(levels.numpy(), of_z[:, :MOST_LINES].numpy(), color=OF_Z, linewidth=0.5, alpha=0.35)
        axes.plot(levels.numpy(), of_z.mean(1).numpy(), color=OF_Z, linewidth=2, label="z, mean over entries")
    of_log_px = _coverage(calibration.log_px_ranks[:, None], calibration.draws, levels)
    axes.plot(levels.numpy(), of_log_px.numpy(), color=OF_LOG_P, linewidth=2, linestyle="--", label="log p(x|z)")
    axes.set_title("coverage", fontsize="medium")
    axes.set(xlabel="level of the central interval of q", ylabel="share that it holds", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.legend(loc="upper left", fontsize="small", frameon=False)


def _coverage(ranks: Tensor, draws: int, levels: Tensor) -> Tensor:
    """(levels, Q) the share of the ranks (N, Q) that lies in the central interval of each level."""
    shares = torch.zeros(draws + 1, ranks.shape[1], dtype=torch.float64)
    shares.scatter_add_(0, ranks, torch.full(ranks.shape, 1 / len(ranks), dtype=torch.float64))
    return torch.stack([covered(torch.arange(draws + 1), draws, float(level)) for level in levels]) @ shares


def _draw_ranks(axes: "Axes", ranks: Tensor, calibration: Calibration, color: str) -> None:
    from scipy.stats import binom

    occupied, probabilities = counts(ranks[:, None], calibration.draws)
    tail = (1 - INSIDE) / (2 * len(occupied) * len(calibration.p_values))
    ends = torch.cat((torch.zeros(1).double(), probabilities.cumsum(0))).numpy()
    low, high = (binom.ppf(share, len(ranks), probabilities.numpy()) for share in (tail, 1 - tail))
    axes.stairs(high, ends, baseline=low, fill=True, color=BAND)
    axes.stairs(occupied[:, 0].numpy(), ends, color=color, linewidth=1.6)
    axes.set(xlabel="rank among draws of q", ylabel="data", xlim=(0, 1), ylim=(0, None))
    axes.set_xticks([0, 0.5, 1], ["below all", "middle", "above all"])

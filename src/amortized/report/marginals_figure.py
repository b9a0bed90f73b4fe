"""Data of a table beside samples of the model: each column by itself, and the pairs that are most correlated.

Whole numbers have a bar for each, or, where they reach far, bins whose width grows; of hundreds of counted columns are shown, for
each a point, the variance against the mean and the share of zeros, in which models of counts differ. All in bins of the data.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from amortized.errors import InputError
from amortized.report.entries import entry_names, flat, foremost, is_image, left_out, say, short
from amortized.report.marginals import Marginals, compare_columns, most_correlated
from amortized.report.panels import panel_figure
from amortized.report.style import PALETTE, style
from amortized.report.view import View

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from amortized.runs import Run

MANY = 40
"""Columns of counts, or of zeros and ones, from which on each is a point."""

BINS = 30
PAIRS = 4
POINTS = 500
FEW = 100
"""Points that are drawn larger."""

WHOLE = 40
"""Whole numbers that have a bar each, at most."""

JITTER = 0.25
"""By which points of whole numbers are moved, so that they do not hide each other."""

HEAVY = 8
"""Times the mean beyond which the largest values make a tail heavy, to be shown on a logarithmic scale."""

LEAST_MEAN = 0.5
"""That is taken for the mean of rarer counts, among which a few ones or twos are no tail."""

DATA, SAMPLES = "0.35", PALETTE[1]


def marginals_figure(run: "Run | View") -> "Figure":
    """Draw the columns of data beside those of as many samples.

    Args:
        run: The run.

    Raises:
        InputError: The data are images, or not there, or matplotlib is not installed.
    """
    view = View.of(run)
    if is_image(view.spec):
        raise InputError("these data are images, and samples of them are shown by `samples_figure`.")
    data, samples = flat(view.shown_x), flat(view.draws)
    found = compare_columns(data, samples)
    with style() as mpl:
        is_discrete = view.spec.support in ("counts", "binary", "levels")
        if is_discrete and data.shape[1] > MANY:
            return _clouds(mpl, view, data, samples, found)
        return _panels(mpl, view, data, samples, found)


def bin_edges(data: NDArray[np.float64], samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """The edges of the bins of one column, which span the data and almost all of the samples.

    Args:
        data: (N,) values without NaN.
        samples: (M,) values without NaN.
    """
    both = np.concatenate((data, np.clip(samples, *_span(data, samples))))
    low, high = both.min(), both.max()
    if (data == np.round(data)).all() and (samples == np.round(samples)).all():
        if high - low < WHOLE:
            return np.arange(low - 0.5, high + 1)
        growing = np.unique(np.round(np.geomspace(1, high - low + 1, BINS)))
        return low - 1.5 + np.concatenate(([1.0], growing + 1))
    room = 0.5 if high == low else 0.0
    bins = min(BINS, round(2.2 * min(len(data), len(samples)) ** (1 / 3)) + 2)  # about as many as their noise allows
    return np.linspace(low - room, high + room, bins + 1)


def _span(data: NDArray[np.float64], samples: NDArray[np.float64]) -> tuple[float, float]:
    """The range of the data, and of 99% of the samples."""
    low, high = np.quantile(samples, (0.005, 0.995))
    return min(float(data.min()), float(low)), max(float(data.max()), float(high))


def _panels(mpl: Any, view: View, data: NDArray[Any], samples: NDArray[Any], found: Marginals) -> "Figure":
    names, total = entry_names(view.spec), data.shape[1]
    shown = foremost(found.distance)
    pairs = most_correlated(data, PAIRS)
    note = left_out(shown, total, "in which samples are farthest from data")
    note = f"{note} KS is the largest difference of the two cumulative distributions: 0 at best, 1 at worst.".strip()
    if pairs:
        note += f" Scatter plots: the {'pair' if len(pairs) == 1 else f'{len(pairs)} pairs'} most correlated in the data."
    title = f"Columns of the {view.split} split beside samples"
    count = -(-len(shown) // 4) * 4 if pairs else len(shown)  # the pairs begin a row
    figure, axes = panel_figure(mpl, count + len(pairs), title=title, note=note, handles=_handles())
    for ax, column in zip(axes, shown, strict=False):
        _draw_histograms(ax, data[:, column], samples[:, column])
        ax.set_title(f"{short(names[column], 14)}: KS {found.distance[column]:.2f}", fontsize=8, pad=4)
    for ax in axes[len(shown) : count]:
        ax.set_axis_off()
    for ax, (first, second, r) in zip(axes[count:], pairs, strict=True):
        _draw_pair(ax, data[:, [first, second]], samples[:, [first, second]])
        ax.set_title(f"{short(names[second], 8)} / {short(names[first], 8)}: r {r:.2f}", fontsize=6.5, pad=4)
    return figure


def _draw_histograms(ax: Any, data: NDArray[np.float64], samples: NDArray[np.float64]) -> None:
    data, samples = data[np.isfinite(data)], samples[np.isfinite(samples)]
    if not len(data) or not len(samples):
        say(ax, "no entry is observed")
        return
    edges = bin_edges(data, samples)
    widths = np.diff(edges)
    for values, color, fill in ((data, DATA, True), (samples, SAMPLES, False)):
        heights = np.histogram(values, edges)[0] / len(values) / widths
        if fill:
            ax.stairs(heights, edges, fill=True, color="0.85")
        ax.stairs(heights, edges, color=color, linewidth=1.2)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    if not np.allclose(widths, widths[0]):
        ax.set_xscale("symlog", linthresh=10)
        ax.set_yscale("log")
    elif widths[0] == 1 and data.min() >= 0 and data.max() > HEAVY * max(data.mean(), LEAST_MEAN):
        ax.set_yscale("log")
    if ax.get_yscale() == "log":
        ax.text(0.98, 0.97, "log scale", ha="right", va="top", fontsize=6.5, color="0.4", transform=ax.transAxes)
        ax.yaxis.set_major_locator(_nothing())
        ax.yaxis.set_minor_locator(_nothing())
    else:
        ax.locator_params(axis="x", nbins=5, integer=bool(widths[0] == 1))


def _nothing() -> Any:
    from matplotlib.ticker import NullLocator

    return NullLocator()


def _draw_pair(ax: Any, data: NDArray[np.float64], samples: NDArray[np.float64]) -> None:
    rng = np.random.default_rng(0)
    is_whole = [
        bool((column[~np.isnan(column)] % 1 == 0).all() and np.nanmax(column) - np.nanmin(column) < WHOLE) for column in data.T
    ]
    for values, color in ((data[:POINTS], DATA), (samples[:POINTS], SAMPLES)):
        values = values + is_whole * rng.uniform(-JITTER, JITTER, values.shape)
        ax.plot(*values.T, ".", color=color, markersize=3 if len(data) > FEW else 6, alpha=0.5, markeredgewidth=0)
    known = data[~np.isnan(data).any(1)]
    for axis, values, drawn in zip("xy", known.T, samples.T, strict=True):
        low, high = _span(values, drawn[np.isfinite(drawn)]) if len(values) else (0.0, 1.0)
        room = 0.05 * (high - low) or 0.5
        if _is_heavy(values):
            getattr(ax, f"set_{axis}scale")("symlog", linthresh=1)
            getattr(ax, f"set_{axis}lim")(-0.5, high + room)
        else:
            getattr(ax, f"set_{axis}lim")(low - room, high + room)
            ax.locator_params(axis=axis, nbins=4)


def _is_heavy(values: NDArray[np.float64]) -> bool:
    """Whether values are counts of which a few are much larger than the others."""
    if not len(values) or values.min() < 0 or (values % 1 != 0).any():
        return False
    return bool(values.max() > WHOLE and values.max() > HEAVY * values.mean())


def _clouds(mpl: Any, view: View, data: NDArray[Any], samples: NDArray[Any], found: Marginals) -> "Figure":
    is_binary = view.spec.support == "binary"
    title = f"{data.shape[1]:,} columns of the {view.split} split beside samples, a point for each"
    draws = [_draw_means, _draw_totals] if is_binary else [_draw_means, _draw_variances, _draw_zeros, _draw_totals]
    note = _words(data, found, is_binary)
    figure, axes = panel_figure(
        mpl, len(draws), columns=2, height=262, title=title, note=note, handles=_handles(), left=52, bottom=38
    )
    for ax, draw in zip(axes, draws, strict=True):
        draw(ax, data, samples, found)
    return figure


def _words(data: NDArray[Any], found: Marginals, is_binary: bool) -> str:
    if is_binary:
        return ""
    known = ~np.isnan(data).all(0)
    shares = [float(np.mean(zeros[known])) for zeros in (found.zeros, found.zeros_of_samples)]
    return f"{shares[0]:.1%} of the data's entries are zero, and {shares[1]:.1%} of the samples'."


def _draw_means(ax: Any, data: NDArray[Any], samples: NDArray[Any], found: Marginals) -> None:
    _draw_diagonal(ax, found.mean, found.mean_of_samples)
    if found.mean.max(initial=0.0, where=~np.isnan(found.mean)) > 1:
        _logarithmic(ax, found.mean, found.mean_of_samples)
    ax.set_title("mean", fontsize=8)


def _draw_zeros(ax: Any, data: NDArray[Any], samples: NDArray[Any], found: Marginals) -> None:
    _draw_diagonal(ax, found.zeros, found.zeros_of_samples)
    ax.set_title("share of zeros", fontsize=8)


def _draw_diagonal(ax: Any, of_data: NDArray[np.float64], of_samples: NDArray[np.float64]) -> None:
    ends = np.nanmin([of_data, of_samples]), np.nanmax([of_data, of_samples])
    ax.plot(ends, ends, color="0.6", linewidth=0.8, zorder=1)
    ax.plot(of_data, of_samples, ".", color=PALETTE[0], markersize=4, alpha=0.5, markeredgewidth=0)
    ax.set_xlabel("data", fontsize=8, labelpad=1)
    ax.set_ylabel("samples", fontsize=8, labelpad=1)


def _logarithmic(ax: Any, *values: NDArray[np.float64]) -> None:
    """Make both axes logarithmic from the smallest positive value on; zeros stand at the left and lower ends."""
    positive = np.concatenate([each[each > 0] for each in values])
    if not len(positive):
        return
    least, most = float(positive.min()), float(positive.max())
    decades = np.arange(np.ceil(np.log10(2 * least)), np.floor(np.log10(most)) + 1)
    for axis in "xy":
        getattr(ax, f"set_{axis}scale")("symlog", linthresh=least, linscale=0.3)
        getattr(ax, f"set_{axis}ticks")([0.0, *10**decades])
        getattr(ax, f"set_{axis}lim")(-least / 4, 2 * most)


def _draw_variances(ax: Any, data: NDArray[Any], samples: NDArray[Any], found: Marginals) -> None:
    pairs = ((found.mean, found.variance, DATA), (found.mean_of_samples, found.variance_of_samples, SAMPLES))
    for mean, variance, color in pairs:
        is_shown = (mean > 0) & (variance > 0)
        ax.plot(mean[is_shown], variance[is_shown], ".", color=color, markersize=4, alpha=0.5, markeredgewidth=0)
    ax.set(xscale="log", yscale="log")
    ends = np.array(ax.get_xlim())
    ax.plot(ends, ends, color="0.6", linewidth=0.8, linestyle="--", zorder=1)
    ax.annotate("Poisson", (ends[1], ends[1]), ha="right", va="top", xytext=(0, -6), textcoords="offset points", fontsize=7)
    ax.set_xlim(ends)
    ax.set_xlabel("mean", fontsize=8, labelpad=1)
    ax.set_ylabel("variance", fontsize=8, labelpad=1)
    ax.set_title("variance against mean", fontsize=8)


def _draw_totals(ax: Any, data: NDArray[Any], samples: NDArray[Any], found: Marginals) -> None:
    totals = np.nansum(data, 1), np.nansum(np.where(np.isnan(data[: len(samples)]), np.nan, samples), 1)
    edges = np.linspace(*_span(*totals), BINS + 1) if np.ptp(totals[0]) else bin_edges(*totals)
    for values, color in zip(totals, (DATA, SAMPLES), strict=True):
        heights = np.histogram(values, edges)[0] / len(values)
        ax.stairs(heights, edges, color=color, linewidth=1.2)
    ax.set_yticks([])
    ax.set_xlabel("sum of a row", fontsize=8, labelpad=1)
    ax.set_title("rows: their sums", fontsize=8)


def _handles() -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], color=DATA, label="data"), Line2D([], [], color=SAMPLES, label="samples")]

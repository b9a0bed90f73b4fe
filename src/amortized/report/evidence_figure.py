r"""What log p(x) is worth: -log p(x) and -ELBO of the model beside those of simpler models of the same data, in nats.

The baselines are scored on a part of the data, and what the model has on the same part is known from its gain over each of them:

    -log p_model = -log p_baseline - gain

so that all dots of the picture are about the same data. The error of a dot is over the data, and that of the model widened from
the N data of its evidence to the n of the baselines, by sqrt(N / n); the model and a baseline vary together, so that the error of
a gain, written beside its baseline, is smaller than the two bars let one think.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from amortized.errors import InputError
from amortized.evaluation import Metric
from amortized.evaluation.records import error_name, in_digits
from amortized.report.found import done_of, evidence_of_all, way_out
from amortized.report.style import PALETTE, style
from amortized.report.view import View
from amortized.studies import Evaluation

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from amortized.runs import Run

MODEL, BASELINE = PALETTE[0], "0.45"
FAR = 6.0
"""How many times as far as the middle dot a baseline may lie from the best before it is put at the edge."""

LEAST = 1e-6
"""Nats, from which on a standard error is one."""


@dataclass(frozen=True)
class Dot:
    """A row of the picture.

    Attributes:
        name: What it is.
        value: Nats, the smaller the better.
        stderr: Its standard error over the data; None where it is not known.
        is_model: Whether it is about the model, not about a baseline.
        is_bound: Whether the true value is at most this.
        beside: What is written at it besides its number.
    """

    name: str
    value: float
    stderr: float | None
    is_model: bool
    is_bound: bool = False
    beside: str = ""


def evidence_figure(run: "Run | View | Evaluation") -> "Figure":
    """Draw -log p(x) and -ELBO with their standard errors, beside those of the baselines.

    Args:
        run: A run, or its view, with the evidence that `fit` or `evaluate` left and, where they were evaluated, the baselines; or
            what `Run.evaluate` returned.

    Returns:
        A figure of matplotlib's: a dot for each, the better the further left.

    Raises:
        InputError: The model has no bound on log p(x), no evidence is known, or matplotlib is not installed.
    """
    baselines = done_of(run, "baselines")
    evidence = _evidence(run, of_all=baselines is None)
    if "nll_nats" not in evidence:
        raise InputError("the posterior is a point mass: there is no bound on log p(x), and nothing to hold against baselines.")
    dots = (
        evidence_dots(evidence, {})
        if baselines is None
        else evidence_dots(evidence, baselines.finding.metrics, widened=math.sqrt(_count(run) / baselines.size.options["data"]))
    )
    split = evidence["nll_nats"].split
    about = _about(run, split) if baselines is None else f"the {baselines.size.options['data']:,} {split} data of the baselines"
    with style() as mpl:
        figure = mpl.figure.Figure(figsize=(6.4, 1.15 + 0.29 * len(dots)), layout="constrained")
        axes = figure.add_subplot()
        _draw(axes, dots)
        said = f"nats, mean over {about}; the further left the better\nhollow: a bound, the value is at most that"
        figure.supxlabel(said, fontsize=8)
        return figure


def evidence_dots(evidence: Mapping[str, Metric], baselines: Mapping[str, Metric], *, widened: float = 1.0) -> list[Dot]:
    """The rows of the picture: those of the model first, then the baselines, the best first.

    Args:
        evidence: The metrics of the evidence.
        baselines: Those of the baselines; empty where they are not known.
        widened: What the errors of the evidence are to be multiplied by, for the fewer data of the baselines.
    """
    nll, stderr = _value(evidence, "nll_nats")
    shift = 0.0
    found: list[Dot] = []
    for name in baselines:
        if not (name.startswith("baseline_") and name.endswith("_nats")) or "stderr" in name:
            continue
        log_px, error = _value(baselines, name)
        called = name.removeprefix("baseline_").removesuffix("_nats")
        beside = ""
        if f"gain_over_{called}_nats" in baselines:
            gain, gain_error = _value(baselines, f"gain_over_{called}_nats")
            shift = -log_px - gain - nll
            beside = (
                f"model better by {in_digits(gain, gain_error)}"
                if gain >= 0
                else f"model worse by {in_digits(-gain, gain_error)}"
            )
        is_bound = baselines[name].kind == "lower bound"
        found.append(Dot(called.replace("_", " "), -log_px, error, False, is_bound, beside))
    elbo, elbo_error = _value(evidence, "elbo_nats")
    own = [
        Dot("model: -log p(x)", nll + shift, None if stderr is None else widened * stderr, True),
        Dot("model: -ELBO", -elbo + shift, None if elbo_error is None else widened * elbo_error, True, is_bound=True),
    ]
    return own + sorted(found, key=lambda dot: dot.value)


def _evidence(source: "Run | View | Evaluation", *, of_all: bool) -> Mapping[str, Metric]:
    """The metrics of the evidence: what an evaluation found, or what `fit` wrote to `metrics.json`, where it is of more data."""
    done = done_of(source, "evidence")
    if done is not None:
        whole = {} if isinstance(source, Evaluation) or not of_all else evidence_of_all(View.of(source))
        return whole or done.finding.metrics
    if isinstance(source, Evaluation):
        return source["evidence"].metrics  # refuses
    view = View.of(source)
    metrics = view.run.metrics.get(view.split, {})
    if not metrics:
        raise InputError(f"'evidence' was not evaluated{way_out(view, 'evidence')}")
    return {name: Metric(**metric) for name, metric in metrics.items()}


def _count(source: "Run | View | Evaluation") -> int:
    """The number of data of the evidence."""
    done = done_of(source, "evidence")
    if done is not None:
        return int(done.size.options["data"])
    return source.data if isinstance(source, Evaluation) else View.of(source).count


def _about(source: "Run | View | Evaluation", split: str) -> str:
    """Which data the evidence is of."""
    done = done_of(source, "evidence")
    if done is None or (not isinstance(source, Evaluation) and evidence_of_all(View.of(source))):
        return f"{split} data"
    return f"{done.size.options['data']:,} {split} data"


def _value(metrics: Mapping[str, Metric], name: str) -> tuple[float, float | None]:
    error = metrics.get(error_name(name))
    return metrics[name].value, None if error is None else error.value


def _draw(axes: "Axes", dots: list[Dot]) -> None:
    edge = _edge(dots)
    for row, dot in enumerate(dots):
        color = MODEL if dot.is_model else BASELINE
        number = in_digits(dot.value, dot.stderr) if (dot.stderr or 0.0) > LEAST else f"{dot.value:,.1f}"
        is_far = dot.value > edge
        place = edge if is_far else dot.value
        if is_far:
            axes.plot(place, row, ">", color=color, markersize=6, clip_on=False)
        else:
            face = "white" if dot.is_bound else color
            axes.errorbar(
                place, row, xerr=dot.stderr, fmt="o", color=color, markerfacecolor=face, markersize=6, capsize=3, linewidth=1.2
            )
        text = f"{'≤ ' if dot.is_bound else ''}{number}" + (f"   ({dot.beside})" if dot.beside else "")
        axes.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=8, annotation_clip=False)
    axes.axvline(dots[0].value, color=MODEL, linewidth=0.7, alpha=0.5, zorder=0)
    axes.set_yticks(range(len(dots)), [dot.name for dot in dots])
    axes.set_ylim(len(dots) - 0.5, -0.5)
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)


def _edge(dots: list[Dot]) -> float:
    """The greatest value that has a place of its own: a baseline far out would leave nothing to be seen of the others."""
    best = min(dot.value for dot in dots)
    distances = sorted(dot.value - best for dot in dots)
    own = max(dot.value for dot in dots if dot.is_model)
    return max(best + FAR * distances[len(distances) // 2], own)

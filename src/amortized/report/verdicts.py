"""What a reader must be warned of before all numbers: pure functions of the history and of the metrics of a run.

A warning says what is wrong, by which numbers that is seen, and what to do; those of training are in `training_verdicts`.
"""

import math
from collections.abc import Iterator, Sequence

from amortized.evaluation.activity import NOTHING_NATS
from amortized.report.training_verdicts import not_finite, overfitting, unfinished, unstable, untrained
from amortized.report.verdict import CLEAR, LEAST_NATS, SHARE_OF_RATE, Numbers, Row, Verdict

FEW_ACTIVE = 0.25
"""A share of active units, below which most of the latent lies idle."""

DOUBTFUL = 0.25
"""A share of the data whose importance weights are not to be trusted."""

NARROW, WIDE = 0.8, 0.98
"""Coverage of intervals that are to hold 90%."""

COPIES = 0.1
"""Beyond one half, of pairs of which a sample lies nearer to the training data than new data do."""


def verdicts(
    history: Sequence[Row],
    metrics: Numbers,
    *,
    keeps_best: bool = False,
    finished: bool = True,
    copies: str | None = None,
) -> list[Verdict]:
    """All warnings of a run, the grave ones first.

    Args:
        history: One row per validation, as in `history.csv`.
        metrics: The metrics of its evaluation by name, in nats, of data that the model was not trained on.
        keeps_best: Whether the weights are those of the best validation (`training.patience`), not the last ones.
        finished: Whether training came to its end.
        copies: What the nearest training data say of copies among samples, empty where there are none or nothing is known; None
            where they were not looked at.
    """
    collapsed = list(collapse(metrics))
    found = [
        *unfinished(history, finished=finished),
        *not_finite(history),
        *collapsed,
        *unstable(history),
        *overfitting(history, metrics, keeps_best=keeps_best),
        *untrained(history, metrics, finished=finished),
        *worse(metrics),
        *untrusted(metrics),
        *memorizing(metrics, copies),
    ]
    if not any(each.is_grave for each in collapsed):  # of latents that are not used, all else would follow
        found += [*loose(metrics), *amortization(metrics), *miscalibration(metrics)]
    return sorted(found, key=lambda each: not each.is_grave)


def collapse(metrics: Numbers) -> Iterator[Verdict]:
    """Latents that say nothing of the data, or that the decoder does not listen to, and those that mostly lie idle."""
    rate, active, gain = metrics.get("rate_nats"), metrics.get("active_units"), metrics.get("latent_gain_nats")
    seen = []
    if rate is not None and rate < NOTHING_NATS:
        seen.append(f"the rate, KL(q(z|x) || p(z)), is {rate:.3f} nats")
    if active == 0:
        seen.append("no latent unit is active: no mean of q(z|x) varies over the data")
    if gain is not None and abs(gain) < NOTHING_NATS:
        seen.append(f"the decoder ignores z: log p(x|z) is {gain:.3f} nats higher at z of the datum than at any other")
    share, remedy = metrics.get("active_share"), "a weight of the KL that rises from 0 (objective.warmup_epochs), free bits"
    remedy = f"Try {remedy} (--objective free-bits), a weight below 1 (--objective.beta), or a smaller decoder."
    if seen:
        text = f"{', and '.join(seen)}. The model is then one distribution for all data, and a map of its latents means nothing."
        yield Verdict("Posterior collapse: the latents are not used", _sentence(text), remedy, is_grave=True)
    elif active is not None and share is not None and share < FEW_ACTIVE:
        units = round(active / share) if share else 0
        text = f"{active:.0f} of {units} latent units are active; the means of the others hardly vary over the data."
        yield Verdict("Most of the latent lies idle", text, f"A smaller --latent-dim would do as well; to use more: {remedy}")


def worse(metrics: Numbers) -> Iterator[Verdict]:
    """Simpler models that give the data a higher probability."""
    lost = {}
    for name, gain in metrics.items():
        if name.startswith("gain_over_") and not name.endswith("_stderr_nats"):
            baseline = name.removeprefix("gain_over_").removesuffix("_nats")
            if -gain > CLEAR * metrics.get(f"gain_over_{baseline}_stderr_nats", math.inf):
                lost[baseline.replace("_", " ")] = -gain
    if lost:
        listed = ", ".join(f"{name} by {nats:.1f}" for name, nats in sorted(lost.items(), key=lambda each: -each[1]))
        yield Verdict(
            "Simpler models explain the data better",
            f"log p(x) of new data is higher, in nats, under: {listed}.",
            "Train longer, take another likelihood or a richer prior (--prior flow); for few data, the simpler model.",
        )


def loose(metrics: Numbers) -> Iterator[Verdict]:
    """A bound that lies far below log p(x)."""
    elbo, nll, rate = (metrics.get(name) for name in ("elbo_nats", "nll_nats", "rate_nats"))
    if elbo is None or nll is None or rate is None:
        return
    gap = -nll - elbo
    if gap > max(SHARE_OF_RATE * rate, 2 * LEAST_NATS):
        yield Verdict(
            "The bound is loose",
            f"The ELBO lies {gap:.1f} nats or more below log p(x), beside a rate of {rate:.1f}: q(z|x) is not the posterior.",
            "Take a richer posterior (of real z, iaf or full-gaussian) or a larger encoder; after --objective iwae it is usual.",
        )


def untrusted(metrics: Numbers) -> Iterator[Verdict]:
    """An estimate of log p(x) whose importance weights vary too much, or that another method contradicts."""
    bad, bias = metrics.get("pareto_k_bad_fraction", 0.0), metrics.get("nll_bias_nats", 0.0)
    effective, error = metrics.get("effective_samples"), metrics.get("nll_stderr_nats", 0.0)
    difference, of_that = metrics.get("ais_minus_is_nats", 0.0), metrics.get("ais_minus_is_stderr_nats", 0.0)
    remedy = "Take more samples (amortized evaluate --samples 5000), and hold it against --only annealing."
    if bad > DOUBTFUL and bias > max(LEAST_NATS / 2, error / 2):
        text = f"For {bad:.0%} of the data the importance weights are not to be trusted (Pareto k-hat)"
        text += "" if effective is None else f", their effective sample size is {effective:.1f} in the median"
        text += f", and -log p(x) is too high by {bias:.1f} nats or more."
        yield Verdict("The estimate of log p(x) is not to be trusted", text, remedy)
    if difference > max(CLEAR * of_that, LEAST_NATS):
        text = (
            f"Annealed importance sampling finds {difference:.1f} nats more for log p(x) of the same data; both are lower bounds."
        )
        yield Verdict("The estimate of log p(x) is too low", text, "Quote the annealed one, or take far more --samples.")


def amortization(metrics: Numbers) -> Iterator[Verdict]:
    """An encoder that loses much against a posterior of each datum's own."""
    gap, error = metrics.get("amortization_gap_nats"), metrics.get("amortization_gap_stderr_nats", 0.0)
    rate = metrics.get("rate_nats", 0.0)
    if gap is not None and gap - CLEAR * error > max(LEAST_NATS, SHARE_OF_RATE / 2 * rate):
        yield Verdict(
            "Large amortization gap",
            f"The encoder loses {gap:.1f} ± {error:.1f} nats against the best posterior of its own family for each datum.",
            "Train longer, take a larger encoder, or refine its guess (--posterior semi-amortized).",
        )


def miscalibration(metrics: Numbers) -> Iterator[Verdict]:
    """A posterior whose intervals hold far less, or more, than they say."""
    held, p_value = metrics.get("coverage_90"), metrics.get("calibration_p_value_z", 1.0)
    if held is None or p_value >= 0.01 or NARROW <= held <= WIDE:
        return
    wrong, remedy = "is too wide", "a longer training"
    if held < NARROW:
        wrong, remedy = "is too narrow", "a richer posterior (--posterior full-gaussian, iaf)"
        if metrics.get("mean_rank_log_px", 0.0) > 0.5:  # of a q that is too narrow in the right place it is low
            wrong, remedy = "lies beside the posterior, or is too narrow", "a longer training, or a larger encoder"
    yield Verdict(
        f"Miscalibrated: q(z|x) {wrong}",
        f"Of data that the model makes, its 90% intervals hold {held:.0%} of the latents that made them.",
        f"Do not read its spread as uncertainty; try {remedy}.",
    )


def memorizing(metrics: Numbers, copies: str | None = None) -> Iterator[Verdict]:
    """Samples that are copies, or, where that was not looked at, that lie nearer to the training data than new data do."""
    title = "Samples may be copies of training data"
    remedy = "Look at the samples beside their nearest training examples; stop earlier, or take a smaller decoder."
    if copies is not None:
        if copies:
            yield Verdict(title, copies, remedy)
        return
    share, error = metrics.get("memorization_auc", 0.5), metrics.get("memorization_auc_stderr", 0.0)
    if share - 0.5 > max(CLEAR * error, COPIES):
        yield Verdict(
            title,
            f"In {share:.0%} of pairs a sample lies nearer to the training data than a new datum does, where half is expected.",
            remedy,
        )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]

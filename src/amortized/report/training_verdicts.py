"""Warnings of how training went: pure functions of the history of a run, and of the errors of its metrics."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean, median

from amortized.report.verdict import CLEAR, LEAST_NATS, SHARE_OF_RATE, Numbers, Row, Verdict

FEW_ROWS = 5
"""Validations below which a learning curve tells nothing."""

STEEP = 0.025
"""Of the whole climb, gained in the last fifth of the training: more to come."""

SPIKE = 0.1
"""Of the whole climb, lost from one validation to the next."""


def unfinished(history: Sequence[Row], *, finished: bool) -> Iterator[Verdict]:
    """A run that was stopped half-way."""
    if not finished:
        where = f" after step {history[-1]['step']:,}" if history else " before its first validation"
        yield Verdict(
            "Training was stopped before its end",
            f"The run ends{where}; all that follows is about the weights that it had then.",
            "Go on with amortized fit --resume and the run's folder.",
            is_grave=True,
        )


def not_finite(history: Sequence[Row]) -> Iterator[Verdict]:
    """Numbers that are NaN or infinite."""
    bad = [row for row in history if any(isinstance(value, float) and not math.isfinite(value) for value in row.values())]
    if bad:
        yield Verdict(
            "Training met numbers that are not finite",
            f"{len(bad)} of {len(history)} validations have NaN or infinite values, the first at step {bad[0]['step']:,}.",
            "Lower training.lr or set training.clip_norm, and look for extreme values in the data.",
            is_grave=True,
        )


def overfitting(history: Sequence[Row], metrics: Numbers, *, keeps_best: bool = False) -> Iterator[Verdict]:
    """A bound that falls on validation data, or is far higher on the data of the training."""
    train, valid = _curve(history, "train"), _curve(history, "valid")
    if len(valid) < FEW_ROWS or not train:
        return
    best = max(range(len(valid)), key=valid.__getitem__)
    kept = best if keeps_best else len(valid) - 1
    error, noise = metrics.get("elbo_stderr_nats", 0.0), _noise(valid)
    least = max(LEAST_NATS, error, CLEAR * noise)
    lost, gap = valid[best] - fmean(valid[-3:]), train[kept] - valid[kept] if _are_alike(history) else None
    smaller = "a smaller network, weight decay or more data."
    if not keeps_best and lost > least and len(valid) - best > FEW_ROWS:
        text = (
            f"The validation bound was best at step {history[best]['step']:,} and has lost {lost:.1f} nats since, and the weights"
        )
        text += " that were kept are the last ones"
        text += "." if gap is None else f"; the bound on training data is {gap:.1f} nats higher than on validation data."
        remedy = f"Stop earlier (training.patience keeps the best weights), or take {smaller}"
        yield Verdict("Over-fitting", text, remedy, is_grave=True)
    elif gap is not None and gap > max(CLEAR * error, LEAST_NATS, SHARE_OF_RATE * metrics.get("rate_nats", math.inf)):
        text = f"The bound on training data is {gap:.1f} nats higher than on validation data"
        text += f" (standard error of the latter about {error:.1f})" if error else ""
        yield Verdict("Over-fitting", f"{text}: much of what the latents carry is learned by heart.", f"Take {smaller}")


def unstable(history: Sequence[Row]) -> Iterator[Verdict]:
    """A training curve that falls back by much, from one validation to the next."""
    train = _curve(history, "train")
    if len(train) < FEW_ROWS:
        return
    climb, settled = max(train) - train[0], train[len(train) // 5 :]
    falls = [before - after for before, after in pairwise(settled)]
    least = max(SPIKE * climb, LEAST_NATS, 10 * _noise(settled))
    spikes = [place for place, fall in enumerate(falls) if fall > least]
    if spikes:
        first = history[len(train) - len(settled) + spikes[0] + 1]["step"]
        yield Verdict(
            "Unstable training",
            f"The training bound fell back {len(spikes)} {'times' if len(spikes) > 1 else 'time'}, by up to"
            f" {max(falls):,.1f} nats between two validations, first before step {first:,}.",
            "Lower training.lr, set training.clip_norm, or warm up (training.lr_warmup_steps, objective.warmup_epochs).",
        )


def untrained(history: Sequence[Row], metrics: Numbers, *, finished: bool = True) -> Iterator[Verdict]:
    """A bound that still climbs steeply when training ends."""
    curve = _curve(history, "valid") or _curve(history, "train")
    if not curve or not finished:
        return
    what = "the bound" if any(name.endswith("_elbo_nats") for name in history[-1]) else "the objective"
    remedy = f"Train longer (--epochs); {what}, and all that is shown, will be better."
    if len(curve) < FEW_ROWS:
        times = "once" if len(curve) == 1 else f"{len(curve)} times"
        yield Verdict("Too short to tell", f"The model was validated only {times}: whether it has converged is not seen.", remedy)
        return
    part = max(1, len(curve) // 5)
    gain, climb = fmean(curve[-part:]) - fmean(curve[-2 * part : -part]), max(curve) - min(curve)
    noise = 2 * _noise(curve[-2 * part :]) / math.sqrt(part)
    if gain > max(STEEP * climb, noise, metrics.get("elbo_stderr_nats", 0.0) / 2):
        text = f"In the last fifth of its training {what} still rose by {gain:.1f} nats, {gain / climb:.0%} of its whole climb."
        yield Verdict("Under-trained: still improving at the end", text, remedy)


def _curve(history: Sequence[Row], split: str) -> list[float]:
    """The bound at each validation, or what stands in its place, where it is a number."""
    for name in ("elbo", "objective", "distortion"):
        sign = -1.0 if name == "distortion" else 1.0
        values = [row.get(f"{split}_{name}_nats") for row in history]
        known = [sign * value for value in values if isinstance(value, int | float) and math.isfinite(value)]
        if known and len(known) == len(values):
            return known
    return []


def _are_alike(history: Sequence[Row]) -> bool:
    """Whether the curves of training and validation are of one quantity: classes are relaxed for the training alone, say."""
    return bool(history) and ("train_elbo_nats" in history[0]) == ("valid_elbo_nats" in history[0])


def _noise(curve: Sequence[float]) -> float:
    """What a curve changes by from one value to the next, in the median, about its trend."""
    changes = [after - before for before, after in pairwise(curve)]
    middle = median(changes) if changes else 0.0
    return median([abs(change - middle) for change in changes]) if changes else 0.0

"""What ranks that are not uniform say about a posterior, in words.

A quantity is named where its adjusted p-value is below `ALARM`, by the larger of two deviations: that of the mean rank (q is off
to one side) and that of the variance of the ranks (q is too narrow where they are at the ends, too wide where in the middle).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from amortized.evaluation.ranks import covered, tilt

ALARM = 0.01
"""The chance that any quantity of a calibrated posterior is called miscalibrated."""

CLEAR = 3.0
"""Standard errors, from which on a deviation of the mean or of the spread is what is wrong, and not the shape otherwise."""

FEWEST_DRAWS = 19
"""From which on the ends of the central 90% lie between draws."""

SHOWN = 8
"""Entries that are listed by number."""

IGNORANT = 0.9
"""Mean rank of log p(x|z), from which on draws of q have next to nothing to do with the data."""

FLAT_NATS = 0.01
"""A log-likelihood that varies less with z than this says nothing about it."""

KINDS = {
    "narrow": "is too narrow",
    "wide": "is too wide",
    "low": "lies too low",
    "high": "lies too high",
    "shape": "has the wrong shape",
}

FREER = "try a posterior that may correlate its entries, such as 'full-gaussian' or 'iaf'"

REMEDIES = {
    "narrow": FREER,
    "wide": "train longer, or with a larger encoder",
    "low": "train longer, or with a larger encoder",
    "high": "train longer, or with a larger encoder",
    "shape": "try a posterior of another shape, such as a 'mixture' or a flow",
}


def sentences(z_ranks: Tensor, log_px_ranks: Tensor, p_values: Tensor, log_px_spread: Tensor, draws: int) -> list[str]:
    """What a reader must know about a calibration.

    Args:
        z_ranks: (N, D).
        log_px_ranks: (N,).
        p_values: (D + 2,) adjusted, of z, log p(x|z) and log p(x, z).
        log_px_spread: (N,) standard deviation of log p(x|z) over the draws, nats.
        draws: The number L.
    """
    alarms = (p_values < ALARM).tolist()
    *of_z, of_log_px, of_log_joint = alarms
    found = _about_entries(z_ranks, of_z, draws)
    if of_log_px:
        found.append(_about_log_px(log_px_ranks, of_z, draws))
    elif of_log_joint and not any(of_z):
        found.append("log p(x, z) is not calibrated, though entries of z and log p(x|z) are: q errs in how entries go together.")
    if not any(alarms):
        found = _about_nothing(p_values, log_px_spread)
    if draws < FEWEST_DRAWS:
        found.append(
            f"Ranks among {draws:,} draws hardly tell a posterior that is too narrow from one that is too wide; take 99."
        )
    return [
        *found,
        "All of this is about data that the model made; on your data q may be better or worse, as far as they differ.",
    ]


def _about_entries(ranks: Tensor, alarms: Sequence[bool], draws: int) -> list[str]:
    kinds = _kinds(ranks, draws)
    found = []
    for kind, words in KINDS.items():
        entries = [entry for entry, alarm in enumerate(alarms) if alarm and kinds[entry] == kind]
        if entries:
            held = float(covered(ranks[:, entries], draws, 0.9).mean())
            found.append(
                f"q(z|x) {words} in {len(entries)} of {len(alarms)} entries of z ({_listed(entries)}): its 90% intervals hold"
                f" {held:.0%} of the latents there; {REMEDIES[kind]}."
            )
    return found


def _kinds(ranks: Tensor, draws: int) -> list[str]:
    """What is wrong with each of Q quantities, if something is."""
    mean, spread = tilt(ranks, draws)
    named = torch.where(mean.abs() > spread.abs(), torch.where(mean > 0, 2, 3), torch.where(spread > 0, 0, 1))
    is_clear = torch.maximum(mean.abs(), spread.abs()) >= CLEAR
    return [list(KINDS)[index] for index in torch.where(is_clear, named, 4).tolist()]


def _about_log_px(ranks: Tensor, of_z: Sequence[bool], draws: int) -> str:
    (kind,) = _kinds(ranks[:, None], draws)
    mean_rank = float(((ranks + 0.5) / (draws + 1)).mean())
    rank_is = f"the mean rank of log p(x|z) is {mean_rank:.2f}, not 0.50"
    if kind == "low":
        sentence = f"Draws of q explain the data worse than the latents that made them ({rank_is})"
        if mean_rank > IGNORANT:
            return f"{sentence}: q all but ignores the data, as the prior would; train the encoder longer."
        if of_z and not any(of_z):
            return f"{sentence}, while each entry of z by itself is calibrated: q errs in how entries go together; {FREER}."
        return f"{sentence}."
    if kind == "high":
        return (
            f"Draws of q explain the data better than the latents that made them ({rank_is}): q keeps to the best explanations,"
            " and leaves out others that are as true."
        )
    often = {"narrow": "lowest or highest too often", "wide": "in the middle too often"}.get(kind, "not uniform")
    return f"The rank of log p(x|z) among draws of q is {often}: q is wrong in what the data depend on."


def _about_nothing(p_values: Tensor, log_px_spread: Tensor) -> list[str]:
    if bool(p_values.isnan().any()):
        return ["There are too few simulations for a test; take 1000."]
    spread = float(log_px_spread.mean())
    if spread < FLAT_NATS:
        return [
            f"log p(x|z) varies by {spread:.1g} nats with z: the decoder ignores the latent, of which data then say nothing, and"
            " a q that is the prior is calibrated; lower beta, or try free bits."
        ]
    return ["No deviation from the posterior was found; it may differ in what ranks of single entries and of log p do not see."]


def _listed(entries: Sequence[int]) -> str:
    listed = ", ".join(map(str, entries[:SHOWN]))
    return listed if len(entries) <= SHOWN else f"{listed}, ..."

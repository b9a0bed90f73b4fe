"""What ranks that are not uniform say about a posterior, in words.

A quantity is named where its adjusted p-value is below `ALARM`, by the larger of two deviations: that of the mean rank (q is off
to one side) and that of the variance of the ranks (q is too narrow where they are at the ends, too wide where in the middle).
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from amortized.evaluation.ranks import covered, tilt

if TYPE_CHECKING:
    from amortized.evaluation.calibration import Calibration

ALARM = 0.01
"""The chance that any quantity of a calibrated posterior is called miscalibrated."""

CLEAR = 3.0
"""Standard errors, from which on a deviation of the mean or of the spread is what is wrong, and not the shape otherwise."""

FEWEST_DRAWS = 19
"""From which on the ends of the central 90% lie between draws."""

SHOWN = 8
"""Entries that are listed by number."""

IGNORANT = 0.02
"""A share of the variance of q's draws that lies between data, below which q ignores them."""

FLAT_NATS = 0.01
"""A log-likelihood that varies less with z than this says nothing about it."""

KINDS = {
    "narrow": "is too narrow",
    "wide": "is too wide",
    "low": "lies too low",
    "high": "lies too high",
    "shape": "has the wrong shape",
}

RICHER = "Try a richer family of posteriors, for real latents 'full-gaussian' or a flow."
BETTER = "Try a longer training of the encoder, a larger one, or more data."


def sentences(found: "Calibration") -> list[str]:
    """What a reader must know about a calibration."""
    alarms = (found.p_values < ALARM).tolist()
    *of_z, of_log_px, of_log_joint = alarms
    notes = _about_entries(found, of_z)
    if of_log_px:
        notes.append(_about_log_px(found, of_z))
    elif of_log_joint and not any(of_z):
        notes.append("log p(x, z) alone is not calibrated: q errs in how entries go together.")
    notes.append(_remedy(found, of_z) if any(alarms) else _about_nothing(found))
    if found.draws < FEWEST_DRAWS:
        few = f"Ranks among {found.draws:,} draws hardly tell a posterior that is too narrow from one that is too wide; take 99."
        notes.append(few)
    about = "All of this is about data that the model made: on yours, the like of which the encoder has seen, q may be better."
    return [*notes, about]


def _about_entries(found: "Calibration", alarms: Sequence[bool]) -> list[str]:
    kinds = _kinds(found.z_ranks, found.draws)
    notes = []
    for kind, words in KINDS.items():
        entries = [entry for entry, alarm in enumerate(alarms) if alarm and kinds[entry] == kind]
        if entries:
            held = float(covered(found.z_ranks[:, entries], found.draws, 0.9).mean())
            notes.append(
                f"q(z|x) {words} in {len(entries)} of {len(alarms)} entries of z ({_listed(entries)}): its 90% intervals hold"
                f" {held:.0%} of the latents there."
            )
    return notes


def _remedy(found: "Calibration", of_z: Sequence[bool]) -> str:
    """A q that is too narrow in the right place explains the data better than the posterior does, one that is beside it worse."""
    is_beside = any(of_z) and _mean_rank(found) > 0.5
    return BETTER if is_beside or found.data_share < IGNORANT else RICHER


def _kinds(ranks: Tensor, draws: int) -> list[str]:
    """What is wrong with each of Q quantities, if something is."""
    mean, spread = tilt(ranks, draws)
    named = torch.where(mean.abs() > spread.abs(), torch.where(mean > 0, 2, 3), torch.where(spread > 0, 0, 1))
    is_clear = torch.maximum(mean.abs(), spread.abs()) >= CLEAR
    return [list(KINDS)[index] for index in torch.where(is_clear, named, 4).tolist()]


def _about_log_px(found: "Calibration", of_z: Sequence[bool]) -> str:
    (kind,) = _kinds(found.log_px_ranks[:, None], found.draws)
    rank_is = f"the mean rank of log p(x|z) is {_mean_rank(found):.2f}, not 0.50"
    if kind == "low":
        return f"Draws of q explain the data worse than the latents that made them ({rank_is}): {_why_worse(found, of_z)}."
    if kind == "high":
        return (
            f"Draws of q explain the data better than the latents that made them ({rank_is}): q keeps to the best explanations,"
            " and leaves out others that are as true."
        )
    often = {"narrow": "lowest or highest too often", "wide": "in the middle too often"}.get(kind, "not uniform")
    return f"The rank of log p(x|z) among draws of q is {often}: q is wrong in what the data depend on."


def _why_worse(found: "Calibration", of_z: Sequence[bool]) -> str:
    if found.data_share < IGNORANT:
        return "q ignores the data, as the prior does"
    if of_z and not any(of_z):
        return "each entry of z by itself is calibrated, and q errs in how they go together"
    return "q lies beside them, or is wider than it need be"


def _about_nothing(found: "Calibration") -> str:
    if bool(found.p_values.isnan().any()):
        return "There are too few simulations for a test; take 1000."
    spread = float(found.log_px_spread.mean())
    if spread < FLAT_NATS:
        return (
            f"log p(x|z) varies by {spread:.1g} nats with z: the decoder ignores the latent, of which data then say nothing, and"
            " a q that is the prior is calibrated; lower beta, or try free bits."
        )
    return "No deviation from the posterior was found; it may differ in what ranks of single entries and of log p do not see."


def _mean_rank(found: "Calibration") -> float:
    return float(((found.log_px_ranks + 0.5) / (found.draws + 1)).mean())


def _listed(entries: Sequence[int]) -> str:
    listed = ", ".join(map(str, entries[:SHOWN]))
    return listed if len(entries) <= SHOWN else f"{listed}, ..."

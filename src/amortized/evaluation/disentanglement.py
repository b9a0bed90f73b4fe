"""Whether single dimensions of a code stand for single factors: all scores, each with its standard error.

MIG and modularity are in `information.py`, SAP and DCI in `predictability.py`, the scores of beta-VAE and FactorVAE in
`interventions.py`, each with its equation and source. No score is reliable alone: they disagree on models in the order of their
differences (Locatello et al. 2019, arXiv 1811.12359), and none says what is disentangled: look at the matrices too.

Standard errors are over the data or over repetitions, and neither is the spread over training runs, which is larger. MIG and
modularity are functions of the rows, with an error by the jackknife; of a full grid, which has no other rows, it is how much they
hang on single ones. All other scores draw rows, learn from some and are scored on others: they are repeated with several seeds.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from amortized.errors import InputError, nearest
from amortized.evaluation import information, interventions, predictability
from amortized.evaluation.factors import FactorTable
from amortized.evaluation.records import Found, Metric, as_metrics, as_text, standard_error
from amortized.evaluation.representations import as_points

SCORES = ("mig", "mig_sampled", "modularity", "sap", "dci", "factorvae_score", "betavae_score")


@dataclass(frozen=True, eq=False)
class Disentanglement(Found):
    """How a code of D dimensions and F factors belong together.

    Attributes:
        scores: By name, (S,) float64: one value a seed, or one in all where nothing is drawn (mig, modularity).
        stderr: By name: of what is drawn the standard error of the mean over seeds, else the jackknife's over the rows.
        information: (D, F) binned mutual information, nats; None where it was not asked for.
        importance: (D, F) importances of DCI, the mean over seeds; None where they were not asked for.
        table: The code and the factors, its dimensions marked as active or collapsed.
        split: The data.
    """

    scores: dict[str, Tensor]
    stderr: dict[str, float]
    information: Tensor | None
    importance: Tensor | None
    table: FactorTable
    split: str = "test"

    @property
    def metrics(self) -> dict[str, Metric]:
        """The scores by name, each the mean over seeds, with its standard error."""
        table = {}
        for name, values in self.scores.items():
            table[name] = float(values.mean())
            table[f"{name}_stderr"] = self.stderr[name]
        return as_metrics(table, self.split, 0)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        found = [*_notes_on_the_code(self.table), *_notes_on_the_factors(self.table, self.information)]
        if {"factorvae_score", "betavae_score"} & set(self.scores):
            found.append(f"By chance factorvae_score and betavae_score are {1 / len(self.table.names):.3f}.")
        if "sap" in self.scores:
            found.append(f"A perfect code has a sap of about {predictability.best_sap(self.table):.3f} here, not of 1.")
        if "dci_informativeness" in self.scores:
            found.append("DCI is that of gradient-boosted trees; by another classifier it is another number.")
            if float(self.scores["dci_informativeness"].mean()) < 0.1:
                found.append("The trees hardly tell the factors: dci_disentanglement and dci_completeness are those of noise.")
        return found

    def __str__(self) -> str:
        """The scores as a small table."""
        rows, dimensions = self.table.z.shape
        head = f"{self.split} split, {rows:,} data, {dimensions} dimensions, factors {', '.join(self.table.names)}"
        return as_text(head, self.metrics, self.notes)


def _notes_on_the_code(table: FactorTable) -> list[str]:
    collapsed = np.flatnonzero(~table.active)
    if len(collapsed) == table.z.shape[1]:
        return [
            "Every dimension of the code is collapsed (or its scale is not that of a standard normal prior: then scale it):"
            " sap, factorvae_score and betavae_score are 0."
        ]
    named = ", ".join(map(str, collapsed))
    return [f"Dimensions {named} are collapsed, and take no part in sap, factorvae_score and betavae_score."] if named else []


def _notes_on_the_factors(table: FactorTable, binned: Tensor | None) -> list[str]:
    found = [f"Factor '{name}' has one value only, and is left out." for name in table.constant]
    if binned is None:
        return found
    many = [f"'{name}'" for name, size in zip(table.names, table.sizes, strict=True) if size > information.BINS]
    if many:
        found.append(f"Of {', '.join(many)} there are more values than the {information.BINS} bins: mig cannot reach 1.")
    bias = (information.BINS - 1) * (table.sizes.max() - 1) / (2 * len(table.z))
    if bias > 0.05:
        found.append(
            f"Of independent data the binned information would be up to {bias:.2f} nats, not 0: these are too few rows for"
            " modularity, and mig is blurred by as much."
        )
    return found


def disentanglement(
    z: ArrayLike | Tensor,
    factors: ArrayLike | Tensor,
    *,
    scales: ArrayLike | Tensor | None = None,
    factor_names: Sequence[str] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    only: Collection[str] | None = None,
    active_variance: float = 0.05,
    split: str = "test",
    progress: Callable[[str], Any] | None = None,
) -> Disentanglement:
    """Score a code by the factors that the data were made from.

    Args:
        z: (N, *event) representations, best of all data: the posterior means, in the units of a standard normal prior.
        factors: (N, F) the value of each factor, integers; their order does not matter.
        scales: (N, *event) the standard deviations of Gaussian posteriors, for `mig_sampled`.
        factor_names: Of the F factors.
        seeds: Of the rows, draws and classifiers; scores that need them are the mean over these.
        only: Which scores, of "mig", "mig_sampled", "modularity", "sap", "dci", "factorvae_score" and "betavae_score"; None for
            all that there can be.
        active_variance: The variance of a dimension below which it is collapsed; 0.05 is that of Kim and Mnih 2018.
        split: The name of the data, for the record.
        progress: Called with the name of each score when it is done.

    Returns:
        The scores, and the matrices behind them.

    Raises:
        InputError: The arrays do not fit together or have values that cannot be used, fewer than two factors vary, or a score
            is not one of those.

    Example:
        >>> factors = np.stack(np.unravel_index(np.arange(64), (8, 8)), 1)
        >>> found = disentanglement(factors, factors, only=["mig", "modularity"])
        >>> round(found.metrics["mig"].value, 12), round(found.metrics["modularity"].value, 12)
        (1.0, 1.0)
    """
    table = FactorTable.of(z, factors, names=factor_names, active_variance=active_variance)
    asked = _asked(only, scales is not None)
    spreads = None if scales is None else _spreads(scales, table)
    seeds = _checked_seeds(seeds)
    work = _Work(table, seeds, progress)
    if {"mig", "modularity"} & asked:
        work.count(asked)
    if "mig_sampled" in asked and spreads is not None:
        work.repeat(
            "mig_sampled", lambda seed: information.gap(information.sampled_information(table, spreads, seed), table.entropy)
        )
    if "sap" in asked:
        work.repeat("sap", partial(predictability.sap, table))
    if "dci" in asked:
        work.importances()
    for name in ("factorvae_score", "betavae_score"):
        if name in asked:
            work.repeat(name, partial(getattr(interventions, name), table))
    return Disentanglement(work.scores, work.stderr, work.information, work.importance, table, split)


class _Work:
    """The scores so far."""

    def __init__(self, table: FactorTable, seeds: Sequence[int], progress: Callable[[str], Any] | None):
        self.table, self.seeds, self.progress = table, seeds, progress or (lambda name: None)
        self.scores: dict[str, Tensor] = {}
        self.stderr: dict[str, float] = {}
        self.information: Tensor | None = None
        self.importance: Tensor | None = None

    def add(self, name: str, values: Sequence[float], stderr: float | None = None) -> None:
        self.scores[name] = torch.tensor(values, dtype=torch.float64)
        self.stderr[name] = standard_error(self.scores[name]) if stderr is None else stderr

    def repeat(self, name: str, score: Callable[[int], float]) -> None:
        self.add(name, [score(seed) for seed in self.seeds])
        self.progress(name)

    def count(self, asked: Collection[str]) -> None:
        counts = information.count(self.table, self.seeds[0])
        self.information = torch.from_numpy(information.mutual_information(counts.sum(0)))
        scores = {"mig": self._gap, "modularity": information.modularity}
        for name in [name for name in scores if name in asked]:
            self.add(name, [scores[name](counts.sum(0))], information.error_of(scores[name], counts))
            self.progress(name)

    def _gap(self, counts: Any) -> float:
        return information.gap(information.mutual_information(counts), information.entropy(counts[0].sum(-2), (-1,)))

    def importances(self) -> None:
        found = [predictability.importances(self.table, seed) for seed in self.seeds]
        self.importance = torch.from_numpy(np.mean([importance for importance, _ in found], axis=0))
        self.add("dci_disentanglement", [predictability.disentanglement_of(importance) for importance, _ in found])
        self.add("dci_completeness", [predictability.completeness_of(importance) for importance, _ in found])
        self.add("dci_informativeness", [informativeness for _, informativeness in found])
        self.progress("dci")


def _asked(only: Collection[str] | None, with_scales: bool) -> set[str]:
    if only is None:
        return {name for name in SCORES if with_scales or name != "mig_sampled"}
    if not only:
        raise InputError(f"no score is asked for; choose of {', '.join(map(repr, SCORES))}, or leave 'only' out.")
    for name in only:
        if name not in SCORES:
            raise InputError(f"there is no score '{name}'; {nearest(name, SCORES)}")
    if "mig_sampled" in only and not with_scales:
        raise InputError("'mig_sampled' draws from Gaussian posteriors; give their standard deviations as 'scales'.")
    return set(only)


def _spreads(scales: ArrayLike | Tensor, table: FactorTable) -> Any:
    spreads = as_points(scales, "scales")
    if spreads.shape != table.z.shape or (spreads <= 0).any():
        raise InputError(
            f"'scales' has shape {spreads.shape} and a least value of {spreads.min():g} beside representations of shape"
            f" {table.z.shape}; give a positive standard deviation for each of their entries."
        )
    return spreads


def _checked_seeds(seeds: Sequence[int]) -> Sequence[int]:
    if not len(seeds) or any(not isinstance(seed, Integral) or seed < 0 for seed in seeds):
        raise InputError(f"seeds are non-negative integers, one for each repetition; they are {list(seeds)}; try 0, 1, 2.")
    return seeds

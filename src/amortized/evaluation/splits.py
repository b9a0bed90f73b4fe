r"""The gaps on data that were trained on against those on data that were not: what each part of the model has learned by heart.

    ELBO, train - held  =  log p(x), train - held  +  approximation gap, held - train  +  amortization gap, held - train
                           decoder                    family                             encoder

(Cremer, Li and Duvenaud 2018, arXiv 1801.03558, section 5.3). A decoder that has learned its data by heart gives them a higher
log p(x) than others, whatever the encoder; an encoder that has done so finds their posteriors, and misses those of others. The
data of the two splits are not pairs, so that variances add up.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation.gaps import Gaps, gaps
from amortized.evaluation.records import Found, LogPx, Metric, as_metrics, as_text, standard_error
from amortized.models.model import Model
from amortized.terms import Batch


@dataclass(frozen=True, eq=False)
class SplitGaps(Found):
    """The gaps of two splits, and their differences.

    Attributes:
        trained: Those of data that the model was fitted to.
        held: Those of data that it was not.
    """

    trained: Gaps
    held: Gaps

    @property
    def overfit(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By name what is better by overfitting on the data trained on, and the same on those held out, (N,) nats each."""
        trained, held = self.trained, self.held
        return {
            "elbo_overfit": (trained.elbo, held.elbo),
            "log_px_overfit": (trained.log_px.estimate, held.log_px.estimate),
            "approximation_overfit": (-trained.approximation_gap, -held.approximation_gap),
            "amortization_overfit": (-trained.amortization_gap, -held.amortization_gap),
        }

    @property
    def metrics(self) -> dict[str, Metric]:
        """The gaps of the data held out, those of the data trained on under their split's name, and the differences, in nats."""
        table = self.held.metrics | {f"{self.trained.split}_{name}": metric for name, metric in self.trained.metrics.items()}
        both = f"{self.trained.split} - {self.held.split}"
        for name, (trained, held) in self.overfit.items():
            values = {f"{name}_nats": float(trained.mean() - held.mean()), f"{name}_stderr_nats": _stderr(trained, held)}
            table |= as_metrics(values, both, self.held.samples)
        return table

    @property
    def notes(self) -> list[str]:
        """What was learned by heart, and the notes of each split."""
        said = {
            "log_px_overfit": (
                "The decoder has learned its data by heart",
                "stop earlier, or fit a smaller decoder or more data",
            ),
            "amortization_overfit": (
                "The encoder has learned its data by heart",
                "stop earlier, regularize the encoder, or refine its guess (posterior 'semi-amortized')",
            ),
        }
        notes = []
        for name, (finding, remedy) in said.items():
            trained, held = self.overfit[name]
            gain, error = float(trained.mean() - held.mean()), _stderr(trained, held)
            if gain > 2 * error:  # false where the error cannot be told
                notes.append(f"{finding}: it is {gain:.2f} +- {error:.2f} nats better on them; {remedy}.")
        return [*notes, *self.held.notes, *(f"{self.trained.split}: {note}" for note in self.trained.notes)]

    def __str__(self) -> str:
        """The metrics as a small table, with what they say."""
        head = ", ".join(f"{len(each.elbo):,} data of the {each.split} split" for each in (self.trained, self.held))
        return as_text(head, self.metrics, self.notes)


def gaps_by_split(
    model: Model,
    splits: Mapping[str, Iterable[Batch | Tensor]],
    *,
    samples: int = 1000,
    steps: int = 1000,
    log_px: Mapping[str, LogPx | Tensor] | None = None,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> SplitGaps:
    """Compare the gaps on data that the model was fitted to with those on data that it was not.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        splits: Two splits by name, first what it was fitted to, such as {"train": ..., "test": ...}.
        samples: As in `gaps`.
        steps: As in `gaps`.
        log_px: By split, a better estimate of log p(x), as in `gaps`; splits that are left out are estimated.
        seed: Of all noise.
        progress: Called with the number of data done, after each chunk.

    Returns:
        The gaps of both, and their differences.

    Raises:
        InputError: There are not two splits, or as in `gaps`.
    """
    given = {} if log_px is None else log_px
    if len(splits) != 2 or set(given) - set(splits):
        raise InputError(
            f"a comparison of splits needs two, first what the model was fitted to; given are {list(splits)}, and log_px of"
            f" {list(given)}; pass such as {{'train': ..., 'test': ...}}."
        )
    trained, held = (
        gaps(model, batches, samples=samples, steps=steps, log_px=given.get(name), seed=seed, split=name, progress=progress)
        for name, batches in splits.items()
    )
    return SplitGaps(trained, held)


def _stderr(trained: Tensor, held: Tensor) -> float:
    return math.hypot(standard_error(trained), standard_error(held))

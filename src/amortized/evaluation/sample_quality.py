"""How good a model's samples are, beside real data, in a space of features of our own.

    x_i real data,    y_j ~ p(x | z), z ~ p(z)    ->    precision, recall, density, coverage, Frechet distance (`two_samples`)

Precision and density tell whether samples look real, recall and coverage whether all that is real is sampled. No such number
means much by itself: beside each stands what training data in the place of samples get, which no model beats but by copying.

Copying is what `memorization` looks for (Meehan, Chaudhuri and Dasgupta 2020, arXiv 2004.05675, without its cells):

    memorization_auc = P( d(y) < d(x) ) + P( d(y) = d(x) ) / 2,    d the distance to the nearest datum of training

which is 1/2 for samples that are as far from the training data as new data are, and 1 for copies. What lacks the noise or the
rare kinds of data, as means E[x | z] do, lies nearer to all data, and scores above 1/2 without copying any.

Where values repeat (classes, counts), balls hold ties as well, and a density far above 1 is what data themselves have.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from amortized.errors import InputError, is_count
from amortized.evaluation.chunks import rows_at_once
from amortized.evaluation.features import FeatureSpace, feature_space
from amortized.evaluation.records import Found, Metric, as_metrics, as_text
from amortized.evaluation.two_samples import Agreement, compare, least, nearest_distances, share_nearer
from amortized.models.model import Model, device_of, evaluating
from amortized.seeds import derive_seed, seed_noise
from amortized.terms import Batch

CLEAR = 3.0
"""Standard errors beyond which a difference is named."""

ENOUGH = 2
"""Data per feature: the bias that is left in the Frechet distance of Gaussians is then a hundredth of the total variance."""

SHORTFALL = 0.05
"""Of a share, below which a difference is not worth naming."""


@dataclass(frozen=True, eq=False)
class SampleQuality(Found):
    """What a comparison of samples with data found.

    Attributes:
        agreement: That of samples with real data.
        floor: That of training data with the same real data; None where none were given.
        memorization: The share of samples that are nearer to training data than real data are, and its standard error; likewise.
        space: The feature space.
        dimensions: How many features.
        samples: How many samples.
        real: How many real data.
        is_mean: Whether the samples are E[x | z], not draws.
        split: The real data.
    """

    agreement: Agreement
    floor: Agreement | None
    memorization: tuple[float, float] | None
    space: FeatureSpace
    dimensions: int
    samples: int
    real: int
    is_mean: bool
    split: str

    @property
    def metrics(self) -> dict[str, Metric]:
        """The numbers by name, each with its standard error, and what training data get in place of samples."""
        table: dict[str, float] = {}
        for suffix, agreement in (("", self.agreement), ("_of_training_data", self.floor)):
            if agreement is not None:
                for name, value in agreement.values.items():
                    table |= {name + suffix: value, f"{name}{suffix}_stderr": agreement.stderrs[name]}
        if self.memorization is not None:
            table |= dict(zip(("memorization_auc", "memorization_auc_stderr"), self.memorization, strict=True))
        return as_metrics(table, self.split, 1)

    def __str__(self) -> str:
        """The metrics as a small table, with what they are."""
        head = f"{self.split} split, {self.samples:,} samples of the model beside {self.real:,} data"
        return as_text(head, self.metrics, self.notes)

    @property
    def notes(self) -> list[str]:
        """What a reader must know before quoting the numbers."""
        drawn = "means E[x | z], which lack the noise of data" if self.is_mean else "draws x ~ p(x | z)"
        said = [
            f"Samples are {drawn}; all numbers are in the feature space '{self.space.name}' ({self.space.description}), so that"
            " frechet_distance is not the FID."
        ]
        if self.floor is None:
            said.append(
                "No training data were given: what these numbers are at best is not known, nor whether samples are copies."
            )
        if self.real < ENOUGH * self.dimensions:
            said.append(
                f"{self.real} data are few for a Frechet distance in {self.dimensions} dimensions: its bias may exceed its"
                f" standard error; take at least {ENOUGH * self.dimensions}."
            )
        return said + self._shortfalls + self._copies

    @property
    def _shortfalls(self) -> list[str]:
        reasons = {
            "precision": "many samples are unlike any data; train longer, or fit the prior to where the data are encoded",
            "recall": "samples vary less than data do; train longer, or try a lower beta",
            "coverage": "parts of the data are never sampled; try a more flexible prior, or a lower beta",
        }
        said = []
        for name, reason in reasons.items():
            short = _shortfall(name, self.agreement, self.floor)
            if short is not None:
                said.append(f"The {name} of samples is {short}: {reason}.")
        return said

    @property
    def _copies(self) -> list[str]:
        if self.memorization is None or self.is_mean:
            return []
        share, error = self.memorization
        if share - 0.5 <= max(CLEAR * error, SHORTFALL):
            return []
        return [
            f"In {share:.0%} of pairs a sample is nearer to the training data than a datum of the {self.split} split is, where"
            " half is expected: samples may be copies, or all of the commonest kind; look at some beside their nearest neighbors."
        ]


def sample_quality(
    model: Model,
    real: Iterable[Batch | Tensor],
    *,
    n: int = 1000,
    reference: Iterable[Batch | Tensor] | None = None,
    neighbors: int = 5,
    mean: bool = False,
    space: FeatureSpace | None = None,
    seed: int = 0,
    split: str = "test",
    progress: Callable[[int], Any] | None = None,
) -> SampleQuality:
    """Compare samples of the model with real data.

    Each sample belongs to one datum: it has the datum's conditions, and lacks the entries that the datum lacks.

    Args:
        model: The model; it is put into evaluation mode, and back, as are torch's generators.
        real: Real data that it was not trained on.
        n: How many data, taken at random, and as many samples; all data where there are fewer.
        reference: The data it was trained on; n of them give what numbers are at best, all of them tell copies from samples.
        neighbors: The k of precision, recall, density and coverage.
        mean: Take E[x | z] as samples, in place of draws.
        space: The space in which they are compared; None chooses one by the data, fitted on `reference`, or on `real` without.
        seed: Of the samples, and of which data are taken.
        split: The name of the data, for the record.
        progress: Called with the number of data done, after each chunk.

    Returns:
        The numbers, with their errors.

    Raises:
        InputError: There are too few data for as many neighbors, or samples are not finite.
    """
    for name, value in (("n", n), ("neighbors", neighbors)):
        if not is_count(value):
            raise InputError(f"{name} must be a positive integer; it is {value!r}.")
    data = _gathered(real, split)
    if min(n, len(data)) < least(neighbors):
        raise InputError(
            f"sample quality by {neighbors} neighbors needs n and the data to be at least {least(neighbors)}; n is {n}, and the"
            f" {split} split has {len(data)}; give more, or fewer neighbors."
        )
    training = None if reference is None else _gathered(reference, "training")
    if space is None:
        fitted = data if training is None else training
        space = feature_space(fitted.x.cpu(), _on_cpu(fitted.observed))
    chosen = _some(data, n, seed, "data")
    features = _features(space, chosen)
    made = space(_sampled(model, chosen, mean, seed, progress), _on_cpu(chosen.observed))
    agreement = compare(features, made, neighbors=neighbors)
    floor = memorization = None
    if training is not None:
        known = _features(space, training)
        floor = compare(features, _features(space, _some(training, n, seed, "training")), neighbors=neighbors)
        memorization = share_nearer(nearest_distances(made, known), nearest_distances(features, known))
    return SampleQuality(agreement, floor, memorization, space, made.shape[1], len(made), len(features), mean, split)


def _gathered(batches: Iterable[Batch | Tensor], name: str) -> Batch:
    """All the data as one batch."""
    given = list(map(Batch.of, batches))
    if not sum(map(len, given)):
        raise InputError(f"the {name} split has no data to compare samples with; name another split.")
    return Batch.join(given)


def _some(data: Batch, n: int, seed: int, purpose: str) -> Batch:
    noise = torch.Generator().manual_seed(derive_seed(seed, "sample quality", purpose))
    return data.rows(torch.randperm(len(data), generator=noise)[:n].to(data.x.device))


def _features(space: FeatureSpace, data: Batch) -> Tensor:
    return space(data.x.cpu(), _on_cpu(data.observed))


def _on_cpu(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.cpu()


def _sampled(model: Model, data: Batch, mean: bool, seed: int, progress: Callable[[int], Any] | None) -> Tensor:
    """(N, *event) a sample for each datum, given its conditions."""
    made, size = [], rows_at_once(model, device_of(model))
    with evaluating(model, seed, "sample quality"):
        for number, start in enumerate(range(0, len(data), size)):
            seed_noise(device_of(model), seed, "sample quality", number)
            chunk = data.rows(slice(start, start + size))
            made.append(model.sample(len(chunk), chunk.context, mean=mean).cpu())
            if progress is not None:
                progress(len(chunk))
    x = torch.cat(made)
    broken = int((~x.isfinite()).flatten(1).any(1).sum())
    if broken:
        raise InputError(f"{broken} of the model's {len(x)} samples are not finite; train it with a lower learning rate.")
    return x


def _shortfall(name: str, found: Agreement, floor: Agreement | None) -> str | None:
    """How far a share is below that of training data, in words, where that is clear."""
    if floor is None:
        return None
    short = floor.values[name] - found.values[name]
    error = (floor.stderrs[name] ** 2 + found.stderrs[name] ** 2) ** 0.5
    if short <= max(CLEAR * error, SHORTFALL):
        return None
    return f"{found.values[name]:.2f}, that of training data {floor.values[name]:.2f}"

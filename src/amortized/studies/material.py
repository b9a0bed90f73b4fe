"""What the analyses of an evaluation are made of: a run, and random parts of its data."""

import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from amortized import tasks
from amortized.errors import InputError
from amortized.evaluation import Evidence, Joint, Parts, evaluate
from amortized.reading import Reading, read
from amortized.seeds import derive_seed
from amortized.studies.budget import Advance
from amortized.studies.factors import find_factors, given_factors
from amortized.studies.keeping import KeptParts
from amortized.tasks.running import pick
from amortized.terms import Batch

if TYPE_CHECKING:
    from amortized.runs import Run


class Material:
    """A run and the data that it is evaluated on.

    Random parts of the data are nested: the smaller one of two is a part of the larger one.

    Args:
        run: The run.
        data: Other data than the run's own.
        split: Which part of them.
        reading: What was found under that name.
        samples: Posterior samples per datum of the evidence.
        target_stderr: The Monte Carlo standard error that the log p(x) of each datum is to have.
        seed: Of all that is random.
        precision: Of the networks' products of the evidence.
        factors: The true factors of the data, or the name of their array.

    Attributes:
        first: The first datum.
        evidence: Of the data, or of a part of them, once it is there.
        parts: Opens what is kept of the evidence of all data by so many samples; None where nothing is kept.
    """

    def __init__(
        self,
        run: "Run",
        data: Any,
        split: str,
        reading: Reading,
        *,
        samples: int = 1000,
        target_stderr: float | None = None,
        seed: int = 0,
        precision: str = "32",
        factors: Any = None,
    ):
        self.run, self.data, self.split, self.reading = run, data, split, reading
        self.samples, self.target_stderr, self.seed = samples, target_stderr, seed
        self.precision, self.factors = precision, factors
        self.model, self.count = run.model, reading.count
        self.first = next(iter(read(run, data, split).batches)).rows(slice(1))
        self.evidence: Evidence | None = None
        self.parts: Callable[[int], KeptParts | None] = lambda samples: None
        self._held: dict[tuple[str, int], list[Batch]] = {}

    def settings(self, step: str) -> dict[str, Any]:
        """What a step depends on besides weights, data and size, where that is not the usual."""
        given: dict[str, Any] = {"seed": self.seed}
        usual: dict[str, Any] = {"seed": 0}
        if step == "evidence":
            given |= {"precision": self.precision, "target_stderr": self.target_stderr}
            usual |= {"precision": "32", "target_stderr": None}
        if step == "disentanglement":
            given["factors"], usual["factors"] = self.factors_digest, None
        return {name: value for name, value in given.items() if value != usual[name]}

    def factors_of(self, batches: list[Batch]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """The true factors of some of the data, (N, F) codes, and their names.

        Raises:
            InputError: There are none, or not one row for each row of the data's source.
        """
        sizes = {name: len(rows) for name, rows in self.reading.whole.splits.items()}
        own, total = sizes.get(self.split, 0), sum(sizes.values())
        return find_factors(self.factors, self._source, self.split, batches, {own, total, total - sizes["test"]} - {0})

    @property
    def _source(self) -> Any:
        return self.run.recipe.data.source if self.data is None else self.data

    @property
    def factors_digest(self) -> str | None:
        """Of the values of the factors; None where there are none."""
        try:
            values = given_factors(self.factors, self._source, self.split)[0]
        except InputError:
            return None
        return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Of the data."""
        return self.reading.name

    @property
    def is_trained_on(self) -> bool:
        """Whether the model was trained on some of the data."""
        return self.data is None and self.split in ("train", "all")

    @property
    def latents(self) -> int:
        """Entries of the latent of a datum."""
        with torch.no_grad():
            return self.model.posterior(self.first).event_shape.numel()

    @property
    def train_count(self) -> int:
        """How many training data the run has.

        Raises:
            InputError: They are not there.
        """
        own = sum(map(len, self.reading.whole.parts("train"))) if self.data is None else 0
        return own or read(self.run, None, "train").count

    def check_space(self, method: str) -> None:
        """Refuse a model in whose latent space nothing can move."""
        with torch.no_grad():
            Joint.of(self.model, self.first, method=method)

    def check_paths(self) -> None:
        """Refuse a model between whose latents there is nothing."""
        with torch.no_grad():
            support = self.model.posterior(self.first).support
        if support is not None and support.is_discrete:
            raise InputError("the latents are discrete, and there are no paths between them.")

    def whole(self) -> Iterable[Batch]:
        """All data, in their order."""
        return read(self.run, self.data, self.split).batches

    def part(self, count: int) -> list[Batch]:
        """So many of the data, drawn at random, in their order."""
        if count >= self.count:
            return list(self.whole())
        return self._taken(self.name, self.data, self.split, self.count, count)

    def train(self, count: int | None = None) -> list[Batch]:
        """So many of the run's training data; all where None is given.

        Raises:
            InputError: They are not there.
        """
        if count is None or count >= self.train_count:
            return list(read(self.run, None, "train").batches)
        return self._taken("train", None, "train", self.train_count, count)

    def evidence_of(self, batches: Iterable[Batch], samples: int, advance: Advance, parts: Parts | None = None) -> Evidence:
        """The evidence of some of the data, `parts` of which may be kept."""
        model, dimensions = self.model, None
        if tasks.is_discrete(model, self.first):
            dimensions = model.event_shape.numel()
        how: dict[str, Any] = {"seed": self.seed, "precision": self.precision, "progress": advance}
        if samples == self.samples:
            how["target_stderr"] = self.target_stderr
        return evaluate(model, batches, samples=samples, split=self.name, dimensions=dimensions, parts=parts, **how)

    def log_px(self, count: int) -> Tensor | None:
        """The log p(x) of `part(count)` by importance sampling, where the evidence covers it: (count,) nats."""
        if self.evidence is None or self.evidence.nll is None:
            return None
        covered = len(self.evidence.nll)
        if covered < min(count, self.count):
            return None
        within = torch.searchsorted(self._places(self.count, covered), self._places(self.count, count))
        return -self.evidence.nll[within]

    def _taken(self, name: str, data: Any, split: str, total: int, count: int) -> list[Batch]:
        key = (name, count)
        if key not in self._held:
            self._held[key] = [pick(read(self.run, data, split).batches, self._places(total, count))]
        return self._held[key]

    def _places(self, total: int, count: int) -> Tensor:
        order = torch.randperm(total, generator=torch.Generator().manual_seed(derive_seed(self.seed, "part", total)))
        return order[:count].sort().values

"""Held-out scores while a model trains, and the seeds of all that is random in it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from amortized.models.model import Model
from amortized.objectives import Objective
from amortized.processes import from_first, is_own, sum_of_all
from amortized.seeds import seed_noise
from amortized.terms import Batch
from amortized.training.step import TERMS, score, summarize

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Batches(Protocol):
    """Minibatches in an order that is a function of the epoch; each is a mapping with the fields of a `Batch`."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Mapping[str, Any]]:
        """The batches of an epoch from position `start` on; of each, the share of process `rank` of `world`."""
        ...


PIECE_ENTRIES = 2**22
"""Entries of x that are scored at once."""


class Validation:
    """Scores a model on held-out data, of which every process takes its share.

    Args:
        model: A module in its place on the device.
        objective: Whose value is compared.
        batches: The training data, for models that are calibrated on them.
        valid: The validation data; None where there are none.
        seed: Of the noise, which is the same at every validation.
        fabric: Where it runs.
    """

    def __init__(self, model: Model, objective: Objective, batches: Batches, valid: Batches | None, seed: int, fabric: "Fabric"):
        assert isinstance(model, nn.Module)
        self.model, self.objective, self.batches, self.valid = model, objective, batches, valid
        self.seed, self.fabric = seed, fabric
        types = [parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()]
        self.dtype = types[0] if types else None

    @torch.no_grad()
    def scores(self) -> list[float] | None:
        """The means of `TERMS` under the hyper-parameters at the end of their schedules; None without validation data.

        The model is calibrated first. Pieces of the data go to the processes in turn, each with noise of its own, so that the
        result does not depend on their number. Buffers are those of the first process: what each keeps of its own, such as the
        moments of batch normalization, must not let a score depend on who took it.
        """
        if self.valid is None:
            return None
        self.calibrate()
        self.model.eval()  # pyright: ignore[reportAttributeAccessIssue]
        sums, rows = [], 0
        for number, batch in enumerate(self._pieces(self.valid)):
            sums.append(self._sum(number, batch) if is_own(number) else torch.zeros(len(TERMS), dtype=torch.float64))
            rows += len(batch)
        total = sum_of_all(torch.stack(sums)).sum(0)
        return (total / rows).tolist()

    def _sum(self, number: int, batch: Batch) -> Tensor:
        seed_noise(self.fabric.device, self.seed, "validation", number)
        terms = self.model.terms(batch, samples=self.objective.samples)
        return summarize(terms, score(self.objective, terms)).cpu().double() * len(batch)

    def calibrate(self) -> None:
        """Compute over the training data what the model needs of them for evaluation, the same in all processes."""
        from_first(self.model.buffers())  # pyright: ignore[reportAttributeAccessIssue]
        if self.model.needs_calibration:
            self.model.eval()  # pyright: ignore[reportAttributeAccessIssue]
            seed_noise(self.fabric.device, self.seed, "calibration")
            self.model.calibrate(self._batch(fields) for fields in self.batches.epoch(0))

    def _pieces(self, batches: Batches) -> Iterator[Batch]:
        """The data in pieces of which all posterior samples fit in memory together."""
        size = max(1, PIECE_ENTRIES // (self.objective.samples * self.model.event_shape.numel()))
        for fields in batches.epoch(0):
            batch = self._batch(fields)
            for begin in range(0, len(batch), size):
                yield batch.rows(slice(begin, begin + size))

    def on_device(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a batch, where the model is."""
        # Fabric walks through the whole collection, which costs more than a look at it where there is nothing to move.
        return dict(fields) if self.fabric.device.type == "cpu" else self.fabric.to_device(dict(fields))

    def _batch(self, fields: Mapping[str, Any]) -> Batch:
        return Batch(**self.on_device(fields)).to(self.fabric.device, self.dtype)

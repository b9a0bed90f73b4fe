"""Held-out scores while a model trains, and the seeds of all that is random in it."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from amortized.models.model import Model
from amortized.objectives import Objective
from amortized.seeds import derive_seed
from amortized.terms import Batch
from amortized.training.step import score, summarize

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
    """Scores a model on held-out data; every process scores all of them.

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

        The model is calibrated first. Those of the first process count for all: what each process keeps of its own, such as the
        moments of batch normalization, must not let them decide differently when to stop.
        """
        if self.valid is None:
            return None
        self.calibrate()
        self.model.eval()  # pyright: ignore[reportAttributeAccessIssue]
        seed_noise(self.fabric.device, self.seed, "validation")
        sums, rows = torch.zeros(()), 0
        for batch in self._pieces(self.valid):
            terms = self.model.terms(batch, samples=self.objective.samples)
            sums = sums + summarize(terms, score(self.objective, terms)).cpu().double() * len(batch)
            rows += len(batch)
        return self.fabric.broadcast((sums / rows).tolist())

    def calibrate(self) -> None:
        """Compute over the training data what the model needs of them for evaluation."""
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


def seed_noise(device: torch.device, seed: int, *purpose: str | int) -> None:
    """Seed torch's global generator, and that of the device, for what `purpose` names."""
    derived = derive_seed(seed, *purpose)
    if device.type == "cpu":
        torch.default_generator.manual_seed(derived)  # torch.manual_seed also visits devices, at 0.3 ms a call
    else:
        torch.manual_seed(derived)

"""One step uphill: score a batch, differentiate, move the weights.

What is done to the weights is here; what is made of the scores, and when to stop, is the loop's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from amortized.models.model import Model
from amortized.objectives import Objective, Schedule
from amortized.training.averaging import Averaging
from amortized.training.checkpoints import load_optimizer, load_state_tensors, state_tensors
from amortized.training.compiling import compile_step
from amortized.training.devices import clip_norm
from amortized.training.rates import learning_rate, make_optimizer
from amortized.training.settings import Settings
from amortized.training.step import Trainable, scheduled

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Uphill:
    """A model under an objective, its optimizer and the average of its weights.

    Args:
        model: The model.
        objective: What is maximized.
        settings: How.
        fabric: Where it runs.
        total: Steps in the whole run.
        steps_per_epoch: The length of an epoch.

    Attributes:
        module: Model and objective, as Fabric wraps them.
        model: The model, in its place on the device.
        auxiliary: The objective's own network; without parameters where it has none.
        optimizer: Of both.
        average: The moving average of the weights, where the settings ask for one.
    """

    def __init__(
        self, model: Model, objective: Objective, settings: Settings, fabric: "Fabric", *, total: int, steps_per_epoch: int
    ):
        self.objective, self.settings, self.fabric = objective, settings, fabric
        self.total, self.steps_per_epoch = total, steps_per_epoch
        self.trainable = Trainable(model, objective)
        self.model, self.auxiliary = self.trainable.model, self.trainable.auxiliary or nn.Module()
        self.scheduled = scheduled(self.trainable)
        optimizer = make_optimizer(self.model.parameters(), settings, self.trainable.auxiliary)
        self.module, self.optimizer = fabric.setup(self.trainable, optimizer)
        self.average = Averaging(self.trainable, settings.ema) if settings.ema is not None else None
        self.changing = [name for name, value in objective.hyper.items() if isinstance(value, Schedule)]
        self.is_compiled = self.is_tried = False
        self.downhill = torch.empty(0)

    @property
    def rate(self) -> float:
        """The learning rate of the last step."""
        return self.optimizer.param_groups[0]["lr"]

    def compile(self, fields: Mapping[str, Any], *, needed: bool) -> str | None:
        """Compile the step; `fields` are those of a batch like all others.

        Returns:
            Why it could not be compiled, or None.

        Raises:
            InputError: It cannot be compiled, and is `needed`.
        """

        def trial() -> None:
            self.module.train()
            self._differentiate(self.score(fields, 0)[0])

        self.is_compiled, self.is_tried = True, False
        reason = compile_step(self.trainable, self.fabric.device, trial, needed=needed)
        self.optimizer.zero_grad()
        self.is_compiled = self.is_tried = reason is None
        return reason

    def score(self, fields: Mapping[str, Any], step: int) -> tuple[Tensor, Tensor]:
        """The (B,) values of a batch, to be maximized, and the means of `TERMS`."""
        for at_step in self.scheduled:
            at_step(step)
        hyper: dict[str, Any] = self.objective.values(step)
        if self.is_compiled:  # a number would be compiled into the graph; what changes is given as a tensor
            double, device = torch.float64, self.fabric.device
            hyper |= {name: torch.full((), float(hyper[name]), dtype=double, device=device) for name in self.changing}
            return self._score_compiled(fields, hyper)
        return self.module(fields, hyper)

    def _score_compiled(self, fields: Mapping[str, Any], hyper: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Score by the graph that was compiled; a batch that it does not fit, such as a ragged last one, by the plain path."""
        if self.fabric.device.type == "cuda":
            torch.compiler.cudagraph_mark_step_begin()
        with torch.compiler.set_stance("eager_on_recompile" if self.is_tried else "default"):
            return self.module(fields, hyper)

    def climb(self, values: Tensor, step: int) -> None:
        """Move the weights along the gradient of the mean of the values."""
        rate = learning_rate(self.settings, step, total=self.total, steps_per_epoch=self.steps_per_epoch)
        self.optimizer.param_groups[0]["lr"] = rate  # the model's; an auxiliary network has a constant one
        self._differentiate(values)
        clip_norm(self.fabric, self.optimizer, self.settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(step)

    @property
    def state(self) -> dict[str, dict[str, Tensor]]:
        """The weights, and what goes with them but the optimizer's state, in groups of named tensors."""
        groups = {"model": state_tensors(self.model), "auxiliary": state_tensors(self.auxiliary)}
        if self.average is not None:
            groups["average"] = {str(index): value for index, value in enumerate(self.average.average)}
        return groups

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], path: Path) -> None:
        """Take over the `state` and the optimizer's, as they were read from a checkpoint."""
        load_state_tensors(self.model, groups["model"], path)
        load_state_tensors(self.auxiliary, groups.get("auxiliary", {}), path)
        load_optimizer(self.optimizer, groups.get("optimizer", {}))
        if self.average is not None:
            for index, value in enumerate(self.average.average):
                value.copy_(groups["average"][str(index)])

    def _differentiate(self, values: Tensor) -> None:
        """Leave the gradient of -values.mean() with the parameters."""
        if self.downhill.shape != values.shape or self.downhill.dtype != values.dtype:
            self.downhill = torch.full_like(values, -1.0 / len(values), requires_grad=False)
        self.fabric.backward(values, self.downhill)

"""The training loop.

One step: seed the noise, cut a batch, score it, go uphill. Batch order and noise are functions of (seed, step, rank), so a run
that was killed and resumed ends in the same bits as one that never stopped. Devices, precision and processes are those of
Lightning Fabric.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.models.model import Model
from amortized.objectives import Objective
from amortized.precision import fast_matmul
from amortized.seeds import derive_seed
from amortized.terms import Batch
from amortized.training.averaging import Averaging
from amortized.training.checkpoints import (
    Progress,
    load_optimizer,
    load_state_tensors,
    read_checkpoint,
    state_tensors,
    write_checkpoint,
)
from amortized.training.devices import describe, launch
from amortized.training.interruption import Interruption
from amortized.training.means import RunningMeans
from amortized.training.progress import Reporter, Silent, make_reporter
from amortized.training.rates import learning_rate, make_optimizer
from amortized.training.settings import Settings
from amortized.training.step import TERMS, Trainable, summarize

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Batches(Protocol):
    """Minibatches in an order that is a function of the epoch; each is a mapping with the fields of a `Batch`."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, *, start: int = 0, rank: int = 0, world: int = 1) -> Iterator[Mapping[str, Any]]:
        """The batches of an epoch from position `start` on; of each, the share of process `rank` of `world`."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        history: One row per validation.
        steps: Optimizer steps done.
        best_step: The step of the weights that were kept.
        finished: False where a signal stopped it before its time.
        stopped: Why it ended, in words.
        signal: The signal that stopped it, if one did.
    """

    history: list[dict[str, Any]]
    steps: int
    best_step: int
    finished: bool
    stopped: str
    signal: Signals | None = None


def train(
    model: Model,
    objective: Objective,
    batches: Batches,
    valid: Batches | None,
    settings: Settings,
    *,
    seed: int = 0,
    checkpoint: Path | None = None,
    reporter: Reporter | None = None,
    fabric: "Fabric | None" = None,
) -> Outcome:
    """Train a model in place.

    Args:
        model: Ends with the weights that were kept, in evaluation mode.
        objective: What is maximized.
        batches: The training data.
        valid: The validation data; None trains without, and then there is no early stopping.
        settings: How.
        seed: Of the order of the data and of the noise.
        checkpoint: A file to go on from, where it exists, and to write what is needed to go on to.
        reporter: Shows the progress; None chooses a bar or lines.
        fabric: A Fabric that was launched by these settings; None launches one.

    Raises:
        InputError: Model, objective and data do not fit, or a term became NaN or infinite.
    """
    return Loop(model, objective, batches, valid, settings, seed, checkpoint, reporter, fabric).run()


class Loop:
    """The state of one training run."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        batches: Batches,
        valid: Batches | None,
        settings: Settings,
        seed: int,
        checkpoint: Path | None,
        reporter: Reporter | None,
        fabric: "Fabric | None",
    ):
        self.model, self.objective, self.settings, self.seed = model, objective, settings, seed
        self.batches, self.valid, self.path, self.reporter = batches, valid, checkpoint, reporter
        if not len(batches):
            raise InputError("the training data give no batch; lower training.batch_size, or give more data.")
        if settings.patience is not None and valid is None:
            raise InputError(
                f"training.patience is {settings.patience}, but there are no validation data; give some, or no patience."
            )
        self.total = settings.steps if settings.steps is not None else settings.epochs * len(batches)
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self.fabric = fabric or launch(settings)
        module = Trainable(model, objective)
        optimizer = make_optimizer(module.parameters(), settings)
        self.average = Averaging(module, settings.ema) if settings.ema is not None else None
        self.module, self.optimizer = self.fabric.setup(module, optimizer)
        self.means = RunningMeans(self.fabric.device)

    def run(self) -> Outcome:
        """Train to the end, to the last improvement, or to a signal."""
        if self.path is not None and self.path.exists():
            self._restore(self.path)
        reporter = self.reporter or make_reporter(self.total, self.progress.step)
        if self.fabric.global_rank:
            reporter = Silent()
        self.started = time.perf_counter() - self.progress.seconds
        self.saved = time.perf_counter()
        with reporter, Interruption() as interruption, fast_matmul(self.fabric.device):
            reporter.say(f"Training on {describe(self.fabric)}.")
            stopped = self._steps(reporter, interruption)
            finished = self.progress.step == self.total or self._out_of_patience
            self._save()
            self._keep()
            reporter.say(f"Done: {stopped}." if finished else f"Not finished: {stopped}.")
        return Outcome(self.progress.history, self.progress.step, self._kept_step, finished, stopped, interruption.signal)

    @property
    def _kept_step(self) -> int:
        return self.progress.best_step if self.settings.patience is not None else self.progress.step

    def _steps(self, reporter: Reporter, interruption: Interruption) -> str:
        """Take steps until the end; return why it ended."""
        progress, shown = self.progress, time.perf_counter()
        pending = 0
        while progress.step < self.total and not self._out_of_patience:
            epoch, position = divmod(progress.step, len(self.batches))
            source = self.batches.epoch(epoch, start=position, rank=self.fabric.global_rank, world=self.fabric.world_size)
            self.module.train()
            for _ in range(position, min(len(self.batches), position + self.total - progress.step)):
                self._step(source)
                pending += 1
                if time.perf_counter() - shown > 0.1:
                    shown = time.perf_counter()
                    reporter.advance(pending, self._shown())
                    pending = 0
                if (number := self._signal(interruption)) is not None:
                    return f"stopped by {number.name} at step {progress.step}"
                if self.path is not None and time.perf_counter() - self.saved >= self.settings.checkpoint_seconds:
                    self._save()
            if (epoch + 1) % self.settings.validate_every == 0 or progress.step == self.total:
                reporter.row(self._validate(epoch + 1), self._speed())
        reporter.advance(pending, self._shown())
        if self._out_of_patience:
            return f"no better validation bound for {progress.stale} validations, since step {progress.best_step}"
        return f"all {self.total} steps done"

    def _step(self, source: Iterator[Mapping[str, Any]]) -> None:
        step = self.progress.step
        self._seed("noise", step, self.fabric.global_rank)
        fields = self._to_device(next(source))
        rate = learning_rate(self.settings, step, total=self.total, steps_per_epoch=len(self.batches))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        values, means = self.module(fields, self.objective.values(step))
        self.means.add(means, step)
        if self.fabric.device.type == "cpu":  # elsewhere looking would wait for the device
            self._refuse_bad_terms()
        self.fabric.backward(-values.mean())
        if self.settings.clip_norm is not None:
            self.fabric.clip_gradients(self.module, self.optimizer, max_norm=self.settings.clip_norm, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update(step)
        self.progress.step += 1

    def _refuse_bad_terms(self) -> None:
        """Stop the run where a term was not finite, keeping what is still good."""
        bad = self.means.bad()
        if bad is None:
            return
        name, step = bad
        kept = ""
        if self.path is not None:
            if step == self.progress.step and all(bool(p.isfinite().all()) for p in self.module.parameters()):
                self.means.reset()
                self._save()
            if self.path.exists():
                kept = f" The last good checkpoint is kept in '{self.path}'."
        raise InputError(
            f"term '{name}' is not finite at step {step}.{kept} Lower training.lr ({self.settings.lr:g}) or set"
            " training.clip_norm, and look for extreme values in the data."
        )

    def _shown(self) -> dict[str, float]:
        self._refuse_bad_terms()
        means = dict(zip(TERMS, self.means.mean.tolist(), strict=True))
        return {name: means[name] for name in TERMS[1:]} | {"examples/s": self._speed()}

    def _speed(self) -> float:
        """Examples per second over all sessions, validation included."""
        return self.progress.step * self.settings.batch_size / (time.perf_counter() - self.started)

    def _validate(self, epoch: int) -> dict[str, Any]:
        """Close a row of the history, and keep the weights if their validation bound is the best."""
        progress = self.progress
        self._refuse_bad_terms()
        means = self.fabric.all_reduce(self.means.mean, reduce_op="mean")
        assert isinstance(means, Tensor)
        row: dict[str, Any] = {"step": progress.step, "epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"]}
        row |= self.objective.values(progress.step - 1)
        row |= {f"train_{name}_nats": value for name, value in zip(TERMS, means.tolist(), strict=True)}
        if self.valid is not None:
            with self.average.applied() if self.average is not None else nullcontext():
                self._calibrate()
                scores = self._score(self.valid)
                row |= {f"valid_{name}_nats": value for name, value in scores.items()}
                self._compare(scores["objective"])
        self.means.reset()
        row["seconds"] = round(time.perf_counter() - self.started, 3)
        progress.history.append(row)
        return row

    @torch.no_grad()
    def _score(self, batches: Batches) -> dict[str, float]:
        """The means of `TERMS` over held-out data, under the hyper-parameters at the end of their schedules, fixed noise."""
        self.module.eval()
        self._seed("validation")
        sums, rows = torch.zeros_like(self.means.sums), 0
        for fields in batches.epoch(0):
            batch = Batch(**self._to_device(fields))
            terms = self.model.terms(batch, samples=self.objective.samples)
            sums += summarize(terms, self.objective(terms)).to(sums.device) * len(batch)
            rows += len(batch)
        return dict(zip(TERMS, (sums / rows).tolist(), strict=True))

    def _compare(self, value: float) -> None:
        progress = self.progress
        if progress.best_value is None or value > progress.best_value:
            progress.best_value, progress.best_step, progress.stale = value, progress.step, 0
            if self.settings.patience is not None:
                self.best = {name: tensor.clone() for name, tensor in state_tensors(self._bare).items()}
        else:
            progress.stale += 1

    def _calibrate(self) -> None:
        if not self.model.needs_calibration:
            return
        self.module.eval()
        self._seed("calibration")
        self.model.calibrate(Batch(**self._to_device(fields)) for fields in self.batches.epoch(0))

    def _keep(self) -> None:
        """Leave the model with the best weights, their average, or the last ones, as the settings say."""
        if self.best is not None:
            load_state_tensors(self._bare, self.best, Path("best weights"))
        elif self.average is not None:
            self.average.apply()
        self._calibrate()
        self.module.eval()

    @property
    def _bare(self) -> torch.nn.Module:
        assert isinstance(self.model, torch.nn.Module)
        return self.model

    @property
    def _out_of_patience(self) -> bool:
        return self.settings.patience is not None and self.progress.stale >= self.settings.patience

    def _signal(self, interruption: Interruption) -> Signals | None:
        """The signal that came to this process, or to any of several: all must stop at the same step."""
        if self.fabric.world_size == 1:
            return interruption.signal
        heard = self.fabric.all_reduce(torch.tensor(int(interruption.signal or 0), device=self.fabric.device), reduce_op="max")
        return Signals(int(heard)) if heard else None

    def _seed(self, *purpose: str | int) -> None:
        torch.manual_seed(derive_seed(self.seed, *purpose))

    def _to_device(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        return self.fabric.to_device(dict(fields))

    def _save(self) -> None:
        """Write the checkpoint, from the first process only."""
        self.saved = time.perf_counter()
        if self.path is None or self.fabric.global_rank:
            return
        self.progress.summed = self.means.steps
        self.progress.seconds = time.perf_counter() - self.started
        groups = {"model": state_tensors(self._bare), "means": {"sums": self.means.sums}}
        if self.best is not None:
            groups["best"] = self.best
        if self.average is not None:
            groups["average"] = {str(index): value for index, value in enumerate(self.average.average)}
        write_checkpoint(self.path, self.progress, groups, self.optimizer)

    def _restore(self, path: Path) -> None:
        self.progress, groups = read_checkpoint(path)
        load_state_tensors(self._bare, groups["model"], path)
        load_optimizer(self.optimizer, groups.get("optimizer", {}))
        self.means.sums.copy_(groups["means"]["sums"])
        self.means.steps = self.progress.summed
        self.best = {name: value.to(self.fabric.device) for name, value in groups["best"].items()} if "best" in groups else None
        if self.average is not None:
            for index, value in enumerate(self.average.average):
                value.copy_(groups["average"][str(index)])

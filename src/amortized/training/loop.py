"""The training loop.

One step: seed the noise, cut a batch, score it, go uphill. Batch order and noise are functions of (seed, step, rank), so a run
that was killed and resumed ends in the same bits as one that never stopped. Devices, precision and processes are those of
Lightning Fabric.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.models.model import Model
from amortized.objectives import Objective
from amortized.seeds import seed_noise
from amortized.speed import bf16_slowdown, full_speed
from amortized.training.checkpoints import Progress, load_state_tensors, read_checkpoint, state_tensors, write_checkpoint
from amortized.training.compiling import wants_compiling
from amortized.training.devices import describe, launch, training_together
from amortized.training.interruption import Interruption
from amortized.training.means import RunningMeans
from amortized.training.outcome import Outcome
from amortized.training.progress import Reporter, Silent, make_reporter
from amortized.training.settings import Settings
from amortized.training.step import TERMS, by_name
from amortized.training.uphill import Uphill
from amortized.training.validation import Batches, Validation
from amortized.training.watch import NotFiniteError, Watch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


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

    Returns:
        How it ended. Torch's random state is left as it was.

    Raises:
        InputError: Model, objective and data do not fit, or a term became NaN or infinite.
    """
    return Loop(model, objective, batches, valid, settings, seed, checkpoint, reporter, fabric or launch(settings)).run()


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
        fabric: "Fabric",
    ):
        if not len(batches):
            raise InputError("the training data give no batch; lower training.batch_size, or give more data.")
        if settings.patience is not None and valid is None:
            raise InputError(
                f"training.patience is {settings.patience}, but there are no validation data; give some, or no patience."
            )
        self.objective, self.settings, self.seed, self.batches = objective, settings, seed, batches
        self.path, self.reporter, self.fabric = checkpoint, reporter, fabric
        self.total = settings.steps if settings.steps is not None else settings.epochs * len(batches)
        self.progress = Progress()
        self.best: dict[str, Tensor] | None = None
        self.uphill = Uphill(model, objective, settings, fabric, total=self.total, steps_per_epoch=len(batches))
        self.bare = self.uphill.model
        self.validation = Validation(model, objective, batches, valid, seed, fabric)
        self.means = RunningMeans(fabric.device)
        self.interruption, self.rows = Interruption(), 0
        self.watch = Watch(self.bare, self.interruption, fabric, settings.checkpoint_seconds)

    def run(self) -> Outcome:
        """Train to the end, to the last improvement, or to a signal."""
        if self.path is not None and self.path.exists():
            self._restore(self.path)
        reporter = Silent() if self.fabric.global_rank else self.reporter or make_reporter()
        reporter.begin(self.total, self.progress.step, self.progress.history)
        self.began = time.perf_counter()
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else []
        with (
            torch.random.fork_rng(devices),
            full_speed(self.fabric.device),
            training_together(),
            reporter,
            self.interruption,
        ):
            reporter.say(f"Training on {describe(self.fabric)}.")
            if self.settings.precision == "bf16" and self.fabric.device.type == "cpu" and (slowdown := bf16_slowdown()) > 1:
                reporter.say(f"This processor takes {slowdown:.1f} times as long for a product in bf16; precision 32 is faster.")
            self._compile(reporter)
            self.ready = time.perf_counter()
            stopped = self._steps(reporter)
            finished = self.progress.step == self.total or self._out_of_patience
            self._save()
            self._keep()
            reporter.say(f"Done: {stopped}." if finished else f"Not finished: {stopped}.")
        return Outcome(
            self.progress.history, self.progress.step, self.rows > 0, self._kept_step, finished, stopped, self.watch.signal
        )

    @property
    def _kept_step(self) -> int:
        return self.progress.step if self.best is None else self.progress.best_step

    def _steps(self, reporter: Reporter) -> str:
        """Take steps until the end; return why it ended."""
        progress, shown, pending = self.progress, time.perf_counter(), 0
        while progress.step < self.total and not self._out_of_patience:
            epoch, position = divmod(progress.step, len(self.batches))
            source = self.batches.epoch(epoch, start=position, rank=self.fabric.global_rank, world=self.fabric.world_size)
            last = min((epoch + 1) * len(self.batches), self.total)
            is_validated = (epoch + 1) % self.settings.validate_every == 0 or last == self.total
            self.uphill.module.train()
            while progress.step < last:
                self._step(source)
                pending += 1
                if time.perf_counter() - shown > 0.1:
                    reporter.advance(pending, self._shown())
                    shown, pending = time.perf_counter(), 0
                if progress.step == last and is_validated:  # before anything is saved, so that no row is lost in between
                    reporter.row(self._validate(epoch + 1, reporter), self._speed())
                if (number := self.watch.signal) is not None:
                    return f"stopped by {number.name} at step {progress.step}"
                if self.path is not None and self.watch.is_due:
                    self._save()
        reporter.advance(pending, self._shown())
        if self._out_of_patience:
            return f"no better validation bound for {progress.stale} validations, since step {progress.best_step}"
        return f"all {self.total} steps"

    def _compile(self, reporter: Reporter) -> None:
        """Compile the step where its work pays for that, or where it was asked for."""
        asked, progress = self.settings.compile != "auto", self.progress
        if asked or progress.compiled is None:
            progress.compiled = wants_compiling(self.settings, self.total, self.fabric.device)
        if not progress.compiled or progress.step == self.total:
            return
        why = "" if asked else f", which {self.total:,} steps pay back (training.compile=off leaves it out)"
        reporter.say(f"Compiling the training step{why}.")
        seed_noise(self.fabric.device, self.seed, "noise", 0, self.fabric.global_rank)
        fields = next(iter(self.batches.epoch(0, rank=self.fabric.global_rank, world=self.fabric.world_size)))
        reason = self.uphill.compile(self.validation.on_device(fields), needed=asked)
        if reason is not None:
            progress.compiled = False
            reporter.say(f"The training step is not compiled: {reason}.")

    def _step(self, source: Iterator[Mapping[str, Any]]) -> None:
        step = self.progress.step
        seed_noise(self.fabric.device, self.seed, "noise", step, self.fabric.global_rank)
        fields = next(source, None)
        if fields is None:
            raise InputError(f"the training data end before step {step}, in fewer batches than their length tells; mend it.")
        values, means = self.uphill.score(self.validation.on_device(fields), step)
        with self._refusing(save=True):
            self.watch.add(means, step)
        self.means.add(means)
        self.uphill.climb(values, step)
        self.progress.step += 1
        self.rows += len(values) * self.fabric.world_size

    @contextmanager
    def _refusing(self, *, save: bool = False) -> Iterator[None]:
        """Where something is not finite, say so and where the last good checkpoint is; `save` makes it the last good step."""
        try:
            yield
        except NotFiniteError as error:
            kept = ""
            if self.path is not None:
                if save and error.step == self.progress.step and self.watch.is_finite():
                    self._write(self.path)
                kept = f" The last good checkpoint is kept in '{self.path}'." if self.path.exists() else ""
            raise InputError(
                f"{error}{kept} Lower training.lr ({self.settings.lr:g}) or set training.clip_norm, and look for extreme values"
                " in the data."
            ) from None

    def _shown(self) -> dict[str, float]:
        """The means of the terms since the last row of the history, or of that row where nothing came after it."""
        if self.means.steps or not self.progress.history:
            means = by_name(self.means.mean.tolist(), "train", self.bare)
        else:
            means = self.progress.history[-1]
        names = [name for name in TERMS[1:] if f"train_{name}_nats" in means]
        return {name: means[f"train_{name}_nats"] for name in names} | {"examples/s": self._speed()}

    def _speed(self) -> float:
        """Examples per second since the first step of this session, validation included."""
        return self.rows / (time.perf_counter() - self.ready)

    @property
    def _seconds(self) -> float:
        return self.progress.seconds + time.perf_counter() - self.began

    def _validate(self, epoch: int, reporter: Reporter) -> dict[str, Any]:
        """Close a row of the history, and keep the weights if their validation bound is the best."""
        progress = self.progress
        with self._refusing():
            self.watch.look()
            self.watch.check_weights(progress.step)
        means = self.fabric.all_reduce(self.means.mean, reduce_op="mean")
        assert isinstance(means, Tensor)
        row: dict[str, Any] = {"step": progress.step, "epoch": epoch, "lr": self.uphill.rate}
        row |= self.objective.values(progress.step - 1)
        row |= by_name(means.tolist(), "train", self.bare)
        with self._refusing(), self.uphill.average.applied() if self.uphill.average is not None else nullcontext():
            scores = self.validation.scores()
            if scores is not None:
                row |= by_name(scores, "valid", self.bare)
                self.watch.check_scores(scores, progress.step)
                self._compare(scores[0])
            reporter.look()
        self.means.reset()
        row["seconds"] = round(self._seconds, 3)
        progress.history.append(row)
        return row

    def _compare(self, value: float) -> None:
        progress = self.progress
        if progress.best_value is None or value > progress.best_value:
            progress.best_value, progress.best_step, progress.stale = value, progress.step, 0
            if self.settings.patience is not None:
                self.best = {name: tensor.clone() for name, tensor in state_tensors(self.bare).items()}
        else:
            progress.stale += self.objective.is_settled(progress.step)  # a warm-up is no reason to stop

    def _keep(self) -> None:
        """Leave the model with the best weights, their average, or the last ones, as the settings say."""
        if self.best is not None:
            load_state_tensors(self.bare, self.best, Path("best weights"))
        elif self.uphill.average is not None:
            self.uphill.average.apply()
        self.validation.calibrate()
        self.uphill.module.eval()

    @property
    def _out_of_patience(self) -> bool:
        return self.settings.patience is not None and self.progress.stale >= self.settings.patience

    def _save(self) -> None:
        """Write the checkpoint, unless what it would replace is better."""
        self.watch.saved()
        if self.path is not None and self.watch.is_sound():
            self._write(self.path)

    def _write(self, path: Path) -> None:
        groups = self.uphill.state | {"means": {"sums": self.means.sums}}
        if self.best is not None:
            groups["best"] = self.best
        state = self.uphill.optimizer.state_dict()  # of which every process may hold a share
        if self.fabric.global_rank == 0:
            write_checkpoint(path, replace(self.progress, seconds=self._seconds, summed=self.means.steps), groups, state)

    def _restore(self, path: Path) -> None:
        self.progress, groups = read_checkpoint(path)
        self.uphill.restore(groups, path)
        self.means.sums.copy_(groups["means"]["sums"])
        self.means.steps = self.progress.summed
        if self.settings.patience is not None and "best" in groups:
            self.best = {name: value.to(self.fabric.device) for name, value in groups["best"].items()}
        elif self.settings.patience is not None:  # patience is new: what was best before was not kept
            self.progress = replace(self.progress, best_value=None, best_step=self.progress.step, stale=0)

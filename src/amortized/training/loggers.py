"""The loggers behind the names of trackers, each in Fabric's interface, each writing into the run folder.

    tensorboard   RUN/tensorboard
    wandb         RUN/wandb, offline unless WANDB_MODE says otherwise
    mlflow        RUN/mlflow, a store of files, unless MLFLOW_TRACKING_URI names another

A run that goes on goes on in the same place: what the tracker calls it is kept in RUN/trackers.json.
"""

import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning_fabric.loggers import TensorBoardLogger
from lightning_fabric.loggers.logger import Logger

from amortized.files import write_atomically

PROJECT = "amortized"
"""What runs are filed under where the environment says nothing else."""

SHOWN = ("valid_elbo_nats", "train_elbo_nats", "test_elbo_nats", "test_nll_nats")
"""The numbers by which TensorBoard's table of hyper-parameters compares runs."""


class Guarded(Logger):
    """A logger that is left out from the first call on in which it fails, so that a run goes on without it.

    Args:
        logger: The logger.
        called: What it is called in the line that says so.
    """

    def __init__(self, logger: Logger, called: str):
        self.logger, self.called = logger, called
        self.say: Callable[[str], None] = print
        self.has_failed = False

    @property
    def name(self) -> str | None:
        """The experiment's."""
        return self.logger.name

    @property
    def version(self) -> int | str | None:
        """The experiment's."""
        return self.logger.version

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log numbers, unless it has failed."""
        self._call(lambda: self.logger.log_metrics(metrics, step))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log the recipe, unless it has failed."""
        self._call(lambda: self.logger.log_hyperparams(params, *args, **kwargs))

    def finalize(self, status: str) -> None:
        """Close it, unless it has failed."""
        self._call(lambda: self.logger.finalize(status))

    def _call(self, what: Callable[[], None]) -> None:
        if self.has_failed:
            return
        try:
            what()
        except Exception as error:  # whatever it is: hours of training are worth more than a tracker
            self.has_failed = True
            reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
            self.say(f"The tracker {self.called} failed ({reason}); training goes on without it.")


class TensorBoard(TensorBoardLogger):
    """Event files; the recipe is TensorBoard's table of hyper-parameters.

    Args:
        path: The run folder.
    """

    def __init__(self, path: Path):
        super().__init__(path, name="", version="tensorboard")

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Log the recipe without a number beside it; Fabric's own would log one that stands for nothing."""
        from torch.utils.tensorboard.summary import hparams

        writer = self.experiment._get_file_writer()
        for summary in hparams(dict(params), dict.fromkeys(SHOWN, 0.0)):
            writer.add_summary(summary)


class WeightsAndBiases(Logger):
    """A run of Weights & Biases.

    Args:
        path: The run folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return os.environ.get("WANDB_PROJECT", PROJECT)

    @property
    def version(self) -> str | None:
        """What the tracker calls the run; None before it was told something, and was never before."""
        return _known(self.path).get("wandb")

    @property
    def experiment(self) -> Any:
        """The run, as the package `wandb` has it."""
        if self._run is None:
            mode: Any = os.environ.get("WANDB_MODE", "offline")
            if mode == "offline":
                os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # nothing leaves the machine, nor does an error
            import wandb

            settings = wandb.Settings(console="off", silent=True)  # the terminal is the bar's
            name = os.environ.get("WANDB_NAME", self.path.absolute().name)
            place = {"project": self.name, "name": name, "dir": str(self.path), "id": self.version, "resume": "allow"}
            self._run = wandb.init(mode=mode, settings=settings, **place)
            self._run.define_metric("step")
            self._run.define_metric(
                "*", step_metric="step"
            )  # a run that goes on may tell a row twice, which its own steps refuse
            _keep(self.path, "wandb", self._run.id)
        return self._run

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log numbers, and the step as one of them."""
        self.experiment.log(metrics if step is None else {**metrics, "step": step})

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Log the recipe."""
        self.experiment.config.update(dict(params), allow_val_change=True)

    def finalize(self, status: str) -> None:
        """Close the run."""
        if self._run is not None:
            self._run.finish(exit_code=int(status == "failed"))


class MLflow(Logger):
    """A run of MLflow.

    Args:
        path: The run folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self._client: Any = None
        self._run_id = ""

    @property
    def name(self) -> str:
        """The experiment."""
        return os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)

    @property
    def version(self) -> str | None:
        """What the tracker calls the run; None before it was told something, and was never before."""
        return _known(self.path).get("mlflow")

    @property
    def experiment(self) -> Any:
        """The client, as the package `mlflow` has it; the run is that of `version`."""
        if self._client is None:
            self._client = _mlflow_client(os.environ.get("MLFLOW_TRACKING_URI"), self.path / "mlflow")
            self._run_id = self.version or self._new_run(self._client)
            self._client.update_run(self._run_id, "RUNNING")
            _keep(self.path, "mlflow", self._run_id)
        return self._client

    def _new_run(self, client: Any) -> str:
        experiment = client.get_experiment_by_name(self.name)
        number = client.create_experiment(self.name) if experiment is None else experiment.experiment_id
        return client.create_run(number, run_name=self.path.absolute().name).info.run_id

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Log numbers."""
        client, now = self.experiment, int(time.time() * 1000)
        from mlflow.entities import Metric

        client.log_batch(self._run_id, metrics=[Metric(name, value, now, step or 0) for name, value in metrics.items()])

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        """Log the recipe; what is another when a run goes on, such as its length, becomes a tag: parameters stay for ever."""
        client = self.experiment
        from mlflow.entities import Param

        known = client.get_run(self._run_id).data.params
        new = [Param(name, str(value)) for name, value in params.items() if name not in known]
        for start in range(0, len(new), 100):  # as many as the interface takes at once
            client.log_batch(self._run_id, params=new[start : start + 100])
        for name, value in params.items():
            if name in known and known[name] != str(value):
                client.set_tag(self._run_id, f"resumed.{name}", str(value))

    def finalize(self, status: str) -> None:
        """Close the run."""
        if self._client is not None:
            self._client.set_terminated(self._run_id, {"success": "FINISHED", "aborted": "KILLED"}.get(status, "FAILED"))


KINDS: Mapping[str, Callable[[Path], Logger]] = {"tensorboard": TensorBoard, "wandb": WeightsAndBiases, "mlflow": MLflow}
"""The loggers by the name of their tracker."""


def _mlflow_client(address: str | None, path: Path) -> Any:
    """A client of the server or the store at an address, or, where there is none, of a store of files at the path.

    MLflow reports how it is used, unless it is told not to, and refuses new stores of files, unless it is told to take them.
    """
    if address is None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    before = os.environ.get("MLFLOW_ALLOW_FILE_STORE")
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    try:
        from mlflow.tracking import MlflowClient

        return MlflowClient(tracking_uri=address or path.absolute().as_uri())
    finally:
        if before is None:
            os.environ.pop("MLFLOW_ALLOW_FILE_STORE", None)
        else:
            os.environ["MLFLOW_ALLOW_FILE_STORE"] = before


def _known(path: Path) -> dict[str, str]:
    """What each tracker calls the run of a folder."""
    try:
        return json.loads((path / "trackers.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _keep(path: Path, tracker: str, called: str) -> None:
    known = _known(path)
    if known.get(tracker) != called:
        write_atomically(path / "trackers.json", json.dumps(known | {tracker: called}, indent=2) + "\n")

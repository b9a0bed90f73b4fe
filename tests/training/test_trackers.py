# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import csv
import json
import struct
import sys
from pathlib import Path
from typing import Any

import pytest
from lightning_fabric.loggers.logger import Logger

from amortized import InputError, fit
from amortized.training.loggers import Guarded, MLflow
from amortized.training.trackers import flattened, make_loggers

SMALL: dict[str, Any] = {"latent_dim": 2, "model.network.hidden": [8], "batch_size": 8, "epochs": 3, "quiet": True}


def history(path: Path) -> list[dict[str, float]]:
    with (path / "history.csv").open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def final(path: Path) -> dict[str, float]:
    metrics = json.loads((path / "metrics.json").read_text())
    return {f"{split}_{name}": entry["value"] for split, table in metrics.items() for name, entry in table.items()}


class Noted(Logger):
    """A user's own logger, which keeps what it is told and fails from a step on."""

    @property
    def name(self) -> str:
        return "noted"

    @property
    def version(self) -> str:
        return "0"

    def __init__(self, fails_at: int | None = None):
        self.told: list[tuple[int | None, dict[str, float]]] = []
        self.params: dict[str, Any] = {}
        self.fails_at, self.statuses = fails_at, []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if self.fails_at is not None and step is not None and step >= self.fails_at:
            raise OSError("the disk is full.")
        self.told.append((step, metrics))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        self.params = params

    def finalize(self, status: str) -> None:
        self.statuses.append(status)


def test_a_logger_of_ones_own_is_told_the_recipe_each_row_and_the_metrics(table: str, tmp_path: Path):
    noted = Noted()
    run = fit(table, logger=noted, out=tmp_path / "run", **SMALL)
    assert noted.params["model.latent_dim"] == 2
    assert noted.params["training.batch_size"] == 8
    rows = [dict(row) for row in run.history]
    assert noted.told[:-1] == [(row["step"], row) for row in rows]
    assert noted.told[-1] == (rows[-1]["step"], final(tmp_path / "run"))
    assert noted.statuses == ["success"]


def test_a_tracker_that_fails_does_not_end_the_run(table: str, capsys: pytest.CaptureFixture[str]):
    fails, works = Noted(fails_at=12), Noted()
    run = fit(table, logger=[fails, works], **SMALL | {"quiet": False})
    assert run.finished
    assert (len(fails.told), len(works.told)) == (1, 4)
    lines = [line for line in capsys.readouterr().out.splitlines() if "tracker" in line]
    assert lines == ["The tracker Noted failed (the disk is full); training goes on without it."]


def test_trackers_change_nothing_in_a_run(table: str, tmp_path: Path):
    first = fit(table, out=tmp_path / "first", **SMALL)
    second = fit(table, out=tmp_path / "second", logger="tensorboard", **SMALL)
    for one, other in zip(first.history, second.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}
    for name in ("config.yaml", "metrics.json", "model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_tensorboard_holds_what_the_history_holds(table: str, tmp_path: Path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    path = tmp_path / "run"
    fit(table, logger="tensorboard", out=path, **SMALL | {"epochs": 2})
    fit(resume=path, logger="tensorboard", epochs=3, quiet=True)
    read = event_accumulator.EventAccumulator(str(path / "tensorboard"))
    read.Reload()
    rows = history(path)
    assert len(rows) == 3
    for name in rows[0]:
        told = [(event.step, event.value) for event in read.Scalars(name)]
        assert told == [(row["step"], pytest.approx(row[name], rel=1e-6)) for row in rows]
    for name, value in final(path).items():
        assert read.Scalars(name)[-1].value == pytest.approx(value, rel=1e-6)
    content = read.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"model.latent_dim" in content


def test_mlflow_holds_what_the_history_holds(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tracking = pytest.importorskip("mlflow.tracking")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    path = tmp_path / "run"
    fit(table, logger="mlflow", out=path, **SMALL | {"epochs": 2})
    fit(resume=path, logger="mlflow", epochs=3, quiet=True)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    client = tracking.MlflowClient(tracking_uri=(path / "mlflow").as_uri())
    experiment = client.get_experiment_by_name("amortized")
    (run,) = client.search_runs([experiment.experiment_id])  # a run that goes on is the same one
    assert run.info.run_name == "run"
    assert run.info.status == "FINISHED"
    assert run.data.params["training.batch_size"] == "8"
    assert (run.data.params["training.epochs"], run.data.tags["resumed.training.epochs"]) == ("2", "3")
    rows = history(path)
    for name in rows[0]:
        told = [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, name)]
        assert told == [(row["step"], row[name]) for row in rows]
    assert {name: run.data.metrics[name] for name in final(path)} == final(path)


def test_mlflow_goes_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "elsewhere").as_uri())
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    (tmp_path / "run").mkdir()
    logger = MLflow(tmp_path / "run")
    logger.log_metrics({"valid_elbo_nats": -1.5}, 3)
    logger.finalize("aborted")
    assert not (tmp_path / "run" / "mlflow").exists()
    run = logger.experiment.get_run(logger.version)
    assert (run.info.status, run.data.metrics) == ("KILLED", {"valid_elbo_nats": -1.5})


def records(path: Path) -> list[Any]:
    """The records of a .wandb file: LevelDB's format of a log, blocks of 32 KiB after a header of 7 bytes."""
    record_of: Any = pytest.importorskip("wandb.proto.wandb_internal_pb2").Record
    data, place, found, pieces = path.read_bytes(), 7, [], b""
    while place + 7 <= len(data):
        left = 2**15 - place % 2**15
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        pieces += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = record_of()
            record.ParseFromString(pieces)
            found.append(record)
            pieces = b""
    return found


def test_wandb_holds_what_the_history_holds(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "run"
    fit(table, logger="wandb", out=path, **SMALL)
    wandb.teardown()  # as at the end of the process: its own one has written all then
    (file,) = (path / "wandb").glob("offline-run-*/run-*.wandb")
    told = records(file)
    started = next(record.run for record in told if record.HasField("run"))
    assert (started.project, started.display_name) == ("amortized", "run")
    assert json.loads((path / "trackers.json").read_text()) == {"wandb": started.run_id}
    rows = [
        {item.nested_key[0] if item.nested_key else item.key: json.loads(item.value_json) for item in record.history.item}
        for record in told
        if record.HasField("history")
    ]
    wanted = history(path)
    for row, expected in zip(rows, wanted, strict=False):
        assert {name: row[name] for name in expected} == expected
    assert {name: rows[-1][name] for name in final(path)} == final(path)
    config = {update.key or ".".join(update.nested_key) for record in told for update in record.config.update} | {
        update.key for update in started.config.update
    }
    assert "model.latent_dim" in config


def test_a_missing_package_is_named_before_anything_is_written(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(InputError, match=r"logger 'wandb' needs wandb, .*pip install 'amortized\[trackers\]'"):
        fit(table, logger="tensorboard,wandb", out=tmp_path / "run", **SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("tensorbord", "unknown logger 'tensorbord'; did you mean 'tensorboard'"),
        (3, "unknown logger 3"),
        ("tensorboard", "this run has none; give out"),
    ],
)
def test_what_cannot_be_logged_to_is_refused(asked: Any, words: str):
    with pytest.raises(InputError, match=words):
        make_loggers(asked, None)


def test_several_are_named_with_commas(tmp_path: Path):
    assert [logger.called for logger in make_loggers("tensorboard, mlflow", tmp_path) if isinstance(logger, Guarded)] == [
        "tensorboard",
        "mlflow",
    ]
    assert make_loggers(None, None) == []


def test_values_of_a_recipe_have_dotted_names():
    assert flattened({"a": {"b": None, "c": {"d": True}}, "e": (1, 2)}) == {"a.b": "None", "a.c.d": True, "e": "(1, 2)"}

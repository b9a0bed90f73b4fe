# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from amortized import InputError, fit, load_run
from amortized.training import loop
from amortized.training.checkpoints import read_checkpoint, read_tensors

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "model.network": {"kind": "mlp", "hidden": [8]},
    "batch_size": 8,
    "epochs": 12,
    "training.checkpoint_seconds": 0,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "average, patience, Adamax, dropout, dynamic binarization": {
        "binarize": "dynamic",
        "model.network": {"kind": "mlp", "hidden": [8], "dropout": 0.2},
        "training.ema": 0.9,
        "training.patience": 2,
        "training.optimizer": "adamax",
        "lr": 0.1,
    },
    "batch norm, AdamW, optimal scale, cosine, clipping, denoising": {
        "likelihood": {"kind": "gaussian", "scale": "optimal"},
        "model.network": {"kind": "mlp", "hidden": [8], "norm": "batch"},
        "training.optimizer": "adamw",
        "training.schedule": "cosine",
        "training.clip_norm": 1.0,
        "data.corrupt": {"kind": "noise", "amount": 0.1},
        "training.validate_every": 2,
    },
    "float64, IWAE, full covariance, warm-up": {
        "likelihood": "gaussian",
        "objective": "iwae",
        "posterior": "full-gaussian",
        "precision": "64",
        "training.lr_warmup_steps": 20,
    },
    "convolutions, batch norm, average": {
        "model.network": {"kind": "conv", "channels": [4, 8], "norm": "batch"},
        "training.ema": 0.9,
    },
}
SCRIPT = """
import json, sys, time, torch
torch.set_num_threads(1)
from amortized import fit
from amortized.training import loop
write = loop.write_checkpoint
def write_slowly(*arguments):
    write(*arguments)
    time.sleep(0.01)  # so that the parent, on a busy machine, sees a checkpoint before the run is over
loop.write_checkpoint = write_slowly
if __name__ == "__main__":
    fit(sys.argv[1], out=sys.argv[2], quiet=True, **json.loads(sys.argv[3]))
"""


class Killed(BaseException):
    """Stands for the end of the process: nothing in the library handles it."""


def outcome(path: Path) -> tuple[dict[str, torch.Tensor], str, list[dict[str, str]]]:
    with (path / "history.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return read_tensors(path / "model.safetensors")[0], (path / "metrics.json").read_text(), rows


def assert_same_bits(path: Path, other: Path) -> None:
    (weights, metrics, history), (other_weights, other_metrics, other_history) = outcome(path), outcome(other)
    assert weights.keys() == other_weights.keys()
    for name, value in weights.items():
        assert torch.equal(value, other_weights[name]), name
    assert metrics == other_metrics
    assert history == other_history


def die_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Let the process end right after the checkpoint of a step is written."""
    write = loop.write_checkpoint

    def then_die(path, progress, *rest):
        write(path, progress, *rest)
        if progress.step == step:
            raise Killed

    monkeypatch.setattr(loop, "write_checkpoint", then_die)


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_a_run_killed_and_resumed_several_times_ends_in_the_same_bits(
    options: dict[str, Any], table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = fit(table, out=tmp_path / "whole", quiet=True, **SMALL | options)
    assert whole.outcome is not None
    last = whole.outcome.steps
    # in the middle, at the end of an epoch (its row is there already), at the first step and at the last
    for number, step in enumerate([random.Random(0).randrange(7, last), 12, 1, last]):
        out = tmp_path / f"killed-{number}"
        with monkeypatch.context() as patch:
            die_at(patch, step)
            with pytest.raises(Killed):
                fit(table, out=out, quiet=True, **SMALL | options)
        assert read_checkpoint(out / "checkpoints" / "last.safetensors")[0].step == step
        fit(resume=out, quiet=True)
        assert_same_bits(tmp_path / "whole", out)


def test_early_stopping_was_reached_in_the_variant_that_has_it(table: str):
    run = fit(table, quiet=True, **SMALL | next(iter(VARIANTS.values())))
    assert run.outcome is not None
    assert "no better validation bound for 2 validations" in run.outcome.stopped
    assert run.outcome.best_step < run.outcome.steps < 72


def killed_from_outside(script: Path, table: str, out: Path, options: dict[str, Any], step: int) -> int:
    """Run in a process of its own, and SIGKILL that once a checkpoint of `step` or later is seen; return the step found."""
    checkpoint = out / "checkpoints" / "last.safetensors"
    command = [sys.executable, str(script), table, str(out), json.dumps(options)]
    deadline = time.monotonic() + 60
    with subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:
        try:
            while process.poll() is None and time.monotonic() < deadline:
                if checkpoint.exists() and read_checkpoint(checkpoint)[0].step >= step:
                    break
                time.sleep(0.001)
        finally:
            process.kill()
    assert process.returncode == -9, "the run ended before it was killed"
    return read_checkpoint(checkpoint)[0].step


@pytest.mark.parametrize(
    "options",
    [
        next(iter(VARIANTS.values())) | {"training.patience": 50},
        *(pytest.param(each, marks=pytest.mark.slow) for each in list(VARIANTS.values())[1:]),
    ],
    ids=list(VARIANTS),
)
def test_a_process_killed_by_sigkill_at_a_random_step_is_resumed_to_the_same_bits(
    options: dict[str, Any], table: str, tmp_path: Path
):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    options = SMALL | options | {"epochs": 50}
    out, aim = tmp_path / "killed", random.SystemRandom().randrange(5, 150)
    step = killed_from_outside(script, table, out, options, aim)
    assert not (out / "model.safetensors").exists()
    never_saved = tmp_path / "never-saved"
    shutil.copytree(out, never_saved)
    (never_saved / "checkpoints" / "last.safetensors").unlink()  # as if killed before its first checkpoint

    fit(table, out=tmp_path / "whole", quiet=True, **options)
    for path in (out, never_saved):
        fit(resume=path, quiet=True)
        assert_same_bits(tmp_path / "whole", path)
        assert not [file for file in path.rglob(".*") if file.is_file()], f"temporary files are left of step {step}"


def test_a_fit_that_was_killed_as_it_made_its_folder_is_simply_fitted_again(table: str, tmp_path: Path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert fit(table, out=tmp_path / "run", quiet=True, **SMALL | {"epochs": 1}).finished


def test_a_finished_run_that_is_resumed_stays_as_it_is_and_can_be_given_more_epochs(table: str, tmp_path: Path):
    short, long = SMALL | {"epochs": 3}, SMALL | {"epochs": 5}
    fit(table, out=tmp_path / "short", quiet=True, **short)
    fit(table, out=tmp_path / "long", quiet=True, **long)
    before = outcome(tmp_path / "short")
    fit(resume=tmp_path / "short", quiet=True)
    assert outcome(tmp_path / "short")[1:] == before[1:]
    run = fit(resume=tmp_path / "short", epochs=5, quiet=True)
    assert run.outcome is not None
    assert run.outcome.steps == 30
    weights, other = outcome(tmp_path / "short")[0], outcome(tmp_path / "long")[0]
    assert all(torch.equal(value, other[name]) for name, value in weights.items())
    assert load_run(tmp_path / "short").recipe.training.epochs == 5


def test_patience_that_is_new_at_the_resume_keeps_weights_that_it_has_seen(table: str, tmp_path: Path):
    fit(table, out=tmp_path / "run", quiet=True, **SMALL | {"epochs": 2, "lr": 0.05})
    run = fit(resume=tmp_path / "run", epochs=12, quiet=True, **{"training.patience": 2})
    assert run.outcome is not None
    assert run.outcome.best_step in [row["step"] for row in run.history if row["step"] > 12]


def test_a_resumed_run_keeps_its_recipe(table: str, tmp_path: Path):
    fit(table, out=tmp_path / "run", quiet=True, **SMALL | {"epochs": 1})
    with pytest.raises(InputError, match="'training.batch_size' cannot change"):
        fit(resume=tmp_path / "run", batch_size=3)
    with pytest.raises(InputError, match="leave out recipe, config and out"):
        fit(resume=tmp_path / "run", out=tmp_path / "other")
    with pytest.raises(InputError, match="no run to go on with"):
        fit(resume=tmp_path)

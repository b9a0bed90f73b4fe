# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amortized import InputError, fit, load_run
from amortized.runs import Run
from amortized.training import Settings
from amortized.training.checkpoints import read_tensors
from amortized.training.devices import prepare

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "model.network.hidden": [8],
    "batch_size": 8,
    "likelihood": "gaussian",
    "accelerator": "cpu",
    "epochs": 20,
    "lr": 0.01,
}
SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
import amortized
from amortized.training import loop

NOISE, BAD = {noise!r}, {bad!r}

class Watched(loop.Trainable):
    def forward(self, fields, hyper):
        values, means = super().forward(fields, hyper)
        if NOISE:
            with open(f"{{NOISE}}-{{torch.distributed.get_rank()}}", "a") as file:
                print(float(torch.randn(())), file=file)
        if BAD and torch.distributed.get_rank() == 1:  # in one process alone, at its third step
            self.calls = getattr(self, "calls", 0) + 1
            means = means * (float("nan") if self.calls == 3 else 1.0)
        return values, means

loop.Trainable = Watched
if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        try:
            run = amortized.fit(quiet=True, **arguments)
        except amortized.InputError as error:
            sys.exit(f"InputError: {{error}}")
"""


def start(tmp_path: Path, runs: list[dict[str, Any]], *, torchrun: bool, noise: str = "", bad: bool = False) -> tuple[int, str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(noise=noise, bad=bad))
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if torchrun else []
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    result = subprocess.run(
        [sys.executable, *launcher, str(script), json.dumps(runs)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return result.returncode, result.stderr


def bound(run: Run) -> float:
    return run.evaluate(samples=200).metrics["elbo_nats"].value


def test_two_processes_end_where_one_ends(table: str, tmp_path: Path):
    still = SMALL | {"posterior": "delta", "training.patience": 3}
    noisy, normed = SMALL | {"lr": 0.002}, still | {"model.network.norm": "batch", "epochs": 3}
    x, split = np.load(table)["x"], tmp_path / "split.npz"
    np.savez(split, train_x=x[:40], valid_x=x[40:50], test_x=x[50:])
    runs = [
        {"data": str(data), "devices": 2, "out": str(tmp_path / name), **options}
        for name, data, options in (("still", table, still), ("noisy", split, noisy), ("normed", table, normed))
    ]
    status, errors = start(tmp_path, runs, torchrun=False, noise=str(tmp_path / "noise"))
    assert status == 0, errors

    one = fit(table, out=tmp_path / "one", quiet=True, **still)
    assert len(load_run(tmp_path / "still").history) == len(one.history)
    weights = read_tensors(tmp_path / "one" / "model.safetensors")[0]
    for name, value in read_tensors(tmp_path / "still" / "model.safetensors")[0].items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-5)

    # With noise two processes are one more draw of a stochastic optimization, and other seeds tell how far such draws lie apart.
    draws = torch.tensor([bound(fit(str(split), quiet=True, **noisy, seed=seed)) for seed in range(1, 7)])
    assert abs(bound(load_run(tmp_path / "noisy")) - draws.mean()) < 4 * draws.std()
    seen = [(tmp_path / f"noise-{rank}").read_text().split() for rank in (0, 1)]
    assert len(seen[0]) == len(seen[1]) > 100
    assert not set(seen[0]) & set(seen[1])


def test_under_torchrun_the_same_and_a_bad_term_of_one_process_stops_both(table: str, tmp_path: Path):
    out = tmp_path / "run"
    status, errors = start(tmp_path, [{"data": table, "devices": 2, "out": str(out), **SMALL}], torchrun=True, bad=True)
    assert status == 1
    assert errors.count("InputError: term 'distortion' is not finite at step 2.") == 2
    assert (out / "checkpoints" / "last.safetensors").exists()


@pytest.mark.slow
def test_what_cannot_be_fitted_is_refused_before_other_processes_start(table: str, tmp_path: Path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    status, errors = start(tmp_path, [{"data": table, "devices": 2, "out": str(tmp_path / "run"), **SMALL}], torchrun=False)
    assert status == 1
    assert errors.count("is not empty") == 1


def test_a_program_without_a_file_cannot_start_processes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", [""])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with pytest.raises(InputError, match="put the call into a script"):
        prepare(Settings(devices=2, accelerator="cpu"))


def test_processes_that_know_nothing_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="runs in 2 processes, and training.devices is 1; set it to 2"):
        prepare(Settings(accelerator="cpu"))


def test_an_unknown_strategy_is_refused():
    with pytest.raises(InputError, match="'nonsense'"):
        prepare(Settings(strategy="nonsense", accelerator="cpu"))

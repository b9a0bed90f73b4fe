# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from amortized import fit
from amortized.training.checkpoints import read_checkpoint, read_tensors
from amortized.training.interruption import Interruption

OPTIONS: dict[str, Any] = {
    "latent_dim": 2,
    "model.network.hidden": [8],
    "batch_size": 8,
    "likelihood": "gaussian",
    "epochs": 150,
    "training.ema": 0.9,
    "training.checkpoint_seconds": 0.02,
}
SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
from amortized import fit
run = fit(sys.argv[1], out=sys.argv[2], **json.loads(sys.argv[3]))
sys.exit(0 if run.finished else 128 + run.outcome.signal)
"""


def test_a_signal_ends_the_step_saves_and_the_run_goes_on_to_the_same_bits(table: str, tmp_path: Path):
    out = tmp_path / "stopped"
    command = [sys.executable, "-c", SCRIPT, table, str(out), json.dumps(OPTIONS)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True)
    checkpoint = out / "checkpoints" / "last.safetensors"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    text, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    step = read_checkpoint(checkpoint)[0].step
    assert f"Not finished: stopped by SIGTERM at step {step}." in text
    assert (out / "model.safetensors").exists()
    assert not (out / "metrics.json").exists()

    rarely = {"training.checkpoint_seconds": 30}
    assert fit(resume=out, quiet=True, **rarely).finished
    fit(table, out=tmp_path / "whole", quiet=True, **OPTIONS | rarely)
    weights = read_tensors(tmp_path / "whole" / "model.safetensors")[0]
    for name, value in read_tensors(out / "model.safetensors")[0].items():
        assert torch.equal(value, weights[name])
    assert (out / "metrics.json").read_text() == (tmp_path / "whole" / "metrics.json").read_text()


@pytest.mark.usefixtures("usual_ctrl_c")
def test_the_first_ctrl_c_is_remembered_and_the_second_is_immediate():
    before = signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGINT)
        assert interruption.signal is signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_are_put_back_when_nothing_came():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with Interruption() as interruption:
        assert interruption.signal is None
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_in_the_last_step_of_an_epoch_loses_no_row(table: str, tmp_path: Path):
    from amortized.objectives import Objective, elbo

    calls = iter(range(10**6))

    def objective(terms):
        if torch.is_grad_enabled() and next(calls) == 11:
            signal.raise_signal(signal.SIGINT)
        return elbo(terms)

    from amortized import VAE, likelihoods, networks, posteriors, priors, train

    def model():
        torch.manual_seed(0)
        return VAE(
            priors.StandardNormal(2),
            posteriors.DiagonalGaussian(networks.MLP((4, 3), [8]), event=2),
            likelihoods.Gaussian(networks.MLP(2, [8]), event=(4, 3), scale=50.0),
        )

    options: dict[str, Any] = {"batch_size": 8, "epochs": 4, "quiet": True}
    stopped = train(model(), table, Objective(objective), out=tmp_path / "run", **options)
    assert not stopped.finished
    assert [row["step"] for row in stopped.history] == [6, 12]
    resumed = train(model(), None, Objective(elbo), resume=tmp_path / "run", quiet=True)
    assert [row["step"] for row in resumed.history] == [6, 12, 18, 24]

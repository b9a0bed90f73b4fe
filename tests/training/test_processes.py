# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from amortized import InputError, fit, load_run, processes
from amortized.runs import Run
from amortized.training import Settings
from amortized.training.checkpoints import read_checkpoint, read_tensors
from amortized.training.devices import pick_device, prepare

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
import json, os, sys, torch
torch.set_num_threads(1)
import amortized
from amortized.training import uphill

NOISE, BAD, DIES = {noise!r}, {bad!r}, {dies!r}

class Watched(uphill.Trainable):
    def forward(self, fields, hyper):
        values, means = super().forward(fields, hyper)
        if NOISE:
            with open(f"{{NOISE}}-{{torch.distributed.get_rank()}}", "a") as file:
                print(float(torch.randn(())), file=file)
        self.calls = getattr(self, "calls", 0) + 1
        if DIES and self.calls == 3 and torch.distributed.get_rank() == 1:
            os._exit(9)
        if BAD and torch.distributed.get_rank() == 1:  # in one process alone, at its third step
            means = means * (float("nan") if self.calls == 3 else 1.0)
        return values, means

uphill.Trainable = Watched
if __name__ == "__main__":
    for arguments in json.loads(sys.argv[1]):
        try:
            run = amortized.fit(report=False, quiet=True, **arguments)
        except amortized.InputError as error:
            sys.exit(f"InputError: {{error}}")
"""

# Objectives of a batch's moments, on a model whose noise is given: one process with all data, then two with half of them each.
SHARES = """
import os, sys
import torch
from torch import distributed, nn
from torch.distributions import Independent, Normal
from torch.nn.parallel import DistributedDataParallel
from amortized import Latent, Terms, objectives
from amortized.processes import of_all

ROWS, SAMPLES, D = 8, 2, 3
generator = torch.Generator().manual_seed(0)
x = torch.randn(ROWS, D, generator=generator).double()
noise = torch.randn(2, SAMPLES, ROWS, D, generator=generator).double()  # of the posterior, and of the prior


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.encoder, self.decoder = nn.Linear(D, 2 * D).double(), nn.Linear(D, D).double()
        self.prior = nn.Parameter(0.1 * torch.randn(D).double())

    def forward(self, objective, x, noise):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        q = Independent(Normal(loc, log_scale.exp()), 1)
        p = Independent(Normal(self.prior.expand_as(x), torch.ones_like(x)), 1)
        p.rsample = lambda sample_shape: self.prior + noise[1]
        z = loc + log_scale.exp() * noise[0]
        return objective(Terms(Normal(self.decoder(z), 1.0).log_prob(x).sum(-1), (Latent(q, p, z),)))


def gathered(t):  # the two that are gathered have one gradient between them; and every process adds a part of its own
    both = of_all(t.latents[0].q.mean) + of_all(t.latents[0].z.mean(0))
    return t.log_px.mean(0) * both.square().mean() + both.prod(-1).mean()


OBJECTIVES = {
    "gathered": gathered,
    "capacity": lambda t: objectives.capacity(t, 3.0, 1.0),
    "free-bits": lambda t: objectives.free_bits(t, 1.0),
    "free-bits per dimension": lambda t: objectives.free_bits_per_dimension(t, 0.3),
    "beta-tcvae": lambda t: objectives.beta_tcvae(t, 0.5, 6.0, 2.0, data_size=50),
    "beta-tcvae by strata": lambda t: objectives.beta_tcvae(t, 0.5, 6.0, 2.0, data_size=50, estimator="mss"),
    "dip-i": objectives.dip_i,
    "dip-ii": objectives.dip_ii,
    "infovae": objectives.infovae,
    "wae": objectives.wae,
}


def evaluate(model, objective, rows):
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    values = model(objective, x[rows], noise[:, :, rows])
    values.mean().backward()
    return values.detach(), [parameter.grad.clone() for parameter in model.parameters()]


model, found = Tiny(), {}
for name, objective in OBJECTIVES.items():
    found[name] = [evaluate(model, objective, slice(0, ROWS))]
distributed.init_process_group("gloo")
rank = distributed.get_rank()
parallel = DistributedDataParallel(model, find_unused_parameters=True)
for name, objective in OBJECTIVES.items():
    values, gradients = evaluate(parallel, objective, slice(rank * ROWS // 2, (rank + 1) * ROWS // 2))
    shares = [torch.empty_like(values) for _ in range(2)]
    distributed.all_gather(shares, values)
    found[name].append((torch.cat(shares), gradients))
if rank == 0:
    torch.save(found, sys.argv[1])
distributed.barrier()
distributed.destroy_process_group()
os._exit(0)  # torch may abort where the interpreter takes down what DDP leaves behind
"""


# What several processes see of one run: the same evaluation; written by the first, and gathered in the order of the data.
EVALUATION = """
import sys, torch
torch.set_num_threads(1)
import amortized
from amortized.processes import is_first, rank
from amortized.training import Settings, launch

if __name__ == "__main__":
    launch(Settings(devices=2, accelerator="cpu"))
    run = amortized.load_run(sys.argv[1])
    found = [run.evidence(split=split, samples=samples) for split, samples in (("train", 40000), ("test", 50), ("valid", 1))]
    torch.save([vars(evidence) for evidence in found], f"{sys.argv[1]}-{rank()}.pt")
"""


def start(
    tmp_path: Path, runs: list[dict[str, Any]], *, torchrun: bool, noise: str = "", bad: bool = False, dies: bool = False
) -> tuple[int, str]:
    return run(tmp_path, SCRIPT.format(noise=noise, bad=bad, dies=dies), json.dumps(runs), torchrun=torchrun)


def run(tmp_path: Path, program: str, argument: str, *, torchrun: bool) -> tuple[int, str]:
    script = tmp_path / "script.py"
    script.write_text(program)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if torchrun else []
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    result = subprocess.run(
        [sys.executable, *launcher, str(script), argument],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return result.returncode, result.stderr


def bound(run: Run) -> float:
    return run.evidence(samples=200).metrics["elbo_nats"].value


def test_two_processes_end_where_one_ends(table: str, tmp_path: Path):
    still = SMALL | {"posterior": "delta", "training.patience": 3}
    noisy, normed = SMALL | {"lr": 0.002}, still | {"model.network.norm": "batch", "epochs": 3}
    x, split = np.load(table)["x"], tmp_path / "split.npz"
    np.savez(split, train_x=x[:40], valid_x=x[40:50], test_x=x[50:])
    moments = still | {"objective": "dip-i", "epochs": 5}
    every = (("still", table, still), ("noisy", split, noisy), ("normed", table, normed), ("moments", table, moments))
    runs = [{"data": str(data), "devices": 2, "out": str(tmp_path / name), **options} for name, data, options in every]
    status, errors = start(tmp_path, runs, torchrun=False, noise=str(tmp_path / "noise"))
    assert status == 0, errors

    for of_two, options in (("still", still), ("moments", moments)):
        one = fit(table, out=tmp_path / f"{of_two}-one", quiet=True, **options)
        assert len(load_run(tmp_path / of_two).history) == len(one.history)
        weights = read_tensors(tmp_path / f"{of_two}-one" / "model.safetensors")[0]
        for name, value in read_tensors(tmp_path / of_two / "model.safetensors")[0].items():
            torch.testing.assert_close(value, weights[name], rtol=0, atol=1e-5)

    # With noise two processes are one more draw of a stochastic optimization, and other seeds tell how far such draws lie apart.
    draws = torch.tensor([bound(fit(str(split), quiet=True, **noisy, seed=seed)) for seed in range(1, 7)])
    assert abs(bound(load_run(tmp_path / "noisy")) - draws.mean()) < 4 * draws.std()
    seen = [(tmp_path / f"noise-{rank}").read_text().split() for rank in (0, 1)]
    assert len(seen[0]) == len(seen[1]) > 100
    assert not set(seen[0]) & set(seen[1])


def test_two_processes_with_half_of_the_data_each_have_the_moments_and_the_gradient_of_one(tmp_path: Path):
    status, errors = run(tmp_path, SHARES, str(tmp_path / "found.pt"), torchrun=True)
    assert status == 0, errors
    for name, ((values, gradients), (values_of_two, gradients_of_two)) in torch.load(tmp_path / "found.pt").items():
        torch.testing.assert_close(values_of_two, values, msg=lambda message, name=name: f"{name}: {message}")
        torch.testing.assert_close(gradients_of_two, gradients, msg=lambda message, name=name: f"{name}: {message}")


def test_under_torchrun_the_same_and_a_bad_term_of_one_process_stops_both(table: str, tmp_path: Path):
    out = tmp_path / "run"
    status, errors = start(tmp_path, [{"data": table, "devices": 2, "out": str(out), **SMALL}], torchrun=True, bad=True)
    assert status == 1
    assert errors.count("InputError: term 'distortion' is not finite at step 2.") == 2
    assert (out / "checkpoints" / "last.safetensors").exists()


@pytest.mark.parametrize("strategy", ["auto", "ddp", "fsdp"])
def test_a_process_that_dies_ends_the_others_with_a_sentence(strategy: str, table: str, tmp_path: Path):
    options = SMALL | {"devices": 2, "strategy": strategy, "out": str(tmp_path / "run")}
    status, errors = start(tmp_path, [{"data": table, **options}], torchrun=False, dies=True)
    assert status == 1
    assert errors.count("InputError: another process of this program has ended") == 1


def test_every_strategy_ends_where_one_process_ends_and_goes_on_in_any_other(table: str, tmp_path: Path):
    options = SMALL | {"posterior": "delta", "epochs": 4, "training.clip_norm": 2.0, "training.ema": 0.9, "training.patience": 9}
    longer = {"epochs": 6, "accelerator": "cpu"}
    strategies = ("auto", "fsdp", "ddp")
    runs = [
        {"data": table, "devices": 2, "strategy": strategy, "out": str(tmp_path / strategy), **options} for strategy in strategies
    ]
    status, errors = start(tmp_path, runs, torchrun=False)
    assert status == 0, errors
    one = fit(table, out=tmp_path / "one", quiet=True, **options)
    checkpoint = read_checkpoint(one.folder.checkpoint)[1]  # pyright: ignore[reportOptionalMemberAccess]
    for strategy in strategies:
        progress, groups = read_checkpoint(tmp_path / strategy / "checkpoints" / "last.safetensors")
        assert progress.step == 24
        for group, members in checkpoint.items():
            assert members.keys() == groups[group].keys()
            for name, value in members.items():
                torch.testing.assert_close(groups[group][name], value, rtol=1e-4, atol=1e-5)

    fit(resume=tmp_path / "one", quiet=True, **longer)
    wanted = read_tensors(tmp_path / "one" / "model.safetensors")[0]
    fit(resume=tmp_path / "fsdp", quiet=True, devices=1, strategy="auto", **longer)
    status, errors = start(
        tmp_path,
        [
            {"resume": str(tmp_path / "ddp"), "devices": 2, "strategy": "fsdp", **longer},
            {"resume": str(tmp_path / "auto"), "devices": 2, "strategy": "auto", **longer},
        ],
        torchrun=False,
    )
    assert status == 0, errors
    for strategy in strategies:
        for name, value in read_tensors(tmp_path / strategy / "model.safetensors")[0].items():
            torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-5)


@pytest.mark.parametrize("strategy", ["auto", "fsdp"])
def test_a_stopped_run_of_two_processes_goes_on_to_the_same_bits(strategy: str, table: str, tmp_path: Path):
    options = SMALL | {"devices": 2, "strategy": strategy, "training.clip_norm": 2.0, "training.ema": 0.9}
    whole, part = str(tmp_path / "whole"), str(tmp_path / "part")
    runs = [
        {"data": table, "out": whole, **options, "epochs": 5},
        {"data": table, "out": part, **options, "epochs": 2},
        {"resume": part, "epochs": 5},
    ]
    status, errors = start(tmp_path, runs, torchrun=False)
    assert status == 0, errors
    assert (Path(whole) / "model.safetensors").read_bytes() == (Path(part) / "model.safetensors").read_bytes()
    assert (Path(whole) / "metrics.json").read_bytes() == (Path(part) / "metrics.json").read_bytes()


def test_the_evidence_does_not_depend_on_the_number_of_processes(table: str, tmp_path: Path):
    options = SMALL | {"likelihood.scale": "optimal", "epochs": 2}
    run_of_one = fit(table, out=tmp_path / "run", quiet=True, **options)
    wanted = [run_of_one.evidence(split=split, samples=n) for split, n in (("train", 40000), ("test", 50), ("valid", 1))]
    metrics = (tmp_path / "run" / "metrics.json").read_bytes()
    status, errors = run(tmp_path, EVALUATION, str(tmp_path / "run"), torchrun=False)
    assert status == 0, errors
    for rank in (0, 1):
        for evidence, found in zip(wanted, torch.load(f"{tmp_path / 'run'}-{rank}.pt"), strict=True):
            for name, value in vars(evidence).items():
                if name == "seconds":
                    continue
                same = torch.equal(value.nan_to_num(-1), found[name].nan_to_num(-1)) if isinstance(value, torch.Tensor) else False
                assert same or value == found[name], name
    assert (tmp_path / "run" / "metrics.json").read_bytes() == metrics


def test_from_the_command_line_the_first_process_alone_writes_and_prints(tmp_path: Path):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def command(*words: str, torchrun: bool) -> str:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if torchrun else []
        line = [sys.executable, *launcher, "-m", "amortized", *words, "--accelerator", "cpu"]
        done = subprocess.run(line, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    small = ("--latent-dim", "2", "--epochs", "1", "--no-report", "--out")
    shown = command("fit", "digits", *small, "a", "--devices", "2", torchrun=False)
    assert shown.count("Training on 2 processes") == shown.count("The run is in a") == 1
    shown = command("fit", "digits", *small, "b", "--strategy", "fsdp", torchrun=True)  # which knows how many it has started
    assert shown.count("Training on 2 processes") == 1
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (tmp_path / "b" / "model.safetensors").read_bytes()
    words = ("evaluate", "a", "--samples", "20", "--only", "evidence,surgery")
    of_two = command(*words, "--devices", "2", torchrun=False)
    shutil.rmtree(tmp_path / "a" / "evaluation")  # what the second would only read
    assert numbers(of_two) == numbers(command(*words, torchrun=False))
    assert of_two.count("test split") == 1


def numbers(text: str) -> str:
    """What an evaluation printed, without how long it took."""
    return re.sub(r"\d+\.\d s\b", "", text)


def test_cores_are_shared_and_given_back(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(processes, "world", lambda: 2)
    monkeypatch.setattr(processes, "_cores", lambda: 8)
    for before, share in ((8, 4), (3, 3)):  # fewer than the share is what somebody chose
        torch.set_num_threads(before)
        with processes.working_together():
            assert torch.get_num_threads() == share
        assert torch.get_num_threads() == before
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    with processes.working_together():
        assert torch.get_num_threads() == 3


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


@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_a_single_process_computes_where_fabric_would(accelerator):
    assert pick_device(accelerator) == prepare(Settings(accelerator=accelerator)).device


def test_a_device_that_is_not_there_is_named():
    missing = "cuda" if torch.backends.mps.is_available() else "mps"
    with pytest.raises(InputError, match=f"no device of kind '{missing}'"):
        pick_device(missing)

# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
"""The loop with an objective that has a network of its own: one step for both, neither of which moves the other."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import amortized as am
from amortized import InputError, fit, train
from amortized.data import Batches, Split
from amortized.objectives import FactorVAE, InfoMaxVAE, Objective
from amortized.objectives.auxiliary import Auxiliary
from amortized.recipes import load_data, make_recipe, plan
from amortized.seeds import derive_seed
from amortized.terms import Batch, Terms
from amortized.training import Settings, loop
from amortized.training import train as run_loop
from amortized.training.checkpoints import read_checkpoint, read_tensors
from amortized.training.progress import Silent

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "model.network.hidden": [8],
    "batch_size": 8,
    "epochs": 3,
    "likelihood": "gaussian",
    "accelerator": "cpu",
    "quiet": True,
}
FACTOR: dict[str, Any] = {"kind": "factor", "hidden": [8], "lr": 0.01}
INFOMAX: dict[str, Any] = {"kind": "infomax", "hidden": [8], "lr": 0.01}


def model_of(seed: int = 0) -> am.VAE:
    """A model without noise, so that a step can be followed by hand."""
    torch.manual_seed(seed)
    return am.VAE(
        am.priors.StandardNormal(2),
        am.posteriors.Delta(am.networks.MLP((4, 3), [8]), event=2),
        am.likelihoods.Gaussian(am.networks.MLP(2, [8]), event=(4, 3), scale=1.0),
    )


def batches() -> Batches:
    x = torch.randn(48, 4, 3, generator=torch.Generator().manual_seed(0))
    return Batches(Split(x, torch.arange(len(x))), batch_size=8, seed=0)


def auxiliary_of(kind: str) -> Auxiliary:
    torch.manual_seed(1)
    return FactorVAE(2, [8], lr=0.02) if kind == "factor" else InfoMaxVAE(2, 12, [8], lr=0.02)


def weights(module: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


@pytest.mark.parametrize("kind", ["factor", "infomax"])
def test_a_step_is_that_of_two_optimizers_the_models_clipped_decayed_and_scheduled_alone(kind: str):
    model, plain = model_of(), model_of()
    auxiliary, own = auxiliary_of(kind), auxiliary_of(kind)
    settings = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.3, "clip_norm": 0.5, "schedule": "cosine", "steps": 4}
    trained = Objective(auxiliary)
    run_loop(model, trained, batches(), None, Settings(accelerator="cpu", batch_size=8, **settings), reporter=Silent())

    first = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.3)
    second = torch.optim.Adam(own.parameters(), lr=own.lr, betas=own.betas)
    for step, fields in zip(range(4), batches().epoch(0), strict=False):
        first.param_groups[0]["lr"] = 0.005 * (1 + torch.cos(torch.tensor(torch.pi * step / 4)).item())
        torch.manual_seed(derive_seed(0, "noise", step, 0))
        t = plain.terms(Batch(**fields))
        value, loss = own(t).mean(), own.loss(t).mean()
        for optimizer, target in ((first, -value), (second, loss)):
            optimizer.zero_grad()
            target.backward(inputs=[weight for group in optimizer.param_groups for weight in group["params"]], retain_graph=True)
        assert torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.5) > 0.5
        first.step()
        second.step()
    torch.testing.assert_close(weights(model), weights(plain), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(weights(auxiliary), weights(own), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (FACTOR | {"gamma": 0.0}, {"training.patience": 2, "training.ema": 0.9, "lr": 0.05, "epochs": 8}),
        (INFOMAX | {"alpha": 0.0}, {"training.clip_norm": 1.0, "training.optimizer": "adamax"}),
    ],
    ids=["factor", "infomax"],
)
def test_a_network_that_counts_for_nothing_leaves_the_bits_of_the_bound(
    objective: dict[str, Any], options: dict[str, Any], table: str
):
    run, plain = fit(table, objective=objective, **SMALL | options), fit(table, objective="elbo", **SMALL | options)
    assert torch.equal(weights(run.model), weights(plain.model))
    assert run.outcome is not None
    assert plain.outcome is not None
    assert run.outcome.stopped == plain.outcome.stopped
    for row, other in zip(run.history, plain.history, strict=True):
        assert row["train_objective_nats"] == row["train_elbo_nats"] == other["train_elbo_nats"]
    assert [row["valid_elbo_nats"] for row in run.history][:1] == [row["valid_elbo_nats"] for row in plain.history][:1]


class Killed(BaseException):
    """Stands for the end of the process: nothing in the library handles it."""


def outcome(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor], str, list[dict[str, str]]]:
    checkpoint = read_checkpoint(path / "checkpoints" / "last.safetensors")[1]
    with (path / "history.csv").open(newline="") as file:
        rows = [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]
    return read_tensors(path / "model.safetensors")[0], checkpoint["auxiliary"], (path / "metrics.json").read_text(), rows


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (FACTOR, {"training.patience": 3, "training.ema": 0.9, "lr": 0.05, "epochs": 6}),
        (INFOMAX, {"training.optimizer": "adamw", "training.weight_decay": 0.1, "model.network.dropout": 0.2}),
    ],
    ids=["factor", "infomax"],
)
def test_a_run_killed_and_resumed_ends_in_the_same_bits(
    objective: dict[str, Any], options: dict[str, Any], table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    options = SMALL | options | {"objective": objective, "training.checkpoint_seconds": 0}
    whole = fit(table, out=tmp_path / "whole", **options)
    assert whole.outcome is not None
    wanted = outcome(tmp_path / "whole")
    for step in (1, 9, whole.outcome.steps):
        out = tmp_path / f"killed-{step}"
        write = loop.write_checkpoint

        def then_die(path, progress, *rest, step=step, write=write):
            write(path, progress, *rest)
            if progress.step == step:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(loop, "write_checkpoint", then_die)
            with pytest.raises(Killed):
                fit(table, out=out, **options)
        fit(resume=out, quiet=True)
        found = outcome(out)
        for mine, theirs in zip(found[:2], wanted[:2], strict=True):
            assert mine.keys() == theirs.keys()
            assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
        assert found[2:] == wanted[2:]


def test_the_run_folder_holds_the_model_alone_and_its_checkpoint_the_network_too(table: str, tmp_path: Path):
    run = fit(table, objective=FACTOR, out=tmp_path / "run", **SMALL)
    tensors, auxiliary, metrics, rows = outcome(tmp_path / "run")
    fit(table, out=tmp_path / "plain", **SMALL)
    assert tensors.keys() == read_tensors(tmp_path / "plain" / "model.safetensors")[0].keys()
    assert {name.split(".")[0] for name in auxiliary} == {"discriminator"}
    assert "elbo_nats" in json.loads(metrics)["test"]
    assert all(row["valid_objective_nats"] != row["valid_elbo_nats"] for row in rows)
    assert torch.equal(weights(am.load_run(tmp_path / "run").model), weights(run.model))


def network(table: str, seed: int = 0, **options: Any) -> tuple[Auxiliary, Any]:
    recipe = make_recipe([], {key: value for key, value in (SMALL | options).items() if key != "quiet"} | {"seed": seed})
    made = plan(recipe, load_data(recipe, table))
    assert made.objective.auxiliary is not None
    return made.objective.auxiliary, made.model


def test_the_networks_first_weights_are_a_function_of_the_seed_alone(table: str):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, model = network(table, objective=FACTOR)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    second, _ = network(table, objective=FACTOR, **{"model.network.hidden": [5, 5]})
    assert torch.equal(weights(first), weights(second))
    other, _ = network(table, seed=1, objective=FACTOR)
    assert not torch.equal(weights(first), weights(other))
    _, same = network(table, objective=INFOMAX)
    assert torch.equal(weights(model), weights(same))


@pytest.mark.parametrize("precision", ["bf16", "64"])
@pytest.mark.parametrize("objective", [FACTOR, INFOMAX], ids=["factor", "infomax"])
def test_other_precisions(objective: dict[str, Any], precision: str, table: str, tmp_path: Path):
    run = fit(table, objective=objective, precision=precision, out=tmp_path / "run", **SMALL)
    auxiliary = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.safetensors")[1]["auxiliary"]
    wanted = torch.float64 if precision == "64" else torch.float32
    assert {value.dtype for value in auxiliary.values()} == {wanted}
    plain = fit(table, objective=objective, **SMALL)
    gap = run.history[-1]["valid_objective_nats"] - plain.history[-1]["valid_objective_nats"]
    assert abs(gap) < 0.05 * abs(plain.history[-1]["valid_objective_nats"])


class Silenced(nn.Module):
    """A model of one's own, which tells nothing of its latents."""

    needs_calibration = False

    def __init__(self):
        super().__init__()
        self.model = model_of()
        self.event_shape, self.offers = self.model.event_shape, self.model.offers

    def terms(self, *arguments: Any, **options: Any) -> Terms:
        return self.model.terms(*arguments, **options)


@pytest.mark.parametrize(("kind", "attribute"), [("factor", "latent_size"), ("infomax", "seen_shape")])
def test_a_model_that_does_not_tell_the_size_of_its_latents_is_refused_with_the_way_out(kind: str, attribute: str, table: str):
    options = {"steps": 2, "batch_size": 8, "quiet": True, "accelerator": "cpu"}
    with pytest.raises(InputError, match=f"'{kind}' has a network of its own, whose input this model does not tell.*{attribute}"):
        train(Silenced(), table, objective=kind, **options)
    told = Silenced()
    told.latent_size, told.seen_shape = 2, (4, 3)  # pyright: ignore[reportAttributeAccessIssue]
    recipe = make_recipe([{"model": None}], {"objective": FACTOR if kind == "factor" else INFOMAX, "batch_size": 8})
    assert plan(recipe, load_data(recipe, table), model=told).objective.auxiliary is not None


SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
import amortized
from amortized import recipes
from amortized.objectives import factor

OUT, planning = sys.argv[1], sys.modules["amortized.recipes.plan"]
permute, new_model = factor.permuted, planning._new_model

def watched(z):
    # Which rows the permutation draws from is noted, and another one without noise is returned, of every row by itself.
    with open(f"{OUT}/seen-{torch.distributed.get_rank()}", "a") as file:
        other = permute(z)
        foreign = ~torch.isin(other, z)
        print(float(foreign.float().mean()), file=file)
    return z.flip(-1)

def with_unused(recipe, *arguments):
    model = new_model(recipe, *arguments)
    if "unused" in recipe.training.strategy:
        model.unused = torch.nn.Parameter(torch.zeros(3))
    return model

factor.permuted, planning._new_model = watched, with_unused
if __name__ == "__main__":
    for options in json.loads(sys.argv[2]):
        amortized.fit(quiet=True, **options)
"""


def test_two_processes_end_where_one_ends(table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    still = SMALL | {"posterior": "delta", "objective": FACTOR, "epochs": 5, "lr": 0.01}
    del still["quiet"]
    unused = {"training.strategy": "ddp_find_unused_parameters_true"}
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    runs = [
        {"data": table, "devices": 2, "out": str(tmp_path / name), **options}
        for name, options in (("still", still), ("unused", still | unused))
    ]
    environment = {name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")}
    result = subprocess.run(
        [sys.executable, str(script), str(tmp_path), json.dumps(runs)],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr

    monkeypatch.setattr("amortized.objectives.factor.permuted", lambda z: z.flip(-1))
    fit(table, out=tmp_path / "one", quiet=True, **still)
    one = outcome(tmp_path / "one")
    for run in ("still", "unused"):
        for mine, theirs in zip(outcome(tmp_path / run)[:2], one[:2], strict=True):
            assert mine.keys() - {"unused"} == theirs.keys()
            for name, value in theirs.items():
                torch.testing.assert_close(mine[name], value, rtol=0, atol=1e-5)
    for rank in (0, 1):
        foreign = torch.tensor([float(line) for line in (tmp_path / f"seen-{rank}").read_text().split()])
        assert abs(foreign.mean() - 0.5) < 4 * 0.5 / (len(foreign) * 8) ** 0.5  # half of the entries are the other process's

# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
"""Fitting data that stay on the disk: to the same bits however it is interrupted, in flat memory, and used like any other."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from amortized import InputError, fit, fitting, load_run
from amortized.data import windows
from amortized.recipes import load_data, make_recipe, plan
from amortized.training import loop
from amortized.training.checkpoints import read_tensors

SMALL: dict[str, Any] = {
    "latent_dim": 2,
    "model.network.hidden": [8],
    "batch_size": 32,
    "epochs": 2,
    "binarize": "dynamic",
    "data.stream": "on",
    "data.window_mib": 1,
    "training.checkpoint_seconds": 0,
    "quiet": True,
}
SCRIPT = """
import json, sys, torch
torch.set_num_threads(1)
from amortized import fit
if __name__ == "__main__":
    fit(sys.argv[1], out=sys.argv[2], report=False, **json.loads(sys.argv[3]))
"""
RESIDENT = """
import re, sys, torch
torch.set_num_threads(1)
from amortized.data import load, mean_and_scale, to_batches
data = load(sys.argv[1], stream="on", window_mib=4)
mean_and_scale(data.train, "columns")
for training, split in ((True, data.train), (False, data.valid)):
    for batch in to_batches(split, batch_size=128, training=training).epoch(0):
        pass
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


@pytest.fixture
def images(tmp_path: Path) -> str:
    """3,000 images of 28 x 28 grey levels, 2.4 MB: two windows of 1 MiB for training."""
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(3000, 2)) @ rng.normal(size=(2, 784))
    path = tmp_path / "images.npy"
    np.save(path, np.rint(255.0 / (1.0 + np.exp(-factors))).astype(np.uint8).reshape(-1, 28, 28))
    return str(path)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_tensors(path / "model.safetensors")[0]


def assert_same(path: Path, other: Path) -> None:
    ours, theirs = weights(path), weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert (path / "metrics.json").read_text() == (other / "metrics.json").read_text()


def less_memory(monkeypatch: pytest.MonkeyPatch, free: float) -> None:
    for module in ("shards", "ondisk"):
        monkeypatch.setattr(f"amortized.data.{module}.free_memory", lambda: free)


def first_says(*place: Any):
    """What the first process of several has chosen, in a fabric's `broadcast`."""
    return lambda own: own if isinstance(own, str) else place


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_run_killed_and_resumed_ends_in_the_same_bits(images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = fit(images, out=tmp_path / "whole", **SMALL)
    assert whole.recipe.data.stream == "on"
    assert whole.outcome is not None
    assert whole.outcome.steps == 2 * (len(whole.source.train) // 32)
    write = loop.write_checkpoint
    for step in (20, whole.outcome.steps // 2, 100):

        def then_die(path, progress, *rest, step=step):
            write(path, progress, *rest)
            if progress.step == step:
                raise Killed

        out = tmp_path / f"killed-{step}"
        with monkeypatch.context() as patch:
            patch.setattr(loop, "write_checkpoint", then_die)
            with pytest.raises(Killed):
                fit(images, out=out, **SMALL)
        fit(resume=out, quiet=True)
        assert_same(tmp_path / "whole", out)


def test_reading_ahead_does_not_change_what_is_learned(images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fit(images, out=tmp_path / "ahead", **SMALL)
    monkeypatch.setattr(windows, "ahead", lambda items: (item for item in items))
    fit(images, out=tmp_path / "plain", **SMALL)
    assert_same(tmp_path / "ahead", tmp_path / "plain")


def test_where_the_data_are_is_kept_with_the_run(images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fit(images, out=tmp_path / "first", **SMALL | {"data.window_mib": None})
    fit(images, out=tmp_path / "held", **SMALL | {"data.stream": "auto", "data.window_mib": None, "steps": 40})
    assert load_run(tmp_path / "held").recipe.data.stream == "off"
    # With less memory, both go on as they began.
    less_memory(monkeypatch, 5e6)
    assert load_run(tmp_path / "first").recipe.data.window_mib == 3
    fit(config=tmp_path / "first" / "config.yaml", out=tmp_path / "second", quiet=True)
    assert_same(tmp_path / "first", tmp_path / "second")
    assert fit(resume=tmp_path / "held", steps=45, quiet=True).outcome.steps == 45  # pyright: ignore[reportOptionalMemberAccess]


def test_processes_that_chose_differently_follow_the_first(images: str):
    options = {name: value for name, value in SMALL.items() if name != "quiet"} | {"data.source": images}
    own = make_recipe([], options | {"data.window_mib": 2})
    whole = load_data(own)
    made = plan(own, whole)
    fabric: Any = SimpleNamespace(broadcast=first_says("on", 1), device=torch.device("cpu"))
    agreed, other = fitting._agreed(fabric, made, whole, None, None, None)
    assert agreed.recipe.data.window_mib == other.window_mib == 1
    assert agreed.train.split.window < made.train.split.window  # pyright: ignore[reportAttributeAccessIssue]
    fabric.broadcast = lambda choice: choice
    assert fitting._agreed(fabric, made, whole, None, None, None) == (made, whole)
    fabric.broadcast = lambda choice: "another" if isinstance(choice, str) else choice
    with pytest.raises(InputError, match="'images' differ between the processes"):
        fitting._agreed(fabric, made, whole, None, None, None)


def test_a_memory_map_that_the_first_process_holds_in_memory_is_held_by_all(images: str, monkeypatch: pytest.MonkeyPatch):
    mapped = np.load(images, mmap_mode="r")
    own = make_recipe([], {"data.stream": "on", "binarize": "dynamic"})
    whole, held = load_data(own, mapped), load_data(make_recipe([], {}), mapped)
    first = plan(make_recipe([], {"binarize": "dynamic"}), held).recipe.data
    assert (first.stream, first.window_mib) == ("off", None)
    less_memory(monkeypatch, 5e6)
    fabric: Any = SimpleNamespace(broadcast=first_says(first.stream, first.window_mib), device=torch.device("cpu"))
    agreed, other = fitting._agreed(fabric, plan(own, whole), whole, mapped, None, None)
    assert other.window_mib is None
    assert other.fingerprint == held.fingerprint
    assert torch.equal(agreed.train.split.index, held.train.index)  # pyright: ignore[reportAttributeAccessIssue]


def test_a_memory_map_held_in_memory_is_so_when_the_run_goes_on(images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    mapped = np.load(images, mmap_mode="r")
    options = SMALL | {"data.stream": "auto", "data.window_mib": None}
    fit(mapped, out=tmp_path / "run", **options | {"steps": 20})
    less_memory(monkeypatch, 5e6)
    assert fit(mapped, resume=tmp_path / "run", steps=25, quiet=True).source.window_mib is None


def test_less_memory_than_a_run_was_fitted_in_is_no_matter_of_settings(
    images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    fit(images, out=tmp_path / "run", **SMALL | {"data.stream": "auto", "data.window_mib": None, "steps": 20})
    less_memory(monkeypatch, 2e6)
    needs = r"images.npy' takes 2.4 MB of memory, and 2.0 MB are free"
    with pytest.raises(InputError, match=f"{needs}, but a run that began holds its data as it did; go on where more is free"):
        load_run(tmp_path / "run").evidence(samples=2)
    with pytest.raises(InputError, match=f"{needs}, but a run that began holds its data as it did"):
        fit(resume=tmp_path / "run", steps=25, quiet=True)
    with pytest.raises(InputError, match=f"data.stream is 'off', but .*{needs}; set data.stream to 'auto'"):
        fit(config=tmp_path / "run" / "config.yaml", quiet=True)


def test_data_that_changed_are_refused(images: str, tmp_path: Path):
    fit(images, out=tmp_path / "run", **SMALL)
    x = np.load(images)
    x[-1] = 255 - x[-1]
    np.save(images, x)
    with pytest.raises(InputError, match="changed since this run began"):
        fit(resume=tmp_path / "run", quiet=True)
    with pytest.raises(InputError, match="changed since this run was fitted"):
        load_run(tmp_path / "run").evidence(samples=2)


def test_a_value_that_changed_anywhere_is_noticed_when_a_run_goes_on(tmp_path: Path):
    x = np.random.default_rng(0).random((40_000, 30)).astype(np.float32)  # 4.8 MB: the samples of a fingerprint leave gaps
    np.save(tmp_path / "x.npy", x)
    fit(str(tmp_path / "x.npy"), out=tmp_path / "run", **SMALL | {"binarize": None, "epochs": 1, "steps": 5})
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r+")
    mapped[850, 3] += 0.5
    mapped.flush()
    load_run(tmp_path / "run").evidence(samples=2)  # reads its own split only
    with pytest.raises(InputError, match="changed since this run began"):
        fit(resume=tmp_path / "run", steps=6, quiet=True)


def test_a_run_does_with_data_on_the_disk_what_it_does_with_others(images: str, tmp_path: Path):
    run = fit(images, out=tmp_path / "run", **SMALL)
    loaded = load_run(tmp_path / "run")
    count = len(run.source.test)
    ours, held = loaded.evidence(samples=20), run.evidence(samples=20)
    assert ours.metrics["elbo_nats"].value == held.metrics["elbo_nats"].value
    assert loaded.encode().shape == (count, 2)
    assert loaded.reconstruct(split="valid").shape[1:] == (28, 28)
    assert loaded.interpolate(n=3, steps=4).shape == (3, 4, 28, 28)
    assert loaded.impute(n=4, hide="left", samples=10).x.shape == (4, 28, 28)
    whole = loaded.rows(split="all", n=5)
    assert whole.index is not None
    assert whole.index.tolist() == [0, 1, 2, 3, 4]


def test_a_value_that_the_likelihood_cannot_score_is_named_with_its_row(images: str):
    x = np.load(images)
    x[2987, 5, 6] = 9
    x[x > 9] = 1
    np.save(images, x)
    with pytest.raises(InputError, match=r"'bernoulli' needs values in \{0, 1\}; array 'x' has \d at index \((\d+), "):
        fit(images, likelihood="bernoulli", **SMALL | {"binarize": None})


def test_a_mean_and_a_condition_come_from_all_rows(tmp_path: Path):
    x = np.random.default_rng(0).normal(loc=np.arange(2000)[:, None] / 100, size=(2000, 3)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    options = SMALL | {"binarize": None, "epochs": 1, "data.splits": [1.0, 0.0, 0.0], "context": ["age"]}
    del options["training.checkpoint_seconds"]
    source = {"x": mapped, "age": np.arange(2000.0)}
    streamed, held = (fit(source, **options | {"data.stream": stream, "data.window_mib": None}) for stream in ("on", "off"))
    ours, theirs = streamed.spec.conditions["age"], held.spec.conditions["age"]
    assert (ours.loc, ours.scale) == (theirs.loc, theirs.scale)
    assert streamed.source.window_mib == 1
    assert held.source.window_mib is None


def test_a_file_that_is_removed_while_it_trains_ends_the_run_in_one_sentence(
    images: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write = loop.write_checkpoint

    def then_remove(path, progress, *rest):
        write(path, progress, *rest)
        if progress.step == 10:
            Path(images).unlink()

    monkeypatch.setattr(loop, "write_checkpoint", then_remove)
    with pytest.raises(InputError, match=r"images.npy' can no longer be read \(no such file or directory\)"):
        fit(images, out=tmp_path / "run", **SMALL)
    assert (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()


def test_two_processes_end_where_one_ends(images: str, tmp_path: Path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    options = SMALL | {"posterior": "delta", "binarize": "threshold", "epochs": 1}
    fit(images, out=tmp_path / "one", **options)
    subprocess.run(
        [sys.executable, str(script), images, str(tmp_path / "two"), json.dumps(options | {"devices": 2, "accelerator": "cpu"})],
        env={name: value for name, value in os.environ.items() if name not in ("LOCAL_RANK", "WORLD_SIZE")},
        check=True,
        timeout=90,
    )
    for name, value in weights(tmp_path / "two").items():
        torch.testing.assert_close(value, weights(tmp_path / "one")[name], rtol=0, atol=1e-5)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell how much is resident")
def test_resident_memory_is_flat_as_the_data_grow(tmp_path: Path):
    peaks = []
    for rows in (60_000, 240_000):
        shape = (rows, 784)  # 47 MB and 188 MB, in windows of 4 MiB
        x = np.lib.format.open_memmap(tmp_path / f"{rows}.npy", mode="w+", dtype=np.uint8, shape=shape)
        x[:, :2] = 1
        x.flush()
        found = subprocess.run(
            [sys.executable, "-c", RESIDENT, str(tmp_path / f"{rows}.npy")],
            capture_output=True,
            text=True,
            check=True,
            timeout=90,
        )
        peaks.append(int(found.stdout) * 1024)
    assert peaks[1] - peaks[0] < 36 * 2**20  # a quarter of what is more on the disk; what malloc keeps differs from run to run

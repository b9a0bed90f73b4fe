"""What a user can get wrong: one clear sentence, exit status 2, nothing lost and nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from amortized.cli import main

SMALL = ["--epochs", "1", "--latent-dim", "2", "--model.network.hidden", "[8]", "--quiet"]
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    path = tmp_path_factory.mktemp("fitted") / "run"
    assert main(["fit", "digits", *SMALL, "--out", str(path)]) == 0
    return path


def npz(folder: Path, **arrays) -> str:
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz")


def truncated(folder: Path) -> str:
    path = Path(npz(folder, x=RNG.random((50, 4))))
    path.write_bytes(path.read_bytes()[:300])
    return str(path)


def images(folder: Path, *shapes: tuple[int, int], text: bool = False) -> str:
    folder = folder / "pictures"
    folder.mkdir()
    for number, shape in enumerate(shapes):
        Image.fromarray(RNG.integers(0, 255, shape, dtype=np.uint8)).save(folder / f"{number}.png")
    if text:
        (folder / "notes.txt").write_text("not a picture")
    return str(folder)


def with_value(value: float) -> np.ndarray:
    x = RNG.random((50, 4))
    x[3, 2] = value
    return x


def without_column() -> np.ndarray:
    x = RNG.random((50, 4))
    x[:, 2] = np.nan
    return x


FITS = {
    "missing file": (lambda folder: ["nowhere.npz"], ["nowhere.npz", "does not exist"]),
    "missing name": (lambda folder: ["digitz"], ["digitz", "digits"]),
    "truncated npz": (lambda folder: [truncated(folder)], ["data.npz"]),
    "object array": (lambda folder: [npz(folder, x=np.array([[1, "a"], [None, 2]], dtype=object))], ["x", "object"]),
    "a column that is never observed": (
        lambda folder: [npz(folder, x=without_column())],
        ["column '2'", "every row", "leave it out"],
    ),
    "nothing observed": (lambda folder: [npz(folder, x=np.full((50, 4), np.nan))], ["every entry", "missing"]),
    "holes in what is not independent": (
        lambda folder: [npz(folder, x=with_value(np.nan).round()), "--likelihood", "multinomial"],
        ["'multinomial'", "missing", "independent"],
    ),
    "infinity": (lambda folder: [npz(folder, x=with_value(np.inf))], ["'x'", "row 3, column 2"]),
    "empty array": (lambda folder: [npz(folder, x=np.empty((0, 4)))], ["'x'", "empty"]),
    "one row": (lambda folder: [npz(folder, x=np.ones((1, 4)))], ["'x'", "1 row"]),
    "wrong rank": (lambda folder: [npz(folder, x=np.ones(50))], ["'x'", "(50,)"]),
    "labels of another length": (lambda folder: [npz(folder, x=RNG.random((50, 4)), y=np.zeros(49, int))], ["'y'", "49", "50"]),
    "no array named x": (lambda folder: [npz(folder, pixels=RNG.random((50, 4)))], ["'x'", "'pixels'"]),
    "outside the support": (
        lambda folder: [npz(folder, x=RNG.integers(0, 9, (50, 4)) + 0.5), "--likelihood", "bernoulli"],
        ["'bernoulli'", "row 0, column 0", "'gaussian'"],
    ),
    "negative counts": (lambda folder: [npz(folder, x=-np.ones((50, 4))), "--likelihood", "poisson"], ["'poisson'", "-1"]),
    "images of mixed sizes": (lambda folder: [images(folder, (8, 8), (8, 8), (9, 8))], ["2.png"]),
    "a text file among images": (lambda folder: [images(folder, (8, 8), (8, 8), text=True)], ["notes.txt"]),
    "unknown prior": (lambda folder: ["digits", "--prior", "nromal"], ["'nromal'", "'normal'"]),
    "unknown dotted option": (lambda folder: ["digits", "--training.batchsize", "3"], ["batchsize", "batch_size"]),
    "unknown flag": (lambda folder: ["digits", "--epoch", "3"], ["--epoch", "--epochs"]),
    "unknown recipe": (lambda folder: ["digits", "--recipe", "burda"], ["'burda'", "'burda-vae'"]),
    "unknown context": (lambda folder: ["digits", "--context", "labbel"], ["labbel", "label"]),
    "negative width": (lambda folder: ["digits", "--model.network.hidden", "[300, -3]"], ["hidden", "-3"]),
    "no width at all": (lambda folder: ["digits", "--latent-dim", "0"], ["latent_dim", "0"]),
    "not a number": (lambda folder: ["digits", "--lr", "fast"], ["training.lr", "'fast'"]),
    "convolutions on a table": (lambda folder: [npz(folder, x=RNG.random((50, 4))), "--network", "conv"], ["'conv'", "(4,)"]),
    "IWAE of a point mass": (
        lambda folder: ["digits", "--posterior", "delta", "--objective", "iwae"],
        ["'iwae'", "density"],
    ),
    "a prior that takes no condition": (
        lambda folder: ["digits", "--context", "label", "--model.condition", "[prior, likelihood]"],
        ["'normal'", "'gaussian'"],
    ),
    "missing configuration": (lambda folder: ["digits", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
}


def sentence(capsys) -> str:
    """The one line on standard error."""
    err = capsys.readouterr().err
    assert err.startswith("amortized: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert "pydantic" not in err.lower()
    return err


@pytest.mark.parametrize("case", FITS)
def test_a_fit_on_bad_input_says_what_is_wrong_and_writes_nothing(case, tmp_path, capsys):
    words, expected = FITS[case]
    out = tmp_path / "run"
    assert main(["fit", *words(tmp_path), "--out", str(out)]) == 2
    err = sentence(capsys)
    for part in expected:
        assert part in err
    assert not out.exists()


def without_weights(run: Path) -> None:
    (run / "model.safetensors").unlink()


def with_other_weights(run: Path) -> None:
    tensors = load_file(run / "model.safetensors")
    name = max(tensors, key=lambda name: tensors[name].size)
    tensors[name] = tensors[name][:-1]
    save_file(tensors, run / "model.safetensors")


def with_half_the_weights(run: Path) -> None:
    content = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(content[: len(content) // 2])


def by_a_newer_version(run: Path) -> None:
    record = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(record | {"format": 99, "version": "9.0"}))


def without_description(run: Path) -> None:
    (run / "config.json").unlink()


def with_damaged_description(run: Path) -> None:
    (run / "config.json").write_text("{")


RUNS = {
    "no weights": (without_weights, ["model.safetensors", "--resume"]),
    "weights of another shape": (with_other_weights, ["model.safetensors", "shape"]),
    "half the weights": (with_half_the_weights, ["model.safetensors"]),
    "a newer version": (by_a_newer_version, ["99", "9.0", "upgrade"]),
    "no description": (without_description, ["config.json"]),
    "a damaged description": (with_damaged_description, ["config.json"]),
    "no folder": (shutil.rmtree, ["run"]),
}


@pytest.mark.parametrize("command", ["evaluate", "sample"])
@pytest.mark.parametrize("case", RUNS)
def test_a_damaged_run_is_named_and_left_as_it_is(case, command, fitted, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(fitted, run)
    damage, expected = RUNS[case]
    damage(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main([command, str(run)]) == 2
    err = sentence(capsys)
    for part in expected:
        assert part in err
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_an_existing_run_is_neither_overwritten_nor_touched(fitted, capsys):
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in fitted.rglob("*") if path.is_file()}
    assert main(["fit", "digits", *SMALL, "--out", str(fitted)]) == 2
    assert "already holds a run" in sentence(capsys)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in fitted.rglob("*") if path.is_file()} == before


def test_data_of_another_shape_are_refused_by_a_fitted_run(fitted, tmp_path, capsys):
    assert main(["evaluate", str(fitted), npz(tmp_path, x=RNG.integers(0, 17, (50, 4)))]) == 2
    assert "(4,)" in sentence(capsys)


def test_data_outside_the_support_are_refused_by_a_fitted_run(fitted, tmp_path, capsys):
    assert main(["evaluate", str(fitted), npz(tmp_path, x=np.full((50, 8, 8), 17))]) == 2
    assert "17" in sentence(capsys)


def test_an_out_below_a_file_cannot_be_written(tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    assert main(["fit", "digits", *SMALL, "--out", str(tmp_path / "file" / "run")]) == 2
    assert "file" in sentence(capsys)
    assert (tmp_path / "file").read_text() == "precious"


def test_an_out_that_is_a_file_is_kept(tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    assert main(["fit", "digits", *SMALL, "--out", str(tmp_path / "file")]) == 2
    assert "file" in sentence(capsys)
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_out_is_named(tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert main(["fit", "digits", *SMALL, "--out", str(tmp_path / "locked" / "run")]) == 2
    assert "locked" in sentence(capsys)


def test_a_full_disk_is_named_and_no_file_is_left_half_written(tmp_path):
    # a limit on the size of files stands in for a full disk: the weights do not fit, the descriptions do
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000));"
        "from amortized.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    words = ["fit", "digits", "--epochs", "1", "--no-report", "--quiet", "--out", str(tmp_path / "run")]
    result = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 2, result.stderr
    assert result.stderr.count("\n") == 1
    assert "cannot write" in result.stderr
    assert not [path for path in (tmp_path / "run").rglob("*") if path.name.startswith(".") or path.suffix == ".safetensors"]

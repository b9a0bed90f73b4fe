import csv
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from amortized.cli import main
from amortized.cli.results import progress
from tests.cli.conftest import SMALL


def started(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "amortized", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    x = np.random.default_rng(0).standard_normal((200, 3))
    np.savetxt(folder / "sizes.csv", x, delimiter=",", header="length,width,height", comments="")
    assert main(["fit", str(folder / "sizes.csv"), *SMALL, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_a_fit_says_where_the_run_is_and_what_comes_next(tmp_path, capsys):
    assert main(["fit", "digits", *SMALL, "--out", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    following = [line.strip() for line in lines if line.startswith("  amortized ")]
    assert any(str(tmp_path / "run") in line for line in lines)
    assert [line.split()[1] for line in following] == ["evaluate", "explore", "sample"]
    for line in following:
        if " explore " not in line:  # which serves a page until it is interrupted
            assert main(line.split()[1:]) == 0


def test_an_existing_run_is_not_overwritten(run, capsys):
    before = (run / "model.safetensors").read_bytes()
    assert main(["fit", "digits", *SMALL, "--out", str(run)]) == 2
    assert "already holds a run" in capsys.readouterr().err
    assert (run / "model.safetensors").read_bytes() == before


def test_an_evaluation_is_printed_with_its_error_and_kind(run, capsys):
    assert main(["evaluate", str(run), "--samples", "3", "--only", "evidence"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^elbo_nats +-\d+\.\d+ ± \d+\.\d+ +lower bound$", text, re.MULTILINE)
    assert "test split" in text
    assert "3 samples" in text


@pytest.mark.parametrize(
    ("words", "rows", "event"),
    [
        ("sample {run} -n 6", 6, (8, 8)),
        ("sample {run} -n 6 --mean --temperature 0.5 --seed 3", 6, (8, 8)),
        ("reconstruct {run} -n 6", 6, (8, 8)),
        ("interpolate {run} -n 2 --steps 3 --path spherical", 6, (8, 8)),
        ("traverse {run} -n 2 --dims 1 --steps 3 --start prior --split valid", 6, (8, 8)),
        ("encode {run} --split valid --sample", None, (2,)),
    ],
)
def test_each_command_writes_what_its_suffix_asks_for(run, tmp_path, capsys, words, rows, event):
    words = words.format(run=run).split()
    for suffix in ("npz", "npy", "csv"):
        assert main([*words, "--out", str(tmp_path / f"out.{suffix}")]) == 0
        assert f"out.{suffix}.\n" in capsys.readouterr().out
    array = np.load(tmp_path / "out.npy")
    assert array.shape[1:] == event
    assert rows is None or len(array) == rows
    with np.load(tmp_path / "out.npz") as archive:
        np.testing.assert_array_equal(next(iter(archive.values())), array)
    with open(tmp_path / "out.csv") as file:
        assert len(list(csv.reader(file))) == len(array) + 1


@pytest.mark.parametrize(
    ("command", "name", "shape"),
    [
        ("sample", "samples.png", (4, 4)),
        ("reconstruct", "reconstructions.png", (16, 2)),
        ("interpolate", "interpolation.png", (8, 8)),
        ("traverse", "traversal.png", (8, 2)),
    ],
)
def test_without_out_images_become_a_picture_in_the_run(run, command, name, shape):
    assert main([command, str(run)]) == 0
    columns, rows = shape
    with Image.open(run / name) as picture:
        factor = picture.width // (9 * columns - 1)
        assert picture.size == (factor * (9 * columns - 1), factor * (9 * rows - 1))


def test_originals_stand_above_their_reconstructions(run, tmp_path):
    main(["reconstruct", str(run), "-n", "3", "--out", str(tmp_path / "out.png")])
    main(["reconstruct", str(run), "-n", "3", "--out", str(tmp_path / "out.npz")])
    with Image.open(tmp_path / "out.png") as picture, np.load(tmp_path / "out.npz") as archive:
        factor = picture.width // (9 * 3 - 1)
        small = np.asarray(picture)[::factor, ::factor] / 255 * 16
        for column in range(3):
            left = 9 * column
            np.testing.assert_allclose(small[:8, left : left + 8], archive["x"][column], atol=16 / 255)
            np.testing.assert_allclose(small[9:, left : left + 8], archive["reconstruction"][column], atol=16 / 255)


def test_a_traversal_is_written_with_what_was_moved_and_says_what_it_carries(run, table, tmp_path, capsys):
    assert main(["traverse", str(run), "-n", "2", "--steps", "3", "--span", "2", "--out", str(tmp_path / "out.npz")]) == 0
    dimensions = [int(number) for number in re.findall(r"dimension (\d+) \(\d+\.\d\d nats of KL\)", capsys.readouterr().out)]
    assert sorted(dimensions) == [0, 1]
    with np.load(tmp_path / "out.npz") as archive:
        assert archive["x"].shape == (12, 8, 8)
        assert archive["datum"].tolist() == 6 * [0] + 6 * [1]
        assert archive["dimension"].tolist() == 2 * (3 * [dimensions[0]] + 3 * [dimensions[1]])
        np.testing.assert_allclose(archive["value"], 4 * [-2, 0, 2])
    assert main(["traverse", str(table), "--dims", "1", "--steps", "2", "--out", str(tmp_path / "out.csv")]) == 0
    with open(tmp_path / "out.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["length", "width", "height", "datum", "dimension", "value"]
    assert [float(row["value"]) for row in rows] == [-3, 3]


def test_a_seed_repeats_samples(run, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        main(["sample", str(run), "--seed", str(seed), "--out", str(tmp_path / f"{name}.npy")])
    a, b, c = (np.load(tmp_path / f"{name}.npy") for name in "abc")
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_a_model_with_a_condition_is_sampled_under_it(tmp_path):
    path = str(tmp_path / "run")
    assert main(["fit", "digits", *SMALL, "--context", "[label]", "--out", path]) == 0
    assert main(["sample", path, "-n", "2", "--context", "label=3", "--out", str(tmp_path / "out.npy")]) == 0
    assert np.load(tmp_path / "out.npy").shape == (2, 8, 8)


def test_a_table_keeps_the_names_of_its_columns_and_is_no_picture(table, tmp_path, capsys):
    assert main(["sample", str(table), "--out", str(tmp_path / "out.csv")]) == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == "length,width,height"
    assert main(["sample", str(table), "--out", str(tmp_path / "out.png")]) == 2
    assert "these are no images. Fits: .npz, .npy, .csv." in capsys.readouterr().err
    assert main(["sample", str(table)]) == 0
    assert (table / "samples.npz").exists()


def test_other_data_than_those_of_the_run_can_be_given(run, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 8, 8), np.uint8))
    assert main(["encode", str(run), str(tmp_path / "x.npy"), "--out", str(tmp_path / "z.npy")]) == 0
    assert np.load(tmp_path / "z.npy").shape == (5, 2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_training_and_the_answer_says_how_to_go_on(tmp_path, number):
    path = tmp_path / "run"
    words = ["fit", "digits", "--epochs", "100000", "--out", str(path)]
    with started(*words) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step "):
                break
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, "")
    assert f"amortized fit --resume {path}" in out


def test_a_reader_that_leaves_early_is_no_error():
    with started("fit", "--help") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""


def test_the_version_is_that_of_the_package():
    from importlib.metadata import version

    result = subprocess.run([sys.executable, "-m", "amortized", "--version"], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == version("amortized")


def test_a_command_computes_where_it_is_told_to(run, tmp_path, capsys):
    assert main(["encode", str(run), "--accelerator", "cpu", "--out", str(tmp_path / "z.npy")]) == 0
    assert main(["evaluate", str(run), "--samples", "2", "--accelerator", "tpu"]) == 2
    assert '"tpu"' in capsys.readouterr().err


def test_progress_is_for_terminals(run, capsys, monkeypatch):
    assert main(["evaluate", str(run), "--samples", "2", "--only", "evidence"]) == 0
    assert capsys.readouterr().out.startswith("Evidence")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress() as advance:
        assert advance is not None
        advance(3)


def test_columns_called_by_numbers_are_labels_and_conditions(tmp_path):
    rng = np.random.default_rng(0)
    table = np.column_stack([10 * (np.arange(40) % 2) + 20, rng.standard_normal((40, 2)), np.arange(40) % 2])
    np.savetxt(tmp_path / "bare.csv", table, delimiter=",")
    out = tmp_path / "run"
    assert main(["fit", str(tmp_path / "bare.csv"), *SMALL, "--labels", "3", "--context", "0", "--out", str(out)]) == 0
    for value, status in (("20", 0), ("30", 0), ("1", 2)):
        words = ["sample", str(out), "-n", "2", "--context", f"0={value}", "--out", str(tmp_path / "x.csv")]
        assert main(words) == status

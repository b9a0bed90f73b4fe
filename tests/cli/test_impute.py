import csv
import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from amortized import fit, load_run
from amortized.cli import main
from amortized.report.grid import HOLE
from tests.cli.conftest import SMALL

FEW = ["--samples", "20"]


@pytest.fixture(scope="module")
def holes(tmp_path_factory):
    """A run on a table of which a fifth is missing, and the table."""
    folder = tmp_path_factory.mktemp("table")
    rng = np.random.default_rng(0)
    x = np.round(rng.standard_normal((200, 1)) + 0.3 * rng.standard_normal((200, 3)), 3)
    cells = np.where(rng.random(x.shape) < 0.2, "", x.astype(str))
    lines = ["length,width,height", *(",".join(row) for row in cells)]
    (folder / "sizes.csv").write_text("\n".join(lines) + "\n")
    assert main(["fit", str(folder / "sizes.csv"), *SMALL, "--out", str(folder / "run")]) == 0
    return folder / "run", np.where(cells == "", "nan", cells).astype(float)


def cells_of(picture, rows, columns):
    """The images (rows, columns, 8, 8) of a picture, in units of the digits' grey levels, NaN where it shows a hole."""
    factor = picture.width // (9 * columns - 1)
    assert picture.size == (factor * (9 * columns - 1), factor * (9 * rows - 1))
    colors = np.asarray(picture)[::factor, ::factor]
    small = np.where((colors == HOLE).all(-1), np.nan, colors[..., 0] / 255 * 16)
    return np.array(
        [[small[9 * row : 9 * row + 8, 9 * column : 9 * column + 8] for column in range(columns)] for row in range(rows)]
    )


@pytest.mark.parametrize("draws", [None, 2])
def test_a_picture_shows_what_was_seen_what_is_imputed_and_the_truth(run, tmp_path, draws):
    words = ["impute", str(run), "-n", "3", "--hide", "left", *FEW, *(() if draws is None else ("--draws", str(draws)))]
    for suffix in ("png", "npz"):
        assert main([*words, "--out", str(tmp_path / f"out.{suffix}")]) == 0
    truth = load_run(run).rows(n=3).x.numpy()
    with np.load(tmp_path / "out.npz") as archive, Image.open(tmp_path / "out.png") as picture:
        layers = archive["x"] if draws else archive["x"][None]
        seen, *imputed, last = cells_of(picture, 2 + len(layers), 3)
        observed = archive["observed"]
    assert (~observed[:, :, :4]).all()
    assert observed[:, :, 4:].all()
    np.testing.assert_allclose(seen, np.where(observed, truth, np.nan), atol=16 / 255)
    np.testing.assert_allclose(imputed, layers, atol=16 / 255)
    np.testing.assert_allclose(last, truth, atol=16 / 255)
    np.testing.assert_array_equal(layers[:, observed], np.broadcast_to(truth[observed], layers[:, observed].shape))


def test_the_error_of_hidden_entries_is_printed_beside_that_of_the_training_means(run, tmp_path, capsys):
    out = tmp_path / "out.npz"
    assert main(["impute", str(run), "--hide", "0.5", "--seed", "1", *FEW, "--out", str(out)]) == 0
    text = capsys.readouterr().out
    loaded = load_run(run)
    truth, mean = loaded.rows().x.numpy(), loaded.rows(split="train").x.numpy().mean(0)
    with np.load(out) as archive:
        hidden = ~archive["observed"]
        error, baseline = (np.square(x - truth)[hidden].mean() for x in (archive["x"], mean))
    found = re.search(r"error of the ([\d,]+) hidden entries: ([\d.]+); by the training means ([\d.]+)\.$", text, re.MULTILINE)
    assert found is not None
    assert int(found[1].replace(",", "")) == hidden.sum()
    assert [float(found[2]), float(found[3])] == pytest.approx([error, baseline], rel=1e-3)


def test_a_table_with_holes_is_filled_and_what_is_there_is_kept(holes, tmp_path, capsys):
    path, x = holes
    assert main(["impute", str(path), *FEW, "--out", str(tmp_path / "out.csv")]) == 0  # all of the data, unless told otherwise
    assert "Mean squared error" not in capsys.readouterr().out
    with open(tmp_path / "out.csv") as file:
        header, *rows = csv.reader(file)
    filled = np.array(rows, dtype=float)
    assert header == ["length", "width", "height"]
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[~np.isnan(x)], x[~np.isnan(x)], rtol=1e-6)


def test_draws_of_a_table_are_rows_of_their_own(holes, tmp_path):
    path, x = holes
    words = ["impute", str(path), "--split", "all", "-n", "50", "--draws", "3", *FEW]
    assert main([*words, "--out", str(tmp_path / "out.csv")]) == 0
    with open(tmp_path / "out.csv") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["length", "width", "height", "draw"]
    assert [float(row["draw"]) for row in rows] == 50 * [0] + 50 * [1] + 50 * [2]
    lengths = np.array([float(row["length"]) for row in rows]).reshape(3, 50)
    is_missing = np.isnan(x[:50, 0])
    assert (lengths.std(0) > 1e-6).tolist() == is_missing.tolist()


@pytest.mark.parametrize("precision", ["32", "64"])
def test_observed_cells_are_written_as_they_were_and_what_float32_cannot_hold_is_said(tmp_path, capsys, precision):
    rng = np.random.default_rng(0)
    cells = [[f"{20_000_001 + row}", f"{row % 9}", "" if row == 3 else f"{rng.random():.3f}"] for row in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["id,count,share", *map(",".join, cells)]) + "\n")
    words = ["fit", str(tmp_path / "t.csv"), *SMALL, "--precision", precision, "--out", str(tmp_path / "run")]
    assert main([word for word in words if word != "--quiet"]) == 0
    assert "20000001 at row 0, column 'id', a whole number that float32 rounds to 20000000" in capsys.readouterr().out
    for draws, end in (([], ""), (["--draws", "1"], ",0"), (["--draws", "2"], ",0")):
        words = ["impute", str(tmp_path / "run"), "--split", "all", *FEW, *draws, "--out", str(tmp_path / "out.csv")]
        assert main(words) == 0
        assert "beyond 16,777,216 are rounded to float32, such as 20000000 at row 0, column 'id'" in capsys.readouterr().out
        header, *rows = (tmp_path / "out.csv").read_text().splitlines()
        assert header == "id,count,share" + (",draw" if draws else "")
        assert rows[0].startswith("20000000,")
        for row in (0, 1, 2, 4, 39):
            assert rows[row].split(",", 1)[1] == f"{cells[row][1]},{float(cells[row][2])}{end}"


def test_numbers_that_float32_holds_need_no_warning(holes, tmp_path, capsys):
    path, _ = holes
    assert main(["impute", str(path), "--split", "all", *FEW, "--out", str(tmp_path / "out.csv")]) == 0
    assert "are rounded to float32" not in capsys.readouterr().out


def test_errors_in_a_table_are_in_units_of_its_columns_and_skip_what_is_not_known(holes, tmp_path, capsys):
    path, x = holes
    assert main(["impute", str(path), "--split", "all", "--hide", "0.3", *FEW, "--out", str(tmp_path / "out.npz")]) == 0
    text = capsys.readouterr().out
    train = load_run(path).rows(split="train").x.numpy()
    with np.load(tmp_path / "out.npz") as archive:
        hidden = ~archive["observed"] & ~np.isnan(x)
        error = np.square((archive["x"] - x) / np.nanstd(train, 0))[hidden].mean()
    assert f"error of the {hidden.sum()} hidden entries: {error:.4g}; by the training means" in text
    assert "each column in units of its standard deviation" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "no entry is missing, so there is nothing to impute"),
        (["--hide", "lefd"], "did you mean 'left'"),
        (["--hide", "1.5"], "between 0 and 1"),
    ],
)
def test_what_cannot_be_done_is_said(run, capsys, words, message):
    assert main(["impute", str(run), *words]) == 2
    assert message in capsys.readouterr().err


def test_classes_are_judged_by_how_many_are_right(tmp_path, capsys):
    x = np.random.default_rng(0).integers(0, 3, (60, 4))
    np.save(tmp_path / "x.npy", x)
    words = ["fit", str(tmp_path / "x.npy"), *SMALL, "--likelihood", "categorical", "--out", str(tmp_path / "run")]
    assert main(words) == 0
    for more in ([], ["--draws", "2"]):
        out = ["--out", str(tmp_path / "out.npy")]
        assert main(["impute", str(tmp_path / "run"), "--hide", "0.5", "--split", "train", *FEW, *more, *out]) == 0
        made = np.load(tmp_path / "out.npy")
        assert set(np.unique(made)) <= {0, 1, 2}
        text = capsys.readouterr().out
        share = re.search(r"Share of the \d+ hidden entries that is right: ([\d.]+)\.", text)
        assert share is not None
        assert 0 < float(share[1]) < 1


def test_in_python_hidden_entries_come_with_their_truth():
    options: dict[str, Any] = {"model.network.hidden": "[16]"}
    run = fit("digits", epochs=1, latent_dim=2, quiet=True, **options)
    made = run.impute(n=4, hide="top", samples=10)
    assert made.truth is not None
    assert made.x.shape == made.truth.shape == (4, 8, 8)
    assert made.hidden.sum() == 4 * 32
    np.testing.assert_array_equal(made.x[made.observed], made.truth[made.observed])
    assert run.impute(n=4, hide="top", samples=10, draws=3).x.shape == (3, 4, 8, 8)
    assert run.impute(np.where(made.hidden, np.nan, made.truth), samples=10).truth is None

from typing import Any

import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from amortized.data import (
    Batches,
    Masking,
    Noise,
    SaltPepper,
    Split,
    describe,
    load,
    make_transform,
    mean_and_scale,
    never_observed,
    to_batches,
)
from amortized.errors import InputError

ROWS = 400


def table(dimension: int = 4, missing: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(0)
    x = 3 + noise.normal(size=(ROWS, dimension)) * np.arange(1, dimension + 1)
    x[noise.random(x.shape) < missing] = np.nan
    return x.astype(np.float32)


def grey(missing: float = 0.3) -> np.ndarray:
    noise = np.random.default_rng(1)
    x = noise.integers(0, 17, (ROWS, 4, 4)).astype(np.float32)
    x[noise.random(x.shape) < missing] = np.nan
    return x


def whole(data) -> Split:
    assert isinstance(data.train, Split)
    return data.train


def same(x, expected) -> bool:
    return np.array_equal(np.asarray(x), np.asarray(expected), equal_nan=True)


def test_holes_of_an_array_stay_where_they_were():
    x = table()
    data = load(x)
    assert data.has_missing
    for split in data.splits.values():
        assert isinstance(split, Split)
        assert same(split.x, x[split.index])
    assert any(note.startswith(f"{100 * np.isnan(x).mean():.3g}% of the entries are missing") for note in data.notes)


def test_data_without_holes_have_batches_without_a_mask():
    data = load(table(missing=0))
    assert not data.has_missing
    assert not any("missing" in note for note in data.notes)
    for training in (True, False):
        assert all("observed" not in batch for batch in to_batches(data.train, batch_size=50, training=training).epoch(0))


def test_every_batch_says_what_is_observed_even_of_splits_without_holes():
    train, test = np.ones((20, 2)), np.ones((10, 2))
    test[3, 1] = np.nan
    data = load({"train_x": train, "test_x": test})
    (seen,) = to_batches(data.train, batch_size=20, training=True).epoch(0)
    assert seen["observed"].all()
    (seen,) = to_batches(data.test, batch_size=20, training=False).epoch(0)
    assert same(seen["observed"], ~np.isnan(test))
    assert same(seen["x"], test)


def test_a_split_made_by_hand_says_it_too():
    x = torch.tensor([[1.0, torch.nan], [2.0, 3.0]])
    (batch,) = Batches(Split(x, torch.arange(2)), batch_size=2, shuffle=False).epoch(0)
    assert batch["observed"].tolist() == [[True, False], [True, True]]


CSV = "a,b,c\n1,,3\n,5,NA\n7,8,9.5\n4,?,n/a\n"
EXPECTED = np.array([[1, np.nan, 3], [np.nan, 5, np.nan], [7, 8, 9.5], [4, np.nan, np.nan]])


def in_order(source, **options) -> Split:
    return whole(load(source, splits=(1, 0, 0), **options))


def test_empty_cells_of_a_table_are_missing(tmp_path):
    (tmp_path / "d.csv").write_text(CSV)
    assert same(in_order(tmp_path / "d.csv").x, EXPECTED)
    (tmp_path / "without.csv").write_text(CSV.split("\n", 1)[1])
    assert same(in_order(tmp_path / "without.csv").x, EXPECTED)
    (tmp_path / "first.csv").write_text("NA,,\n" + CSV.split("\n", 1)[1])
    assert len(in_order(tmp_path / "first.csv")) == 5


def test_frames_and_parquet_may_have_holes(tmp_path):
    frame = pandas.DataFrame(
        {
            "a": pandas.array([1, None, 7, 4], dtype="Int64"),
            "b": [np.nan, 5.0, 8.0, np.nan],
            "c": pandas.Series([3, None, 9.5, None], dtype=object),
        }
    )
    assert same(in_order(frame).x, EXPECTED)
    frame.astype({"c": float}).to_parquet(tmp_path / "d.parquet")
    assert same(in_order(tmp_path / "d.parquet").x, EXPECTED)
    np.savez(tmp_path / "d.npz", x=EXPECTED)
    assert same(in_order(tmp_path / "d.npz").x, EXPECTED)


def test_labels_of_a_table_with_holes_are_what_they_were(tmp_path):
    (tmp_path / "d.csv").write_text("a,kind\n1,u\n,v\n3,u\n4,v\n")
    assert in_order(tmp_path / "d.csv", labels="kind").labels.tolist() == [0, 1, 0, 1]  # pyright: ignore[reportOptionalMemberAccess]


@pytest.mark.parametrize("dtype", ["object", "str", "category"])
def test_text_of_a_frame_is_whole_where_some_is_missing(dtype):
    frame = pandas.DataFrame({"a": [1.0, 2, 3, 4], "kind": pandas.Series(["red", "rose", None, "red"], dtype=dtype)})
    data = load(frame, labels="kind", splits=(1, 0, 0))
    assert data.label_names == ("", "red", "rose")
    assert whole(data).labels.tolist() == [1, 2, 0, 1]  # pyright: ignore[reportOptionalMemberAccess]
    assert any("'label' has a class '' in 1 row" in note for note in data.notes)


def as_frame(cells, _):
    return pandas.DataFrame({"a": np.arange(len(cells)) + 0.5, "dose": cells})


def as_objects(cells, _):
    return as_frame(pandas.Series(cells, dtype=object), _)


def as_text(cells, folder):
    as_frame(cells, folder).to_csv(folder / "d.csv", index=False)
    return folder / "d.csv"


MAKERS = [as_frame, as_objects, as_text]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("cells", [[20.3, 1.5, 2.5, None], [1, 0, 1, None], [None, None, None, None]])
@pytest.mark.parametrize("role", [{"labels": "dose"}, {"context": ["dose"]}])
def test_a_hole_in_numbers_makes_no_classes_of_them(make, cells, role, tmp_path):
    with pytest.raises(InputError, match=f"the first is nan at row {cells.index(None)}"):
        load(make(cells, tmp_path), **role)


@pytest.mark.parametrize("make", MAKERS)
def test_a_column_of_numbers_is_what_it_was_and_one_with_a_word_is_classes(make, tmp_path):
    assert load(make([20.3, 1.5, 2.5, 0.5], tmp_path), context=["dose"]).context_names == {}
    assert load(make([2, 0, 1, 2], tmp_path), context=["dose"]).context_names == {"dose": ("0", "1", "2")}
    data = load(make(["2", "low", None, None], tmp_path), context=["dose"])
    assert data.context_names == {"dose": ("", "2", "low")}
    assert any("'dose' has a class '' in 2 rows" in note for note in data.notes)


def test_a_word_for_a_hole_is_announced_as_the_class_that_it_is():
    data = load((np.arange(8.0).reshape(4, 2), np.array(["NA", "UK", "NA", "FR"])))
    assert data.label_names == ("FR", "NA", "UK")
    assert [note for note in data.notes if "class" in note] == [
        "'label' has a class 'NA' in 2 rows; where that means that the value is missing, remove those rows or fill them in."
    ]


@pytest.mark.parametrize(
    ("values", "image", "kind", "levels"),
    [
        ([0, 1, np.nan, 0], False, "binary", 2),
        ([0, 3, np.nan, 16], True, "levels", 17),
        ([0, np.nan, 7, 2], False, "counts", None),
        ([0, np.nan, 0.5, 1], True, "unit", None),
        ([np.nan, 1.5, -2, 0], False, "real", None),
    ],
)
def test_the_support_is_that_of_the_observed_values(values, image, kind, levels):
    x = torch.tensor(values).reshape((1, 2, 2) if image else (2, 2))
    support = describe(x, torch.full_like(x, torch.nan))
    assert (support.kind, support.levels) == (kind, levels)
    assert (support.low, support.high) == (np.nanmin(values), np.nanmax(values))


@pytest.mark.parametrize("make", [table, grey])
def test_the_moments_are_those_of_numpy_over_observed_values(make):
    x = make().astype(np.float64)
    split = Split(torch.tensor(x, dtype=torch.float32), torch.arange(len(x)))
    shift, unit = mean_and_scale(split, "columns")
    np.testing.assert_allclose(shift, np.nanmean(x, 0), rtol=1e-6)
    np.testing.assert_allclose(unit, np.nanstd(x, 0), rtol=1e-6)
    shift, unit = mean_and_scale(split, "global")
    np.testing.assert_allclose(shift, np.full(shift.shape, np.nanmean(x)), rtol=1e-6)
    np.testing.assert_allclose(unit, np.full(unit.shape, np.nanstd(x)), rtol=1e-6)


def test_what_is_never_observed_has_shift_0_and_unit_1_and_is_no_constant():
    x = grey()
    x[:, 0, 0], x[:, 1, 1] = np.nan, np.where(np.isnan(x[:, 1, 1]), np.nan, 5)
    data = load(x)
    shift, unit = mean_and_scale(data.train, "columns")
    assert (shift[0, 0], unit[0, 0], shift[1, 1], unit[1, 1]) == (0, 1, 5, 1)
    assert never_observed(data.train).nonzero().tolist() == [[0, 0]]
    assert data.constant == ("(1, 1)",)


def images(**options):
    data = load(grey())
    return data, make_transform(data.support, **options)


@pytest.mark.parametrize("options", [{"binarize": "dynamic"}, {"binarize": "threshold"}, {"scale": "unit"}, {}])
@pytest.mark.parametrize("training", [True, False])
def test_transforms_leave_the_holes_and_nothing_else_is_one(options, training):
    data, transform = images(**options)
    x = grey()
    for batch in to_batches(data.train, batch_size=64, training=training, transform=transform).epoch(0):
        assert same(batch["x"].isnan(), np.isnan(x[batch["index"]]))
        assert same(batch["observed"], ~np.isnan(x[batch["index"]]))
        if "binarize" in options:
            assert set(batch["x"][batch["observed"]].unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("corrupt", [Noise(0.5), Masking(0.9), SaltPepper(0.9)])
@pytest.mark.parametrize("options", [{"binarize": "dynamic"}, {"scale": "unit"}])
def test_a_corrupted_input_has_the_holes_of_x(corrupt, options):
    data, transform = images(corrupt=corrupt, **options)
    for batch in to_batches(data.train, batch_size=64, training=True, transform=transform).epoch(0):
        assert torch.equal(batch["input"].isnan(), batch["x"].isnan())


def test_binarization_of_what_is_observed_does_not_depend_on_the_holes():
    complete = grey(missing=0)
    holes = np.where(np.isnan(grey()), np.nan, complete)
    for training in (True, False):
        made = []
        for x in (complete, holes):
            transform = make_transform(describe(torch.tensor(complete)), binarize="dynamic")
            batches = to_batches(in_order(x), batch_size=ROWS, training=training, transform=transform)
            made.append(next(iter(batches.epoch(0)))["x"])
        observed = ~made[1].isnan()
        assert torch.equal(made[0][observed], made[1][observed])


class Streamed(Dataset):
    """Rows with holes, as NaN or as a mask beside a fill."""

    def __init__(self, marked: bool, first: int = 0):
        self.x, self.marked, self.first = torch.tensor(table()), marked, first

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index) -> Any:
        x = self.x[index] if index >= self.first else self.x[index].nan_to_num(9.0)
        return {"x": x.nan_to_num(-1.0), "observed": ~x.isnan()} if self.marked else x


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("source", [lambda rows: rows, lambda rows: DataLoader(rows, batch_size=50)])
def test_streams_may_have_nan_or_bring_the_mask(source, marked):
    x = table()
    data = load(source(Streamed(marked)))
    assert data.has_missing
    assert data.support.kind == "real"
    assert any("of the entries of the first rows are missing" in note for note in data.notes)
    for training in (True, False):
        for batch in to_batches(data.train, batch_size=50, training=training).epoch(0):
            assert same(batch["x"], x[batch["index"]])
            assert same(batch["observed"], ~np.isnan(x[batch["index"]]))
    rows = x[np.concatenate([batch["index"] for batch in to_batches(data.train, batch_size=50, training=False).epoch(0)])]
    shift, unit = mean_and_scale(data.train, "columns")
    np.testing.assert_allclose(shift, np.nanmean(rows.astype(np.float64), 0), rtol=1e-6)
    np.testing.assert_allclose(unit, np.nanstd(rows.astype(np.float64), 0), rtol=1e-6)


def test_a_hole_that_comes_late_in_a_stream_is_marked_when_it_comes(monkeypatch):
    monkeypatch.setattr("amortized.data.streams.PEEK", 100)
    data = load(DataLoader(Streamed(False, first=200), batch_size=50))
    assert not data.has_missing
    marked = ["observed" in batch for batch in to_batches(data.train, batch_size=50, training=False).epoch(0)]
    assert marked == [False] * 4 + [True] * 4

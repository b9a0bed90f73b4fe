import numpy as np
import pandas
import pytest
import torch
from torch.utils.data import TensorDataset

from amortized.data import Split, arrange, load
from amortized.errors import InputError

ROWS = np.arange(12.0).reshape(4, 3) / 7
FRAME = pandas.DataFrame(ROWS, columns=["a", "b", "c"])


def arranged(source, columns):
    return arrange(load(source, splits=(0.5, 0.25, 0.25)), columns)


@pytest.mark.parametrize("order", [["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"], ["c", "a", "b"]])
def test_columns_in_another_order_are_put_into_the_models(order, tmp_path):
    FRAME[order].to_csv(tmp_path / "t.csv", index=False)
    for source in (FRAME[order], tmp_path / "t.csv", {"x": FRAME[order].to_numpy(), "columns": np.array(order)}):
        data = arranged(source, ("a", "b", "c"))
        assert data.columns == ("a", "b", "c")
        for split in data.splits.values():
            assert isinstance(split, Split)
            np.testing.assert_array_equal(split.x, ROWS.astype(np.float32)[split.index.numpy()])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("a", "x", "y"), r"'table' have no column 'x', which the model was fitted on; they have 'a', 'b', 'c'"),
        (("a", "b"), r"'table' have a column 'c', which the model was not fitted on; leave it out"),
        (("a", "b", "c", "d"), r"'table' have no column 'd'"),
        (("a", "b", "b"), r"'table' have no column 'b'"),
    ],
)
def test_other_names_are_refused_with_the_first_that_does_not_fit(columns, message):
    with pytest.raises(InputError, match=message):
        arranged(FRAME, columns)


def test_names_that_occur_twice_are_told_apart_by_their_order():
    data = arranged({"x": ROWS, "columns": np.array(["a", "b", "a"])}, ("b", "a", "a"))
    batch = data.train.fetch(torch.arange(2))
    np.testing.assert_array_equal(batch["x"], ROWS.astype(np.float32)[batch["index"].numpy()][:, [1, 0, 2]])


@pytest.mark.parametrize("source", [ROWS, TensorDataset(torch.tensor(ROWS))])
def test_data_without_names_are_taken_by_position(source):
    for columns in (("a", "b", "c"), ("2", "1", "0")):
        rows = next(iter(arranged(source, columns).splits.values()))
        batch = rows.fetch(torch.arange(2))
        np.testing.assert_array_equal(batch["x"], ROWS.astype(np.float32)[batch["index"].numpy()])


def test_a_model_without_names_takes_any_by_position_but_numbers_by_name():
    for source in (FRAME, pandas.DataFrame(ROWS)[[2, 0, 1]]):
        batch = arranged(source, ("0", "1", "2")).train.fetch(torch.arange(2))
        np.testing.assert_array_equal(batch["x"], ROWS.astype(np.float32)[batch["index"].numpy()])

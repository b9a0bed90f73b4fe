import pytest
import torch
from torch import nn

from amortized.errors import InputError
from amortized.networks import Categorical, Context, Continuous

NAN = float("nan")
FIELDS = {
    "type": Categorical(4),  # also the name of a method of every module
    "batch.id": Categorical(3, encoding="embedding", width=2),
    "age": Continuous(loc=40.0, scale=10.0),
    "site": Continuous(loc=[1.0, 2.0], scale=[2.0, 0.0], width=2),
}


def values():
    return {
        "type": torch.tensor([3, 0]),
        "batch.id": torch.tensor([1, 2]),
        "age": torch.tensor([50.0, 20.0]),
        "site": torch.tensor([[5.0, 2.0], [1.0, 9.0]]),
    }


def test_each_condition_is_encoded_in_the_order_of_the_fields():
    context = Context(FIELDS)
    encoded = context(dict(reversed(values().items())))
    assert context.features == 4 + 2 + 1 + 2
    assert encoded.shape == (2, context.features)
    torch.testing.assert_close(encoded[:, :4], torch.tensor([[0.0, 0, 0, 1], [1, 0, 0, 0]]), rtol=0, atol=0)
    (table,) = [module for module in context.modules() if isinstance(module, nn.Embedding)]
    torch.testing.assert_close(encoded[:, 4:6], table.weight[[1, 2]], rtol=0, atol=0)
    torch.testing.assert_close(encoded[:, 6], torch.tensor([1.0, -2.0]), rtol=0, atol=0)


def test_a_covariate_that_never_varies_becomes_zero():
    encoded = Context(FIELDS)(values())
    torch.testing.assert_close(encoded[:, 7:], torch.tensor([[2.0, 0.0], [0.0, 0.0]]), rtol=0, atol=0)


def test_the_row_takes_the_type_of_the_model():
    assert Context({"type": Categorical(4)}).double()({"type": torch.tensor([1])}).dtype == torch.float64
    assert Context(FIELDS).double()(values()).dtype == torch.float64


def test_moments_are_saved_and_loaded_with_the_model():
    saved = Context({"age": Continuous(40.0, 10.0)}).state_dict()
    context = Context({"age": Continuous(0.0, 1.0)})
    context.load_state_dict(saved)
    torch.testing.assert_close(context({"age": torch.tensor([50.0])}), torch.tensor([[1.0]]), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("type", torch.tensor([1, 4]), r"condition 'type' needs integer codes of 0 to 3, shape \(B,\); it has 4 at row 1"),
        ("type", torch.tensor([-1, 0]), "it has -1 at row 0"),
        ("type", torch.tensor([1.0, 1.5]), "it has 1.5 and type torch.float32; convert it with"),
        ("type", torch.tensor([1.0, NAN]), "it has nan and type"),
        ("type", torch.tensor([[1], [2]]), r"it has shape \(2, 1\)"),
        ("batch.id", torch.tensor([0, 3]), "condition 'batch.id' needs integer codes of 0 to 2"),
        ("age", torch.tensor([1.0, NAN]), "condition 'age' needs finite numbers; it has nan at row 1, column 0"),
        ("age", torch.ones(2, 2), r"condition 'age' needs shape \(B, 1\); it has shape \(2, 2\)"),
        ("site", torch.tensor([[1.0, 2.0], [1.0, float("inf")]]), "it has inf at row 1, column 1"),
        ("site", torch.ones(2), r"condition 'site' needs shape \(B, 2\)"),
        ("age", torch.ones(3), "one row per datum each"),
    ],
)
def test_a_value_that_is_not_of_its_field_is_refused(name, value, message):
    with pytest.raises(InputError, match=message):
        Context(FIELDS)({**values(), name: value})


def test_missing_and_unknown_conditions_are_named():
    given = values()
    del given["age"]
    with pytest.raises(InputError, match="condition 'age' is missing"):
        Context(FIELDS)(given)
    with pytest.raises(InputError, match="unknown condition 'aeg': did you mean 'age'?"):
        Context(FIELDS)({**values(), "aeg": torch.ones(2)})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "needs at least one condition"),
        ({"y": Categorical(0)}, "condition 'y' needs a positive integer for classes; it is 0"),
        ({"y": Categorical(3, encoding="onehot")}, "unknown encoding 'onehot': did you mean 'one-hot'?"),
        ({"y": Categorical(3, encoding="embedding")}, "needs a positive integer for width; it is None"),
        ({"y": Categorical(3, width=2)}, "which only encoding='embedding' takes"),
        ({"y": Continuous(0.0, -1.0)}, "needs a scale of 0 or more; it is -1.0"),
        ({"y": Continuous(NAN, 1.0)}, "needs finite numbers for loc"),
        ({"y": Continuous([0.0, 1.0], 1.0, width=3)}, "has width 3 and 2 numbers for loc"),
        ({"y": 3}, "must be Categorical or Continuous; it is 3"),
    ],
)
def test_a_field_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        Context(fields)

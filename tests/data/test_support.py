import pytest
import torch

from amortized.data import describe


@pytest.mark.parametrize(
    ("values", "image", "kind", "levels"),
    [
        ([0, 1, 1, 0], True, "binary", 2),
        ([0.0, 1.0, 1.0, 0.0], False, "binary", 2),
        ([0, 3, 16, 2], True, "levels", 17),
        ([0.0, 3.0, 16.0, 2.0], True, "levels", 17),
        ([0, 127, 1, 2], True, "levels", 128),
        ([0, 128, 1, 2], True, "levels", 256),
        ([0, 255, 1, 2], True, "levels", 256),
        ([0, 256, 1, 2], True, "levels", 257),
        ([0, 255, 1, 2], False, "counts", None),
        ([0.0, 0.5, 1.0, 0.2], True, "unit", None),
        ([0.0, 0.5, 1.0, 0.2], False, "real", None),
        ([0.0, 0.5, 1.5, 0.2], True, "real", None),
        ([-1, 0, 1, 2], True, "real", None),
        ([-1, 0, 1, 2], False, "real", None),
    ],
)
def test_the_support_follows_from_the_values(values, image, kind, levels):
    x = torch.tensor(values).reshape((1, 2, 2) if image else (2, 2))
    support = describe(x)
    assert (support.kind, support.levels) == (kind, levels)
    assert (support.low, support.high) == (min(values), max(values))
    assert support.reason


def test_the_support_covers_every_split():
    assert describe(torch.tensor([[0, 1]]), torch.tensor([[0, 5]])).kind == "counts"
    assert describe(torch.tensor([[0, 1]]), torch.empty(0, 2)).kind == "binary"


def test_images_of_sixteen_bits_are_taken_for_real_numbers():
    assert describe(torch.tensor([[[0, 60000]], [[3, 9]]]), image=True).kind == "real"
    assert describe(torch.tensor([[[0, 4095]], [[3, 9]]]), image=True).kind == "levels"

import pytest
import torch

from amortized.errors import InputError
from amortized.networks import LogCounts, OneHot, Standardize


def test_standardized_data_have_moments_zero_and_one_and_constant_entries_are_zero():
    torch.manual_seed(0)
    x = 5 + 3 * torch.randn(200, 4, 3)
    x[:, 0, 0] = 7
    out = Standardize(x.mean(0), x.std(0))(x.expand(2, 200, 4, 3))[1]
    varies = torch.ones(4, 3, dtype=torch.bool)
    varies[0, 0] = False
    torch.testing.assert_close(out.mean(0), torch.zeros(4, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.std(0), varies.float(), rtol=0, atol=1e-5)


def test_a_scale_of_zero_is_taken_as_one():
    torch.testing.assert_close(Standardize(7.0, 0.0)(torch.tensor([7.0, 9.0])), torch.tensor([0.0, 2.0]), rtol=0, atol=0)


@pytest.mark.parametrize(("loc", "scale"), [(0.0, -1.0), (float("nan"), 1.0), (0.0, float("inf"))])
def test_moments_that_make_no_sense_are_refused(loc, scale):
    with pytest.raises(InputError, match="standardization needs"):
        Standardize(loc, scale)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.float32])
def test_one_hot_marks_the_code_and_nothing_else(dtype):
    codes = torch.tensor([[[2, 0], [1, 1]]])
    out = OneHot(3)(codes.to(dtype))
    assert out.shape == (1, 2, 2, 3)
    assert (out.sum(-1) == 1).all()
    torch.testing.assert_close(out.argmax(-1), codes, rtol=0, atol=0)
    assert OneHot(3).double()(codes).dtype == torch.float64


def test_one_hot_needs_a_number_of_classes():
    with pytest.raises(InputError, match="positive integer for classes; it is 0"):
        OneHot(0)


def test_log_counts_are_undone_by_expm1():
    counts = torch.tensor([0.0, 1.0, 1e5], dtype=torch.float64)
    torch.testing.assert_close(LogCounts()(counts).expm1(), counts, rtol=1e-14, atol=0)


@pytest.mark.parametrize("value", [1.5, -1.0, 7.0])
def test_one_hot_refuses_what_is_no_code(value: float):
    with pytest.raises(InputError, match=f"{value:g}"):
        OneHot(7)(torch.tensor([[0.0, value]]))

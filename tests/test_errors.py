import numpy as np
import pytest

from amortized.errors import is_count


@pytest.mark.parametrize("value", [0, -1, True, 1.0, np.int64(3), "3", None, float("nan")])
def test_what_is_no_positive_integer_of_pythons_is_no_count(value):
    assert not is_count(value)


def test_a_count_is_the_least_or_more():
    assert is_count(1)
    assert is_count(0, 0)
    assert [is_count(value, 2) for value in (1, 2, 3)] == [False, True, True]

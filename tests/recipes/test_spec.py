import pytest
import torch

from amortized import InputError
from amortized.recipes import Condition, Spec

NAMED = Condition(3, ("2", "-1", "Oslo"))
CODED = Condition(3)
NUMBER = Condition(None, (), 1, (40.0,), (9.0,))


def test_a_class_with_a_name_goes_by_its_name_alone():
    assert [NAMED.code("site", value) for value in ("2", 2, 2.0, "-1", -1, "Oslo")] == [0, 0, 0, 1, 1, 2]
    for value in ("0", 0, 1, "oslo"):
        with pytest.raises(InputError, match=f"condition 'site' has no class '{value}'; its classes are '2', '-1', 'Oslo'"):
            NAMED.code("site", value)


def test_a_class_without_a_name_goes_by_its_code():
    assert [CODED.code("site", value) for value in ("2", 1)] == [2, 1]
    with pytest.raises(InputError, match="has no class '3'; its codes are 0 to 2"):
        CODED.code("site", 3)


def test_classes_of_other_data_are_found_by_name_and_new_ones_refused():
    codes = torch.tensor([1, 0, 1])
    assert NAMED.known("site", codes, ("Oslo", "2", "never seen, never used")).tolist() == [0, 2, 0]
    with pytest.raises(InputError, match="condition 'site' has no class 'Rome'"):
        NAMED.known("site", codes, ("Oslo", "Rome"))
    with pytest.raises(InputError, match="condition 'site' has no class '5'"):
        CODED.known("site", torch.tensor([0, 5]), ())
    with pytest.raises(InputError, match="these data give it as numbers"):
        CODED.known("site", torch.tensor([0.5]), ())


def test_numbers_that_happen_to_be_whole_stay_numbers():
    assert NUMBER.known("age", torch.tensor([1, 0, 1]), ("30", "50")).tolist() == [[50.0], [30.0], [50.0]]
    assert NUMBER.known("age", torch.tensor([7, 3]), ()).tolist() == [[7.0], [3.0]]
    assert NUMBER.rows("age", "40", 2).tolist() == [[40.0], [40.0]]
    with pytest.raises(InputError, match="condition 'age' is a number; it was given"):
        NUMBER.known("age", torch.tensor([0]), ("Oslo",))


def test_an_unknown_condition_is_answered_with_the_nearest():
    spec = Spec((2,), False, "real", conditions={"site": NAMED})
    with pytest.raises(InputError, match="unknown condition 'sitte'; did you mean 'site'"):
        spec.draw_conditions(2, {"sitte": "Oslo"}, torch.Generator())
    with pytest.raises(InputError, match="this model has none"):
        Spec((2,), False, "real").condition("site")

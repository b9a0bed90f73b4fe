import pytest
import torch

from amortized import likelihoods
from amortized.errors import InputError
from amortized.likelihoods import check_support, fits
from amortized.likelihoods.support import COUNTS, KINDS, LEVELS, REAL, UNIT
from amortized.networks import MLP


def rows(*values):
    return torch.tensor([values, values])


GREY = rows(0.0, 17.0, 255.0)
HALVES = rows(0.5, 1.0)
INTEGER_KINDS = ["categorical", *LEVELS, *COUNTS]


WITH_ENDS = [kind for kind in KINDS if kind != "beta"]


@pytest.mark.parametrize(
    ("kind", "x", "options", "message"),
    [
        ("bernoulli", GREY, {}, "needs values in {0, 1}; array 'x' has 17.0 at row 0, column 1. Fits: 'gaussian', 'laplace', "),
        ("bernoulli", GREY, {}, "or pass binarize='dynamic'."),
        ("bernoulli", rows(0, 3), {"name": "train_x"}, "array 'train_x' has 3 at row 0, column 1"),
        ("bernoulli", torch.eye(4).view(2, 2, 2, 2) * -1, {}, "has -1.0 at index (0, 0, 0, 0). Fits: 'gaussian', 'laplace', "),
        ("gaussian", rows(0.0, torch.inf), {}, "needs finite values; array 'x' has inf at row 0, column 1. No likelihood scores"),
        (
            "binomial",
            GREY,
            {"levels": 17},
            "needs integers 0..16; array 'x' has 17.0 at row 0, column 1. Give levels=256, or use",
        ),
        ("categorical", GREY, {"classes": 10}, "needs integers 0..9; array 'x' has 17.0 at row 0, column 1. Give classes=256"),
        ("discretized-logistic", HALVES, {}, "has 0.5 at row 0, column 0. Fits: 'continuous-bernoulli', 'gaussian', 'laplace', "),
        ("poisson", HALVES, {}, "needs integers 0, 1, 2, ...; array 'x' has 0.5 at row 0, column 0"),
        ("negative-binomial", rows(1.0, -2.0), {}, "has -2.0 at row 0, column 1. Fits: 'gaussian', 'laplace', "),
        ("zinb", HALVES, {}, "needs integers 0, 1, 2, ...; array 'x' has 0.5 at row 0, column 0"),
        ("ordinal", GREY, {"levels": 3}, "needs integers 0..2; array 'x' has 17.0 at row 0, column 1. Give levels=256, or use"),
        (
            "beta",
            HALVES,
            {},
            "needs values between 0 and 1, the ends excluded; array 'x' has 1.0 at row 0, column 1. Fits: 'conti",
        ),
        ("continuous-bernoulli", GREY, {}, "needs values in [0, 1]; array 'x' has 17.0 at row 0, column 1. Fits: 'gaussian', "),
        ("laplace", rows(0.0, torch.nan), {}, "has nan at row 0, column 1. No likelihood scores it: remove it, or mark"),
        ("bernouli", GREY, {}, "likelihood 'bernouli' is unknown; did you mean 'bernoulli'?"),
    ],
)
def test_a_value_outside_the_support_is_named_with_its_place_and_the_way_out(kind, x, options, message):
    with pytest.raises(InputError) as caught:
        check_support(kind, x, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("x", "kinds"),
    [
        (rows(0, 1), WITH_ENDS),
        (rows(True, False), WITH_ENDS),
        (rows(0, 255).to(torch.uint8), [*REAL, *INTEGER_KINDS]),
        (GREY, [*REAL, *INTEGER_KINDS]),
        (HALVES, ["continuous-bernoulli", *REAL]),
        (rows(0.5, 1e-30), [*UNIT, *REAL]),
        (rows(0, 100_000), [*REAL, *COUNTS]),
        (rows(0.0, torch.nan), []),
    ],
    ids=str,
)
def test_the_kinds_that_fit_are_those_whose_support_holds_every_value(x, kinds):
    assert fits(x) == kinds
    for kind in kinds:
        check_support(kind, x)


def test_a_hole_is_outside_no_support():
    x, observed = rows(1.0, torch.nan), rows(True, False)
    assert fits(x, observed=observed) == WITH_ENDS
    check_support("bernoulli", x, observed=observed)


def test_every_likelihood_is_among_the_kinds():
    classes = [getattr(likelihoods, name) for name in likelihoods.__all__]
    assert {part.kind for part in classes if hasattr(part, "kind")} == set(KINDS)


@pytest.mark.parametrize("count", [1, 0, -3, 2.5])
def test_fewer_than_two_levels_are_refused(count):
    with pytest.raises(InputError, match=f"levels must be an integer of 2 or more; it is {count}"):
        likelihoods.Binomial(MLP(2, [4]), 3, levels=count)
    with pytest.raises(InputError, match=f"classes must be an integer of 2 or more; it is {count}"):
        likelihoods.Categorical(MLP(2, [4]), 3, classes=count)

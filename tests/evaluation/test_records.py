import math

import pytest

from amortized.evaluation import Metric
from amortized.evaluation.records import as_text, error_name, in_digits


def metric(value, kind="estimate"):
    return Metric(value, "test", 10, kind)


def test_an_error_stands_beside_its_value_and_has_no_row_of_its_own():
    metrics = {"nll_nats": metric(82.7131), "nll_stderr_nats": metric(0.9612), "nll_mc_stderr_nats": metric(0.0123)}
    metrics |= {"mig": metric(0.25), "mig_stderr": metric(0.031), "rate_nats": metric(4.2, "exact")}
    text = as_text("head", metrics, ["A note."])
    assert text.split("\n") == [
        "head",
        "nll_nats     82.71 ± 0.96   estimate, Monte Carlo error 0.012",
        "mig         0.250 ± 0.031   estimate",
        "rate_nats          4.2000   exact",
        "A note.",
    ]


def test_an_error_without_its_value_keeps_its_row():
    assert "nll_stderr_nats" in as_text("head", {"nll_stderr_nats": metric(0.5)}, [])


def test_the_name_of_an_error_keeps_the_unit_last():
    assert error_name("gap_nats") == "gap_stderr_nats"
    assert error_name("gap_nats", "mc_stderr") == "gap_mc_stderr_nats"
    assert error_name("mig") == "mig_stderr"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.0, 0.0, "1.0000"),
        (1234.5, 12.3, "1,234 ± 12"),
        (1e-9, None, "1e-09"),
        (0.5, math.nan, "0.5000"),
        (2.0, 1e-12, "2.0000"),
    ],
)
def test_digits_are_those_that_the_error_leaves(value, error, text):
    assert in_digits(value, error) == text

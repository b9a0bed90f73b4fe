"""Findings that are made of those of several analyses."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from amortized.evaluation import Finding, Metric
from amortized.evaluation.records import Found, standard_error

CLEAR = 3.0
"""Standard errors from which on a difference is named."""

LEAST = 0.01
"""Nats from which on it is: less is of no use to anyone, and can be rounding."""


@dataclass(frozen=True, eq=False)
class Together(Found):
    """Several findings as one.

    Attributes:
        parts: The findings.
        remarks: What is to be known besides their notes.
    """

    parts: Sequence[Finding]
    remarks: Sequence[str] = ()

    @property
    def metrics(self) -> dict[str, Metric]:
        """The numbers of all parts."""
        return {name: metric for part in self.parts for name, metric in part.metrics.items()}

    @property
    def notes(self) -> list[str]:
        """The notes of all parts, each once."""
        return list(dict.fromkeys([*(note for part in self.parts for note in part.notes), *self.remarks]))


@dataclass(frozen=True, eq=False)
class Agreement(Found):
    """Annealed beside plain importance sampling, of the same data.

    Attributes:
        difference: (N,) log p(x) by the first less that by the second, nats.
        split: The data it is about.
        samples: Chains per datum.
    """

    difference: Tensor
    split: str
    samples: int

    @property
    def metrics(self) -> dict[str, Metric]:
        """The mean difference with its standard error."""
        values = {"ais_minus_is_nats": float(self.difference.mean()), "ais_minus_is_stderr_nats": standard_error(self.difference)}
        return {name: Metric(value, self.split, self.samples, "estimate") for name, value in values.items() if value == value}

    @property
    def notes(self) -> list[str]:
        """Which of the two is to be believed: both are lower bounds, and so the larger one."""
        mean, error = float(self.difference.mean()), standard_error(self.difference)
        if abs(mean) < LEAST or not abs(mean) > CLEAR * error:
            return []
        more, less = ("annealed", "plain") if mean > 0 else ("plain", "annealed")
        return [
            f"Of the same data {more} importance sampling finds {abs(mean):.2f} nats more than {less}; both are lower bounds, so"
            " the larger one is nearer."
        ]

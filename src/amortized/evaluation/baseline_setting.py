"""What a baseline is given, and what it gives."""

from dataclasses import dataclass

from torch import Tensor

from amortized.evaluation.baseline_rows import Measure, Rows

LEAST_ROWS = 10
"""Training data below which none are held out, and what has to be chosen by those is left out."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What a baseline is fitted to and scored on.

    Attributes:
        measure: Which values the entries take.
        train: What it is fitted to.
        test: What it is scored on.
        latent_dim: How many latents the model has.
        seed: Of its random starts.
    """

    measure: Measure
    train: Rows
    test: Rows
    latent_dim: int
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Scored:
    """What a baseline gives.

    Attributes:
        log_px: (N,) float64, nats, of the test data.
        is_bound: Whether it is a lower bound on the baseline's log p(x), by dequantization.
        notes: What a reader must know of it.
    """

    log_px: Tensor
    is_bound: bool = False
    notes: tuple[str, ...] = ()


class NoBaseline(Exception):
    """A baseline does not exist for these data; the message is the clause that says why."""


def held_out(rows: Rows) -> tuple[Rows, Rows]:
    """What to fit to, and a fifth to choose by.

    Raises:
        NoBaseline: There are too few data for that.
    """
    if len(rows) < LEAST_ROWS:
        raise NoBaseline(f"it needs at least {LEAST_ROWS} training data, and there are {len(rows)}")
    number = len(rows) // 5
    return rows[number:], rows[:number]

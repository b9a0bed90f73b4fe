"""How a training run ended."""

from dataclasses import dataclass
from signal import Signals
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        history: One row per validation.
        steps: Optimizer steps done.
        best_step: The step of the weights that were kept.
        finished: False where a signal stopped it before its time.
        stopped: Why it ended, in words.
        signal: The signal that stopped it, if one did.
    """

    history: list[dict[str, Any]]
    steps: int
    best_step: int
    finished: bool
    stopped: str
    signal: Signals | None = None

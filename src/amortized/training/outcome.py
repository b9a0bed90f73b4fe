"""How a training run ended."""

from dataclasses import dataclass, field
from signal import Signals
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """How training ended.

    Attributes:
        history: One row per validation.
        steps: Optimizer steps done.
        trained: Whether any of them was done now; False where a finished run was resumed.
        best_step: The step of the weights that were kept.
        finished: False where a signal stopped it before its time.
        stopped: Why it ended, in words.
        signal: The signal that stopped it, if one did.
    """

    history: list[dict[str, Any]] = field(repr=False)
    steps: int
    trained: bool
    best_step: int
    finished: bool
    stopped: str
    signal: Signals | None = None

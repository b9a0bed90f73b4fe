"""Trackers: TensorBoard, Weights & Biases, MLflow, or a logger of one's own is told what the run's files tell.

They are told through Fabric's interface of loggers: the recipe once, the numbers of each row of the history under their names in
`history.csv`, and at the end the metrics. A tracker is no part of a run: it changes nothing in it, and one that fails is left out
from then on.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortized.errors import InputError, nearest
from amortized.nesting import leaves
from amortized.training.progress import Silent

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.logger import Logger

TRACKERS = ("tensorboard", "wandb", "mlflow")
"""Those that are known by name, each by that of its package."""


def make_loggers(asked: Any, path: Path | None) -> list["Logger"]:
    """The loggers that a fit is to tell; they open no file before they are told something.

    Args:
        asked: A name of `TRACKERS`, several with commas between them, a logger of Fabric's kind, or a list of these.
        path: The run folder, in which those that are asked for by name write.

    Raises:
        InputError: A name is unknown, its package is missing, or there is no run folder.
    """
    if asked is None:
        return []
    listed = asked if isinstance(asked, Sequence) and not isinstance(asked, str) else [asked]
    names_and_loggers = [part for each in listed for part in (each.split(",") if isinstance(each, str) else [each])]
    return [_make(each.strip() if isinstance(each, str) else each, path) for each in names_and_loggers]


def _make(each: Any, path: Path | None) -> "Logger":
    from lightning_fabric.loggers.logger import Logger

    from amortized.training.loggers import KINDS, Guarded

    if isinstance(each, Logger):
        return Guarded(each, type(each).__name__)
    if each not in TRACKERS:
        raise InputError(f"unknown logger {each!r}; {nearest(str(each), TRACKERS)}")
    try:
        spec = find_spec(each)
    except ValueError:
        spec = None
    if spec is None or spec.origin is None:  # a folder of that name where the program runs looks like a package without a file
        raise InputError(f"logger '{each}' needs {each}, which is not installed: pip install 'amortized[trackers]'.")
    if path is None:
        raise InputError(f"logger '{each}' writes into the run folder, and this run has none; give out.")
    return Guarded(KINDS[each](path), each)


class Tracking(Silent):
    """Tells the loggers of a Fabric what happens.

    Args:
        fabric: Has the loggers.
        recipe: The values of the recipe, nested.
        say: Is told where one fails.
    """

    def __init__(self, fabric: "Fabric", recipe: Mapping[str, Any], say: Callable[[str], None] = print):
        from amortized.training.loggers import Guarded

        self.fabric = fabric
        for logger in fabric.loggers:
            if isinstance(logger, Guarded):
                logger.say = say
            logger.log_hyperparams(flattened(recipe))

    def row(self, row: Mapping[str, Any], speed: float) -> None:
        """Log the numbers of a row under their names in the history."""
        self.fabric.log_dict(_numbers(row), step=row["step"])

    def end(self, metrics: Mapping[str, Mapping[str, Mapping[str, Any]]], step: int) -> None:
        """Log the metrics, as in `metrics.json`, each with the name of its split before its own."""
        values = {f"{split}_{name}": entry["value"] for split, table in metrics.items() for name, entry in table.items()}
        if values:
            self.fabric.log_dict(_numbers(values), step=step)

    def close(self, status: str) -> None:
        """Close all: `status` is "success", "aborted" or "failed"."""
        for logger in self.fabric.loggers:
            logger.finalize(status)


def flattened(recipe: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """The values of a recipe by dotted names; what is neither a number nor text becomes text."""
    return {name: value if isinstance(value, bool | int | float | str) else str(value) for name, value in leaves(recipe)}


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in row.items() if isinstance(value, int | float)}

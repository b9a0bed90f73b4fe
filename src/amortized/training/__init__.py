"""The training loop: one loop for every model and every objective."""

from amortized.training.devices import launch
from amortized.training.loop import Outcome, train
from amortized.training.settings import Settings

__all__ = ["Outcome", "Settings", "launch", "train"]

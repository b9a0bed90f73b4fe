"""The training loop: one loop for every model and every objective."""

from amortized.training.devices import launch, pick_device, prepare, start
from amortized.training.loop import train
from amortized.training.outcome import Outcome
from amortized.training.settings import Settings

__all__ = ["Outcome", "Settings", "launch", "pick_device", "prepare", "start", "train"]

"""Running means of the training terms."""

import torch
from torch import Tensor

from amortized.training.step import TERMS


class RunningMeans:
    """Sums of the means of `TERMS` over steps; they live on the device, because reading them would wait for it.

    Args:
        device: Where the terms are computed.
    """

    def __init__(self, device: torch.device):
        self.device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self.sums = torch.zeros(len(TERMS), dtype=torch.float64, device=self.device)
        self.steps = 0

    def add(self, means: Tensor) -> None:
        """Add the means of one step."""
        self.sums += means.to(self.device)
        self.steps += 1

    @property
    def mean(self) -> Tensor:
        """The mean of each term over the steps since the last reset, float64."""
        return self.sums / max(1, self.steps)

    def reset(self) -> None:
        """Forget the sums."""
        self.sums.zero_()
        self.steps = 0

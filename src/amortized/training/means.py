"""Running means of the training terms, and the watch over them."""

import torch
from torch import Tensor

from amortized.training.step import TERMS


class RunningMeans:
    """Sums of the means of `TERMS` over steps, and the first step at which each was not finite.

    Both live on the device, because reading them would wait for it.

    Args:
        device: Where the terms are computed.
    """

    def __init__(self, device: torch.device):
        self.device = torch.device("cpu") if device.type == "mps" else device  # MPS has no float64
        self.sums = torch.zeros(len(TERMS), dtype=torch.float64, device=self.device)
        self.first_bad = torch.full((len(TERMS),), -1, device=self.device)
        self.steps = 0

    def add(self, means: Tensor, step: int) -> None:
        """Add the means of one step."""
        means = means.to(self.device)
        self.sums += means
        self.steps += 1
        self.first_bad = torch.where((self.first_bad < 0) & ~means.isfinite(), step, self.first_bad)

    @property
    def mean(self) -> Tensor:
        """The mean of each term over the steps since the last reset, float64."""
        return self.sums / max(1, self.steps)

    def reset(self) -> None:
        """Forget the sums."""
        self.sums.zero_()
        self.steps = 0

    def bad(self) -> tuple[str, int] | None:
        """The term that was the first not to be finite, and the step; None where all are. Waits for the device."""
        steps = self.first_bad.tolist()
        found = [value for value in steps if value >= 0]
        if not found:
            return None
        # The objective and the ELBO are sums of the other two: the culprit is the last by name.
        return next(name for name, step in zip(TERMS[::-1], steps[::-1], strict=True) if step == min(found)), min(found)

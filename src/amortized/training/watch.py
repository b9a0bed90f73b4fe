"""The watch over a run: terms and weights that are not finite, signals, and the time since the last checkpoint.

Of several processes all must stop and save at the same step, or the others would wait for ever: what each has seen is reduced
over them.
"""

import math
import time
from signal import Signals
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from amortized.training.checkpoints import state_tensors
from amortized.training.interruption import Interruption
from amortized.training.step import TERMS

if TYPE_CHECKING:
    from lightning_fabric import Fabric

LOOK_EVERY = 16
"""Steps between two looks on an accelerator, where each waits for the device."""

NEVER = 2**62
"""The first bad step of a term that was always finite: later than every step, so that processes agree by a minimum."""


class NotFiniteError(Exception):
    """Something is not finite.

    Args:
        name: What.
        step: Since which step.
    """

    def __init__(self, name: str, step: int):
        super().__init__(f"{name} not finite at step {step}.")
        self.step = step


class Watch:
    """Remembers the first step at which each of `TERMS` was not finite, and hears signals.

    Args:
        model: Whose weights are watched: those that are finite now.
        interruption: Where signals arrive.
        fabric: Where it runs.
        seconds: The least time between two checkpoints.
    """

    def __init__(self, model: nn.Module, interruption: Interruption, fabric: "Fabric", seconds: float):
        self.model, self.interruption, self.fabric = model, interruption, fabric
        self.first_bad = torch.full((len(TERMS),), NEVER, device=fabric.device)
        self.names = [name for name, value in state_tensors(model).items() if bool(value.isfinite().all())]
        self.seconds, self._saved = seconds, time.perf_counter()
        self._heard: Signals | None = None
        self._is_due = False

    def add(self, means: Tensor, step: int) -> None:
        """Watch the means of `TERMS` at a step, before anything is made of them.

        Raises:
            NotFiniteError: One is not finite; on an accelerator that is noticed a few steps later.
        """
        is_at_hand = self.fabric.device.type == "cpu"
        if not is_at_hand or not all(map(math.isfinite, means.tolist())):
            self.first_bad = torch.where(means.isfinite(), self.first_bad, self.first_bad.clamp(max=step))
        elif self.fabric.world_size == 1:
            return  # all is well, and there is nobody else to hear of
        if is_at_hand or step % LOOK_EVERY == 0:
            self.look()

    def look(self) -> None:
        """Refuse what was not finite, and hear what signals came to other processes; waits for the device."""
        if self.fabric.world_size > 1:
            own = torch.tensor([-int(self.interruption.signal or 0), -int(self._is_time())], device=self.first_bad.device)
            least = self.fabric.all_reduce(torch.cat([own, self.first_bad]), reduce_op="min")
            assert isinstance(least, Tensor)
            self.first_bad = least[2:]
            number, due = least[:2].tolist()
            self._heard, self._is_due = Signals(-number) if number else None, bool(due)
        steps = self.first_bad.tolist()
        first = min(steps)
        if first != NEVER:
            raise NotFiniteError(f"term '{_culprit([step > first for step in steps])}' is", first)

    def check_weights(self, step: int) -> None:
        """Refuse weights that are not finite: those after `step` steps."""
        if not self.is_finite():
            raise NotFiniteError("the weights are", step)

    def check_scores(self, scores: list[float], step: int) -> None:
        """Refuse the means of `TERMS` over the validation data where one is not finite."""
        finite = [math.isfinite(score) for score in scores]
        if not all(finite):
            raise NotFiniteError(f"term '{_culprit(finite)}' of the validation data is", step)

    @property
    def signal(self) -> Signals | None:
        """The signal to stop at: one that came here, or that all of several processes have heard of."""
        return self.interruption.signal if self.fabric.world_size == 1 else self._heard

    @property
    def is_due(self) -> bool:
        """Whether it is time for another checkpoint, in the eyes of any process."""
        return self._is_time() if self.fabric.world_size == 1 else self._is_due

    def _is_time(self) -> bool:
        return time.perf_counter() - self._saved >= self.seconds

    def saved(self) -> None:
        """Begin to count the seconds to the next checkpoint."""
        self._saved, self._is_due = time.perf_counter(), False

    def is_sound(self) -> bool:
        """Whether all terms and all weights are finite, in all processes."""
        sound = torch.tensor(int(bool((self.first_bad == NEVER).all()) and self.is_finite()), device=self.first_bad.device)
        return bool(self.fabric.all_reduce(sound, reduce_op="min"))

    def is_finite(self) -> bool:
        """Whether all weights of this process are."""
        tensors = state_tensors(self.model)
        return all(bool(tensors[name].isfinite().all()) for name in self.names)


def _culprit(finite: list[bool]) -> str:
    # The objective and the ELBO are sums of the other two: the one to blame is the last by name.
    return next(name for name, fine in zip(TERMS[::-1], finite[::-1], strict=True) if not fine)

r"""Adam in one call a step.

    m <- b1 m + (1 - b1) g        v <- b2 v + (1 - b2) g^2        p <- p - lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)

Kingma and Ba 2015, arXiv 1412.6980, algorithm 1; Loshchilov and Hutter 2019, arXiv 1711.05101, decays the weights beside it. The
arithmetic is that of torch's own fused kernel, and so are the results, to the bit. `torch.optim.Adam` looks at every parameter
several times before it calls that kernel, which for a small model takes as long as the kernel itself.
"""

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class FusedAdam(torch.optim.Optimizer):
    """Adam or AdamW; its state has the names that torch's have.

    Args:
        groups: Dicts with "params", and by choice a "lr", "betas", "eps" or "weight_decay" of their own.
        lr: Learning rate.
        betas: Decay rates of the two moments, (b1, b2).
        eps: Added to the root of the second moment.
        weight_decay: An L2 penalty, or the decay of the weights where it is decoupled.
        decoupled: Whether it is (AdamW).
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        decoupled: bool = False,
    ):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self.update = torch._fused_adamw_ if decoupled else torch._fused_adam_
        self._kept: dict[int, _Lists] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Move every parameter that has a gradient."""
        for position, group in enumerate(self.param_groups):
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            lists = self._lists(position, moved)
            _count(lists.counts)
            self.update(
                moved,
                [parameter.grad for parameter in moved],
                lists.first,
                lists.second,
                [],
                lists.counts,
                lr=group["lr"],
                beta1=group["betas"][0],
                beta2=group["betas"][1],
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop all gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, in the memory format of the weights: the kernel goes through all of them side by side."""
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.empty_like(parameter).copy_(state[name])
        self._kept.clear()

    def _lists(self, position: int, moved: list[nn.Parameter]) -> "_Lists":
        """The state of the parameters of a group that are moved, which are the same ones at most steps."""
        kept = self._kept.get(position)
        if kept is None or len(kept.moved) != len(moved) or any(map(operator.is_not, kept.moved, moved)):
            states = [self.state[parameter] or self._begin(parameter) for parameter in moved]
            names = ("exp_avg", "exp_avg_sq", "step")
            kept = self._kept[position] = _Lists(moved, *([state[name] for state in states] for name in names))
        return kept

    def _begin(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        state = self.state[parameter]
        state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        return state


class _Lists(NamedTuple):
    """Parameters, and their moments and counts of steps in the same order."""

    moved: list[nn.Parameter]
    first: list[Tensor]
    second: list[Tensor]
    counts: list[Tensor]


def _count(counts: list[Tensor]) -> None:
    """Add one to each; on a processor one by one, because torch's call for many is slow for single numbers there."""
    if counts[0].device.type != "cpu":
        torch._foreach_add_(counts, 1)
        return
    for count in counts:
        count += 1

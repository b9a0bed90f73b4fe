"""Learning-rate schedules and optimizers.

The rate is a function of the step alone, so nothing of it needs to be saved.
"""

import math
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

import torch
from torch import nn

from amortized.errors import InputError
from amortized.objectives import Auxiliary
from amortized.training.adam import FusedAdam
from amortized.training.settings import Settings

BURDA_STAGES = tuple(3**i for i in range(8))
"""Epochs of the eight stages of Burda et al. 2016 (arXiv 1509.00519, section 5), 3,280 in all; stage i runs at 10^(-i/7)."""

BURDA_ENDS = tuple(accumulate(BURDA_STAGES))
"""The epochs at which the stages end."""


def learning_rate(settings: Settings, step: int, *, total: int, steps_per_epoch: int) -> float:
    """The learning rate of a step.

    Args:
        settings: Says which schedule.
        step: Counts from 0.
        total: Steps in the whole run; "cosine" and "burda" are stretched over them.
        steps_per_epoch: The length of an epoch, for "step".
    """
    match settings.schedule:
        case "constant":
            factor = 1.0
        case "cosine":
            factor = 0.5 * (1.0 + math.cos(math.pi * step / total))
        case "step":
            factor = settings.step_factor ** (step // (settings.step_epochs * steps_per_epoch))
        case "burda":
            epochs = BURDA_ENDS[-1]
            factor = 10.0 ** -(sum(step * epochs >= end * total for end in BURDA_ENDS) / 7.0)  # in integers: exact at the ends
    warmup = min(1.0, (step + 1) / settings.lr_warmup_steps) if settings.lr_warmup_steps else 1.0
    return settings.lr * factor * warmup


def make_optimizer(
    parameters: Iterable[nn.Parameter], settings: Settings, auxiliary: Auxiliary | None = None
) -> torch.optim.Optimizer:
    """The optimizer that the settings name.

    Args:
        parameters: Of the model.
        settings: Say which.
        auxiliary: An objective's own network, a group of parameters with a rate, moments and no decay of its own.

    Raises:
        InputError: There is nothing to train.
    """
    groups: list[dict[str, Any]] = [{"params": [parameter for parameter in parameters if parameter.requires_grad]}]
    if not groups[0]["params"]:
        raise InputError("the model has no parameter that requires a gradient: there is nothing to train; give one that has.")
    if auxiliary is not None:
        own = {"lr": auxiliary.lr, "betas": auxiliary.betas, "weight_decay": 0.0}
        groups.append({"params": list(auxiliary.parameters()), **own})
    betas, eps, decay = settings.betas, settings.eps, settings.weight_decay
    if settings.optimizer == "adamax":
        return torch.optim.Adamax(groups, settings.lr, betas, eps, decay, foreach=True)
    return FusedAdam(groups, settings.lr, betas, eps, decay, decoupled=settings.optimizer == "adamw")

"""Learning-rate schedules and optimizers.

The rate is a function of the step alone, so nothing of it needs to be saved.
"""

import math
from collections.abc import Iterable

import torch
from torch import nn

from amortized.training.settings import Settings

BURDA_STAGES = tuple(3**i for i in range(8))
"""Epochs of the eight stages of Burda et al. 2016 (arXiv 1509.00519, section 5), 3,280 in all; stage i runs at 10^(-i/7)."""


def learning_rate(settings: Settings, step: int, *, total: int, steps_per_epoch: int) -> float:
    """The learning rate of a step.

    Args:
        settings: Says which schedule.
        step: Counts from 0.
        total: Steps in the whole run; "cosine" and "burda" are stretched over them.
        steps_per_epoch: The length of an epoch, for "step".
    """
    fraction = step / total
    match settings.schedule:
        case "constant":
            factor = 1.0
        case "cosine":
            factor = 0.5 * (1.0 + math.cos(math.pi * fraction))
        case "step":
            factor = settings.step_factor ** (step // (settings.step_epochs * steps_per_epoch))
        case "burda":
            epoch = fraction * sum(BURDA_STAGES)
            ends = [sum(BURDA_STAGES[: i + 1]) for i in range(len(BURDA_STAGES))]
            factor = 10.0 ** -(sum(epoch >= end for end in ends) / 7.0)
    warmup = min(1.0, (step + 1) / settings.lr_warmup_steps) if settings.lr_warmup_steps else 1.0
    return settings.lr * factor * warmup


def make_optimizer(parameters: Iterable[nn.Parameter], settings: Settings) -> torch.optim.Optimizer:
    """The optimizer that the settings name."""
    parameters = [parameter for parameter in parameters if parameter.requires_grad]
    betas, eps, decay = settings.betas, settings.eps, settings.weight_decay
    if settings.optimizer == "adamax":
        return torch.optim.Adamax(parameters, settings.lr, betas, eps, decay, foreach=True)
    family = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return family(parameters, settings.lr, betas, eps, decay, fused=True)

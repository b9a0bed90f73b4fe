"""What the tests of the baselines share: the data they are given, and how close to the truth a fit must come."""

import math

import torch

from amortized.evaluation.baseline_rows import Rows
from amortized.evaluation.baseline_setting import Setting
from amortized.terms import Batch


def rows(x, observed=None):
    return Rows.of([Batch(x.double(), observed=observed)], "test")


def setting(measure, train, test=None, latent_dim=2):
    return Setting(measure, rows(train), rows(train if test is None else test), latent_dim)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def check_recovered(log_px, truth, parameters, fitted):
    """A fit by maximum likelihood to n data costs KL(truth || fit) ~ chi^2_P / 2n on other data: P parameters, known families."""
    cost = truth - log_px
    error = 4.5 * cost.std().item() / math.sqrt(len(cost))
    assert cost.mean() > -error
    assert cost.mean() < (parameters + 4.5 * math.sqrt(2 * parameters)) / (2 * fitted) + error

"""Families that `torch.distributions` lacks, or computes badly."""

from amortized.distributions.center import center
from amortized.distributions.counts import Binomial, NegativeBinomial, Poisson
from amortized.distributions.delta import Delta, is_point_mass
from amortized.distributions.discretized import DiscretizedLogistic
from amortized.distributions.masked import masked_log_prob
from amortized.distributions.optimal import OptimalScale

__all__ = [
    "Binomial",
    "Delta",
    "DiscretizedLogistic",
    "NegativeBinomial",
    "OptimalScale",
    "Poisson",
    "center",
    "is_point_mass",
    "masked_log_prob",
]

"""Objectives: functions of a model's terms, in nats, always maximized."""

from amortized.objectives.auxiliary import Auxiliary
from amortized.objectives.bounds import ciwae, cubo, elbo, elbo_sampled, iwae, miwae, renyi
from amortized.objectives.discrepancy import infovae, mmd, wae
from amortized.objectives.factor import FactorVAE
from amortized.objectives.gradients import dreg, piwae, rloo, stl, vimco
from amortized.objectives.infomax import InfoMaxVAE
from amortized.objectives.moments import dip_i, dip_ii
from amortized.objectives.objective import NEEDS, Need, Objective, check_compatible, needs
from amortized.objectives.rate import capacity, free_bits, free_bits_per_dimension
from amortized.objectives.schedules import Cosine, Cyclical, Linear, Schedule, Sigmoid
from amortized.objectives.total_correlation import beta_tcvae

__all__ = [
    "NEEDS",
    "Auxiliary",
    "Cosine",
    "Cyclical",
    "FactorVAE",
    "InfoMaxVAE",
    "Linear",
    "Need",
    "Objective",
    "Schedule",
    "Sigmoid",
    "beta_tcvae",
    "capacity",
    "check_compatible",
    "ciwae",
    "cubo",
    "dip_i",
    "dip_ii",
    "dreg",
    "elbo",
    "elbo_sampled",
    "free_bits",
    "free_bits_per_dimension",
    "infovae",
    "iwae",
    "miwae",
    "mmd",
    "needs",
    "piwae",
    "renyi",
    "rloo",
    "stl",
    "vimco",
    "wae",
]

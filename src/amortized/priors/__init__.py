"""Priors p(z), and p(z | y) given a condition."""

from amortized.priors.autoregressive import Autoregressive
from amortized.priors.centered import Centered
from amortized.priors.flow import Flow
from amortized.priors.gaussian import Gaussian, StandardNormal
from amortized.priors.mixture import Mixture
from amortized.priors.uniform import Uniform
from amortized.priors.vamp import Vamp, random_pseudo_inputs

__all__ = [
    "Autoregressive",
    "Centered",
    "Flow",
    "Gaussian",
    "Mixture",
    "StandardNormal",
    "Uniform",
    "Vamp",
    "random_pseudo_inputs",
]

"""Priors p(z), and p(z | y) given a condition."""

from amortized.priors.gaussian import Gaussian, StandardNormal

__all__ = ["Gaussian", "StandardNormal"]

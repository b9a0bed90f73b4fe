"""Likelihoods p(x | z): what a decoder says about the data."""

from amortized.likelihoods.continuous import Gaussian, Laplace
from amortized.likelihoods.counts import NegativeBinomial, Poisson
from amortized.likelihoods.discrete import Bernoulli, Binomial, Categorical, DiscretizedLogistic
from amortized.likelihoods.likelihood import Likelihood
from amortized.likelihoods.support import check_support, fits

__all__ = [
    "Bernoulli",
    "Binomial",
    "Categorical",
    "DiscretizedLogistic",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "NegativeBinomial",
    "Poisson",
    "check_support",
    "fits",
]

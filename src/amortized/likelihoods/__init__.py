"""Likelihoods p(x | z): what a decoder says about the data."""

from amortized.likelihoods.continuous import Gaussian, Laplace
from amortized.likelihoods.counts import Multinomial, NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial
from amortized.likelihoods.discrete import Bernoulli, Binomial, Categorical, DiscretizedLogistic, Ordinal
from amortized.likelihoods.heavy_tailed import GaussianMixture, StudentT
from amortized.likelihoods.likelihood import Likelihood
from amortized.likelihoods.logistic_mixture import LogisticMixture
from amortized.likelihoods.pixelcnn import PixelCNN
from amortized.likelihoods.support import check_support, fits
from amortized.likelihoods.unit_interval import Beta, ContinuousBernoulli

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedLogistic",
    "Gaussian",
    "GaussianMixture",
    "Laplace",
    "Likelihood",
    "LogisticMixture",
    "Multinomial",
    "NegativeBinomial",
    "Ordinal",
    "PixelCNN",
    "Poisson",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
    "check_support",
    "fits",
]

"""Posteriors q(z | x): what amortized inference learns."""

from amortized.posteriors.autoregressive import InverseAutoregressive
from amortized.posteriors.discrete import Bernoulli, Categorical
from amortized.posteriors.gaussian import Delta, DiagonalGaussian, FullGaussian
from amortized.posteriors.mixture import MixtureOfGaussians
from amortized.posteriors.planar import Planar
from amortized.posteriors.radial import Radial
from amortized.posteriors.semi_amortized import SemiAmortized
from amortized.posteriors.spline import Spline
from amortized.posteriors.sylvester import Sylvester
from amortized.posteriors.von_mises_fisher import VonMisesFisher

__all__ = [
    "SemiAmortized",
    "Bernoulli",
    "Categorical",
    "Delta",
    "DiagonalGaussian",
    "FullGaussian",
    "InverseAutoregressive",
    "MixtureOfGaussians",
    "Planar",
    "Radial",
    "Spline",
    "Sylvester",
    "VonMisesFisher",
]

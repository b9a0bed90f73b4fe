"""Invertible maps of vectors, with the determinant of their Jacobians: what flows are made of."""

from amortized.distributions.transforms.bijection import Affine, Bijection, Chain
from amortized.distributions.transforms.conditioned import Conditioned, Steps
from amortized.distributions.transforms.orthogonal import Columns, Orthonormal, Permutation, Reflections, orthogonalize
from amortized.distributions.transforms.planar import Planar
from amortized.distributions.transforms.radial import Radial
from amortized.distributions.transforms.sylvester import Sylvester

__all__ = [
    "Affine",
    "Bijection",
    "Chain",
    "Columns",
    "Conditioned",
    "Orthonormal",
    "Permutation",
    "Planar",
    "Radial",
    "Reflections",
    "Steps",
    "Sylvester",
    "orthogonalize",
]

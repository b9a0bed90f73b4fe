"""What one does with a fitted model: draw, reconstruct, encode, interpolate, traverse, impute."""

from amortized.tasks.encode import encode
from amortized.tasks.holes import hide
from amortized.tasks.impute import Imputation, impute
from amortized.tasks.interpolate import interpolate
from amortized.tasks.reconstruct import reconstruct
from amortized.tasks.sample import sample
from amortized.tasks.support import is_discrete
from amortized.tasks.traverse import Ranking, Traversal, rank_dimensions, traverse

__all__ = [
    "Imputation",
    "Ranking",
    "Traversal",
    "encode",
    "hide",
    "impute",
    "interpolate",
    "is_discrete",
    "rank_dimensions",
    "reconstruct",
    "sample",
    "traverse",
]

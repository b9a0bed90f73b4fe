"""What one does with a fitted model: draw, reconstruct, encode, interpolate."""

from amortized.tasks.encode import encode
from amortized.tasks.interpolate import interpolate
from amortized.tasks.reconstruct import reconstruct
from amortized.tasks.sample import sample
from amortized.tasks.support import is_discrete

__all__ = ["encode", "interpolate", "is_discrete", "reconstruct", "sample"]

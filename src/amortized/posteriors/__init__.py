"""Posteriors q(z | x): what amortized inference learns."""

from amortized.posteriors.gaussian import Delta, DiagonalGaussian, FullGaussian

__all__ = ["Delta", "DiagonalGaussian", "FullGaussian"]

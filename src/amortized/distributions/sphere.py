r"""The uniform distribution on the unit sphere S^{D-1} = { z in R^D : |z| = 1 }.

Its density with respect to the surface measure is one over the area of the sphere (Davidson et al. 2018, arXiv 1804.00891,
section 3.2; Mardia and Jupp 2000, section 9.3.1):

    |S^{D-1}| = 2 pi^{D/2} / Gamma(D/2)

A normalized draw of N(0, I_D) has this distribution, because the Gaussian looks the same from every direction.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from amortized.errors import InputError

EMPTY = torch.Size()


class UnitVector(constraints.Constraint):
    """Vectors of length one, up to the rounding of their type."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        """(*batch) whether the vectors have length one."""
        return (torch.linalg.vector_norm(value, dim=-1) - 1).abs() <= 1e2 * torch.finfo(value.dtype).eps


unit_vector = UnitVector()


class SphereUniform(Distribution):
    """Unit vectors in R^D, every direction alike; the density is with respect to the surface measure.

    Args:
        dimension: The dimension D of the space around the sphere, 2 or more; 3 is the sphere of geography.
        batch_shape: Shape of the batch.
        dtype: Type of the samples; torch's default where None.
        device: Where the samples are drawn.

    Raises:
        InputError: The dimension is below 2: in R^1 the "sphere" is two points.
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = unit_vector  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    has_rsample = True

    def __init__(
        self,
        dimension: int,
        batch_shape: Sequence[int] = (),
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ):
        check_dimension(dimension)
        self.dtype, self.device = dtype or torch.get_default_dtype(), device
        super().__init__(torch.Size(batch_shape), torch.Size((dimension,)), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """(*batch, D) zero, the center of the sphere."""
        return self._full(0.0)

    @property
    def variance(self) -> Tensor:
        """(*batch, D) 1 / D in every entry."""
        return self._full(1 / self.event_shape[0])

    def expand(self, batch_shape, _instance=None) -> "SphereUniform":
        """The same over a larger batch."""
        return SphereUniform(self.event_shape[0], batch_shape, dtype=self.dtype, device=self.device)

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, D) unit vectors; they depend on no parameter."""
        noise = torch.randn(self._extended_shape(torch.Size(sample_shape)), dtype=self.dtype, device=self.device)
        return torch.nn.functional.normalize(noise, dim=-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) minus the logarithm of the sphere's area, in nats; a value off the sphere is not noticed.

        Raises:
            InputError: The values are not vectors of D entries.
        """
        dimension = self.event_shape[0]
        if value.shape[-1:] != self.event_shape:
            raise InputError(f"SphereUniform scores vectors of {dimension} entries; the value has shape {tuple(value.shape)}.")
        return value.new_full(torch.broadcast_shapes(value.shape[:-1], self.batch_shape), -log_area(dimension))

    def entropy(self) -> Tensor:
        """(*batch) the logarithm of the sphere's area, in nats."""
        return torch.full(self.batch_shape, log_area(self.event_shape[0]), dtype=self.dtype, device=self.device)

    def _full(self, value: float) -> Tensor:
        return torch.full(self._extended_shape(), value, dtype=self.dtype, device=self.device)


def log_area(dimension: int) -> float:
    """Logarithm of the area of the unit sphere in R^D: log(2 pi^{D/2} / Gamma(D/2))."""
    return math.log(2) + dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2)


def check_dimension(dimension: int) -> None:
    """Refuse a space in which the unit vectors are no surface.

    Raises:
        InputError: The dimension is below 2.
    """
    if dimension < 2:
        raise InputError(
            f"a sphere lies in a space of 2 or more dimensions; dimension is {dimension}. Two points are a 'bernoulli' latent."
        )

r"""The von Mises-Fisher distribution: a Gaussian's counterpart on the unit sphere S^{D-1} of R^D.

Davidson, Falorsi, De Cao, Kipf and Tomczak 2018, arXiv 1804.00891, section 3.1. With the mean direction mu (`loc`), a unit
vector, and the concentration k >= 0, the density with respect to the surface measure is (equation 1)

    q(z) = C_D(k) exp(k mu^T z),     C_D(k) = k^v / ((2 pi)^{D/2} I_v(k)),     v = D/2 - 1

In terms of L(k) = log 0F1(; D/2; k^2 / 4), which `bessel` computes, C_D(k) = exp(-L(k)) / |S^{D-1}|; and since z and mu are unit
vectors, mu^T z = 1 - |z - mu|^2 / 2. So the density is written with nothing that cancels in a narrow peak:

    log q(z) = -k |z - mu|^2 / 2 - (L(k) - k) - log |S^{D-1}|

k = 0 is the uniform distribution, D = 2 the von Mises distribution on the circle. Moments, with A = L'(k):

    E[z] = A mu          Var[z_i] = (A / k) (1 - mu_i^2) + A' mu_i^2          KL(q || uniform) = k A - L(k)

Draws (section 3.3): z' = (cos theta, sin theta v), v uniform on S^{D-2} and theta as in `colatitude`, is mapped by a Householder
reflection to the frame in which e_1 lies at mu. The paper's u = e_1 - mu is a difference of nearly equal vectors when mu is near
e_1, and its gradient has no bound there. With s the sign of mu_1 and u = e_1 + s mu, the reflection takes e_1 to -s mu and has
no such place: z = -s (z' - u (u^T z') / (1 + |mu_1|)). The law of v is symmetric, so the law of z is the same.
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.nn.functional import normalize

from amortized.distributions import bessel
from amortized.distributions.colatitude import draw_angle
from amortized.distributions.sphere import SphereUniform, check_dimension, log_area, unit_vector
from amortized.distributions.tempering import divided

EMPTY = torch.Size()


class VonMisesFisher(Distribution):
    """Unit vectors z in R^D around a mean direction; the density is with respect to the surface measure.

    The normalizer is right to 1e-10 (float64) for D up to 10,000 and concentrations up to 1e6, and the pathwise gradient of the
    draws is unbiased.

    Args:
        loc: (*batch, D) the mean direction, of length one; D is 2 or more.
        concentration: (*batch) k, zero (uniform) or more.
        validate_args: As in `torch.distributions`.

    Raises:
        InputError: D is below 2.

    Example:
        >>> q = VonMisesFisher(torch.tensor([0.0, 0.6, 0.8]), torch.tensor(10.0))
        >>> q.mean
        tensor([0.0000, 0.5400, 0.7200])
    """

    arg_constraints = {"loc": unit_vector, "concentration": constraints.nonnegative}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = unit_vector  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None):
        check_dimension(loc.shape[-1])
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch_shape, loc.shape[-1])
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """(*batch, D) A(k) mu, inside the ball."""
        return bessel.mean_cosine(self.concentration, self._dimension).unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """(*batch, D) the mean direction."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """(*batch, D) of each coordinate; asking for its gradient in the concentration raises."""
        along = bessel.variance_cosine(self.concentration, self._dimension).unsqueeze(-1)
        across = bessel.mean_over_concentration(self.concentration, self._dimension).unsqueeze(-1)
        square = self.loc.square()
        return across * (1 - square).clamp(min=0) + along * square

    def expand(self, batch_shape, _instance=None) -> "VonMisesFisher":
        """The same over a larger batch."""
        shape = torch.Size(batch_shape)
        return VonMisesFisher(self.loc.expand(*shape, self._dimension), self.concentration.expand(shape), validate_args=False)

    def tempered(self, temperature: float) -> "VonMisesFisher":
        """The concentration over the square of the temperature: 0 is the mean direction; what is uniform stays uniform."""
        return VonMisesFisher(self.loc, divided(self.concentration, temperature**2), validate_args=False)

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, D) unit vectors with a gradient in both parameters; one backward pass, not two."""
        shape = self._extended_shape(torch.Size(sample_shape))
        angle = draw_angle(self.concentration, self._dimension, shape[:-1]).to(self.loc.device).unsqueeze(-1)
        noise = torch.randn(*shape[:-1], self._dimension - 1, dtype=self.loc.dtype, device=self.loc.device)
        tangent = normalize(torch.where(noise == 0, 1.0, noise), dim=-1)  # a zero vector would have no direction
        standard = torch.cat((angle.cos().to(self.loc), angle.sin().to(self.loc) * tangent), -1)
        return self._turn(standard)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-density of unit vectors, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        distance = (value - self.loc).square().sum(-1)
        log_normalizer = bessel.log_mass(self.concentration, self._dimension) + log_area(self._dimension)
        return -self.concentration * distance / 2 - log_normalizer

    def entropy(self) -> Tensor:
        """(*batch) nats."""
        return log_area(self._dimension) - bessel.divergence(self.concentration, self._dimension)

    @property
    def _dimension(self) -> int:
        return self.event_shape[0]

    def _turn(self, standard: Tensor) -> Tensor:
        """Turn vectors around e_1 into vectors around `loc`."""
        first = self.loc[..., :1]
        sign = torch.where(first < 0, -1.0, 1.0).to(first.dtype)
        axis = torch.cat((sign * first + 1, sign * self.loc[..., 1:]), -1)
        along = (axis * standard).sum(-1, keepdim=True)
        return -sign * (standard - axis * along / (1 + first.abs()))


@register_kl(VonMisesFisher, SphereUniform)
def _kl_von_mises_fisher_uniform(q: VonMisesFisher, p: SphereUniform) -> Tensor:
    """K A(k) - L(k), whatever the mean direction."""
    if q.event_shape != p.event_shape:
        raise NotImplementedError
    kl = bessel.divergence(q.concentration, q.event_shape[0])
    return kl.expand(torch.broadcast_shapes(q.batch_shape, p.batch_shape))

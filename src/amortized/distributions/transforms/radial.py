r"""The radial flow of Rezende and Mohamed 2015 (arXiv 1505.05770, equation 14, and appendix A.2).

    f(z) = z + beta (z - z0) / (alpha + r),        r = |z - z0|,    alpha > 0,    beta > -alpha

Written with beta = alpha (s - 1), where s > 0 is the factor by which the neighborhood of z0 is stretched, no term is
negative:

    f(z) - z0 = g(r) (z - z0),                g(r) = (r + s alpha) / (r + alpha)
    |det df/dz| = g(r)^(D - 1) (r^2 + 2 alpha r + s alpha^2) / (r + alpha)^2

The inverse needs r from R = |f(z) - z0| = r g(r), the positive root of r^2 + (s alpha - R) r - alpha R = 0.
"""

import torch
from torch import Tensor

from amortized.distributions.transforms.monotone import positive


class Radial:
    """z -> z0 + g(|z - z0|) (z - z0).

    Args:
        center: (*batch, D) the point z0.
        alpha: (*batch) before the map to the positive numbers; 0 is alpha = 1.
        beta: (*batch) before the constraint; 0 is the identity.
    """

    def __init__(self, center: Tensor, alpha: Tensor, beta: Tensor):
        self.center = center
        self.alpha = positive(alpha)
        self.stretch = positive(beta)

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f(z), and give log |det df/dz| (*lead)."""
        away = z - self.center
        radius = torch.linalg.vector_norm(away, dim=-1)
        factor, ladj = self._at(radius, z.shape[-1])
        return self.center + factor.unsqueeze(-1) * away, ladj

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map z (*lead, D) to f^-1(z), and give log |det df^-1/dz| (*lead)."""
        away = z - self.center
        image = torch.linalg.vector_norm(away, dim=-1)
        middle = self.stretch * self.alpha - image
        root = (middle.square() + 4 * self.alpha * image).sqrt()
        # Of the two forms of the root, each side takes the one that subtracts nothing.
        radius = torch.where(middle > 0, 2 * self.alpha * image / (root + middle.abs()), (root + middle.abs()) / 2)
        factor, ladj = self._at(radius, z.shape[-1])
        return self.center + away / factor.unsqueeze(-1), -ladj

    def _at(self, radius: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
        """The factor g and log |det df/dz| at a distance from z0."""
        total = radius + self.alpha
        factor = (radius + self.stretch * self.alpha) / total
        radial = radius / total * (1 + self.alpha / total) + self.stretch * (self.alpha / total).square()
        return factor, (dimension - 1) * factor.log() + radial.log()

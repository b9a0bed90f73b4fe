"""Gaussian posteriors q(z | x) = N(z; m(x), S(x)), and their limit of no width.

`DiagonalGaussian` is the mean-field family of Kingma and Welling 2014 (arXiv 1312.6114, section 3). `FullGaussian` gives S(x) its
Cholesky factor L(x): ones that a network predicts, with a positive diagonal (Kingma and Welling 2019, arXiv 1906.02691, section
2.5.1). `Delta` is a point mass: what is left is the classical autoencoder.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from amortized.distributions import Delta as PointMass
from amortized.networks import Head

# Beyond these a standard deviation has left float32's useful range, and its logarithm is noise or an overflow to come.
MIN_LOG_SCALE, MAX_LOG_SCALE = -12.0, 8.0


class DiagonalGaussian(nn.Module):
    """q(z | x) with independent entries, each with a mean and a standard deviation of its own.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
    """

    has_density = True
    has_moments = True
    is_mean_field = True

    def __init__(self, network: nn.Module, event: int | tuple[int, ...]):
        super().__init__()
        self.head = Head(network, event, 2)
        self.event_shape = self.head.event_shape

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """Return q(z | x, context) with batch (B,) and event (*event)."""
        loc, log_scale = self.head(x, context)
        scale = log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp()
        return Independent(Normal(loc, scale, validate_args=False), len(self.event_shape), validate_args=False)


class FullGaussian(nn.Module):
    """q(z | x) with any covariance, by its Cholesky factor.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: The number D of entries of z.
    """

    has_density = True
    has_moments = True
    rows: Tensor
    columns: Tensor

    def __init__(self, network: nn.Module, event: int):
        super().__init__()
        self.head = Head(network, 2 * event + event * (event - 1) // 2, 1)
        self.event_shape = torch.Size((event,))
        rows, columns = torch.tril_indices(event, event, offset=-1)
        self.register_buffer("rows", rows, persistent=False)
        self.register_buffer("columns", columns, persistent=False)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """Return q(z | x, context) with batch (B,) and event (D,)."""
        (parameters,) = self.head(x, context)
        dimension = self.event_shape[0]
        loc, log_scale, below = parameters.split((dimension, dimension, len(self.rows)), dim=-1)
        scale_tril = torch.diag_embed(log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp())
        scale_tril[..., self.rows, self.columns] = below
        return MultivariateNormal(loc, scale_tril=scale_tril, validate_args=False)


class Delta(nn.Module):
    """q(z | x) a point mass at m(x): the classical autoencoder, whose objective is no bound on log p(x).

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
    """

    has_density = False
    has_moments = True

    def __init__(self, network: nn.Module, event: int | tuple[int, ...]):
        super().__init__()
        self.head = Head(network, event, 1)
        self.event_shape = self.head.event_shape

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        """Return the point mass at m(x, context), with batch (B,) and event (*event)."""
        (value,) = self.head(x, context)
        return PointMass(value, len(self.event_shape))

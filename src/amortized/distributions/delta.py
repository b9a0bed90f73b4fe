"""The point mass: all of the probability at one value.

Its density is taken with respect to counting measure on that value, so `log_prob` is 0 there. That measure moves with the value,
so the number is no log-density that another distribution's may be subtracted from: an objective with a point-mass posterior is
no bound on log p(x).
"""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints, register_kl

EMPTY = torch.Size()


class Delta(Distribution):
    """The distribution that always gives `value`.

    Args:
        value: (*batch, *event) the value.
        event_dim: How many of its last dimensions are the event.
        validate_args: As in `torch.distributions`.
    """

    has_rsample = True

    def __init__(self, value: Tensor, event_dim: int = 0, validate_args: bool | None = None):
        self.value = value
        split = value.ndim - event_dim
        super().__init__(value.shape[:split], value.shape[split:], validate_args=validate_args)

    @constraints.dependent_property
    def arg_constraints(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """Any real value."""
        return {"value": constraints.independent(constraints.real, len(self.event_shape))}

    @constraints.dependent_property
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The reals: which of them has the mass is `value`."""
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """(*batch, *event) the value."""
        return self.value

    @property
    def mode(self) -> Tensor:
        """(*batch, *event) the value."""
        return self.value

    @property
    def variance(self) -> Tensor:
        """(*batch, *event) zero."""
        return torch.zeros_like(self.value)

    def expand(self, batch_shape, _instance=None) -> "Delta":
        """The same point mass over a larger batch."""
        return Delta(self.value.expand(torch.Size(batch_shape) + self.event_shape), len(self.event_shape), validate_args=False)

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, *event) the value, its gradient with it."""
        return self.value.expand(self._extended_shape(torch.Size(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) zero at the point, minus infinity elsewhere, in nats."""
        differs = (value != self.value).flatten(-len(self.event_shape)).any(-1) if self.event_shape else value != self.value
        return torch.zeros_like(differs, dtype=self.value.dtype).masked_fill(differs, -torch.inf)


def is_point_mass(distribution: Distribution) -> bool:
    """Whether a distribution is a `Delta`, or independent ones: then it has no density to speak of."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return isinstance(distribution, Delta)


@register_kl(Delta, Distribution)
def _kl_delta(q: Delta, p: Distribution) -> Tensor:
    """The KL of a point mass from a density is infinite, whatever its place: it is left out, as a constant.

    What remains of the bound is E[log p(x|z)], the classical autoencoder's objective. It is no bound, and says so.
    """
    return torch.zeros(q.batch_shape, dtype=q.value.dtype, device=q.value.device)

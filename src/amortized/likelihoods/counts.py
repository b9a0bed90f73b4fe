r"""Likelihoods of counts, x in 0, 1, 2, ...

    Poisson             mean m(z), variance m
    NegativeBinomial    mean m(z), variance m + m^2 / theta           Lopez et al. 2018 (scVI), with no excess of zeros

The decoder gives log m. The log-masses are derived in distributions/counts.py.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized import distributions as families
from amortized.likelihoods.likelihood import Likelihood
from amortized.likelihoods.scale import How, Scale

LEAST_RATE = 1e-4  # `initialize` of an entry that is always 0 starts here, and not at a logarithm of minus infinity


class Poisson(Likelihood):
    """Independent Poisson counts.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
    """

    kind = "poisson"

    def __init__(self, network: nn.Module, event: int | tuple[int, ...]):
        super().__init__(network, event, 1)

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) counts."""
        self.head.set_bias(0, mean.clamp(min=LEAST_RATE).log())

    def _family(self, *parameters: Tensor) -> Distribution:
        return families.Poisson(parameters[0], validate_args=False)


class NegativeBinomial(Likelihood):
    """Independent counts that vary more than Poisson's.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        dispersion: The inverse dispersion theta: a number, "learned" (one), "per-entry", or "predicted" by the decoder. The
            larger, the nearer to Poisson. It starts at 1.
        floor: Its smallest value.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "negative-binomial"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        dispersion: How = "per-entry",
        floor: float = 1e-3,
    ):
        super().__init__(network, event, 2 if dispersion == "predicted" else 1)
        self.theta = Scale(dispersion, self.event_shape, floor=floor, name="dispersion")

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) counts."""
        self.head.set_bias(0, mean.clamp(min=LEAST_RATE).log())
        if self.theta.predicted:
            self.head.set_bias(1, torch.zeros(()))

    def _family(self, *parameters: Tensor) -> Distribution:
        theta = self.theta(*parameters[1:]).to(parameters[0])
        return families.NegativeBinomial(parameters[0], theta, validate_args=False)

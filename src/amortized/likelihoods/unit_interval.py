r"""Likelihoods of numbers between 0 and 1: probabilities, shares, intensities.

    ContinuousBernoulli    x in [0, 1]     density proportional to exp(l(z) x)                Loaiza-Ganem and Cunningham 2019
    Beta                   x in (0, 1)     mean m(z), variance m (1 - m) / (c + 1)            Ferrari and Cribari-Neto 2004

The decoder gives the logit l, and the log-odds of m. The log-densities are derived in distributions/continuous_bernoulli.py and
distributions/beta.py. Both start at the data's mean, by `initialize`.
"""

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized import distributions as families
from amortized.likelihoods.likelihood import Likelihood
from amortized.likelihoods.scale import How, Scale
from amortized.likelihoods.solving import solve_increasing

MARGIN = 1e-3
FLAT_MARGIN = 0.02  # a continuous Bernoulli's mean comes as near as 1/|logit| to an end: no learning rate returns from 1e-3
STEEPEST = 1 / FLAT_MARGIN + 10


class ContinuousBernoulli(Likelihood):
    """Independent entries in [0, 1], with one parameter each: the Bernoulli decoder of grey images, with its normalizer.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
    """

    kind = "continuous-bernoulli"

    def __init__(self, network: nn.Module, event: int | tuple[int, ...]):
        super().__init__(network, event, 1)

    @torch.no_grad()
    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) from 0.02 to 0.98."""
        target = mean.double().clamp(FLAT_MARGIN, 1 - FLAT_MARGIN)
        low, high = torch.full_like(target, -STEEPEST), torch.full_like(target, STEEPEST)
        self.head.set_bias(0, solve_increasing(lambda logits: families.ContinuousBernoulli(logits).mean, target, low, high))

    def _family(self, *parameters: Tensor) -> Distribution:
        return families.ContinuousBernoulli(parameters[0], validate_args=False)


class Beta(Likelihood):
    """Independent entries in the open interval (0, 1).

    Values that pile up at an end have no maximum of this likelihood there: give those to a discretized family.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        concentration: The inverse spread c: a number, "learned" (one), "per-entry", or "predicted" by the decoder. The larger,
            the narrower. It starts at 5.
        floor: Its smallest value.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "beta"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        concentration: How = "per-entry",
        floor: float = 1e-3,
    ):
        super().__init__(network, event, 2 if concentration == "predicted" else 1)
        self.concentration = Scale(concentration, self.event_shape, floor=floor, initial=5.0, name="concentration")

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) in (0, 1)."""
        self.head.set_bias(0, torch.logit(mean, eps=MARGIN))
        if self.concentration.predicted:
            self.head.set_bias(1, torch.zeros(()))

    def _family(self, *parameters: Tensor) -> Distribution:
        concentration = self.concentration(*parameters[1:]).to(parameters[0])
        return families.Beta(parameters[0], concentration, validate_args=False)

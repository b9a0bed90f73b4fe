r"""Likelihoods of counts, x in 0, 1, 2, ...

    Poisson             mean m(z), variance m
    NegativeBinomial    mean m(z), variance m + m^2 / theta           Lopez et al. 2018 (scVI), with no excess of zeros
    ZeroInflated...     the same, and 0 with probability pi(z)        Lopez et al. 2018 (scVI)
    Multinomial         entries that divide a given total: n p(z)     Liang et al. 2018, arXiv 1802.05814, equation 2

The decoder gives log m, the log-odds of pi, and p up to a factor. The log-masses are derived in distributions/counts.py,
zero_inflated.py and multinomial.py.
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid

from amortized import distributions as families
from amortized.errors import InputError, nearest
from amortized.likelihoods.likelihood import Likelihood
from amortized.likelihoods.scale import LEARNED, How, Scale

LEAST_RATE = 1e-4  # `initialize` of an entry that is always 0 starts here, and not at a logarithm of minus infinity
FIRST_ZERO_LOGIT = math.log(0.1 / 0.9)


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


class ZeroInflatedNegativeBinomial(Likelihood):
    """Independent counts with more zeros than a negative binomial has.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        dispersion: The inverse dispersion theta of the negative binomial: a number, "learned" (one), "per-entry", or "predicted"
            by the decoder. It starts at 1.
        zeros: The probability of an excess zero: "learned" (one), "per-entry", or "predicted" by the decoder. It starts at 0.1.
        floor: The smallest value of the dispersion.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "zinb"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        dispersion: How = "per-entry",
        zeros: Literal["learned", "per-entry", "predicted"] = "predicted",
        floor: float = 1e-3,
    ):
        if zeros not in LEARNED:
            raise InputError(f"zeros cannot be {zeros!r}; {nearest(str(zeros), LEARNED)}")
        super().__init__(network, event, 1 + (dispersion == "predicted") + (zeros == "predicted"))
        self.theta = Scale(dispersion, self.event_shape, floor=floor, name="dispersion")
        shape = self.event_shape if zeros == "per-entry" else ()
        self.zero_logits = None if zeros == "predicted" else nn.Parameter(torch.full(shape, FIRST_ZERO_LOGIT))

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) counts."""
        logits = torch.tensor(FIRST_ZERO_LOGIT) if self.zero_logits is None else self.zero_logits.detach()
        self.head.set_bias(0, mean.clamp(min=LEAST_RATE).log() - logsigmoid(-logits))
        for position in range(1, self.head.count):
            self.head.set_bias(position, torch.zeros(()))

    def _family(self, *parameters: Tensor) -> Distribution:
        log_mean, *rest = parameters
        outputs = iter(rest)
        theta = self.theta.take(outputs).to(log_mean)
        logits = FIRST_ZERO_LOGIT + next(outputs) if self.zero_logits is None else self.zero_logits.to(log_mean)
        return families.ZeroInflatedNegativeBinomial(log_mean, theta, logits, validate_args=False)


class Multinomial(Likelihood):
    """Counts that divide a total among all entries of x: which words or genes, given how many.

    The total of each datum is taken from x itself, so that log p(x | z) is the log-mass given it. To draw samples, and for the
    mean, it is the mean total of the training data, which `initialize` stores; until then it is 1, and the mean holds
    probabilities. The entries are not independent, so that x cannot have missing ones.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
    """

    kind = "multinomial"
    factorizes = False
    total: Tensor

    def __init__(self, network: nn.Module, event: int | tuple[int, ...]):
        super().__init__(network, event, 1)
        self.register_buffer("total", torch.ones(()))

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) counts, and keep its total."""
        kept = mean.clamp(min=LEAST_RATE)
        self.head.set_bias(0, kept.log() - kept.log().mean())
        self.total.copy_(mean.sum())

    def _family(self, *parameters: Tensor) -> Distribution:
        return families.Multinomial(parameters[0], self.total, len(self.event_shape), validate_args=False)

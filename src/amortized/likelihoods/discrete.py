r"""Likelihoods of bits, classes, grey levels and grades.

    Bernoulli              x in {0, 1}       log p(x | z) = x log p + (1 - x) log(1 - p), p = sigmoid(l(z))
    Categorical            x in 0..C-1       log p(x | z) = l_x(z) - log sum_c exp l_c(z)
    Binomial               x in 0..L-1       the number of successes in n = L - 1 trials: distributions/counts.py
    DiscretizedLogistic    x in 0..L-1       a logistic distribution in bins: distributions/discretized.py
    Ordinal                x in 0..L-1       cumulative logits, of which only the order counts: distributions/ordinal.py

The Bernoulli decoder is that of Kingma and Welling 2014 (arXiv 1312.6114, appendix C.1). All of them start at the data's mean, by
`initialize`; probabilities are kept 0.001 away from 0 and 1, as in the code of Burda et al. 2016 (arXiv 1509.00519).
"""

from typing import Literal

import torch
from torch import Tensor, distributions, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from amortized import distributions as families
from amortized.distributions.counts import log_binomial_coefficients
from amortized.errors import InputError, is_count, nearest
from amortized.likelihoods.likelihood import Likelihood
from amortized.likelihoods.scale import How, Scale, inverse_softplus
from amortized.likelihoods.solving import solve_increasing

MARGIN = 1e-3
LEAST_GAP = 1e-4  # between two cutpoints: float32 holds it apart at 500


class Bernoulli(Likelihood):
    """Independent bits, for x in {0, 1}.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
    """

    kind = "bernoulli"

    def __init__(self, network: nn.Module, event: int | tuple[int, ...]):
        super().__init__(network, event, 1)

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) in [0, 1]."""
        self.head.set_bias(0, torch.logit(mean, eps=MARGIN))

    def _family(self, *parameters: Tensor) -> Distribution:
        entries = distributions.Bernoulli(logits=parameters[0], validate_args=False)
        return families.IndependentBernoulli(entries, len(self.event_shape), validate_args=False)


class Categorical(Likelihood):
    """Independent classes or tokens, for integer codes x in 0..classes-1.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        classes: The number of classes, 2 or more.
    """

    kind = "categorical"

    def __init__(self, network: nn.Module, event: int | tuple[int, ...], *, classes: int):
        _check_count("classes", classes)
        super().__init__(network, event, classes, {"classes": classes})
        self.classes = classes

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the frequencies of the classes, `mean` (*event, classes)."""
        for code, frequency in enumerate(mean.unbind(-1)):
            self.head.set_bias(code, frequency.clamp(min=MARGIN).log())

    def _family(self, *parameters: Tensor) -> Distribution:
        return distributions.Categorical(logits=torch.stack(parameters, -1), validate_args=False)


class Binomial(Likelihood):
    """Independent grey levels, for integers x in 0..levels-1, each the number of successes in levels - 1 trials.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        levels: The number of levels, 2 or more; with 2 it is the Bernoulli likelihood.
    """

    kind = "binomial"

    def __init__(self, network: nn.Module, event: int | tuple[int, ...], *, levels: int):
        _check_count("levels", levels)
        super().__init__(network, event, 1, {"levels": levels})
        self.levels = levels
        self.log_choose = log_binomial_coefficients(levels - 1)  # no buffer: it stays float64, which some devices do not have

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) in levels."""
        self.head.set_bias(0, torch.logit(mean / (self.levels - 1), eps=MARGIN))

    def _family(self, *parameters: Tensor) -> Distribution:
        return families.Binomial(self.levels - 1, parameters[0], self.log_choose, validate_args=False)


class DiscretizedLogistic(Likelihood):
    """Independent grey levels, for integers x in 0..levels-1, each a bin of a logistic distribution.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        levels: The number of levels, 2 or more.
        scale: Of the logistic, the levels being mapped to [-1, 1]: a number, "learned" (one), "per-entry", or "predicted" by the
            decoder. It starts at 0.1.
        floor: Its smallest value.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "discretized-logistic"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        levels: int,
        scale: How = "per-entry",
        floor: float = 1e-3,
    ):
        _check_count("levels", levels)
        super().__init__(network, event, 2 if scale == "predicted" else 1, {"levels": levels})
        self.levels = levels
        self.scale = Scale(scale, self.event_shape, floor=floor, initial=0.1)

    @torch.no_grad()
    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) in levels.

        The tails fold into the first and last level, so that the center is not the mean; it is found by bisection.
        """
        target = (mean.double() / (self.levels - 1)).clamp(MARGIN, 1 - MARGIN) * (self.levels - 1)
        zero = torch.zeros_like(target)
        scale = self.scale(zero if self.scale.predicted else None).double().expand_as(target)
        if self.scale.predicted:
            self.head.set_bias(1, zero)
        low, high = -1 - 10 * scale, 1 + 10 * scale
        loc = solve_increasing(lambda loc: families.DiscretizedLogistic(loc, scale, self.levels).mean, target, low, high)
        self.head.set_bias(0, loc)

    def _family(self, *parameters: Tensor) -> Distribution:
        scale = self.scale(*parameters[1:]).to(parameters[0])
        return families.DiscretizedLogistic(parameters[0], scale, self.levels, validate_args=False)


class Ordinal(Likelihood):
    """Independent ordered classes, for integers x in 0..levels-1 whose distances mean nothing: ratings, grades.

    The decoder gives a location for every entry; the cutpoints between the levels are learned, and are no function of z.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        levels: The number of levels, 2 or more; with 2 it is the Bernoulli likelihood.
        cutpoints: "per-entry", or "learned" for one set that all entries share. At the start, and at location 0, the levels
            have equal masses.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "ordinal"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        levels: int,
        cutpoints: Literal["learned", "per-entry"] = "per-entry",
    ):
        _check_count("levels", levels)
        if cutpoints not in ("learned", "per-entry"):
            raise InputError(f"cutpoints cannot be {cutpoints!r}; {nearest(str(cutpoints), ('learned', 'per-entry'))}")
        super().__init__(network, event, 1, {"levels": levels})
        self.levels = levels
        shape = (*self.event_shape, 1) if cutpoints == "per-entry" else (1,)
        start = torch.logit(torch.arange(1, levels, dtype=torch.float64) / levels)
        gaps = [inverse_softplus(max(gap - LEAST_GAP, 0.01 * gap)) for gap in start.diff().tolist()]
        self.first = nn.Parameter(start[:1].to(torch.get_default_dtype()).expand(shape).clone())
        self.gaps = nn.Parameter(torch.tensor(gaps).expand(*shape[:-1], levels - 2).clone()) if levels > 2 else None

    @torch.no_grad()
    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data, (*event) in levels."""
        target = (mean.double() / (self.levels - 1)).clamp(MARGIN, 1 - MARGIN) * (self.levels - 1)
        cutpoints = self._cutpoints(target)
        low, high = ((cutpoints[..., end] + reach).expand_as(target) for end, reach in ((0, -10.0), (-1, 10.0)))
        self.head.set_bias(0, solve_increasing(lambda location: families.Ordinal(location, cutpoints).mean, target, low, high))

    def _cutpoints(self, like: Tensor) -> Tensor:
        first = self.first.to(like)
        if self.gaps is None:
            return first
        gaps = LEAST_GAP + softplus(self.gaps.to(like))
        return torch.cat((first, first + gaps.cumsum(-1)), -1)

    def _family(self, *parameters: Tensor) -> Distribution:
        return families.Ordinal(parameters[0], self._cutpoints(parameters[0]), validate_args=False)


def _check_count(name: str, value: int) -> None:
    if not is_count(value, 2):
        raise InputError(f"{name} must be an integer of 2 or more; it is {value!r}; give e.g. {name}=256.")

r"""Likelihoods of real numbers that are not Gaussian: with outliers, or with several values at one z.

In standardized units (standardized.py), with M components c of weights w_c,

    StudentT           p(x | z) = t_nu(x; a + u mu(z), u s)                                Lange, Little and Taylor 1989
    GaussianMixture    p(x | z) = sum_c w_c(z) Normal(x; a + u mu_c(z), u sigma_c(z))      Bishop 1994 (mixture density network)

The log-density of the first is derived in distributions/student_t.py. The mixture is one over components per entry: given z the
entries are independent, and the logarithm of the sum is taken entry by entry.
"""

import math

import torch
from torch import Tensor, distributions, nn
from torch.distributions import Distribution

from amortized import distributions as families
from amortized.errors import InputError
from amortized.likelihoods.scale import How, Scale
from amortized.likelihoods.standardized import Standardized

LEAST_DF = 2.1  # of learned degrees of freedom: at 2 the variance is infinite
FIRST_DF = 8.0
WEIGHT, LOC, SCALE = range(3)


class StudentT(Standardized):
    """Independent Student-t entries, for real numbers with outliers.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        scale: In standardized units: a number, "learned" (one), "per-entry", or "predicted" by the decoder. It starts at 1.
        df: The degrees of freedom: "learned" (one), "per-entry", or "predicted" by the decoder, never below 2.1, so that
            the variance is finite, and 8 at the start; or a number, any positive one (up to 1 there is no mean, and the
            center stands for it).
        floor: The smallest value of the scale.
        shift: What standardized 0 is in the data's own units, one number or one per entry.
        unit: What standardized 1 is in them, positive.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "student-t"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        scale: How = "learned",
        df: How = "learned",
        floor: float = 1e-3,
        shift: Tensor | float = 0.0,
        unit: Tensor | float = 1.0,
    ):
        if not isinstance(df, str) and not (math.isfinite(df) and df > 0):
            raise InputError(f"df must be positive and finite; it is {df}; give e.g. df=5, or df='learned'.")
        super().__init__(network, event, 1 + (scale == "predicted") + (df == "predicted"), shift, unit)
        self.scale = Scale(scale, self.event_shape, floor=floor)
        least = LEAST_DF if isinstance(df, str) else min(LEAST_DF, df)
        self.df = Scale(df, self.event_shape, floor=least, initial=FIRST_DF, name="df")

    def _family(self, *parameters: Tensor) -> Distribution:
        mu, *rest = parameters
        outputs = iter(rest)
        shift, unit = self.shift.to(mu), self.unit.to(mu)
        scale = unit * self.scale.take(outputs).to(mu)
        return families.StudentT(self.df.take(outputs).to(mu), shift + unit * mu, scale, validate_args=False)


class GaussianMixture(Standardized):
    """Independent entries, each a mixture of normal ones, for real numbers with several modes.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        components: The number of components of every entry, 1 or more; with 1 it is the Gaussian likelihood.
        scale: The components' standard deviations, in standardized units: a number, "learned" (one for all), "per-entry" (one
            for each component of each entry), or "predicted" by the decoder. They start at 1.
        floor: Their smallest value.
        shift: What standardized 0 is in the data's own units, one number or one per entry.
        unit: What standardized 1 is in them, positive.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "gaussian-mixture"

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        components: int = 5,
        scale: How = "predicted",
        floor: float = 1e-3,
        shift: Tensor | float = 0.0,
        unit: Tensor | float = 1.0,
    ):
        if not isinstance(components, int) or components < 1:
            raise InputError(f"components must be an integer of 1 or more; it is {components!r}; give e.g. components=5.")
        super().__init__(network, event, components * (3 if scale == "predicted" else 2), shift, unit)
        self.components = components
        self.scale = Scale(scale, torch.Size((*self.event_shape, components)), floor=floor)

    def initialize(self, mean: Tensor) -> None:
        """Set the output's bias so that features of zero give the mean of the data: equal weights, centers around it.

        Args:
            mean: (*event) in the data's own units.
        """
        super().initialize(mean)
        self.head.set_bias(0, torch.zeros(()))
        offsets = torch.linspace(-1, 1, self.components) if self.components > 1 else torch.zeros(1)
        for component, offset in enumerate(offsets):
            self.head.set_bias(LOC * self.components + component, self.standardize(mean) + offset.to(self.shift))

    def _family(self, *parameters: Tensor) -> Distribution:
        groups = [torch.stack(group, -1) for group in _grouped(parameters, self.components)]
        shift, unit = (value.to(groups[LOC]).unsqueeze(-1) for value in (self.shift, self.unit))
        loc, scale = shift + unit * groups[LOC], unit * self.scale(*groups[SCALE:]).to(groups[LOC])
        return distributions.MixtureSameFamily(
            distributions.Categorical(logits=groups[WEIGHT], validate_args=False),
            distributions.Normal(loc, scale.expand_as(loc), validate_args=False),
            validate_args=False,
        )


def _grouped(parameters: tuple[Tensor, ...], size: int) -> list[tuple[Tensor, ...]]:
    return [parameters[start : start + size] for start in range(0, len(parameters), size)]

r"""Distributions at a temperature T: of the same family, and closer to what is most typical of them where T is below 1.

    Gaussian                the standard deviation times T; at 0, the mean
    pushed through a map    the standard deviation of its base times T; at 0, the image of the base's mean
    von Mises-Fisher        the concentration over T^2, which is to it what 1 / s^2 is to a Gaussian; at 0, the mean direction
    classes and bits        the logits over T, so that q(z) becomes q(z)^(1/T) up to a constant; at 0, the mode
    mixture                 every component at T; the weights stay

In the first three, T scales the distance from the center (on the sphere: where the density is narrow). At 0 a concentration and a
logit would be infinite, and the density of any other value 0; they stop at 1 / eps^2, eps being the precision of their type:
no draw can be told from the center, and every score is finite. A Gaussian of deviation 0 has draws and no density.

A family has a method `tempered`, or is one of torch's Gaussians.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from amortized.errors import InputError


@runtime_checkable
class Temperable(Protocol):
    """A distribution that can be had at another temperature."""

    def tempered(self, temperature: float) -> Distribution:
        """The same family at a temperature, 0 or more."""
        ...


def tempered(p: Distribution, temperature: float) -> Distribution:
    """The distribution at a temperature, 0 or more, of which each family has its meaning, as above.

    Raises:
        InputError: Its family has none.
    """
    if isinstance(p, Temperable):
        return p.tempered(temperature)
    if type(p) is Normal:
        return Normal(p.loc, p.scale * temperature, validate_args=False)
    if type(p) is Independent:
        return Independent(tempered(p.base_dist, temperature), p.reinterpreted_batch_ndims, validate_args=False)
    if type(p) is MultivariateNormal:
        return MultivariateNormal(p.loc, scale_tril=p.scale_tril * temperature, validate_args=False)
    raise InputError(
        f"temperature {temperature} has no meaning for a {type(p).__name__}, only for Gaussians, flows, von Mises-Fisher and"
        " discrete families and their mixtures; leave it at 1."
    )


def divided(value: Tensor, divisor: float) -> Tensor:
    """`value` / `divisor`, between -1 / eps^2 and 1 / eps^2 of its type; 0 stays 0 whatever the divisor."""
    digits = torch.finfo(value.dtype)
    # eps^3 takes all that is not 0 in its digits to the bound, and leaves a gradient that is finite.
    return (value / max(divisor, digits.eps**3)).clamp(-(digits.eps**-2), digits.eps**-2)

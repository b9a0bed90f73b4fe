"""The one value that stands for a distribution when it is shown, or when something is made of it."""

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent


def center(p: Distribution) -> Tensor:
    """E[x], or the mode of a family without expectation (of classes there is none), or one draw where neither is known.

    A family may name a value of its own, an attribute `center`: a flow does, the image of its base's mean, which is no mean.

    Args:
        p: Any distribution.

    Returns:
        (*batch, *event).
    """
    value = _known(p)
    return p.sample() if value is None else value


def has_center(p: Distribution) -> bool:
    """Whether `center` is a value that p is known to have, and no draw from it."""
    return _known(p) is not None


def _known(p: Distribution) -> Tensor | None:
    while isinstance(p, Independent):  # which hides what the family names
        p = p.base_dist
    for statistic in ("center", "mean", "mode"):
        try:
            value = getattr(p, statistic, None)
        except NotImplementedError:
            continue
        if value is None:
            continue
        # NaN is torch's way of saying that a family has no mean; a graph that is traced has no values to look at.
        if torch.compiler.is_compiling() or not value.isnan().any():
            return value
    return None


def representative(p: Distribution) -> Tensor:
    """A value that p can take: its center where that lies in the support, its mode where it does not (classes, a sphere).

    Args:
        p: Any distribution.

    Returns:
        (*batch, *event).
    """
    value = center(p)
    return value if in_support(p, value) else p.mode


def in_support(p: Distribution, value: Tensor) -> bool:
    """Whether all of `value` (*sample_shape, *batch, *event) lies where p can; true where p does not say where that is."""
    try:
        support = p.support
    except NotImplementedError:
        return True
    return support is None or bool(support.check(value).all())

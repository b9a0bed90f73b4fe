"""The one value that stands for a distribution when it is shown."""

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
    while isinstance(p, Independent):  # which hides what the family names
        p = p.base_dist
    for statistic in ("center", "mean", "mode"):
        try:
            value = getattr(p, statistic, None)
        except NotImplementedError:
            continue
        if value is not None and not value.isnan().any():  # torch's way of saying that a family has no mean
            return value
    return p.sample()

"""The one value that stands for a distribution when it is shown."""

from torch import Tensor
from torch.distributions import Distribution


def center(p: Distribution) -> Tensor:
    """E[x], or the mode of a family without expectation (of classes there is none), or one draw where neither is known.

    Args:
        p: Any distribution.

    Returns:
        (*batch, *event).
    """
    for statistic in ("mean", "mode"):
        try:
            value = getattr(p, statistic)
        except NotImplementedError:
            continue
        if not value.isnan().any():  # torch's way of saying that a family has no mean
            return value
    return p.sample()

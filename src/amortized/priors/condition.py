"""What a prior says of a condition that it cannot take, or lacks."""

from torch import Tensor

from amortized.errors import InputError


def check_condition(name: str, features: int, context: Tensor | None) -> Tensor | None:
    """The encoded condition (B, C) of prior `name`, which was built for one of width `features`, 0 for none.

    Raises:
        InputError: It has another width, or is there and not wanted, or the other way round.
    """
    width = 0 if context is None else context.shape[-1]
    if width == features:
        return context
    if context is None:
        raise InputError(
            f"prior {name} was built for a condition of width {features} and was called without one; build the model with a"
            " context and 'prior' in its condition, or the prior with context_features=0."
        )
    raise InputError(
        f"prior {name} was built for a condition of width {features} and got one of width {width}; build it with"
        f" context_features={width}, or take 'prior' out of the model's condition."
    )

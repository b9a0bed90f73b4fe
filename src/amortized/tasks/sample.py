"""Draw data from the model: z ~ p(z), then x ~ p(x | z), or E[x | z]."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.models.model import Model, device_of, evaluating
from amortized.tasks.running import rows_at_once


def sample(
    model: Model,
    n: int,
    *,
    context: Mapping[str, Tensor] | None = None,
    temperature: float = 1.0,
    mean: bool = False,
    seed: int = 0,
) -> Tensor:
    """Draw n data.

    Args:
        model: The model.
        n: How many.
        context: Conditions of n rows each, for a model that has them.
        temperature: Of the prior; its meaning is stated with each family.
        mean: Return E[x | z] at the n latents drawn, in place of x drawn given z.
        seed: Of the draws.

    Returns:
        (n, *event) on the CPU, in the units of the data that it was fitted on, after any scaling of theirs.

    Raises:
        InputError: n is not positive, the temperature is no number from 0 on, or a condition has another number of rows.
    """
    if n < 1:
        raise InputError(f"the number of samples must be positive; it is {n}.")
    if not 0 <= temperature < math.inf:
        raise InputError(f"temperature cannot be negative or infinite; it is {temperature}; 1 draws from the prior itself.")
    context = context or {}
    for name, value in context.items():
        if len(value) != n:
            raise InputError(f"condition '{name}' has {len(value)} rows for {n} samples; give one row per sample.")
    size, device, drawn = rows_at_once(model), device_of(model), []
    with evaluating(model, seed, "sample"):
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            given = {name: value[rows].to(device) for name, value in context.items()}
            drawn.append(model.sample(rows.stop - rows.start, given, temperature, mean=mean).cpu())
    return torch.cat(drawn)

"""What the model makes of data that it has seen through its latent: E[x | z] at z = E_q[z | x], or at the mode of q."""

from collections.abc import Iterable

import torch
from torch import Tensor

from amortized.distributions import center, representative
from amortized.errors import InputError
from amortized.models.model import Model, evaluating
from amortized.tasks.running import chunks
from amortized.terms import Batch


def reconstruct(model: Model, batches: Batch | Tensor | Iterable[Batch | Tensor], *, mean: bool = True, seed: int = 0) -> Tensor:
    """Encode data to the mean of their posterior (its mode, where the mean is no value of the latent) and decode that.

    Args:
        model: The model.
        batches: The data, with the conditions under which they are encoded and decoded.
        mean: Return E[x | z]; otherwise x drawn given z. A posterior or likelihood whose mean is not known is drawn from.
        seed: Of the draws.

    Returns:
        (N, *event) on the CPU, in the order of the data and in their units.

    Raises:
        InputError: There are no data.
    """
    made = []
    with evaluating(model, seed, "reconstruct"):
        for batch in chunks(batches, model):
            px = model.decode(representative(model.posterior(batch)), batch.context)
            made.append((center(px) if mean else px.sample()).cpu())
    if not made:
        raise InputError("there are no data to reconstruct; give a split that has some.")
    return torch.cat(made)

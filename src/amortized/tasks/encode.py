"""Where data lie in the latent space: E_q[z | x], or z ~ q(z | x)."""

from collections.abc import Iterable

import torch
from torch import Tensor

from amortized.distributions import center
from amortized.errors import InputError
from amortized.models.model import Model, evaluating
from amortized.tasks.running import chunks
from amortized.terms import Batch


def encode(model: Model, batches: Batch | Tensor | Iterable[Batch | Tensor], *, sample: bool = False, seed: int = 0) -> Tensor:
    """The latents of data.

    Args:
        model: The model.
        batches: The data; how they are cut matters only to the noise of draws.
        sample: Draw from the posterior, in place of its mean. A posterior whose mean is not known is drawn from in any case.
        seed: Of the draws.

    Returns:
        (N, *event of z) on the CPU, in the order of the data.

    Raises:
        InputError: There are no data.
    """
    with evaluating(model, seed, "encode"):
        posteriors = (model.posterior(batch) for batch in chunks(batches, model))
        latents = [(q.sample() if sample else center(q)).cpu() for q in posteriors]
    if not latents:
        raise InputError("there are no data to encode; give a split that has some.")
    return torch.cat(latents)

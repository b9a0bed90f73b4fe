"""What lies between two data: E[x | z] along a path from the posterior mean of one to that of the other.

    linear      z(t) = (1 - t) a + t b
    spherical   z(t) turns from a to b and changes its norm evenly (`distributions.paths`)

Under a Gaussian prior of high dimension a straight line leaves the shell in which the mass lies; the spherical path does not.
"""

from typing import Literal, get_args

import torch
from torch import Tensor

from amortized.distributions import center, in_support, representative, spherical
from amortized.errors import InputError, nearest
from amortized.models.model import Model, evaluating
from amortized.tasks.running import chunks
from amortized.terms import Batch

Path = Literal["linear", "spherical"]


def interpolate(
    model: Model, a: Batch | Tensor, b: Batch | Tensor, *, steps: int = 8, path: Path = "linear", seed: int = 0
) -> Tensor:
    """Decode the path between the latents of pairs of data.

    Args:
        model: The model.
        a: N data at which the paths begin. Their conditions, where the model has any, are held along the whole path.
        b: N data at which the paths end; their conditions reach their posterior only.
        steps: Points of each path, both ends among them.
        path: "linear" or "spherical".
        seed: Of the draws, where a mean is not known.

    Returns:
        (N, steps, *event) on the CPU, in the data's units.

    Raises:
        InputError: Fewer than two steps, an unknown path, or another number of data in b than in a; or the path
            leads where no latent can be.
    """
    if steps < 2:
        raise InputError(f"a path needs at least 2 steps, its two ends; steps is {steps}.")
    if path not in get_args(Path):
        raise InputError(f"unknown path '{path}'; {nearest(path, get_args(Path))}")
    a, b = Batch.of(a), Batch.of(b)
    if len(a) != len(b) or len(a) == 0:
        raise InputError(f"interpolation needs pairs of data; there are {len(a)} beginnings and {len(b)} ends.")
    between = spherical if path == "spherical" else torch.lerp
    made = []
    with evaluating(model, seed, "interpolate"):
        for begin, end in zip(chunks(a, model, steps), chunks(b, model, steps), strict=True):
            q = model.posterior(begin)
            ends = representative(q), representative(model.posterior(end))
            t = torch.linspace(0.0, 1.0, steps, dtype=ends[0].dtype, device=ends[0].device)
            z = between(*ends, t.reshape(steps, *(1 for _ in ends[0].shape)))
            if not in_support(q, z):
                raise InputError(
                    f"a {path} path leaves what the latent can be: take the path 'spherical' on a sphere; between discrete values"
                    " there is none."
                )
            made.append(center(model.decode(z, begin.context)).transpose(0, 1).cpu())
    return torch.cat(made)

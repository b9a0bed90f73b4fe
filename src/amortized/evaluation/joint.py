r"""The joint density of B data and their latents, as a function of the latents.

    log p(x, z) = log p(z) + log p(x | z)

What moves in the space of z (annealed importance sampling, a posterior fitted to each datum, quadrature) needs this function and
its gradient, and q(z|x) to start from; and z must be free to move: real numbers, with a density. In the code z is (K, B, *event).
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from amortized.distributions import is_point_mass, is_relaxed, masked_log_prob
from amortized.errors import InputError
from amortized.models.model import Model
from amortized.terms import Batch


@dataclass(frozen=True, eq=False)
class Joint:
    """p(z), p(x | z) and q(z | x) of B data, with the model held still.

    Attributes:
        model: The model, in evaluation mode.
        batch: The B data.
        p: The prior, of batch () or (B,).
        q: The posterior, of batch (B,).
    """

    model: Model
    batch: Batch
    p: Distribution
    q: Distribution

    @classmethod
    def of(cls, model: Model, batch: Batch | Tensor, *, method: str) -> "Joint":
        """That of some data.

        Args:
            model: The model, in evaluation mode.
            batch: The data.
            method: What it is for, such as "annealed importance sampling", named where it is refused.

        Raises:
            InputError: The latent is discrete, on a sphere, or a point: nothing can move in its space.
        """
        batch = Batch.of(batch)
        p, q = model.prior(batch.context), model.posterior(batch)
        _check_space(q, method)
        return cls(model, batch, p, q)

    @property
    def event_shape(self) -> torch.Size:
        """The shape of one latent."""
        return self.q.event_shape

    def log_prior(self, z: Tensor) -> Tensor:
        """The log prior log p(z), (K, B) nats."""
        return self.p.log_prob(z).expand(z.shape[: z.ndim - len(self.event_shape)])

    def log_px(self, z: Tensor) -> Tensor:
        """The log-likelihood log p(x | z) over the observed entries, (K, B) nats."""
        px = self.model.decode(z, self.batch.context)
        x, observed = self.batch.x, self.batch.observed
        return px.log_prob(x) if observed is None else masked_log_prob(px, x, observed)

    def log_q(self, z: Tensor) -> Tensor:
        """The log posterior log q(z | x), (K, B) nats."""
        return self.q.log_prob(z)


def _check_space(q: Distribution, method: str) -> None:
    if is_point_mass(q):
        raise InputError(f"{method} needs a posterior with a density, and this model's is a point; fit one such as 'gaussian'.")
    support = q.support
    if is_relaxed(q) or (support is not None and support.is_discrete):
        raise InputError(
            f"{method} needs latents that are real numbers, and those of this model are discrete; importance sampling (the"
            " 'evidence') works, and is exact where the posterior enumerates its values."
        )
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support is not constraints.real and support is not constraints.real_vector:
        raise InputError(
            f"{method} moves latents over all real numbers, and those of this model ({type(q).__name__}) are not free to; use"
            " importance sampling (the 'evidence')."
        )

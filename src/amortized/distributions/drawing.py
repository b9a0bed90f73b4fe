"""How the latents of a posterior are drawn.

Most families are drawn K times with a gradient, each draw weighing 1/K. Some have a plan of their own, and say so with a method
`draw(samples)`: a mixture draws every component and weighs the draws by the mixture's weights (stratified sampling, Morningstar
et al. 2021, arXiv 2003.01687), a discrete family may list its whole support, or draw without a gradient in evaluation.
"""

from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from amortized.errors import InputError


@dataclass(frozen=True)
class Draw:
    """Values drawn from a distribution.

    Attributes:
        z: (K, *batch, *event) the values; where each sample has several strata, sample after sample, its strata together.
        log_weight: (K, *batch) their log-weights, whose exponentials sum to one over K; None where each weighs 1/K.
        is_complete: Whether the K values are the whole support, so that a weighted sum over them is an expectation.
    """

    z: Tensor
    log_weight: Tensor | None = None
    is_complete: bool = False


def draw(q: Distribution, samples: int) -> Draw:
    """Draw from a posterior: by its own plan where it has one, else `samples` times with a gradient.

    Args:
        q: The distribution; one with a method `draw(samples) -> Draw` is drawn by that.
        samples: How many; a plan of its own may give more (strata, a whole support).

    Raises:
        InputError: It has neither a plan nor reparameterized samples.
    """
    own = getattr(q, "draw", None)
    if own is not None:
        return own(samples)
    if not q.has_rsample:
        raise InputError(
            f"a posterior returned a {type(q).__name__}, which has no reparameterized samples (rsample) and no `draw` of its own;"
            " use a family that has one of them."
        )
    return Draw(q.rsample((samples,)))


def is_relaxed(q: Distribution) -> bool:
    """Whether the values drawn from q only approximate its own (a relaxed discrete family): what is made of them is no bound."""
    return bool(getattr(q, "is_relaxed", False))

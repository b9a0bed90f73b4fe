"""What the builder of one part may know of the others, and of the data."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from amortized.recipes.networks import Network


@dataclass(frozen=True)
class Site:
    """Where a prior is put.

    Attributes:
        event: Shape of z.
        space: What z is, as the posterior says.
        network: The model's own, for parts that bring none.
        posterior: q(z | x).
        context_features: Width of the encoded condition that the prior is called with; 0 where it is called with none.
        posterior_context: Width of the encoded condition that the posterior is called with.
        in_shape: Shape of one datum as the encoder sees it.
        rows: The training data as the encoder sees them, in batches; None where weights are loaded next.
        is_bounded: Whether what the encoder sees has a range to be kept in; what has none is of the size of standard normals.
        has_links: Whether the latent has others below it, which see the condition too.
        mask: Of `in_shape`, true where what the encoder sees tells whether an entry was observed; None where nothing does.
    """

    event: tuple[int, ...]
    space: str
    network: Network
    posterior: nn.Module
    context_features: int
    posterior_context: int
    in_shape: tuple[int, ...]
    rows: Callable[[], Iterable[Tensor]] | None
    is_bounded: bool = True
    has_links: bool = False
    mask: Tensor | None = None

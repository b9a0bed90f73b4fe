"""A network of several inputs: each goes through layers of its own, and what comes out is joined.

    h = joint([ f_1(x_1), ..., f_n(x_n) ])        Tomczak and Welling 2018, arXiv 1705.07120, section 4 and the authors' code

With gated layers for f and `joint` it is what their hierarchical model sees x and z_2 through in q(z_1 | x, z_2), and z_1 and
z_2 in p(x | z_1, z_2). The inputs come flattened, as one vector [x_1, ..., x_n], so that a part calls it like any other
network.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from amortized.errors import InputError
from amortized.networks.folding import apply


class Joined(nn.Module):
    """Rows (N, D) of several inputs side by side to features, by a branch for each and a network for what they give.

    Args:
        branches: One network per input, each with `in_shape` and `out_features`; `MLP(n, [])` passes its input on.
        joint: Takes the branches' features side by side, and the condition where there is one.

    Attributes:
        in_shape: (D,) the sum of the branches' inputs, flattened.
        out_features: Those of `joint`.
        context_features: Likewise.

    Raises:
        InputError: A branch does not say what it takes, or `joint` not what it gives.

    Example:
        >>> from amortized.networks import MLP
        >>> gated = dict(gated=True)
        >>> network = Joined([MLP((28, 28), [300], **gated), MLP(40, [300], **gated)], MLP(600, [300], **gated))
        >>> network(torch.zeros(5, 824)).shape
        torch.Size([5, 300])
    """

    def __init__(self, branches: Sequence[nn.Module], joint: nn.Module):
        super().__init__()
        for network, attribute in [*((branch, "in_shape") for branch in branches), (joint, "out_features")]:
            if not hasattr(network, attribute):
                raise InputError(
                    f"network {type(network).__name__} in a Joined needs an attribute '{attribute}'; set it, or take an MLP."
                )
        self.branches = nn.ModuleList(branches)
        self.joint = joint
        self.in_shapes: list[tuple[int, ...]] = [tuple(branch.in_shape) for branch in branches]  # pyright: ignore[reportArgumentType]
        self.in_shape = (sum(map(math.prod, self.in_shapes)),)
        self.out_features = joint.out_features
        self.context_features = getattr(joint, "context_features", 0)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map rows (N, D), and the context (N, C), to features (N, out_features)."""
        pieces = x.split([math.prod(shape) for shape in self.in_shapes], 1)
        features = [
            branch(piece.reshape(x.shape[0], *shape)).flatten(1)
            for branch, piece, shape in zip(self.branches, pieces, self.in_shapes, strict=True)
        ]
        return apply(self.joint, torch.cat(features, 1), context)

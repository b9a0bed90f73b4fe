r"""Networks of zuko whose outputs see only some of the inputs, and the loading of zuko.

A masked perceptron h_l = f((M_l * W_l) h_{l-1} + b_l) has binary masks M_l such that output i depends on input j only where
adjacency A_ij is true: the product M_L ... M_1 is zero where A is (Germain, Gregor, Murray and Larochelle 2015, arXiv 1502.03509,
section 4, with hidden units dealt out evenly over the distinct rows of A).
"""

import sys
from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.distributions import Distribution


class Full(nn.Module):
    """A network whose output has the type of its weights also where autocast computes in bfloat16: log-densities need its digits.

    Args:
        network: Any module with parameters.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """(*lead, out) of (*lead, in)."""
        return self.network(x).to(next(self.network.parameters()).dtype)


class Constant(nn.Module):
    """A network that does not look at its input: a bias.

    Args:
        out_features: Width of the output.
    """

    def __init__(self, out_features: int):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(out_features))

    def forward(self, x: Tensor) -> Tensor:
        """(*lead, out) whatever x (*lead, in) is."""
        return self.bias.expand(*x.shape[:-1], -1)


def masked_mlp(adjacency: Tensor, hidden: Sequence[int]) -> nn.Module:
    """A perceptron whose output i depends on input j only where adjacency[i, j] is true.

    Its last layer starts near zero, so that what it parametrizes starts where zeros put it, and a gradient reaches every weight.

    Args:
        adjacency: (out, in) booleans.
        hidden: Width of each hidden layer; none is a masked linear map.

    Returns:
        A module of (*lead, in) to (*lead, out); a bias alone where no output sees an input.

    Example:
        >>> network = masked_mlp(torch.tensor([[False, False], [True, False]]), [8])
        >>> torch.autograd.functional.jacobian(network, torch.zeros(2))[0]
        tensor([0., 0.])
    """
    if not adjacency.any():
        return Constant(len(adjacency))
    network = load_zuko().nn.MaskedMLP(adjacency, list(hidden), activation=nn.GELU)
    calm(network)
    forget_constants(network)
    return Full(network)


@torch.no_grad()
def calm(network: nn.Module, factor: float = 0.01) -> None:
    """Multiply the last layer of a perceptron, its weight and its bias, by a small factor."""
    last = [module for module in network.modules() if isinstance(getattr(module, "weight", None), nn.Parameter)][-1]
    for parameter in last.parameters():
        parameter.mul_(factor)


def forget_constants(module: nn.Module) -> None:
    """Leave buffers (masks, orders) out of the state that is saved: they follow from the arguments."""
    for part in module.modules():
        for name, value in list(part.named_buffers(recurse=False)):
            part.register_buffer(name, value, persistent=False)


def load_zuko() -> ModuleType:
    """Import zuko with its rooms, and undo what the import does to the rest of the process.

    zuko switches the validation of arguments off for every `torch.distributions.Distribution`, whosever it is.
    """
    first = "zuko" not in sys.modules
    validates = bool(Distribution._validate_args)
    import zuko

    if first:
        Distribution.set_default_validate_args(validates)
    return zuko

"""What discrete values are made with: noise, rounding to a vertex of the simplex or the cube, and straight-through gradients."""

import torch
from torch import Tensor
from torch.nn.functional import one_hot


def uniform(like: Tensor, shape: torch.Size) -> Tensor:
    """Uniform noise of a shape, neither 0 nor 1, where the noise that is made of it would be infinite."""
    digits = torch.finfo(like.dtype)
    return torch.rand(shape, dtype=like.dtype, device=like.device).clamp_(digits.tiny, 1 - digits.eps / 2)


def vertex(scores: Tensor) -> Tensor:
    """(*lead, C) one-hot, at the largest of the scores (*lead, C)."""
    return one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


def positive(scores: Tensor) -> Tensor:
    """1 where a score is positive, else 0."""
    return (scores > 0).to(scores.dtype)


def straight_through(hard: Tensor, soft: Tensor) -> Tensor:
    """The value of `hard`, exactly, with the gradient of `soft`."""
    return hard.detach() + (soft - soft.detach())  # in this order nothing is rounded

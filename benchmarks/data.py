"""What both sides of a pair see: bits in the shape of digits and of small photographs, counts in that of cells."""

import numpy as np
import torch
from torch import Tensor

ROWS, EVENT, HIDDEN, LATENT = 20_000, 784, 400, 40
"""Of the MLP and its data."""

IMAGES, IMAGE_SIZE, IMAGE_CHANNELS = 4000, 32, 3
IMAGE_WIDTHS, IMAGE_LATENT = (32, 64, 176), 64
"""Of the convolutional network and its data: about 19.2 MFLOP forward for an image; multiples of 16, which no processor pads."""

CELLS, GENES = 10_000, 2000


def pixels() -> Tensor:
    """Bits (ROWS, EVENT), of which 13% are 1, as in binarized MNIST."""
    return (torch.rand(ROWS, EVENT, generator=torch.Generator().manual_seed(0)) < 0.13).float()


def images() -> Tensor:
    """Bits (IMAGES, height, width, channels), half of them 1."""
    shape = (IMAGES, IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS)
    return (torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()


def counts() -> np.ndarray:
    """Counts (CELLS, GENES) in float32: negative binomial, nine in ten of them 0, in cells and genes of unequal totals."""
    random = np.random.default_rng(0)
    totals, rates = random.lognormal(0.0, 0.4, (CELLS, 1)), random.lognormal(-3.0, 1.5, (1, GENES))
    return random.poisson(totals * rates * random.standard_gamma(1.0, (CELLS, GENES))).astype(np.float32)

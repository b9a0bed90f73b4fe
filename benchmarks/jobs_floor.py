"""What the processor can do: the rate of matrix products, which bounds every step of training."""

from collections.abc import Callable

import torch

from amortized.speed import full_speed

SIZE = 1024


def matrix_products(dtype: str) -> Callable[[int], float]:
    """Products of two square matrices, in units of 1e9 floating-point operations; float32 by the faster of torch's ways."""
    a, b = torch.randn(2, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    out = torch.empty_like(a)

    def run(amount: int) -> float:
        with full_speed(torch.device("cpu")):
            for _ in range(amount):
                torch.mm(a, b, out=out)
        return amount * 2 * SIZE**3 / 1e9

    return run

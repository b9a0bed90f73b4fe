"""Fast float32 matrix products on a CPU.

At "medium" precision torch sends float32 matrix products to oneDNN, which is about twice as fast. On most processors they stay
float32; on one with AMX they may be rounded to bfloat16. So a small product is held against float64 first.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

LARGEST_RELATIVE_ERROR = 1e-5


@contextmanager
def fast_matmul(device: torch.device) -> Iterator[None]:
    """Send float32 matrix products to oneDNN while the context lasts, where they stay float32; the setting is restored."""
    before = torch.get_float32_matmul_precision()
    try:
        if device.type == "cpu" and before == "highest":
            torch.set_float32_matmul_precision("medium")
            if _relative_error() > LARGEST_RELATIVE_ERROR:
                torch.set_float32_matmul_precision(before)
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _relative_error() -> float:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 128, 128, generator=generator)
    exact = a.double() @ b.double()
    return float((a @ b - exact).norm() / exact.norm())

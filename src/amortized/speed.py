"""What a process is told for a CPU to compute near its limit.

Matrix products. At "medium" precision torch sends float32 products to oneDNN, which is up to twice as fast. On most processors
they stay float32; on one with AMX they may be rounded to bfloat16. So a small product is held against float64 first.

Memory. A step allocates and frees the same tensors as the one before. The C library gives what is freed back to the system, which
has to fill every page with zeros when it is asked for again: of a step of a few milliseconds that can be a third. So freed memory
is kept while a run lasts (`mallopt`, where the C library has it).

Both settings are those of the process, and hold while the context lasts. After it the first is what it was, and the C library
keeps up to 64 MiB of freed memory, the most to which it would have gone by itself, and no longer adjusts that.
"""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

LARGEST_RELATIVE_ERROR = 1e-5

# Of malloc.h. The C library moves both of its thresholds by itself up to these ends, and no further once it was told a value.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
LARGEST_MMAP_THRESHOLD, USUAL_TRIM_THRESHOLD = 32 * 2**20, 64 * 2**20
KEPT = 2**30
"""Bytes of freed memory that are kept."""


@contextmanager
def full_speed(device: torch.device) -> Iterator[None]:
    """Compute as fast as the CPU allows while the context lasts; on other devices nothing changes."""
    if device.type != "cpu":
        yield
        return
    with _fast_products(), _kept_memory():
        yield


@contextmanager
def _fast_products() -> Iterator[None]:
    """Send float32 matrix products to oneDNN, where they stay float32; the setting is restored."""
    before = torch.get_float32_matmul_precision()
    try:
        if before == "highest":
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


def bf16_slowdown(size: int = 256) -> float:
    """How many times longer this processor takes for a product in bfloat16 than for one in float32.

    Below 1 where it has units for that; without them, as before Zen 4 and Cooper Lake, it is far above.
    """
    return _seconds(torch.ones(size, size, dtype=torch.bfloat16)) / _seconds(torch.ones(size, size))


def _seconds(factor: Tensor, times: int = 3) -> float:
    """The least time of a few products of a matrix with itself."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        torch.mm(factor, factor)
        found.append(time.perf_counter() - start)
    return min(found)


@contextmanager
def _kept_memory() -> Iterator[None]:
    """Keep freed memory for the next allocation; afterwards the C library gives back what is beyond its usual threshold."""
    mallopt = _mallopt()
    if mallopt is None:
        yield
        return
    mallopt(MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
    mallopt(TRIM_THRESHOLD, KEPT)
    try:
        yield
    finally:
        mallopt(TRIM_THRESHOLD, USUAL_TRIM_THRESHOLD)


def _mallopt() -> Any:
    """The C library's function, None where there is none."""
    try:
        return getattr(ctypes.CDLL(None), "mallopt", None)
    except (OSError, TypeError):  # no library to look it up in, as on Windows
        return None

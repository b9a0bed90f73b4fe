"""Randomness as a function of what it is for, never of what happened before.

Order and noise are functions of (seed, epoch, step, rank), so that a resumed run sees what an uninterrupted one sees.
Two tools give that: a seed derived from names and numbers (`seeds.derive_seed`), and, for evaluation, a uniform number
u(seed, row, entry) that is a hash of its arguments. The hash is the finalizer of SplitMix64 (Steele, Lea and Flood 2014, "Fast
splittable pseudorandom number generators", figure 16), a bijection of the 64-bit integers; it has no state, so the frozen noise
of a row depends neither on the batch that it came in nor on the device.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # two's complement: torch's widest integer is signed
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64


def generator(seed: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator on `device`, seeded."""
    return torch.Generator(device).manual_seed(seed)


def uniform_of_rows(seed: int, index: Tensor, event_shape: torch.Size) -> Tensor:
    """Uniform numbers in [0, 1) that depend on nothing but the seed, the row and the entry.

    Args:
        seed: Any 63-bit seed; streams that must be independent take different seeds.
        index: (B,) the number of each row in its data set.
        event_shape: The shape of one row.

    Returns:
        (B, *event) float32 multiples of 2^-24, on the device of `index`.
    """
    entry = torch.arange(math.prod(event_shape), device=index.device)
    key = _mix(_mix(torch.full_like(index, seed)) + index * _GOLDEN)
    bits = _mix(key[:, None] + entry * _GOLDEN)
    return (_shift(bits, 40).to(torch.float32) * 2.0**-24).reshape(len(index), *event_shape)


class Stream:
    """A state of torch's global CPU generator that code of the user's draws from, apart from that of everything else.

    A user's `Dataset` may draw random numbers in `__getitem__`. Inside `with stream.active():` they come from the
    stream; the state outside is what it was.
    """

    def __init__(self, seed: int):
        self._state = generator(seed).get_state()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let torch's global CPU generator continue this stream."""
        outside = torch.get_rng_state()
        torch.set_rng_state(self._state)
        try:
            yield
        finally:
            self._state = torch.get_rng_state()
            torch.set_rng_state(outside)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # torch shifts arithmetically; the mask makes it logical

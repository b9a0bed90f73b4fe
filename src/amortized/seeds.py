"""Random numbers as functions of where they are used.

Every stream of random numbers (split, initial weights, batch order, noise of a step) has a seed derived from the run's one seed
and from what the stream is for. Nothing has to be saved to go on after an interruption with the same bits.
"""

import hashlib

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for the stream that `purpose` names, such as ("noise", step, rank)."""
    text = "/".join(map(str, (seed, *purpose)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def seed_noise(device: torch.device, seed: int, *purpose: str | int) -> None:
    """Seed torch's global generator, and that of the device, for what `purpose` names."""
    derived = derive_seed(seed, *purpose)
    if device.type == "cpu":
        torch.default_generator.manual_seed(derived)  # torch.manual_seed also visits devices, at 0.3 ms a call
    else:
        torch.manual_seed(derived)

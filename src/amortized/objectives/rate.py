r"""Objectives that hold the rate to a value: functions of the batch mean of the KL.

    capacity     E_q[ log p(x|z) ] - gamma | mean_B KL - C |            Burgess et al. 2018, arXiv 1804.03599, eq. 8
    free bits    E_q[ log p(x|z) ] - sum_j max( lambda, mean_B KL_j )   Kingma et al. 2016, arXiv 1606.04934, eq. 15

where j counts latent variables, or entries of them. The mean is that of the whole minibatch, over all processes, so neither is
linear in the datum: every datum gets the same second term. A mean that is clamped leaves the KL of a single datum free to differ,
and a Monte Carlo value of it, which may be negative, is averaged first as well.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.objectives.objective import needs
from amortized.processes import of_all
from amortized.terms import Latent, Terms


@needs("bound")
def capacity(t: Terms, gamma: float | Tensor = 1000.0, capacity: float | Tensor = 25.0) -> Tensor:
    """The likelihood less gamma times the distance of the mean KL from the capacity C: (B,) nats."""
    rate = of_all(t.mean_over_samples(t.kl.sum(0))).mean()
    return t.mean_over_samples(t.log_px) - gamma * (rate - capacity).abs()


@needs("bound")
def free_bits(t: Terms, bits: float | Tensor = 0.5) -> Tensor:
    """The evidence lower bound in which the KL of every latent variable costs at least `bits` nats: (B,) nats."""
    return _with_floor(t, [t.mean_over_samples(kl).unsqueeze(-1) for kl in t.kl], bits)


@needs("bound", "entrywise")
def free_bits_per_dimension(t: Terms, bits: float | Tensor = 0.5) -> Tensor:
    """The evidence lower bound in which the KL of every entry of every latent costs at least `bits` nats: (B,) nats.

    Raises:
        InputError: A KL is no sum over the entries.
    """
    return _with_floor(t, _entries(t), bits)


def _with_floor(t: Terms, rates: Sequence[Tensor], bits: float | Tensor) -> Tensor:
    kl = torch.stack([of_all(rate).mean(0).clamp(min=bits).sum() for rate in rates]).sum()
    return t.mean_over_samples(t.log_px) - kl


def _entries(t: Terms) -> list[Tensor]:
    """Of each latent the KL by entry, (B, D)."""
    found = []
    for latent in t.latents:
        kl = latent.kl_elementwise if isinstance(latent, Latent) else None
        if kl is None:
            raise InputError(
                "free bits per dimension need a KL that is a sum over the entries of z, and that of this prior and posterior is"
                " none; take `free_bits`, or a posterior and a prior with independent entries, such as 'gaussian' and 'normal'."
            )
        kl = kl.flatten(2)
        weight = None if t.log_sample_weight is None else t.log_sample_weight.exp().unsqueeze(-1)
        found.append(kl.mean(0) if weight is None else (weight * kl).sum(0))
    return found

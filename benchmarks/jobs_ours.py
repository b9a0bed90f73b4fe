"""Ours, by the public parts and the loop: its watch over terms that are not finite, its means and its lines stay on."""

from collections.abc import Callable
from typing import Any

import torch
from data import (
    EVENT,
    GENES,
    HIDDEN,
    IMAGE_CHANNELS,
    IMAGE_LATENT,
    IMAGE_SIZE,
    IMAGE_WIDTHS,
    LATENT,
    counts,
    images,
    pixels,
)
from torch import Tensor

from amortized import VAE, likelihoods, networks, posteriors, priors
from amortized.data import Batches, Split
from amortized.evaluation import evaluate
from amortized.objectives import Objective, elbo, iwae
from amortized.training import Settings, train

CELL_HIDDEN, CELL_LATENT, CELL_DROPOUT = 128, 10, 0.1
"""SCVI's defaults."""


def train_mlp(batch: int, precision: str = "32", accelerator: str = "cpu", compile: str = "on") -> Callable[[int], int]:
    """Compiled, as the loop decides by itself for a run of 20,000 steps; the first call pays for that."""
    return _training(mlp(), pixels(), Objective(elbo), batch, precision=precision, accelerator=accelerator, compile=compile)


def train_convolutional(batch: int, precision: str = "32") -> Callable[[int], int]:
    return _training(convolutional(), images(), Objective(elbo), batch, precision=precision, compile="on")


def train_iwae(samples: int, batch: int) -> Callable[[int], int]:
    return _training(mlp(), pixels(), Objective(iwae, samples=samples), batch, compile="on")


def train_counts(batch: int) -> Callable[[int], int]:
    """With SCVI's optimizer."""
    x = torch.from_numpy(counts())
    return _training(zero_inflated(x.mean(0)), x, Objective(elbo), batch, eps=0.01, weight_decay=1e-6, compile="off")


def evidence(samples: int, precision: str = "32") -> Callable[[int], int]:
    model, x = mlp(), pixels()
    options: dict[str, Any] = {} if precision == "32" else {"precision": precision}

    def run(amount: int) -> int:
        data = x[:amount]
        evaluate(model, [data], samples=samples, **options)
        return len(data)

    return run


def mlp() -> VAE:
    torch.manual_seed(0)
    return VAE(
        prior=priors.StandardNormal(LATENT),
        posterior=posteriors.DiagonalGaussian(networks.MLP(EVENT, [HIDDEN, HIDDEN]), event=LATENT),
        likelihood=likelihoods.Bernoulli(networks.MLP(LATENT, [HIDDEN, HIDDEN]), event=EVENT),
    )


def convolutional() -> VAE:
    torch.manual_seed(0)
    shape = (IMAGE_SIZE, IMAGE_SIZE, IMAGE_CHANNELS)
    encoder = networks.ConvEncoder(shape, IMAGE_WIDTHS)
    decoder = networks.ConvDecoder(IMAGE_LATENT, shape, IMAGE_WIDTHS[::-1])
    return VAE(
        prior=priors.StandardNormal(IMAGE_LATENT),
        posterior=posteriors.DiagonalGaussian(encoder, event=IMAGE_LATENT),
        likelihood=likelihoods.Bernoulli(decoder, event=shape),
    )


def zero_inflated(mean: Tensor) -> VAE:
    """Networks as SCVI's: normalized by batch, dropout in the encoder alone."""
    torch.manual_seed(0)
    encoder = networks.MLP(GENES, [CELL_HIDDEN], norm="batch", dropout=CELL_DROPOUT)
    decoder = networks.MLP(CELL_LATENT, [CELL_HIDDEN], norm="batch")
    likelihood = likelihoods.ZeroInflatedNegativeBinomial(decoder, event=GENES)
    likelihood.initialize(mean)
    return VAE(
        prior=priors.StandardNormal(CELL_LATENT),
        posterior=posteriors.DiagonalGaussian(encoder, event=CELL_LATENT),
        likelihood=likelihood,
        preprocess=networks.LogCounts(),
    )


def _training(
    model: VAE, x: Tensor, objective: Objective, batch: int, *, accelerator: str = "cpu", **settings: Any
) -> Callable[[int], int]:
    batches = Batches(Split(x, torch.arange(len(x))), batch_size=batch, device=accelerator)

    def run(amount: int) -> int:
        chosen = Settings(steps=amount, batch_size=batch, accelerator=accelerator, **settings)  # pyright: ignore[reportArgumentType]
        train(model, objective, batches, None, chosen)
        if accelerator == "cuda":
            torch.cuda.synchronize()
        return amount * batch

    return run

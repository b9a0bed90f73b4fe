"""The MLP VAE as a tutorial writes it: plain PyTorch over `DataLoader(TensorDataset)`, with the default `Adam`."""

import math
from collections.abc import Callable

import torch
from data import EVENT, HIDDEN, LATENT, pixels
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


class PlainVAE(nn.Module):
    """The two networks."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(EVENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.to_mean, self.to_log_variance = nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)
        self.decoder = nn.Sequential(
            nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, EVENT)
        )

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x)."""
        features = self.encoder(x)
        return self.to_mean(features), self.to_log_variance(features)


def train_mlp(batch: int) -> Callable[[int], int]:
    return _training(negative_elbo, batch)


def train_iwae(samples: int, batch: int) -> Callable[[int], int]:
    return _training(lambda model, x: negative_iwae(model, x, samples), batch)


def negative_elbo(model: PlainVAE, x: Tensor) -> Tensor:
    """The mean over the batch, nats."""
    mean, log_variance = model.encode(x)
    z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
    reconstruction = F.binary_cross_entropy_with_logits(model.decoder(z), x, reduction="sum")
    kl = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
    return (reconstruction + kl) / len(x)


def negative_iwae(model: PlainVAE, x: Tensor, samples: int) -> Tensor:
    """The mean over the batch, nats."""
    mean, log_variance = model.encode(x)
    noise = torch.randn(samples, *mean.shape)
    z = mean + torch.exp(0.5 * log_variance) * noise
    logits = model.decoder(z)
    log_px = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
    log_pz = (-0.5 * z.pow(2) - 0.5 * math.log(2 * math.pi)).sum(-1)
    log_qz = (-0.5 * noise.pow(2) - 0.5 * log_variance - 0.5 * math.log(2 * math.pi)).sum(-1)
    bound = torch.logsumexp(log_px + log_pz - log_qz, 0) - math.log(samples)
    return -bound.mean()


def _training(loss_of: Callable[[PlainVAE, Tensor], Tensor], batch: int) -> Callable[[int], int]:
    torch.manual_seed(0)
    model = PlainVAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(pixels()), batch_size=batch, shuffle=True, drop_last=True)

    def batches():
        while True:
            yield from loader

    source = batches()

    def run(amount: int) -> int:
        for _ in range(amount):
            (x,) = next(source)
            loss = loss_of(model, x)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return amount * batch

    return run

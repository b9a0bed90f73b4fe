"""Pythae: its own model, trainer and estimator of log p(x), with networks as a user of it would write them."""

import logging
import tempfile
from collections.abc import Callable

import torch
from data import EVENT, HIDDEN, IMAGE_CHANNELS, IMAGE_LATENT, IMAGE_SIZE, IMAGE_WIDTHS, LATENT, images, pixels
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

logging.getLogger("pythae").setLevel(logging.ERROR)


def train_mlp(batch: int, cuda: bool = False) -> Callable[[int], int]:
    torch.manual_seed(0)
    return _training(mlp(), pixels(), batch, cuda)


def train_convolutional(batch: int) -> Callable[[int], int]:
    torch.manual_seed(0)
    return _training(convolutional(), images().movedim(-1, 1).contiguous(), batch, cuda=False)


def evidence(samples: int) -> Callable[[int], int]:
    torch.manual_seed(0)
    model, x = mlp(), pixels()

    @torch.no_grad()
    def run(amount: int) -> int:
        data = x[:amount]
        model.get_nll(data, n_samples=samples)
        return len(data)

    return run


class Encoder(BaseEncoder):
    """Features of x, and the two heads that Pythae wants of an encoder."""

    def __init__(self, network: nn.Module, width: int, latent: int):
        super().__init__()
        self.network = network
        self.to_mean, self.to_log_variance = nn.Linear(width, latent), nn.Linear(width, latent)

    def forward(self, x: Tensor) -> ModelOutput:
        """Mean and log-variance of q(z | x)."""
        features = self.network(x)
        return ModelOutput(embedding=self.to_mean(features), log_covariance=self.to_log_variance(features))


class Decoder(BaseDecoder):
    """Probabilities of the pixels."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        """The mean of p(x | z)."""
        return ModelOutput(reconstruction=self.network(z).sigmoid())


def mlp() -> VAE:
    encoder = nn.Sequential(nn.Linear(EVENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
    decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, EVENT))
    config = VAEConfig(input_dim=(EVENT,), latent_dim=LATENT, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(encoder, HIDDEN, LATENT), decoder=Decoder(decoder))


def convolutional() -> VAE:
    """The layers of `amortized.networks.ConvEncoder` and `ConvDecoder`, with a convolution as the last one."""
    a, b, c = IMAGE_WIDTHS
    side = IMAGE_SIZE // 8
    encoder = nn.Sequential(
        nn.Conv2d(IMAGE_CHANNELS, a, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(a, b, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(b, c, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
    )
    decoder = nn.Sequential(
        nn.Linear(IMAGE_LATENT, c * side**2),
        nn.ReLU(),
        nn.Unflatten(1, (c, side, side)),
        nn.ConvTranspose2d(c, b, 3, 2, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(b, a, 3, 2, 1, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(a, a, 3, 2, 1, 1),
        nn.ReLU(),
        nn.Conv2d(a, IMAGE_CHANNELS, 3, 1, 1),
    )
    shape = (IMAGE_CHANNELS, IMAGE_SIZE, IMAGE_SIZE)
    config = VAEConfig(input_dim=shape, latent_dim=IMAGE_LATENT, reconstruction_loss="bce")
    return VAE(config, encoder=Encoder(encoder, c * side**2, IMAGE_LATENT), decoder=Decoder(decoder))


def _training(model: VAE, x: Tensor, batch: int, cuda: bool) -> Callable[[int], int]:
    """Steps as its trainer takes them: it knows epochs only, so that a few steps are one of fewer rows, and many are several."""
    whole = len(x) // batch
    trainers: dict[int, BaseTrainer] = {}

    def run(amount: int) -> int:
        steps = min(amount, whole)
        if steps not in trainers:
            trainers[steps] = _trainer(model, x[: steps * batch], batch, cuda)
        trainer, epochs = trainers[steps], max(1, round(amount / steps))
        for epoch in range(1, epochs + 1):
            trainer.train_step(epoch)
            trainer.callback_handler.on_epoch_end(training_config=trainer.training_config)
        return epochs * steps * batch

    return run


def _trainer(model: VAE, x: Tensor, batch: int, cuda: bool) -> BaseTrainer:
    config = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(dir="."), per_device_train_batch_size=batch, learning_rate=1e-3, no_cuda=not cuda
    )
    trainer = BaseTrainer(model, BaseDataset(x, torch.zeros(len(x))), training_config=config)
    trainer.prepare_training()
    return trainer

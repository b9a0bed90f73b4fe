"""Models: sums of parts that turn a batch into the terms of the bound."""

from amortized.models.model import Model
from amortized.models.vae import VAE

__all__ = ["VAE", "Model"]

"""Models: sums of parts that turn a batch into the terms of the bound."""

from amortized.models.factorizations import BottomUp, TopDown
from amortized.models.hierarchical import Hierarchical
from amortized.models.ladder import Ladder
from amortized.models.latent import LatentModel
from amortized.models.model import Model
from amortized.models.vae import VAE

__all__ = ["VAE", "BottomUp", "Hierarchical", "Ladder", "LatentModel", "Model", "TopDown"]

"""Networks: rows of data and a condition in, features out; no network knows what a distribution is."""

from amortized.networks.context import Categorical, Context, Continuous
from amortized.networks.convolutional import ConvDecoder, ConvEncoder
from amortized.networks.folding import apply
from amortized.networks.head import Head
from amortized.networks.joined import Joined
from amortized.networks.mlp import MLP
from amortized.networks.pixelcnn import GatedPixelCNN
from amortized.networks.preprocess import Fill, LogCounts, OneHot, Standardize

__all__ = [
    "MLP",
    "Categorical",
    "Context",
    "Continuous",
    "ConvDecoder",
    "ConvEncoder",
    "Fill",
    "GatedPixelCNN",
    "Head",
    "Joined",
    "LogCounts",
    "OneHot",
    "Standardize",
    "apply",
]

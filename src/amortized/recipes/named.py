"""Named recipes: complete configurations, which files and options then override.

Each that bears a paper's name has the paper's hyper-parameters and says where they stand.
"""

from collections.abc import Mapping
from typing import Any

from amortized.errors import InputError, nearest

_BURDA_NETWORK = {"kind": "mlp", "hidden": [200, 200], "activation": "tanh"}

NAMED: Mapping[str, Mapping[str, Any]] = {
    # Kingma and Welling 2014 with today's habits: ReLU, Adam, the weights with the best validation bound.
    "vae": {
        "model": {"latent_dim": 16, "network": {"kind": "mlp", "hidden": [300, 300]}},
        "training": {"epochs": 200, "patience": 20},
    },
    # The same with convolutions, for images.
    "conv-vae": {
        "model": {"latent_dim": 32, "network": {"kind": "conv", "channels": [32, 64]}},
        "training": {"epochs": 100, "patience": 10},
    },
    # Burda, Grosse and Salakhutdinov 2016 (arXiv 1509.00519), section 5 and table 1: one stochastic layer, VAE with k = 1, 86.76
    # nats on MNIST. Batches of 20, Adam with eps 1e-4, 3,280 epochs in eight stages.
    "burda-vae": {
        "data": {"binarize": "dynamic"},
        "model": {"latent_dim": 50, "network": _BURDA_NETWORK, "likelihood": "bernoulli"},
        "objective": {"kind": "elbo", "samples": 1},
        "training": {"epochs": 3280, "batch_size": 20, "lr": 1e-3, "eps": 1e-4, "schedule": "burda"},
    },
    # The same table, IWAE with k = 50: 84.78 nats on MNIST.
    "burda-iwae": {
        "data": {"binarize": "dynamic"},
        "model": {"latent_dim": 50, "network": _BURDA_NETWORK, "likelihood": "bernoulli"},
        "objective": {"kind": "iwae", "samples": 50},
        "training": {"epochs": 3280, "batch_size": 20, "lr": 1e-3, "eps": 1e-4, "schedule": "burda"},
    },
    # Probabilistic principal component analysis (Tipping and Bishop 1999) as a VAE: linear maps, one learned scale. Its best ELBO
    # is the closed-form maximum likelihood (Lucas et al. 2019, arXiv 1911.02469).
    "linear": {
        "model": {
            "latent_dim": 10,
            "network": {"kind": "mlp", "hidden": []},
            "likelihood": {"kind": "gaussian", "scale": "learned"},
        },
        "training": {"epochs": 200, "lr": 2e-2, "schedule": "cosine", "lr_warmup_steps": 100},
    },
}
"""Recipes by name."""


def named(name: str) -> Mapping[str, Any]:
    """The layer of a named recipe."""
    if name not in NAMED:
        raise InputError(f"unknown recipe '{name}'; {nearest(name, NAMED)}")
    return NAMED[name]

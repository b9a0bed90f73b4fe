"""Named recipes: complete configurations, which files and options then override.

Each that bears a paper's name has the paper's hyper-parameters and says where they stand: `named_layers` those about priors and
stochastic layers, `named_parts` those about posteriors and decoders, `named_objectives` those about objectives,
`named_missing` those about missing entries.
"""

from collections.abc import Mapping
from typing import Any

from amortized.errors import InputError, nearest
from amortized.recipes.named_layers import LAYERS
from amortized.recipes.named_missing import MISSING
from amortized.recipes.named_objectives import OBJECTIVES
from amortized.recipes.named_parts import PARTS

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
    # Probabilistic principal component analysis (Tipping and Bishop 1999) as a VAE: linear maps, one learned scale. Its best
    # ELBO is the closed-form maximum likelihood (Lucas et al. 2019, arXiv 1911.02469).
    "linear": {
        "model": {
            "latent_dim": 10,
            "network": {"kind": "mlp", "hidden": []},
            "likelihood": {"kind": "gaussian", "scale": "learned"},
        },
        "training": {"epochs": 200, "lr": 2e-2, "schedule": "cosine", "lr_warmup_steps": 100},
    },
    **LAYERS,
    **PARTS,
    **OBJECTIVES,
    **MISSING,
}
"""Recipes by name."""


def named(name: str) -> Mapping[str, Any]:
    """The layer of a named recipe."""
    if name not in NAMED:
        raise InputError(f"unknown recipe '{name}'; {nearest(name, NAMED)}")
    return NAMED[name]

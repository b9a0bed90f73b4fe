"""Latent-variable models by amortized variational inference, and the evidence to trust them.

    log p(x) = ELBO + KL( q(z|x) || p(z|x) )

The prior p(z), the likelihood p(x|z) and the posterior q(z|x) are one type, a conditional distribution; a model turns a minibatch
into the terms of that equation; an objective reads them. `fit` does all of it for data of one's own.

    >>> import amortized as am
    >>> run = am.fit("digits", latent_dim=2, epochs=1, quiet=True)
    >>> run.sample(4).shape
    (4, 8, 8)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amortized import distributions, likelihoods, models, networks, objectives, posteriors, priors
    from amortized.conditional import Conditional
    from amortized.divergences import exact_kl, gaussian_kl
    from amortized.errors import InputError
    from amortized.fitting import fit, train
    from amortized.loading import from_pretrained, load_run
    from amortized.models import VAE, Hierarchical, Model
    from amortized.runs import Run
    from amortized.studies import Comparison, Evaluation, compare
    from amortized.sweeping import Sweep, sweep
    from amortized.terms import Batch, Latent, LatentPath, Terms

_HOMES = {
    "conditional": ("Conditional",),
    "divergences": ("exact_kl", "gaussian_kl"),
    "errors": ("InputError",),
    "fitting": ("fit", "train"),
    "loading": ("from_pretrained", "load_run"),
    "models": ("VAE", "Hierarchical", "Model"),
    "runs": ("Run",),
    "studies": ("Comparison", "Evaluation", "compare"),
    "sweeping": ("Sweep", "sweep"),
    "terms": ("Batch", "Latent", "LatentPath", "Terms"),
}

__all__ = [
    "VAE",
    "Batch",
    "Comparison",
    "Conditional",
    "Evaluation",
    "Hierarchical",
    "InputError",
    "Latent",
    "LatentPath",
    "Model",
    "Run",
    "Sweep",
    "Terms",
    "compare",
    "distributions",
    "exact_kl",
    "fit",
    "from_pretrained",
    "gaussian_kl",
    "likelihoods",
    "load_run",
    "models",
    "networks",
    "objectives",
    "posteriors",
    "priors",
    "sweep",
    "train",
]


def __getattr__(name: str) -> Any:
    # Imported when first asked for: `amortized --help` need not wait for torch, nor a model for what fits it.
    if name not in __all__:
        raise AttributeError(f"module 'amortized' has no attribute '{name}'")
    home = next((home for home, names in _HOMES.items() if name in names), None)
    return (
        importlib.import_module(f"amortized.{name}")
        if home is None
        else getattr(importlib.import_module(f"amortized.{home}"), name)
    )


def __dir__() -> list[str]:
    return __all__

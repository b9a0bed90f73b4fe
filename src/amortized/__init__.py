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

from amortized import distributions, likelihoods, networks, objectives, posteriors, priors
from amortized.conditional import Conditional
from amortized.divergences import exact_kl, gaussian_kl
from amortized.errors import InputError
from amortized.models import VAE, Model
from amortized.terms import Batch, Latent, LatentPath, Terms

if TYPE_CHECKING:
    from amortized.fitting import fit, train
    from amortized.runs import Run, from_pretrained, load_run

_LATER = {
    "fit": "amortized.fitting",
    "train": "amortized.fitting",
    "Run": "amortized.runs",
    "load_run": "amortized.runs",
    "from_pretrained": "amortized.runs",
}

__all__ = [
    "VAE",
    "Batch",
    "Conditional",
    "InputError",
    "Latent",
    "LatentPath",
    "Model",
    "Run",
    "Terms",
    "distributions",
    "exact_kl",
    "fit",
    "from_pretrained",
    "gaussian_kl",
    "likelihoods",
    "load_run",
    "networks",
    "objectives",
    "posteriors",
    "priors",
    "train",
]


def __getattr__(name: str) -> Any:
    # What fits models brings pydantic, scikit-learn's digits and Fabric: it is imported when it is first asked for.
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module 'amortized' has no attribute '{name}'")

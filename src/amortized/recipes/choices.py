"""What a recipe leaves open is chosen from the data and from the other parts, and what does not fit is refused."""

from typing import Any

import torch

from amortized.data import (
    Data,
    Split,
    Transform,
)
from amortized.errors import InputError
from amortized.likelihoods import check_support
from amortized.recipes.hierarchy import hierarchy_of
from amortized.recipes.priors import DEFAULT_PRIOR, PRIOR_SPACES
from amortized.recipes.recipe import Recipe, make_recipe

DEFAULT_LIKELIHOOD = {
    "binary": "bernoulli",
    "levels": "discretized-logistic",
    "counts": "negative-binomial",
    "unit": "gaussian",
    "real": "gaussian",
}
"""The likelihood of data by the kind of their support."""

SPACES = {"real": "real numbers", "sphere": "a sphere", "binary": "bits", "categorical": "classes"}
"""The spaces of a latent, in words."""


def choose_parts(recipe: Recipe, transform: Transform) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe with a likelihood and a prior, and the announcement of what was chosen here.

    Raises:
        InputError: The prior is over another space than the posterior.
    """
    model = recipe.model
    if model is None:
        return recipe, ()
    chosen, notes = {}, []
    if model.likelihood is None:
        kind = DEFAULT_LIKELIHOOD[transform.support.kind]
        chosen["model.likelihood"] = {"kind": kind}
        notes.append(f"Likelihood '{kind}': {transform.support.reason}.")
    space = model.posterior.space
    if model.prior is None:
        kind = DEFAULT_PRIOR[space]
        chosen["model.prior"] = {"kind": kind}
        if kind != "normal":
            notes.append(f"Prior '{kind}': the posterior '{model.posterior.kind}' is over {SPACES[space]}.")
    elif space not in model.prior.spaces:
        fitting = [each for each, spaces in PRIOR_SPACES.items() if space in spaces]
        raise InputError(
            f"prior '{model.prior.kind}' is over {' or '.join(SPACES[each] for each in model.prior.spaces)}, and posterior"
            f" '{model.posterior.kind}' over {SPACES[space]}; use {' or '.join(map(repr, fitting))}."
        )
    hierarchy = hierarchy_of(model.hierarchy, model.prior)
    if hierarchy is not None and model.posterior.kind not in hierarchy.posterior_kinds:
        name = f"hierarchy '{hierarchy.kind}'" if model.hierarchy is not None else "a hyperprior"  # pyright: ignore
        kinds = " or ".join(map(repr, hierarchy.posterior_kinds))
        raise InputError(f"{name} is not made for posterior '{model.posterior.kind}'; use {kinds}.")
    return make_recipe([recipe.model_dump()], chosen), tuple(notes)


def check_data(likelihood: Any, data: Data, transform: Transform) -> None:
    """Refuse data that the likelihood cannot score."""
    support = transform.support
    if transform.binarize is not None or transform.divisor != 1.0:
        middle = [] if transform.binarize else [0.5 * (support.low + support.high)]
        check_support(likelihood.kind, torch.tensor([[support.low, support.high, *middle]]))
        return
    sizes = {name: value for name in ("levels", "classes") if (value := getattr(likelihood, name, None)) is not None}
    seen = [("x", data.rows_seen)] if data.rows_seen is not None else []
    seen += [(f"{name}_x", split.x) for name, split in data.splits.items() if isinstance(split, Split) and len(split)]
    for name, x in seen:
        check_support(likelihood.kind, x, name=name, **sizes)

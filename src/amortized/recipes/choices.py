"""What a recipe leaves open is chosen from the data and from the other parts, and what does not fit is refused."""

from contextlib import suppress
from itertools import chain
from typing import Any

import torch

from amortized.data import (
    Data,
    Split,
    Transform,
    in_order,
    never_observed,
)
from amortized.errors import InputError
from amortized.likelihoods import check_support
from amortized.models import LatentModel, Model
from amortized.recipes.compatibility import BY_SCORE, NOT_DISCRETE, refuse
from amortized.recipes.posteriors import DiscretePosterior
from amortized.recipes.priors import DEFAULT_PRIOR, MOST_COMPONENTS, VampPrior
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


def choose_parts(recipe: Recipe, transform: Transform, rows: int) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe with a likelihood and a prior, and the announcement of what was chosen here.

    Args:
        recipe: The recipe.
        transform: What is done to the data.
        rows: The number of training data.

    Raises:
        InputError: Two of its kinds do not go together.
    """
    model = recipe.model
    if model is None:
        return recipe, ()
    chosen, notes = {}, []
    if model.likelihood is None:
        kind = DEFAULT_LIKELIHOOD[transform.support.kind]
        chosen["model.likelihood"] = {"kind": kind}
        notes.append(f"Likelihood '{kind}': {transform.support.reason}.")
    prior, posterior = DEFAULT_PRIOR[model.posterior.space] if model.prior is None else model.prior.kind, model.posterior
    if model.prior is None:
        chosen["model.prior"] = {"kind": prior}
        if prior != "normal":
            notes.append(f"Prior '{prior}': the posterior '{posterior.kind}' is over {SPACES[posterior.space]}.")
    objective = {} if recipe.objective is None else {"objective": recipe.objective.kind}
    estimator = NOT_DISCRETE
    if isinstance(posterior, DiscretePosterior):
        by_score = objective.get("objective") in BY_SCORE
        estimator = posterior.estimator or ("sample" if by_score else "gumbel")
        chosen["model.posterior.estimator"] = estimator
    hierarchy = "none" if model.hierarchy is None else model.hierarchy.kind
    refuse({"prior": prior, "posterior": posterior.kind, "estimator": estimator, "hierarchy": hierarchy, **objective})
    if isinstance(model.prior, VampPrior) and model.prior.components is None:
        components = min(MOST_COMPONENTS, rows) if model.prior.start == "data" else MOST_COMPONENTS
        chosen["model.prior.components"] = components
    return make_recipe([recipe.model_dump()], chosen), tuple(notes)


def check_data(likelihood: Any, data: Data, transform: Transform) -> None:
    """Refuse data that the likelihood cannot score."""
    support = transform.support
    if transform.binarize is not None or transform.divisor != 1.0:
        middle = [] if transform.binarize else [0.5 * (support.low + support.high)]
        check_support(likelihood.kind, torch.tensor([[support.low, support.high, *middle]]))
        return
    sizes = {name: value for name in ("levels", "classes") if (value := getattr(likelihood, name, None)) is not None}
    if data.window_mib is not None:
        _check_streamed(likelihood.kind, data, sizes)
        return
    seen = [("x", data.rows_seen)] if data.rows_seen is not None else []
    seen += [(f"{name}_x", split.x) for name, split in data.splits.items() if isinstance(split, Split) and len(split)]
    for name, x in seen:
        check_support(likelihood.kind, x, name=name, observed=~x.isnan() if data.has_missing else None, **sizes)


def _check_streamed(kind: str, data: Data, sizes: dict[str, Any]) -> None:
    """Refuse data on the disk; where their range does not say that all are scored, they are read for one that is not."""
    support = data.support
    fraction = [support.low + 0.5] if support.kind in ("unit", "real") else []
    with suppress(InputError):
        check_support(kind, torch.tensor([[support.low, support.high, *fraction]]), **sizes)
        return
    for batch in chain.from_iterable(map(in_order, data.parts("all"))):
        check_support(kind, batch["x"], observed=~batch["x"].isnan(), rows=batch["index"], **sizes)


def check_holes(model: Model, data: Data) -> None:
    """Refuse data with missing entries that the model cannot leave out, or cannot learn."""
    if not data.has_missing:
        return
    likelihood = model.parts["likelihood"] if isinstance(model, LatentModel) else model
    if not getattr(likelihood, "factorizes", True):
        name = getattr(likelihood, "kind", type(likelihood).__name__)
        raise InputError(
            f"data '{data.name}' have missing entries (NaN), which likelihood '{name}' cannot leave out, because its entries are"
            " not independent given z; fill them in, or take another likelihood."
        )
    never = [] if data.is_image else never_observed(data.train).nonzero().tolist()
    if never:
        which = f"column '{data.columns[never[0][0]]}'" if data.columns else f"entry {tuple(never[0])}"
        raise InputError(
            f"{which} of data '{data.name}' is missing (NaN) in every row of the training split; leave it out, or give rows in"
            " which it was observed."
        )

"""From the description of a model to the model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from amortized import posteriors, priors
from amortized.models import VAE, BottomUp, Hierarchical, LatentModel
from amortized.models.factorizations import Factorization
from amortized.networks import MLP, Categorical, Context, Continuous, LogCounts, OneHot, Standardize
from amortized.recipes.hierarchy import BottomUpHierarchy
from amortized.recipes.likelihoods import known_levels
from amortized.recipes.recipe import DataDescription, ModelDescription
from amortized.recipes.site import Site
from amortized.recipes.spec import Spec, Statistics

PARTS = ("prior", "posterior", "likelihood")


def build(model: ModelDescription, spec: Spec, data: DataDescription, statistics: Statistics | None = None) -> LatentModel:
    """Build a model.

    Args:
        model: The description; its likelihood is chosen.
        spec: What it must know of its data.
        data: How the data's conditions are encoded.
        statistics: Constants from the training data; None where weights that hold them are loaded next.
    """
    likelihood: Any = model.likelihood
    context = _context(spec, data)
    features = {part: context.features if context is not None and part in model.condition else 0 for part in PARTS}
    new = statistics is None
    shift, unit = (torch.zeros(spec.event_shape), torch.ones(spec.event_shape)) if new else (statistics.shift, statistics.unit)
    preprocess, in_shape = _preprocess(likelihood, spec, shift, unit)
    units = {"shift": shift, "unit": unit}
    seen = None if statistics is None else statistics.seen(preprocess)
    assert model.prior is not None
    inference, links = _inference(model, in_shape, features)
    parts = inference.posteriors if isinstance(inference, Factorization) else (inference,)
    event = tuple(parts[0].event_shape)  # pyright: ignore[reportArgumentType]
    decoder = None
    if isinstance(inference, Factorization) and model.hierarchy is not None and model.hierarchy.skip:
        event = (sum(shape.numel() for shape in inference.event_shapes),)
        decoder = model.hierarchy.decoder(model.latent_dim, model.network, features["likelihood"])
    px = likelihood.build(event, model.network, features["likelihood"], spec, units, decoder)
    if statistics is not None:
        px.initialize(statistics.mean)
    site = Site(
        event=event,
        space=model.posterior.space,
        network=model.network,
        context_features=features["prior"],
        posterior=parts[-1],
        posterior_context=features["posterior"],
        in_shape=in_shape,
        rows=seen,
    )
    common: dict[str, Any] = {
        "context": context,
        "condition": model.condition if context is not None else (),
        "preprocess": preprocess,
    }
    if not isinstance(inference, Factorization):
        return VAE(model.prior.build(site), inference, px, **common)
    above = (model.hierarchy or BottomUpHierarchy()).top(inference, site)
    skip = model.hierarchy is not None and model.hierarchy.skip
    return Hierarchical(model.prior.build(above), links, inference, px, skip=skip, **common)


def _inference(
    model: ModelDescription, in_shape: tuple[int, ...], features: Mapping[str, int]
) -> tuple[nn.Module, list[nn.Module]]:
    """The posterior of one latent; or the inference of several, and the links between them."""
    hierarchy = model.hierarchy
    if hierarchy is not None:
        inference = hierarchy.inference(in_shape, model.latent_dim, model.network, model.posterior, features["posterior"])
        return inference, hierarchy.links(model.latent_dim, model.network, features["prior"])
    q = model.posterior.build(in_shape, model.latent_dim, model.network, features["posterior"])
    if getattr(model.prior, "hyperprior", False):
        mean = posteriors.DiagonalGaussian(MLP(model.latent_dim, []), model.latent_dim)  # the conjugate is of this family
        return BottomUp([q, mean]), [priors.Centered(model.latent_dim)]
    return q, []


def _context(spec: Spec, data: DataDescription) -> Context | None:
    if not spec.conditions:
        return None
    width = data.embedding_width if data.encoding == "embedding" else None
    return Context(
        {
            name: Continuous(condition.loc, condition.scale, condition.width)
            if condition.classes is None
            else Categorical(condition.classes, data.encoding, width)
            for name, condition in spec.conditions.items()
        }
    )


def _preprocess(likelihood: Any, spec: Spec, shift: Tensor, unit: Tensor) -> tuple[torch.nn.Module | None, tuple[int, ...]]:
    """What the encoder sees of the data, and its shape."""
    kind = likelihood.kind
    if likelihood.standardizes:
        return Standardize(shift, unit), spec.event_shape
    if kind == "categorical":
        classes = known_levels(kind, likelihood.classes, spec)
        return OneHot(classes), (*spec.event_shape, classes)
    if spec.support == "counts" or kind in ("poisson", "negative-binomial"):
        return LogCounts(), spec.event_shape
    if spec.support == "levels" and spec.levels is not None and spec.levels > 1:
        half = torch.tensor((spec.levels - 1) / 2.0)
        return Standardize(half, half), spec.event_shape
    return None, spec.event_shape

"""From the description of a model to the model."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from amortized.likelihoods.support import COUNTS
from amortized.models import VAE, Hierarchical, LatentModel
from amortized.networks import Categorical, Context, Continuous, LogCounts, OneHot, Standardize
from amortized.recipes.hierarchy import hierarchy_of
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
    common: dict[str, Any] = {
        "context": context,
        "condition": model.condition if context is not None else (),
        "preprocess": preprocess,
    }

    def decoder(event: tuple[int, ...], network: nn.Module | None = None) -> nn.Module:
        px = likelihood.build(event, model.network, features["likelihood"], spec, {"shift": shift, "unit": unit}, network)
        if statistics is not None:
            px.initialize(statistics.mean)
        return px

    def site(posterior: nn.Module, event: tuple[int, ...]) -> Site:
        rows = None if statistics is None else statistics.seen(preprocess)
        contexts = features["prior"], features["posterior"]
        return Site(event, model.posterior.space, model.network, posterior, *contexts, in_shape, rows)

    assert model.prior is not None
    hierarchy = hierarchy_of(model.hierarchy, model.prior)
    if hierarchy is None:
        q = model.posterior.build(in_shape, model.latent_dim, model.network, features["posterior"])
        event = tuple(q.event_shape)  # pyright: ignore[reportArgumentType]
        return VAE(model.prior.build(site(q, event)), q, decoder(event), **common)
    inference = hierarchy.inference(in_shape, model.latent_dim, model.network, model.posterior, features["posterior"])
    links = hierarchy.links(model.latent_dim, model.network, features["prior"])
    first, *_, last = map(tuple, inference.event_shapes)
    if hierarchy.skip:
        first = (sum(shape.numel() for shape in inference.event_shapes),)
    px = decoder(first, hierarchy.decoder(model.latent_dim, model.network, features["likelihood"]))
    prior = model.prior.build(hierarchy.top(inference, replace(site(inference.posteriors[-1], last), has_links=True)))
    return Hierarchical(prior, links, inference, px, skip=hierarchy.skip, **common)


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
    if spec.support == "counts" or kind in COUNTS:
        return LogCounts(), spec.event_shape
    if spec.support == "levels" and spec.levels is not None and spec.levels > 1:
        half = torch.tensor((spec.levels - 1) / 2.0)
        return Standardize(half, half), spec.event_shape
    return None, spec.event_shape

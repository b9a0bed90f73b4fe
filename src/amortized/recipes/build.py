"""From the description of a model to the model."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from amortized.likelihoods.support import COUNTS
from amortized.models import VAE, Hierarchical, LatentModel
from amortized.networks import Categorical, Context, Continuous, Fill, LogCounts, OneHot, Standardize
from amortized.networks.preprocess import beside
from amortized.recipes.hierarchy import hierarchy_of
from amortized.recipes.likelihoods import known_levels
from amortized.recipes.recipe import DataDescription, ModelDescription
from amortized.recipes.site import Site
from amortized.recipes.spec import Spec, Statistics
from amortized.terms import Batch

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
    preprocess, fill = _preprocess(likelihood, spec, shift, unit), Fill(data.mask)
    in_shape, mask = _seen(spec.event_shape, preprocess, fill)
    common: dict[str, Any] = {
        "context": context,
        "condition": model.condition if context is not None else (),
        "preprocess": preprocess,
        "fill": fill,
    }

    def decoder(event: tuple[int, ...], network: nn.Module | None = None) -> nn.Module:
        px = likelihood.build(event, model.network, features["likelihood"], spec, {"shift": shift, "unit": unit}, network)
        if statistics is not None:
            px.initialize(statistics.mean)
        return px

    def site(posterior: nn.Module, event: tuple[int, ...]) -> Site:
        rows = None if statistics is None else statistics.seen(partial(_show, preprocess=preprocess, fill=fill))
        contexts = features["prior"], features["posterior"]
        return Site(event, model.posterior.space, model.network, posterior, *contexts, in_shape, rows, mask=mask)

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


def _preprocess(likelihood: Any, spec: Spec, shift: Tensor, unit: Tensor) -> nn.Module:
    """What is done to the values that the encoder sees."""
    kind = likelihood.kind
    if likelihood.standardizes:
        return Standardize(shift, unit)
    if kind == "categorical":
        return OneHot(known_levels(kind, likelihood.classes, spec))
    if spec.support == "counts" or kind in COUNTS:
        return LogCounts()
    if spec.support == "levels" and spec.levels is not None and spec.levels > 1:
        half = torch.tensor((spec.levels - 1) / 2.0)
        return Standardize(half, half)
    return nn.Identity()


def _show(x: Tensor, preprocess: nn.Module, fill: Fill) -> Tensor:
    batch = Batch.of(x)
    return fill(batch.x, batch.observed, None, preprocess)


def _seen(event: tuple[int, ...], preprocess: nn.Module, fill: Fill) -> tuple[tuple[int, ...], Tensor | None]:
    """The shape of a datum as the encoder sees it, and which entries of that are the mask; None where there is no mask."""
    values = preprocess(torch.zeros((1, *event)))
    mask = beside(torch.zeros_like(values), torch.ones((1, *event)))[0].bool() if fill.mask else None
    return tuple(values.shape[1:] if mask is None else mask.shape), mask

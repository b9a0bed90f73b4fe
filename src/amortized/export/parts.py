"""A model as functions of tensors: what an exported graph computes.

A distribution cannot be the output of a graph, so each part returns the tensors that say what it is:

    encoder   x, conditions            ->  the center of q(z | x), its scale, parameters, and a value that z can have
    decoder   z, conditions            ->  x, the center of p(x | z), and its parameters
    follower  z, entry, conditions     ->  z followed: the groups that the prior draws after that of the entry at their centers

Everything between the data in their own units and these is inside: what the encoder sees of the data (standardization, codes,
holes, which are NaN in x), and the encoding of the conditions. Which tensors there are is found out by calling the part once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from amortized.distributions import Chain, Transformed, in_support
from amortized.errors import InputError
from amortized.models.model import Model
from amortized.terms import Batch

CENTERS = ("center", "mean", "mode")
"""What may stand for a distribution, in the order in which `distributions.center` takes it."""

PARAMETERS = ("logits", "log_weights", "loc", "scale", "scale_tril", "concentration", "rate", "total_count", "df", "coefficients")
"""Parameters of families that are put out, where a family has them, besides its center and standard deviation."""


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a model as a function of tensors.

    Attributes:
        name: "encoder", "decoder" or "follower".
        module: Its function: tensors in the order of `inputs` to a tuple of tensors in that of `outputs`.
        inputs: Rows of each input, by name, real enough to trace the function with and to check it on.
        outputs: The names of what it returns.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]

    def rows(self, count: int) -> tuple[Tensor, ...]:
        """So many rows of each input, from the first on, over again where there are fewer."""
        return tuple(value[torch.arange(count) % len(value)] for value in self.inputs.values())


class Decoder(nn.Module):
    """z and conditions to the center of p(x | z) and its parameters.

    Args:
        model: The model.
        conditions: The names of its conditions, in the order in which they come.
        outputs: The name of what stands for x, and of each parameter.
    """

    def __init__(self, model: Model, conditions: tuple[str, ...], outputs: tuple[str, ...]):
        super().__init__()
        self.model, self.conditions, self.outputs = model, conditions, outputs

    def forward(self, z: Tensor, *conditions: Tensor) -> tuple[Tensor, ...]:
        """Map latents (B, *event) and conditions of B rows to tensors of B rows."""
        p = self.model.decode(z, dict(zip(self.conditions, conditions, strict=True)))
        return tuple(_statistic(p, name) for name in self.outputs)


class Encoder(nn.Module):
    """x and conditions to the center of q(z | x), and what else is known of it.

    Args:
        model: The model.
        conditions: The names of its conditions, in the order in which they come; after them, for a flow, comes noise.
        outputs: The name of what stands for z, and of each parameter.
    """

    def __init__(self, model: Model, conditions: tuple[str, ...], outputs: tuple[str, ...]):
        super().__init__()
        self.model, self.conditions, self.outputs = model, conditions, outputs

    def forward(self, x: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """Map data (B, *event), NaN where an entry is missing, and conditions of B rows to tensors of B rows."""
        observed = ~x.isnan()
        given = dict(zip(self.conditions, others, strict=False))
        q = self.model.posterior(Batch(torch.where(observed, x, torch.zeros_like(x)), context=given, observed=observed))
        return tuple(pushed(q, others[-1]) if name == "draw" else _statistic(q, name) for name in self.outputs)


class Follower(nn.Module):
    """z of several groups, an entry that was moved, and conditions to the z that comes of it.

    Args:
        model: The model, whose prior is a `Chain`.
        conditions: The names of its conditions, in the order in which they come.
    """

    def __init__(self, model: Model, conditions: tuple[str, ...]):
        super().__init__()
        self.model, self.conditions = model, conditions

    def forward(self, z: Tensor, *others: Tensor) -> tuple[Tensor]:
        """Map latents (B, D), an entry (B,) of each, and conditions of B rows to latents (B, D)."""
        entry, *conditions = others
        p = self.model.prior(dict(zip(self.conditions, conditions, strict=True)))
        assert isinstance(p, Chain)
        return (p.follow(z, entry),)


def encoder_of(model: Model, batch: Batch) -> Part:
    """The encoder as a function of tensors.

    Args:
        model: The model, in evaluation mode.
        batch: Data to find out with what its posterior is.

    Raises:
        InputError: It climbs the bound of each datum by gradients, which no graph does.
    """
    posteriors = getattr(model, "posteriors", ())
    climbing = next((type(part).__name__ for part in posteriors if hasattr(part, "refine")), None)
    if climbing is not None:
        raise InputError(
            f"posterior {climbing} climbs the bound of each datum by its gradient, and a graph takes none, so the encoder cannot"
            " be exported; export a model with an amortized posterior, such as 'gaussian'."
        )
    x = batch.x if batch.observed is None else batch.x.masked_fill(~batch.observed, torch.nan)
    inputs = {"x": x, **_named(batch.context)}
    q = model.posterior(batch)
    first = _center_of(q)
    if first is None:
        raise InputError(f"posterior {type(_bare(q)).__name__} names no value that stands for z; the encoder cannot be exported.")
    outputs = [first, *(["value"] if not in_support(q, _statistic(q, first)) else [])]
    outputs += _known(q, ("stddev", *PARAMETERS), besides=first)
    if isinstance(_bare(q), Transformed):
        inputs["noise"] = torch.randn(q.batch_shape + q.event_shape, dtype=x.dtype)
        outputs.append("draw")
    return Part("encoder", Encoder(model, tuple(batch.context), tuple(outputs)), inputs, tuple(outputs))


def decoder_of(model: Model, z: Tensor, context: Mapping[str, Tensor], *, bare: bool = False) -> Part:
    """The decoder as a function of tensors.

    Args:
        model: The model, in evaluation mode.
        z: (B, *event) latents to find out with what its likelihood is.
        context: Conditions of B rows.
        bare: Put out x alone, without the parameters of the likelihood.

    Raises:
        InputError: The likelihood has no mean that is cheap, as an autoregressive one, whose values are drawn one by one.
    """
    p = model.decode(z, context)
    first = _center_of(p)
    if first is None:
        raise InputError(
            f"likelihood '{_kind(model)}' has no mean that can be computed at once: its entries are drawn one after the"
            " other, which no graph does; export a model whose likelihood has a mean, such as 'bernoulli' or 'logistic-mixture'."
        )
    known = [] if bare else _known(p, PARAMETERS, besides=first)
    module = Decoder(model, tuple(context), (first, *known))
    return Part("decoder", module, {"z": z, **_named(context)}, ("x", *known))


def follower_of(model: Model, z: Tensor, context: Mapping[str, Tensor]) -> Part:
    """What follows of an entry of a latent that is moved, as a function of tensors.

    Args:
        model: The model, in evaluation mode, whose prior is a `Chain`.
        z: (B, D) latents.
        context: Conditions of B rows.
    """
    entry = torch.arange(len(z)) % z.shape[-1]
    return Part("follower", Follower(model, tuple(context)), {"z": z, "entry": entry, **_named(context)}, ("followed",))


def pushed(q: Distribution, noise: Tensor) -> Tensor:
    """The draw of a flow that standard normal noise (B, *event) becomes; noise of 0 becomes its center."""
    flow = _bare(q)
    assert isinstance(flow, Transformed)
    base = flow.base
    e = base.mean + base.stddev * noise
    return flow.transform.call_and_ladj(e.flatten(1))[0].unflatten(-1, flow.event_shape)


def input_name(condition: str) -> str:
    """What the input of a condition is called: as the condition, where no other input is."""
    return f"condition_{condition}" if condition in ("x", "z", "entry", "noise") else condition


def _named(context: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {input_name(name): value for name, value in context.items()}


def _kind(model: Model) -> str:
    likelihood = getattr(model, "parts", {"likelihood": model})["likelihood"]
    return getattr(likelihood, "kind", type(likelihood).__name__)


def _bare(p: Distribution) -> Distribution:
    while isinstance(p, Independent):  # which hides what the family names
        p = p.base_dist
    return p


def _center_of(p: Distribution) -> str | None:
    """The name of what stands for a distribution; None where nothing does but a draw."""
    for name in CENTERS:
        value = _get(p, name)
        if value is not None and not value.isnan().any():
            return name
    return None


def _known(p: Distribution, names: Sequence[str], *, besides: str) -> list[str]:
    """Those of the names by which a distribution says something of each datum that no earlier one says."""
    taken, said = [], [_statistic(p, besides)]
    for name in names:
        value = _get(p, name)
        if value is None or value.shape[: len(p.batch_shape)] != p.batch_shape or not value.isfinite().all():
            continue
        if not any(value.shape == other.shape and torch.equal(value, other) for other in said):
            taken.append(name)
            said.append(value)
    return taken


def _get(p: Distribution, name: str) -> Tensor | None:
    try:
        value = getattr(_bare(p), name, None)
    except (NotImplementedError, AttributeError):
        return None
    return value if isinstance(value, Tensor) else None


def _statistic(p: Distribution, name: str) -> Tensor:
    return getattr(_bare(p), "mode" if name == "value" else name)

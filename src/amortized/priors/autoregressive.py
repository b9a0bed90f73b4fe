r"""Autoregressive priors: every latent, or every group of them, given the ones before.

    log p(z) = sum_g log p(z_g | z_<g)          g = 0 .. G-1; the entries of one group are independent given the groups before

One masked perceptron gives all conditionals in one pass (MADE: Germain, Gregor, Murray and Larochelle 2015, arXiv 1502.03509), so
scoring takes one pass and sampling G. Chen et al. 2017 (arXiv 1611.02731) take such a prior for the variational autoencoder.
The conditional of one entry, with l(z_<g) the outputs of the network, is

    real           sum_k softmax(l^w)_k N(z_d; l^m_k, exp(l^s_k)^2)      k = 1 .. components
    binary         Bernoulli(z_d; sigmoid(l))
    categorical    softmax(l)_c for z_d the one-hot vector of c

The prior starts near N(0, I), or the uniform one. A mixture starts with its means apart, or its components would stay alike: they
are evenly spaced with variance 1/4 and share the variance 3/4, so that their mixture has mean 0 and variance 1.

The score of a discrete conditional is linear in its own entry, so a relaxed z has a finite score and gradient; the network sees
the relaxed values too.

`temperature` multiplies the standard deviation of every real conditional (of each of its components, whose weights stay), so that
0 follows the conditional means (of components drawn by weight); it divides the logits of a discrete one, so that towards 0 each
step takes the most probable value.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal, constraints
from torch.func import functional_call

from amortized import distributions as families
from amortized.distributions.autoregressive import Autoregressive as InSteps
from amortized.errors import InputError, is_count, nearest
from amortized.networks.layers import check_shape, check_widths
from amortized.networks.masked import masked_mlp
from amortized.priors.condition import check_condition
from amortized.priors.mixture import MAX_LOG_SCALE, MIN_LOG_SCALE

SPACES = ("real", "binary", "categorical")
COLDEST = 1e-6  # a logit divided by 0 is no logit


class Autoregressive(nn.Module):
    """A prior by the chain rule over the entries of z, or over groups of them; p(z | y) given the encoded condition.

    Args:
        event: Shape of z, an integer for a vector; (D, C) for D variables of C classes. More dimensions are taken in row-major
            order.
        space: "real", "binary" or "categorical".
        hidden: Width of each hidden layer; none makes the conditionals linear.
        groups: The number G of groups of consecutive variables, of equal sizes or nearly; None is one group for each variable.
            One group, without a condition, makes all variables independent.
        components: The number of Gaussians in each real conditional.
        context_features: Width C of the encoded condition; 0 is for a prior that no condition changes.

    Raises:
        InputError: An argument is not one of these, or does not fit the others.

    Example:
        >>> p = Autoregressive((20, 10), "categorical")()
        >>> p.log_prob(p.sample((5, 7))).shape
        torch.Size([5, 7])
    """

    has_gradient = False
    order: Tensor
    start: Tensor

    def __init__(
        self,
        event: int | tuple[int, ...],
        space: Literal["real", "binary", "categorical"] = "real",
        *,
        hidden: Sequence[int] = (128, 128),
        groups: int | None = None,
        components: int = 1,
        context_features: int = 0,
    ):
        super().__init__()
        self.event_shape = torch.Size(check_shape("event", event))
        _check(space, self.event_shape, components)
        self.space = space
        self.components = components
        self.context_features = context_features
        self.variables = self.event_shape[:-1] if space == "categorical" else self.event_shape
        classes = self.event_shape[-1] if space == "categorical" else 1
        group = _groups(self.variables.numel(), groups)
        self.steps = int(group[-1]) + 1
        start = _start(components) if space == "real" else torch.zeros(classes)

        before = (group[:, None] > group).repeat_interleave(classes, 1)
        seen = torch.cat((before, torch.ones(len(group), context_features, dtype=torch.bool)), 1)
        self.network = masked_mlp(seen.repeat_interleave(len(start), 0), check_widths("hidden", hidden))
        order = group.repeat_interleave(classes).reshape(self.event_shape)
        # Buffers, so that they follow the model to its device and precision; constants, so that no file stores them.
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("start", start, persistent=False)

    def forward(self, context: Tensor | None = None, *, temperature: float = 1.0) -> InSteps:
        """Return p(z) with event (*event), or p(z | context) with batch (B,).

        Raises:
            InputError: It was built for a condition, and there is none, or one of another width.
        """
        context = check_condition("Autoregressive", self.context_features, context)
        # What the network is now: a distribution must not change when the module gets other parameters for a while.
        tensors = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        return InSteps(
            partial(self._conditionals, tensors, context, temperature),
            self.order,
            self.steps,
            torch.Size() if context is None else context.shape[:-1],
            support=_support(self.space, self.event_shape),
            dtype=self.start.dtype,
        )

    def _conditionals(self, tensors: dict[str, Tensor], context: Tensor | None, temperature: float, z: Tensor) -> Distribution:
        rows = z.flatten(-len(self.event_shape))
        if context is not None:
            lead = torch.broadcast_shapes(rows.shape[:-1], context.shape[:-1])
            rows = torch.cat((rows.expand(*lead, -1), context.expand(*lead, -1)), -1)
        parameters = functional_call(self.network, tensors, (rows,))
        parameters = parameters.reshape(*parameters.shape[:-1], *self.variables, len(self.start)) + self.start
        if self.space == "real":
            return Independent(self._real(parameters, temperature), len(self.event_shape), validate_args=False)
        logits = parameters / max(temperature, COLDEST)
        return families.OneHot(logits) if self.space == "categorical" else families.Bits(logits.squeeze(-1))

    def _real(self, parameters: Tensor, temperature: float) -> Distribution:
        if self.components == 1:
            loc, log_scale = parameters.unbind(-1)
            return Normal(loc, _scale(log_scale, temperature), validate_args=False)
        log_weight, loc, log_scale = parameters.chunk(3, -1)
        weights = Categorical(logits=log_weight, validate_args=False)
        return MixtureSameFamily(weights, Normal(loc, _scale(log_scale, temperature), validate_args=False), validate_args=False)


def _scale(log_scale: Tensor, temperature: float) -> Tensor:
    return log_scale.clamp(MIN_LOG_SCALE, MAX_LOG_SCALE).exp() * temperature


def _groups(variables: int, groups: int | None) -> Tensor:
    count = variables if groups is None else groups
    if not is_count(count) or count > variables:
        raise InputError(
            f"groups must be an integer from 1 to the {variables} variables of z; it is {groups!r}; None is {variables}."
        )
    return torch.arange(variables) * count // variables


def _start(components: int) -> Tensor:
    if components == 1:
        return torch.zeros(2)
    loc = torch.linspace(-1, 1, components)
    loc = loc / (2 * loc.square().mean().sqrt())
    return torch.cat((torch.zeros(components), loc, torch.full((components,), 0.75).log() / 2))


def _support(space: str, event_shape: torch.Size) -> constraints.Constraint:
    if space == "real":
        return constraints.independent(constraints.real, len(event_shape))
    if space == "binary":
        return constraints.independent(constraints.boolean, 1)
    return constraints.independent(constraints.one_hot, 1)


def _check(space: str, event_shape: torch.Size, components: int) -> None:
    if space not in SPACES:
        raise InputError(f"prior Autoregressive has no space {space!r}: {nearest(str(space), SPACES)}")
    wanted = {"binary": ("(D,)", 1), "categorical": ("(D, C), D variables of C classes", 2)}.get(space)
    if wanted is not None and len(event_shape) != wanted[1]:
        raise InputError(f"the event of prior Autoregressive on space '{space}' is {wanted[0]}; it is {tuple(event_shape)}.")
    check_shape("components", components)
    if components > 1 and space != "real":
        raise InputError(
            f"components are the Gaussians of a real conditional; the space is '{space}' and components is {components};"
            " leave components out."
        )

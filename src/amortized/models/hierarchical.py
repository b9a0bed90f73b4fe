r"""Two or more stochastic layers: latents z_1, next to the data, to z_L.

    p(x, z_1, ..., z_L) = p(x | z_1) p(z_1 | z_2) ... p(z_{L-1} | z_L) p(z_L)    Burda et al. 2016, arXiv 1509.00519, section 2

or p(x | z_1, ..., z_L) in place of p(x | z_1) (Tomczak and Welling 2018, arXiv 1705.07120, section 4). The bound is that of one
latent z = [z_1, ..., z_L]; its KL is a sum with one term for each group,

    log p(x) >= E_q[ log p(x|z) - sum_l log q(z_l | ...) / p(z_l | z_{l+1}) ]

Where z_l is drawn given the groups above it, its term may be the closed form of KL( q(z_l | ...) || p(z_l | z_{l+1}) ),
averaged over z_{l+1}. Where it is drawn first, and z_{l+1} given it, no closed form averages the term: z_{l+1} then depends on
z_l, and the KL at a fixed z_{l+1} is another number. Bottom-up inference has a closed form for z_L alone.

Groups are counted from the data up wherever they are listed, as latents, shapes or entries of the vector z. With
`priors.Centered` as the one link and `priors.Gaussian` on top, z_2 is the mean of a Gaussian prior that has a hyperprior.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from amortized.distributions import Draw, draw, is_point_mass
from amortized.distributions.chain import Chain, join_groups, split_groups
from amortized.distributions.tempering import tempered
from amortized.errors import InputError
from amortized.models.factorizations import Factor, Factorization, Links
from amortized.models.inference import (
    Value,
    call_at_temperature,
    check_posterior,
    check_spaces,
    draw_given,
    make_latent,
)
from amortized.models.latent import Inferred, LatentModel
from amortized.models.model import Gradient
from amortized.networks import Context, Fill
from amortized.terms import Batch, Latent


class Hierarchical(LatentModel):
    """A variational autoencoder with a chain of latents.

    The whole latent is one vector [z_1, ..., z_L], each group flattened: `prior` and `posterior` are distributions of it, and
    `decode` takes it, so that what is done with the latent of a VAE can be done with it.

    Args:
        prior: p(z_L), any prior: called with nothing, or with c where it is conditioned.
        links: From the top down, p(z_{L-1} | z_L), ..., p(z_1 | z_2): each called with the group above it, (*lead, *event), and
            with c where the prior is conditioned. A posterior such as `DiagonalGaussian(MLP(...), event)` is one.
        inference: How the groups are inferred: `BottomUp`, `TopDown` or `Ladder`. A `Vamp` prior holds its `posteriors[-1]`.
        likelihood: p(x | z_1), called with z_1, or z_1 and c; with `skip`, p(x | z_1, ..., z_L), called with the whole vector.
        context: Encodes the named conditions of a batch into c (B, C); None for a model without conditions.
        condition: Which of "prior" (the links among it), "posterior" and "likelihood" are called with c.
        preprocess: Applied to what the encoder sees (standardization, one-hot codes); None leaves it as it is.
        fill: What the encoder sees of missing entries; None fills them with 0, after `preprocess`, and shows no mask.
        skip: Whether the likelihood sees all groups.

    Attributes:
        group_shapes: The events of z_1, ..., z_L.

    Raises:
        InputError: The links are not one fewer than the groups, or a group's two distributions are over different spaces.

    Example:
        >>> from amortized import likelihoods, posteriors, priors
        >>> from amortized.models import BottomUp
        >>> from amortized.networks import MLP
        >>> model = Hierarchical(
        ...     priors.StandardNormal(2),
        ...     [posteriors.DiagonalGaussian(MLP(2, [32]), 3)],
        ...     BottomUp([posteriors.DiagonalGaussian(MLP((8, 8), [32]), 3), posteriors.DiagonalGaussian(MLP(3, [32]), 2)]),
        ...     likelihoods.Bernoulli(MLP(3, [32]), event=(8, 8)),
        ... )
        >>> model.terms(torch.zeros(7, 8, 8), samples=5).kl.shape
        torch.Size([2, 5, 7])
    """

    def __init__(
        self,
        prior: nn.Module,
        links: Sequence[nn.Module],
        inference: Factorization,
        likelihood: nn.Module,
        *,
        context: Context | None = None,
        condition: Sequence[str] = ("posterior", "likelihood"),
        preprocess: nn.Module | None = None,
        fill: Fill | None = None,
        skip: bool = False,
    ):
        posteriors = inference.posteriors
        if len(links) != len(posteriors) - 1:
            raise InputError(
                f"{len(posteriors)} groups of latents have {len(posteriors) - 1} links between them; {len(links)} were given;"
                " give one link p(z_l | z_(l+1)) for each group but the top one, from the top down."
            )
        for p, q in zip((prior, *links), posteriors[::-1], strict=True):
            check_spaces(p, q)
        super().__init__(
            # The posteriors first: what a prior shares with them is stored under their name.
            {"posterior": inference, "prior": prior, "links": nn.ModuleList(links), "likelihood": likelihood},
            context=context,
            condition=condition,
            preprocess=preprocess,
            fill=fill,
            select=None if skip else FirstGroup(inference.event_shapes[0]),
        )
        self.group_shapes = inference.event_shapes

    @property
    def inference(self) -> Factorization:
        """How the groups are inferred."""
        return self.parts["posterior"]  # pyright: ignore[reportReturnType]

    @property
    def posteriors(self) -> tuple[nn.Module, ...]:
        """Those of the groups, from z_1 to z_L."""
        return self.inference.posteriors

    @property
    def of_data_alone(self) -> tuple[nn.Module, ...]:
        """What the inference says of x alone: the group drawn first, and the features of x."""
        return self.inference.of_data_alone

    @property
    def links(self) -> list[nn.Module]:
        """p(z_{L-1} | z_L), ..., p(z_1 | z_2): from the top down."""
        return list(self.parts["links"])  # pyright: ignore[reportArgumentType]

    def infer(self, batch: Batch, seen: Tensor, c: Tensor | None, samples: int, gradient: Gradient) -> Inferred:
        """Draw the groups of B data, one `Latent` each, from z_1 to z_L."""
        inference, links = self.inference, self._links(c)
        factor, steps = inference.begin(seen, self.given("posterior", c), links, gradient)
        parts = inference.posteriors if inference.upward else inference.posteriors[::-1]
        check_posterior(factor.q, parts[0], len(batch))
        drawn = _repeated(draw(factor.q, samples), samples)
        lead = torch.Size((len(drawn.z), len(batch)))
        factors, values = [factor], [Value.of(drawn.z, gradient)]
        for step, part in zip(steps, parts[1:], strict=True):
            factors.append(step(values[-1]))
            values.append(Value.of(draw_given(factors[-1].q, part, lead), gradient))
        if not inference.upward:
            factors, values = factors[::-1], values[::-1]
        top = self.parts["prior"](*self.given("prior", c))
        given_above = [
            links(level, values[level + 1].z) if factor.p is None else factor.p for level, factor in enumerate(factors[:-1])
        ]
        latents = tuple(map(self._latent, factors, [*given_above, top], values, range(len(values))))
        # The draws are not the whole support, even where that of the group drawn first is listed.
        return Inferred(latents, join_groups([value.z for value in values], self.group_shapes), drawn.log_weight)

    def posterior(self, batch: Batch | Tensor) -> Distribution:
        """q(z_1, ..., z_L | x) of the vector z, with batch (B,)."""
        batch = Batch.of(batch)
        c = self.encode_context(batch.context)
        inference = self.inference
        factor, steps = inference.begin(self.seen(batch), self.given("posterior", c), self._links(c), "total")
        given_before = [lambda before, step=step: step(Value(before, before)).q for step in steps]
        shapes = self.group_shapes if inference.upward else self.group_shapes[::-1]
        return Chain(factor.q, given_before, shapes, backward=not inference.upward)

    def prior(self, context: Mapping[str, Tensor] | None = None, *, temperature: float = 1.0) -> Distribution:
        """p(z_1, ..., z_L) of the vector z, with batch (B,) where the prior is conditioned.

        `temperature` goes to the prior of z_L, and to the links: by their own argument where they have one, otherwise
        as it tempers the family that they give (`distributions.tempering`).

        Raises:
            InputError: The temperature is not 1, and the prior takes none, or a link gives a family that has none.
        """
        given = self.given("prior", self.encode_context(context or {}))
        top = call_at_temperature(self.parts["prior"], given, temperature)
        if given and not top.batch_shape:  # a prior that the condition does not change, under links that it does
            top = top.expand(given[0].shape[:1])
        links = [partial(_call_link, part, given, temperature) for part in self.links]
        return Chain(top, links, self.group_shapes[::-1], backward=True)

    def groups(self, z: Tensor) -> list[Tensor]:
        """The vector z (*lead, D) as its groups z_1, ..., z_L, each (*lead, *event)."""
        return split_groups(z, self.group_shapes)

    def _latent(self, factor: Factor, p: Distribution, value: Value, level: int) -> Latent:
        p_depends_on_z = self.inference.upward and level < len(self.group_shapes) - 1
        # The KL of a point mass is left out by convention, not averaged.
        is_averaged = is_point_mass(factor.q) or not p_depends_on_z
        return make_latent(factor.q, p, value, factor.q_path, is_averaged=is_averaged)

    def _links(self, c: Tensor | None) -> Links:
        return Links(self.links[::-1], self.given("prior", c))


class FirstGroup(nn.Module):
    """The first group (*lead, *event) of the vector z (*lead, D).

    Args:
        event: Its shape.
    """

    def __init__(self, event: torch.Size):
        super().__init__()
        self.event = event

    def forward(self, z: Tensor) -> Tensor:
        """Take it out of z."""
        return z[..., : self.event.numel()].reshape((*z.shape[:-1], *self.event))


def _repeated(drawn: Draw, samples: int) -> Draw:
    """A whole support is listed once, whatever is asked for; here each value as often as what follows it is to be drawn."""
    if not drawn.is_complete or drawn.log_weight is None or samples == 1:
        return drawn
    log_weight = drawn.log_weight - math.log(samples)
    again = (samples, *(1 for _ in drawn.z.shape[1:]))
    return Draw(drawn.z.repeat(again), log_weight.repeat(samples, *(1 for _ in log_weight.shape[1:])))


def _call_link(link: nn.Module, given: tuple[Tensor, ...], temperature: float, above: Tensor) -> Distribution:
    if temperature == 1.0:
        return link(above, *given)
    if "temperature" in inspect.signature(link.forward).parameters:
        return link(above, *given, temperature=temperature)
    return tempered(link(above, *given), temperature)

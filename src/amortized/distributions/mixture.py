r"""Mixtures p(z) = sum_m w_m p_m(z) of any family.

    log p(z) = logsumexp_m [ log w_m + log p_m(z) ],    log p_m(z) summed over the event before the components are put together

(McLachlan and Peel 2000, section 1.4). To `sample`, a component is drawn first and z from it second, which leaves no gradient
for the weights; `draw` gives every component S draws in place of that, weighing w_m / S each: exact in the weights, and as
differentiable as the components are (stratified sampling; Morningstar et al. 2021, arXiv 2003.01687).

M diagonal Gaussians over N points, with means m and standard deviations s, are two matrix products:

    log p_m(z) = -1/2 [ z^2 . s^-2 - 2 z . (m s^-2) + sum_d (m^2 s^-2 + log s^2 + log 2 pi) ]

The three terms cancel where z / s is large, so the products are taken in float64, whatever the type of z. With M = 500 and
D = 40 they then err by less than the direct sum over (z - m)^2 / s^2 does in float32: by 1e-6 nats against 7e-6 where half of
the entries have s = 0.1. Products in float32 err by 1e-3 nats there and by 0.04 at s = 0.02, centered means or not, and gain
little: on one core, 1,000 points take 8 to 10 ms by products of either type, and 130 or more by the direct sum; 100 points with
their gradient take 2 to 4 ms (float32: 2 to 3), and 18 or more.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, Independent, Normal, constraints

from amortized.distributions.drawing import Draw, draw, is_relaxed
from amortized.distributions.tempering import tempered
from amortized.errors import InputError

EMPTY = torch.Size()
LARGEST_DRAW = 2**24  # entries that are drawn at once where all the components are drawn to keep one
LARGEST_PRODUCT = 2**20  # entries of a matrix product: beyond, it leaves the caches of a processor


class Mixture(Distribution):
    """The mixture of the last batch dimension of `components`.

    Args:
        log_weights: (*batch, M) log-weights, up to a constant.
        components: A distribution of batch (*batch, M).

    Raises:
        InputError: The components have no batch dimension to mix, or another number of them than there are weights.

    Example:
        >>> components = Independent(Normal(torch.randn(5, 2), 1.0), 1)
        >>> Mixture(torch.zeros(5), components).log_prob(torch.zeros(3, 2)).shape
        torch.Size([3])
    """

    arg_constraints = {}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, log_weights: Tensor, components: Distribution):
        if not components.batch_shape or log_weights.shape[-1:] != components.batch_shape[-1:]:
            raise InputError(
                f"a mixture has one weight per component: weights of shape {tuple(log_weights.shape)} were given for components"
                f" of batch {tuple(components.batch_shape)}; give (*batch, M) of both."
            )
        self.components = components
        self.log_weights = log_weights.log_softmax(-1).expand(components.batch_shape)
        super().__init__(components.batch_shape[:-1], components.event_shape, validate_args=False)

    @constraints.dependent_property
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """That of the components."""
        return self.components.support

    @property
    def is_relaxed(self) -> bool:
        """Whether the components' draws are relaxed."""
        return is_relaxed(self.components)

    @property
    def mean(self) -> Tensor:
        """(*batch, *event) the components' means, averaged by their weights."""
        return self._average(self.components.mean)

    @property
    def variance(self) -> Tensor:
        """(*batch, *event) the mean of the components' variances and the variance of their means."""
        means = self.components.mean
        deviation = means - self.mean.unsqueeze(self._component_dimension)
        return self._average(self.components.variance + deviation.square())

    def expand(self, batch_shape, _instance=None) -> "Mixture":
        """The same over a larger batch."""
        shape = torch.Size((*batch_shape, self.log_weights.shape[-1]))
        return Mixture(self.log_weights.expand(shape), self.components.expand(shape))

    def tempered(self, temperature: float) -> "Mixture":
        """The mixture of the components at a temperature, by the same weights."""
        return Mixture(self.log_weights, tempered(self.components, temperature))

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-density in nats of (*sample_shape, *batch, *event)."""
        pieces = [joint.to(dtype).logsumexp(-1) for joint, dtype in self._joint(value)]
        return torch.cat(pieces).reshape(self._lead(value))

    def reparameterized(self, value: Tensor) -> tuple[Tensor, Tensor] | None:
        """A value as if it were drawn from the mixture: it moves with the parameters as the draws of its components do.

        A component m that drew z would have done so from the noise (z - loc_m) / scale_m; with T_m its draw from that noise, and
        r_m = p(m | z) its responsibility, what the components contribute to the gradient of an expectation is

            d/dphi E_p[ h(z) ] = sum_m w_m E_p_m[ dh/dz dT_m/dphi ] = E_p[ dh/dz sum_m r_m dT_m/dphi ]

        Args:
            value: (*sample_shape, *batch, *event), without gradient.

        Returns:
            The value, with the gradient of the components; and (*sample_shape, *batch) a surrogate that has that of log p(z) in
            the weights. None where the components are not diagonal Gaussians.
        """
        gaussian = _diagonal_gaussian(self.components)
        if gaussian is None:
            return None
        lead, entries = self._lead(value), self.event_shape.numel()
        with torch.no_grad():
            pieces = [joint.softmax(-1).to(dtype) for joint, dtype in self._joint(value)]
            chosen = torch.cat(pieces).reshape(*lead, 1, -1)
        shape = (*self.components.batch_shape, entries)
        loc, scale = (each.expand(self._full_shape).reshape(shape) for each in (gaussian.loc, gaussian.scale))
        stretch = scale / scale.detach()
        shift = (chosen @ (loc - loc.detach() * stretch)).squeeze(-2)
        moved = shift + value.reshape(*lead, entries) * (chosen @ stretch).squeeze(-2)
        return moved.reshape(value.shape), (chosen.squeeze(-2) * self.log_weights).sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, *event) draws, without gradient."""
        shape = self._extended_shape(torch.Size(sample_shape))
        chosen = Categorical(logits=self.log_weights, validate_args=False).sample((torch.Size(sample_shape).numel(),))
        gaussian = _diagonal_gaussian(self.components)
        if gaussian is not None:
            loc, scale = (
                self._choose(parameter.expand(self._full_shape), chosen) for parameter in (gaussian.loc, gaussian.scale)
            )
            return (loc + scale * torch.randn_like(loc)).reshape(shape)
        rows = max(1, LARGEST_DRAW // max(1, self._full_shape.numel()))
        pieces = [self._choose(self.components.sample(piece.shape[:1]), piece) for piece in chosen.split(rows)]
        return torch.cat(pieces).reshape(shape)

    def draw(self, samples: int) -> Draw:
        """Draw every component, so that a draw has a gradient where the components' draws have one, the weights included.

        Args:
            samples: Draws of each component (or as many as the components' own plan gives).

        Returns:
            (K M, *batch, *event) values, those of one sample (one of each component) together, and their log-weights.
        """
        own = draw(self.components, samples)
        within = -math.log(len(own.z)) if own.log_weight is None else own.log_weight
        position = 1 + len(self.batch_shape)
        log_weight = (self.log_weights + within).expand(own.z.shape[: position + 1])
        return Draw(own.z.movedim(position, 1).flatten(0, 1), log_weight.movedim(position, 1).flatten(0, 1))

    @property
    def _component_dimension(self) -> int:
        return -1 - len(self.event_shape)

    @property
    def _full_shape(self) -> torch.Size:
        return self.components.batch_shape + self.event_shape

    def _average(self, values: Tensor) -> Tensor:
        weights = self.log_weights.exp().reshape(self.log_weights.shape + (1,) * len(self.event_shape))
        return (weights * values).sum(self._component_dimension)

    def _choose(self, values: Tensor, chosen: Tensor) -> Tensor:
        """(n, *batch, *event) what `chosen` (n, *batch) names of values (*batch, M, *event) or (n, *batch, M, *event)."""
        index = chosen.reshape(*chosen.shape, *(1,) * (1 + len(self.event_shape)))
        values = values.expand(*chosen.shape, *values.shape[self._component_dimension :])
        return values.take_along_dim(index, self._component_dimension).squeeze(self._component_dimension)

    def _lead(self, value: Tensor) -> torch.Size:
        return torch.broadcast_shapes(value.shape[: value.ndim - len(self.event_shape)], self.batch_shape)

    def _joint(self, value: Tensor) -> Iterator[tuple[Tensor, torch.dtype]]:
        """Pieces, (n, M) of the rows of `value` in order, of log w_m + log p_m(z), and the type that their sum is to have."""
        gaussian = None if self.batch_shape else _diagonal_gaussian(self.components)
        if gaussian is not None and value.device.type != "mps":  # which has no float64
            yield from self._joint_by_products(value, gaussian)
            return
        shape = (*self._lead(value), self.log_weights.shape[-1], *self.event_shape)
        joint = self.log_weights + self.components.log_prob(value.unsqueeze(self._component_dimension).expand(shape))
        yield joint.reshape(-1, joint.shape[-1]), joint.dtype

    def _joint_by_products(self, value: Tensor, gaussian: Normal) -> Iterator[tuple[Tensor, torch.dtype]]:
        entries = self.event_shape.numel()
        dtype = torch.promote_types(value.dtype, gaussian.loc.dtype)
        points = value.reshape(-1, entries).double()
        loc, scale = (value.expand(self._full_shape).reshape(-1, entries).double() for value in (gaussian.loc, gaussian.scale))
        precision = scale**-2
        constants = -0.5 * (loc.square() * precision).sum(-1) - scale.log().sum(-1) - 0.5 * entries * math.log(2 * math.pi)
        factors = torch.cat((-0.5 * precision, loc * precision), -1).T
        for piece in points.split(max(1, LARGEST_PRODUCT // len(loc))):
            yield torch.addmm(constants + self.log_weights, torch.cat((piece.square(), piece), -1), factors), dtype


def _diagonal_gaussian(p: Distribution) -> Normal | None:
    """The Normal of every entry, where p is nothing else."""
    while type(p) is Independent:
        p = p.base_dist
    return p if type(p) is Normal else None

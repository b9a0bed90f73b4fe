r"""Priors that are normalizing flows: an invertible map f takes z to noise of which the density is known.

    log p(z) = log N(f(z); 0, I) + log |det df/dz|,          sampling: z = f^-1(e),  e ~ N(0, T^2 I)

f is a chain of `transforms`, each a map of one entry whose parameters a network computes from other entries:

    "coupling"    half of the entries are kept, the others become a * z + b with a, b functions of the half that was kept; the
                  halves alternate: RealNVP (Dinh, Sohl-Dickstein and Bengio 2017, arXiv 1605.08803, equations 4 and 5)
    "spline"      the same, with a monotone rational-quadratic spline on [-5, 5] in the place of the affine map, and the
                  identity outside: neural spline flows by coupling (Durkan, Bekasov, Murray and Papamakarios 2019, arXiv
                  1906.04032, section 3)
    "maf"         entry i becomes a * z_i + b with a, b functions of the entries before it, their order reversed from one
                  transform to the next: the masked autoregressive flow (Papamakarios, Pavlakou and Murray 2017, arXiv
                  1705.07057)

Scoring takes one pass of each network. Sampling takes as many passes as there are entries in a "maf", and two in the others.

The transforms are those of zuko. Chen et al. 2017 (arXiv 1611.02731) put such a prior into a variational autoencoder. The map
starts near the identity, so the prior near N(0, I).

`temperature` T multiplies the standard deviation of the noise: below 1 the samples gather around f^-1(0), and 0 is that point.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from amortized.distributions import Transformed
from amortized.distributions import transforms as maps
from amortized.errors import InputError, is_count, nearest
from amortized.networks.layers import check_shape, check_widths
from amortized.networks.masked import calm, forget_constants, load_zuko
from amortized.priors.condition import check_condition

KINDS = ("coupling", "spline", "maf")


class Flow(nn.Module):
    """A prior by a normalizing flow, on z in R^D, or p(z | y) given the encoded condition.

    A single entry has nothing to be coupled with: its map, affine or a spline, depends on the condition alone.

    Args:
        event: Shape of z, an integer for a vector; more than one dimension is flattened.
        kind: "coupling", "spline" or "maf".
        transforms: The number of transforms.
        hidden: Width of each hidden layer of every transform's network.
        bins: The number of pieces of each spline.
        context_features: Width C of the encoded condition; 0 is for a prior that no condition changes.

    Raises:
        InputError: An argument is not one of these.

    Example:
        >>> p = Flow(40, "spline")()
        >>> p.log_prob(p.sample((5, 7))).shape
        torch.Size([5, 7])
    """

    space = "real"
    zero: Tensor
    one: Tensor

    def __init__(
        self,
        event: int | tuple[int, ...],
        kind: Literal["coupling", "spline", "maf"] = "coupling",
        *,
        transforms: int = 3,
        hidden: Sequence[int] = (64, 64),
        bins: int = 8,
        context_features: int = 0,
    ):
        super().__init__()
        if kind not in KINDS:
            raise InputError(f"unknown kind of flow {kind!r}: {nearest(str(kind), KINDS)}")
        for name, count, least in (("transforms", transforms, 1), ("bins", bins, 2)):
            if not is_count(count, least):
                raise InputError(
                    f"{name} of a flow must be an integer, {least} or more; it is {count!r}; leave it out for the usual."
                )
        self.event_shape = torch.Size(check_shape("event", event))
        self.context_features = context_features
        zuko = load_zuko()
        features = self.event_shape.numel()
        style = {"transforms": transforms, "hidden_features": check_widths("hidden", hidden), "activation": nn.GELU}
        if kind == "maf":
            flow = zuko.flows.MAF(features, context_features, **style)
        elif kind == "coupling":
            flow = zuko.flows.RealNVP(features, context_features, **style)
        else:
            spline, shapes = zuko.transforms.MonotonicRQSTransform, [(bins,), (bins,), (bins - 1,)]
            flow = zuko.flows.RealNVP(features, context_features, univariate=spline, shapes=shapes, **style)
        for transform in flow.transform.transforms:
            _start_near_the_identity(transform)
        forget_constants(flow.transform)
        self.steps = maps.Steps(flow.transform)
        # Buffers, so that the noise follows the model to its device and precision; constants, so that no file stores them.
        self.register_buffer("zero", torch.zeros(self.event_shape), persistent=False)
        self.register_buffer("one", torch.ones(self.event_shape), persistent=False)

    def forward(self, context: Tensor | None = None, *, temperature: float = 1.0) -> Transformed:
        """Return p(z) with event (*event), or p(z | context) with batch (B,).

        Raises:
            InputError: It was built for a condition, and there is none, or one of another width.
        """
        context = check_condition("Flow", self.context_features, context)
        if context is not None:
            context = context.to(self.zero.dtype)
        shape = (*(() if context is None else context.shape[:-1]), *self.event_shape)
        noise = Normal(self.zero.expand(shape), (self.one * temperature).expand(shape), validate_args=False)
        base = Independent(noise, len(self.event_shape), validate_args=False)
        return Transformed(base, _FromNoise(self.steps, context), validate_args=False)


class _FromNoise:
    """f^-1, the direction in which a prior is drawn, at one condition (*batch, C)."""

    def __init__(self, steps: maps.Steps, context: Tensor | None):
        self.to_noise = maps.Conditioned(steps, context)
        self.batch_shape = torch.Size() if context is None else context.shape[:-1]

    def call_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.to_noise.inverse_and_ladj(z)

    def inverse_and_ladj(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lead = torch.broadcast_shapes(z.shape[:-1], self.batch_shape)  # zuko does not broadcast z to the condition
        return self.to_noise.call_and_ladj(z.expand(*lead, z.shape[-1]))


@torch.no_grad()
def _start_near_the_identity(transform: nn.Module) -> None:
    if (network := getattr(transform, "hyper", None)) is not None:
        calm(network)
        return
    for parameter in transform.parameters():  # one entry without a condition
        parameter.mul_(0.01)

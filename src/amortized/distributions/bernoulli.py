r"""Independent bits, scored as one event.

    log p(x) = sum_i x_i l_i - log(1 + exp(l_i)) = - sum_i [ max(l_i, 0) - x_i l_i ] - log prod_i (1 + a_i),    a_i = exp(-|l_i|)

with logits l. For bits the bracket is 0 or |l_i|, without rounding. A product needs one logarithm where a sum of logarithms needs
many; with P = prod (1 + a_i) - 1, two parts of it become one by P + Q + P Q, which keeps the digits of small a_i, and 2^k of them
are below 2^(2^k), so that k = 4 steps are far from overflow. The gradient is x - sigmoid(l).

One value for each entry, as missing entries need it, is that of torch's Bernoulli, which is right to 1e-16 nats at any logit.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.distributions import Bernoulli, Independent, kl_divergence, register_kl

from amortized.distributions.kernels import takes_kernel

HALVINGS = 4
WORTHWHILE = 2**16  # entries, below which the time goes into calling operations, of which torch's has fewer


class IndependentBernoulli(Independent):
    """Torch's Bernoulli over the entries of an event, `Independent(Bernoulli(logits=...), n)`, scored in fewer passes."""

    base_dist: Bernoulli

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-mass, in nats."""
        logits, dimensions = self.base_dist.logits, self.reinterpreted_batch_ndims
        whole = dimensions > 0 and value.shape[value.ndim - dimensions :] == self.event_shape
        if not whole or logits.numel() < WORTHWHILE or not takes_kernel(value, logits):
            return super().log_prob(value)
        if self.base_dist._validate_args:
            self.base_dist._validate_sample(value)
        flat = logits.flatten(-dimensions), value.to(logits.dtype).flatten(-dimensions)
        return _LogMass.apply(*flat)  # pyright: ignore[reportReturnType]


class _LogMass(Function):
    """The log-mass of bits along the last dimension."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(logits, value)
        wide = logits.expand(torch.broadcast_shapes(logits.shape, value.shape))
        scratch = wide.relu()  # one for all that follows: new memory costs as much as a pass over it
        against = scratch.addcmul_(wide, value, value=-1).sum(-1)
        decay = torch.abs(wide, out=scratch).mul_(-1 / math.log(2)).exp2_()  # half the time of exp
        return (_log_product(decay) + against).neg_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, value = ctx.saved_tensors
        slope = logits.sigmoid()
        if torch.is_grad_enabled() or gradient.shape != logits.shape[:-1]:
            return (gradient.unsqueeze(-1) * (value - slope)).sum_to_size(logits.shape), None
        torch.sub(value, slope, out=slope)  # in place, where nobody differentiates again and nothing is summed over
        return slope.mul_(gradient.unsqueeze(-1)), None


def _log_product(factors: Tensor) -> Tensor:
    """The logarithm of the product of (1 + factors) along the last dimension; the factors, 0 to 1, are overwritten."""
    for _ in range(HALVINGS):
        rest = factors.shape[-1] // 2
        first, second = factors[..., :rest], factors[..., factors.shape[-1] - rest :]
        first.addcmul_(first, second).add_(second)
        factors = factors[..., : factors.shape[-1] - rest]
    return factors.log1p().sum(-1)


@register_kl(IndependentBernoulli, IndependentBernoulli)
def _kl(q: IndependentBernoulli, p: IndependentBernoulli) -> Tensor:
    if q.reinterpreted_batch_ndims != p.reinterpreted_batch_ndims:
        raise NotImplementedError
    return kl_divergence(q.base_dist, p.base_dist).flatten(-q.reinterpreted_batch_ndims).sum(-1)

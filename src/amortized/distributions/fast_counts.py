r"""The log-masses of the negative binomial and of its zero-inflated form, with closed gradients, gamma functions above zero only.

Most counts of a table of cells and genes are zero. With mean m, inverse dispersion t (theta in the code), logit l of an excess
zero, and

    e = m / t,   s = log(1 + e),   q = 1 / (1 + e),   g(x, t) = log Gamma(x + t) - log Gamma(t) - x log t

the log-mass of the negative binomial (distributions/counts.py) and its derivatives are

    log NB(x)           = -t s                + x (log m - s) + g(x, t) - log x!
    d / d log m         = -t e q              + x q
    d / d t             = e q - s             + psi(x + t) - psi(t) - x q / t

where all that stands to the right is zero at x = 0, and is computed at x > 0 alone. With excess zeros (zero_inflated.py), of
probability pi = sigmoid(l), a zero is one of them with probability r = sigmoid(l + t s), and (r being 0 at x > 0)

    log p(0)            = min(0, max(l, -t s)) + log( max(pi, 1 - pi) / max(r, 1 - r) )
    log p(x)            = log NB(x) - log(1 + exp(l)),                            x > 0
    d / d l             = r - pi
    d / d (m or t)      = (1 - r) times that of log NB(x)

The first line is log(e^l + e^(-t s)) - log(1 + e^l) with the largest of the exponentials taken out of each sum, for which
1 + exp(-|l|) = 1 / max(pi, 1 - pi).

`negative_binomial_formula` and `zero_inflated_formula` say the same plainly. They are the specification, what is taken where a
kernel is not (`kernels.takes_kernel`), and what second derivatives are those of.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn.functional import logsigmoid, softplus

from amortized.distributions.gammas import digamma_difference, log_rising_ratio, log_rising_ratio_by_shift
from amortized.distributions.kernels import takes_kernel

FAR = 80.0  # where 1 + exp(d) is exp(d), which float32 still has


def negative_binomial(log_mean: Tensor, theta: Tensor, value: Tensor) -> Tensor:
    """The log-mass of the negative binomial, in nats.

    Args:
        log_mean: Logarithm of the mean.
        theta: Inverse dispersion, positive.
        value: Counts; all three broadcast against each other.

    Returns:
        Of the broadcast shape.
    """
    if takes_kernel(value, log_mean, theta):
        return _NegativeBinomial.apply(log_mean, theta, value)  # pyright: ignore[reportReturnType]
    return negative_binomial_formula(log_mean, theta, value)


def zero_inflated(log_mean: Tensor, theta: Tensor, zero_logits: Tensor, value: Tensor) -> Tensor:
    """The log-mass of the zero-inflated negative binomial, in nats.

    Args:
        log_mean: Logarithm of the negative binomial's mean.
        theta: Its inverse dispersion, positive.
        zero_logits: Log-odds of an excess zero.
        value: Counts; all four broadcast against each other.

    Returns:
        Of the broadcast shape.
    """
    if takes_kernel(value, log_mean, theta, zero_logits):
        return _ZeroInflated.apply(log_mean, theta, zero_logits, value)  # pyright: ignore[reportReturnType]
    return zero_inflated_formula(log_mean, theta, zero_logits, value)


def negative_binomial_formula(log_mean: Tensor, theta: Tensor, value: Tensor) -> Tensor:
    """The specification of `negative_binomial`."""
    log_total = -logsigmoid(theta.log() - log_mean)  # softplus switches to its limit at 20, 2e-9 too early
    return log_rising_ratio(value, theta) + value * (log_mean - log_total) - theta * log_total - torch.lgamma(value + 1)


def zero_inflated_formula(log_mean: Tensor, theta: Tensor, zero_logits: Tensor, value: Tensor) -> Tensor:
    """The specification of `zero_inflated`."""
    counted = logsigmoid(-zero_logits) + negative_binomial_formula(log_mean, theta, value)
    return torch.where(value == 0, torch.logaddexp(logsigmoid(zero_logits), counted), counted)


class _Picked(NamedTuple):
    """What there is at the n counts above zero of x, which has N entries, for each of the tables of parameters that it meets."""

    where: Tensor  # (n,) from 0 to N - 1
    x: Tensor  # (n,) the counts
    theta: Tensor  # (tables, n); where all share it (1, n)
    odds: Tensor  # (tables, n)
    log_total: Tensor  # (tables, n)

    def put(self, target: Tensor, value: Tensor) -> None:
        """Write values that broadcast to (tables, n) into `target`, which is contiguous and has tables times N entries."""
        tables = target.view(len(self.odds), -1)
        tables.scatter_(1, self.where.expand_as(self.odds), value.expand_as(self.odds))


class _NegativeBinomial(Function):
    @staticmethod
    def forward(ctx: Any, log_mean: Tensor, theta: Tensor, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        shape = torch.broadcast_shapes(log_mean.shape, theta.shape, value.shape)
        odds, log_total = _odds(log_mean, theta, shape)
        picked, (above,) = _pick(value, theta, odds, log_total, log_mean)
        ctx.save_for_backward(log_mean, theta, value, odds, log_total, *picked)
        log_mass = (log_total * theta).neg_()
        picked.put(log_mass, _log_mass_above(picked, above))
        return log_mass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        log_mean, theta, value, odds, log_total, *picked = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_by_formula(negative_binomial_formula, (log_mean, theta), value, gradient), None
        of_mean, of_theta = _slopes(ctx.needs_input_grad, theta, odds, log_total, _Picked(*picked), gradient)
        return _sum_to(log_mean, of_mean), _sum_to(theta, of_theta), None


class _ZeroInflated(Function):
    @staticmethod
    def forward(ctx: Any, log_mean: Tensor, theta: Tensor, zero_logits: Tensor, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        shape = torch.broadcast_shapes(log_mean.shape, theta.shape, zero_logits.shape, value.shape)
        odds, log_total = _odds(log_mean, theta, shape)
        picked, (above, logits) = _pick(value, theta, odds, log_total, log_mean, zero_logits)
        log_zero = (log_total * theta).neg_()
        pi, excess = zero_logits.sigmoid(), log_zero.neg().add_(zero_logits).sigmoid_()
        picked.put(excess, torch.zeros_like(picked.x))
        ctx.save_for_backward(log_mean, theta, zero_logits, value, odds, log_total, pi, excess, *picked)
        ratio = _larger(excess).reciprocal_().mul_(_larger(pi))
        log_mass = torch.maximum(log_zero, zero_logits, out=log_zero).clamp_(max=0).add_(ratio.log_())
        picked.put(log_mass, _log_mass_above(picked, above) - softplus(logits, threshold=FAR / 2))
        return log_mass

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        log_mean, theta, zero_logits, value, odds, log_total, pi, excess, *picked = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_by_formula(zero_inflated_formula, (log_mean, theta, zero_logits), value, gradient), None
        weighted = (1 - excess) * gradient  # in new memory, for a gradient may be a batch of them
        of_mean, of_theta = _slopes(ctx.needs_input_grad, theta, odds, log_total, _Picked(*picked), weighted)
        of_zeros = (excess - pi) * gradient if ctx.needs_input_grad[2] else None
        return _sum_to(log_mean, of_mean), _sum_to(theta, of_theta), _sum_to(zero_logits, of_zeros), None


def _odds(log_mean: Tensor, theta: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """The odds e, up to exp(FAR), and s, contiguous."""
    log_odds = torch.sub(log_mean.expand(shape), theta.log(), out=log_mean.new_empty(shape))
    odds = log_odds.clamp(max=FAR).exp_()
    log_total = odds.log1p()
    return odds, torch.maximum(log_total, log_odds, out=log_total)


def _pick(value: Tensor, theta: Tensor, odds: Tensor, log_total: Tensor, *others: Tensor) -> tuple[_Picked, list[Tensor]]:
    """The counts above zero with what is needed there, and the others at the same places."""
    own = odds.shape[odds.ndim - value.ndim :]
    x = value.expand(own).reshape(-1).to(odds.dtype)
    where = x.bool().nonzero().squeeze(1)  # of bools it takes half as long

    def at(values: Tensor) -> Tensor:
        if values.numel() == 1:
            return values.reshape(1, 1).expand(1, len(where))
        whole = values.expand(odds.shape if values.ndim > len(own) else own)
        return whole.reshape(-1, len(x)).index_select(1, where)

    return _Picked(where, x.index_select(0, where), at(theta), at(odds), at(log_total)), [at(each) for each in others]


def _log_mass_above(picked: _Picked, log_mean: Tensor) -> Tensor:
    """The log-mass of the negative binomial at the counts above zero."""
    x, theta, log_total = picked.x, picked.theta, picked.log_total
    return log_rising_ratio_by_shift(x, theta) - torch.lgamma(x + 1) + x * (log_mean - log_total) - theta * log_total


def _slopes(
    needed: Sequence[bool], theta: Tensor, odds: Tensor, log_total: Tensor, picked: _Picked, gradient: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """The gradient times the derivatives of log NB(x) in log m and in t; None where not needed."""
    of_mean = of_theta = None
    x, t, q = picked.x, picked.theta, (picked.odds + 1).reciprocal_()
    share, share_above = odds / (odds + 1), picked.odds * q  # e q
    if needed[0]:
        of_mean = (share * theta).neg_()
        picked.put(of_mean, x * q - t * share_above)
        of_mean = of_mean * gradient
    if needed[1]:
        of_theta = share.sub_(log_total)
        picked.put(of_theta, share_above - picked.log_total + digamma_difference(x, t) - x * q / t)
        of_theta = of_theta * gradient
    return of_mean, of_theta


def _larger(probability: Tensor) -> Tensor:
    rest = 1 - probability
    return torch.maximum(probability, rest, out=rest)


def _sum_to(parameter: Tensor, gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient.sum_to_size(parameter.shape)


def _by_formula(
    formula: Callable[..., Tensor], parameters: tuple[Tensor, ...], value: Tensor, gradient: Tensor
) -> list[Tensor | None]:
    """The gradients in the parameters, which can be differentiated again; None where not needed."""
    apart = [each.view_as(each) for each in parameters]  # one may have been computed from another
    wanted = [each for each in apart if each.requires_grad]
    found = iter(torch.autograd.grad(formula(*apart, value), wanted, gradient, create_graph=True))
    return [next(found) if each.requires_grad else None for each in apart]

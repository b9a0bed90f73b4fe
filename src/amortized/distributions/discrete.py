r"""Independent classes and independent bits, drawn hard, relaxed, or all at once.

    one-hot    log p(z) = sum_d sum_c z_dc log softmax(l_d)_c                         z (D, C), one 1 in each row
    bits       log p(z) = sum_d z_d log sigmoid(l_d) + (1 - z_d) log sigmoid(-l_d)    z (D,) in {0, 1}

Both are linear in z, so that any real z, on the support or not, has a finite and differentiable value. Each family comes in
three ways of drawing:

* hard: values of the support, without a gradient;
* relaxed, at a temperature t, with g_c independent Gumbel and e logistic noise:

    one-hot    z = softmax((l + g) / t)        Jang, Gu and Poole 2017, arXiv 1611.01144, equation 2;
    bits       z = sigmoid((l + e) / t)        Maddison, Mnih and Teh 2017, arXiv 1611.00712, appendix B;

  rounded to the nearest vertex, they are exact hard draws at every t. Straight-through draws are those hard values with the
  relaxed ones' gradient (Jang et al., section 2.2);
* enumerated: the whole support, each value weighing q(z): a sum over the draws is the expectation, and its gradient is exact.

`log_prob` of a relaxed family is that of the hard one, and its KL is the hard one's: the density of the relaxed value (Maddison
et al., definition 1) is not what a discrete prior can be compared with.
"""

import itertools
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl
from torch.nn.functional import logsigmoid, one_hot, softplus

from amortized.distributions.drawing import Draw
from amortized.distributions.tempering import divided
from amortized.distributions.vertices import positive, straight_through, uniform, vertex

EMPTY = torch.Size()


class _Discrete(Distribution):
    """What the families share: logits (*batch, *event), and values of the logits' type."""

    dimensions: int

    def __init__(self, logits: Tensor):
        self.logits = logits
        split = logits.ndim - self.dimensions
        super().__init__(logits.shape[:split], logits.shape[split:], validate_args=False)

    def expand(self, batch_shape, _instance=None):
        """The same family over a larger batch."""
        return self._with(self.logits.expand(torch.Size(batch_shape) + self.event_shape))

    @property
    def variance(self) -> Tensor:
        """(*batch, *event) variance of each entry."""
        return self.mean * (1 - self.mean)

    def _with(self, logits: Tensor):
        return type(self)(logits)


class _OneHots(_Discrete):
    """D independent variables of C classes, by logits (*batch, D, C)."""

    dimensions = 2
    arg_constraints = {"logits": constraints.independent(constraints.real, 2)}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.independent(constraints.one_hot, 1)  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    @property
    def mean(self) -> Tensor:
        """(*batch, D, C) the probabilities."""
        return self.logits.softmax(-1)

    @property
    def mode(self) -> Tensor:
        """(*batch, D, C) the most probable class of each variable, one-hot."""
        return vertex(self.logits)

    def tempered(self, temperature: float) -> Self:
        """The logits over the temperature: 0 is the mode, or the modes, each as probable as another."""
        best = self.logits.detach().amax(-1, keepdim=True)  # so that what is cut off are the improbable classes
        return self._with(divided(self.logits - best, temperature))

    def entropy(self) -> Tensor:
        """(*batch) nats."""
        return -(self.mean * self.logits.log_softmax(-1)).sum((-2, -1))

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-probability in nats of (*sample_shape, *batch, D, C); linear in `value`."""
        return (value * self.logits.log_softmax(-1)).sum((-2, -1))

    def complete_support(self) -> Tensor:
        """(C^D, D, C) every value there is."""
        variables, classes = self.event_shape
        codes = torch.arange(classes, device=self.logits.device)
        return one_hot(torch.cartesian_prod(*[codes] * variables).reshape(-1, variables), classes).to(self.logits.dtype)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, D, C) one-hot values, without gradient."""
        return vertex(self._noisy(sample_shape))

    def _noisy(self, sample_shape) -> Tensor:
        noise = uniform(self.logits, self._extended_shape(torch.Size(sample_shape)))
        return self.logits - noise.log_().neg_().log_()


class _ManyBits(_Discrete):
    """D independent bits, by logits (*batch, D)."""

    dimensions = 1
    arg_constraints = {"logits": constraints.real_vector}  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    support = constraints.independent(constraints.boolean, 1)  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    @property
    def mean(self) -> Tensor:
        """(*batch, D) the probabilities of 1."""
        return self.logits.sigmoid()

    @property
    def mode(self) -> Tensor:
        """(*batch, D) the more probable value of each bit; 0 where both are as probable."""
        return positive(self.logits)

    def tempered(self, temperature: float) -> Self:
        """The logits over the temperature: 0 is the mode; a bit of probability 1/2 keeps it."""
        return self._with(divided(self.logits, temperature))

    def entropy(self) -> Tensor:
        """(*batch) nats."""
        return (self.mean * softplus(-self.logits) + (-self.logits).sigmoid() * softplus(self.logits)).sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-probability in nats of (*sample_shape, *batch, D); linear in `value`."""
        return (value * logsigmoid(self.logits) + (1 - value) * logsigmoid(-self.logits)).sum(-1)

    def complete_support(self) -> Tensor:
        """(2^D, D) every value there is."""
        (bits,) = self.event_shape
        codes = torch.arange(2, device=self.logits.device, dtype=self.logits.dtype)
        return torch.cartesian_prod(*[codes] * bits).reshape(-1, bits)

    @torch.no_grad()
    def sample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, D) values 0 and 1, without gradient."""
        return positive(self._noisy(sample_shape))

    def _noisy(self, sample_shape) -> Tensor:
        return self.logits + uniform(self.logits, self._extended_shape(torch.Size(sample_shape))).logit_()


class _Relaxed(_Discrete):
    """What the relaxed families share: a temperature, and whether draws are hard with the relaxed ones' gradient."""

    has_rsample = True
    is_relaxed = True

    def __init__(self, logits: Tensor, temperature: float, hard: bool = False):
        self.temperature, self.hard = temperature, hard
        super().__init__(logits)

    def _with(self, logits: Tensor):
        return type(self)(logits, self.temperature, self.hard)


class OneHot(_OneHots):
    """D independent variables of C classes, drawn as one-hot values without a gradient.

    Args:
        logits: (*batch, D, C) log-probabilities, up to a constant for each variable.

    Example:
        >>> OneHot(torch.zeros(7, 3, 10)).sample((5,)).shape
        torch.Size([5, 7, 3, 10])
    """

    def draw(self, samples: int) -> Draw:
        """`samples` one-hot values, without gradient."""
        return Draw(self.sample((samples,)))


class Bits(_ManyBits):
    """D independent bits, drawn as values 0 and 1 without a gradient.

    Args:
        logits: (*batch, D) log-odds of 1.
    """

    def draw(self, samples: int) -> Draw:
        """`samples` values, without gradient."""
        return Draw(self.sample((samples,)))


class RelaxedOneHot(_Relaxed, _OneHots):
    """D independent variables of C classes, drawn by the Gumbel-softmax: `rsample` is relaxed, `sample` is hard.

    Args:
        logits: (*batch, D, C) log-probabilities, up to a constant for each variable.
        temperature: Positive; towards 0 the draws become hard and their gradient noisy.
        hard: Draw one-hot values that have the relaxed ones' gradient (straight-through).
    """

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, D, C) in the simplex, or one-hot where `hard`, with the relaxation's gradient."""
        noisy = self._noisy(sample_shape)
        soft = (noisy / self.temperature).softmax(-1)
        return straight_through(vertex(noisy), soft) if self.hard else soft

    def harden(self, z: Tensor) -> Tensor:
        """The vertex next to each relaxed value, an exact draw of the hard family, with the relaxed value's gradient."""
        return straight_through(vertex(z), z)


class RelaxedBits(_Relaxed, _ManyBits):
    """D independent bits, drawn by the binary Concrete relaxation: `rsample` is relaxed, `sample` is hard.

    Args:
        logits: (*batch, D) log-odds of 1.
        temperature: Positive; towards 0 the draws become hard and their gradient noisy.
        hard: Draw values 0 and 1 that have the relaxed ones' gradient (straight-through).
    """

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, D) in [0, 1], or 0 and 1 where `hard`, with the relaxation's gradient."""
        noisy = self._noisy(sample_shape)
        soft = (noisy / self.temperature).sigmoid()
        return straight_through(positive(noisy), soft) if self.hard else soft

    def harden(self, z: Tensor) -> Tensor:
        """The vertex next to each relaxed value, an exact draw of the hard family, with the relaxed value's gradient."""
        return straight_through(positive(z - 0.5), z)


class EnumeratedOneHot(_OneHots):
    """D independent variables of C classes, drawn as all of their C^D values.

    Args:
        logits: (*batch, D, C) log-probabilities, up to a constant for each variable.
    """

    def draw(self, samples: int) -> Draw:
        """The whole support, K = C^D whatever `samples` is, weighing q(z), with the gradient of log q(z)."""
        return _enumerate(self, self.logits.log_softmax(-1))


class EnumeratedBits(_ManyBits):
    """D independent bits, drawn as all of their 2^D values.

    Args:
        logits: (*batch, D) log-odds of 1.
    """

    def draw(self, samples: int) -> Draw:
        """The whole support, K = 2^D whatever `samples` is, weighing q(z), with the gradient of log q(z)."""
        return _enumerate(self, torch.stack((logsigmoid(-self.logits), logsigmoid(self.logits)), -1))


def _enumerate(q: _OneHots | _ManyBits, log_probabilities: Tensor) -> Draw:
    """Every value of q, by the (*batch, D, C) log-probabilities of its variables."""
    log_weight, *others = log_probabilities.unbind(-2)  # added up: autocast would round a matrix product to bfloat16
    for variable in others:
        log_weight = (log_weight.unsqueeze(-1) + variable.unsqueeze(-2)).flatten(-2)
    values = q.complete_support()
    each = values.reshape(len(values), *(1,) * len(q.batch_shape), *q.event_shape)
    return Draw(each.expand(-1, *q.batch_shape, *q.event_shape), log_weight.movedim(-1, 0), is_complete=True)


def _register_all(*families: type[Distribution]) -> Callable[[Any], Any]:
    """Register a closed form for every pair of families that differ only in how they are drawn."""

    def register(function: Any) -> Any:
        for q, p in itertools.product(families, families):
            register_kl(q, p)(function)
        return function

    return register


@_register_all(OneHot, RelaxedOneHot, EnumeratedOneHot)
def _kl_one_hot(q: _OneHots, p: _OneHots) -> Tensor:
    return (q.mean * (q.logits.log_softmax(-1) - p.logits.log_softmax(-1))).sum((-2, -1))


@_register_all(Bits, RelaxedBits, EnumeratedBits)
def _kl_bits(q: _ManyBits, p: _ManyBits) -> Tensor:
    one = q.mean * (logsigmoid(q.logits) - logsigmoid(p.logits))
    zero = (-q.logits).sigmoid() * (logsigmoid(-q.logits) - logsigmoid(-p.logits))
    return (one + zero).sum(-1)

r"""A distribution pushed through an invertible map: what a normalizing flow is.

    z = f(e),  e ~ base:        log q(z) = log base(e) - log |det df/de|,        e = f^-1(z)

(Rezende and Mohamed 2015, arXiv 1505.05770, equation 5). What was drawn from it is remembered with its e and its determinant,
so that the score of a draw, all that a plain objective asks for, costs no inverse. Any other point is scored through the
inverse: the VampPrior's pseudo-inputs, the path gradient's second q, a draw that was detached or changed.

The remembered score is a function of e and of the parameters, and not of z, its sibling: its gradient in the parameters is the
total one,

    d log q / d parameters   +   (d log q / dz) (dz / d parameters),

with both terms added up already, and there is none in z. To split them costs an inverse, and autograd does not tell a score
whether the gradient in z is wanted for itself or on its way to the parameters. Whoever wants it says so before the draw is
scored: `z.retain_grad()`, or a point of its own, `z.detach().requires_grad_()`. Either is scored through the inverse.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from amortized.distributions.tempering import tempered
from amortized.distributions.transforms import Bijection

EMPTY = torch.Size()


@dataclass(frozen=True)
class _Drawn:
    """A draw z = f(e) with e and log |det df/de|."""

    z: Tensor
    e: Tensor
    ladj: Tensor
    has_graph: bool
    version: int

    def is_still(self, value: Tensor) -> bool:
        """Whether `value` is this draw, unchanged, and with all the gradients that its score by the inverse would have."""
        if value is not self.z or _version(value) != self.version:
            return False
        if not torch.is_grad_enabled():
            return True
        asked_for = value.requires_grad and (value.is_leaf or value.retains_grad)
        return self.has_graph and not asked_for


class Transformed(Distribution):
    """The distribution of f(e), where e has the distribution `base`.

    Its mean, variance and entropy have no closed form, and asking for them raises `NotImplementedError`. `center` is the image
    f(E[e]) of the base's mean, which is neither the mean nor the mode, and is a good value to show for the distribution.

    The score of its last draw z has the total gradient in the parameters and none in z. So `torch.autograd.grad` of it in z fails
    where z is no leaf, and the gradient in z of a sum in which z occurs elsewhere, such as log p(x, z) - log q(z), lacks this
    part without a word. Score `z.detach().requires_grad_()`, or call `z.retain_grad()` before z is scored.

    It computes in the precision of its parameters also where autocast is on: a determinant and an inverse need all digits.

    Args:
        base: The distribution of e, of any event shape; it has `rsample`.
        transform: The map f of vectors, which act on the entries of the event.
        validate_args: As in `torch.distributions`.
    """

    has_rsample = True

    def __init__(self, base: Distribution, transform: Bijection, validate_args: bool | None = None):
        self.base, self.transform = base, transform
        self._drawn: _Drawn | None = None
        super().__init__(base.batch_shape, base.event_shape, validate_args=validate_args)

    @constraints.dependent_property
    def arg_constraints(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """None: the parameters are those of the base and of the transform."""
        return {}

    @constraints.dependent_property
    def support(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        """The reals."""
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def center(self) -> Tensor:
        """(*batch, *event) the image of the base's mean."""
        return self._call(self.base.mean)[0]

    def expand(self, batch_shape, _instance=None) -> "Transformed":
        """The same over a larger batch."""
        return Transformed(self.base.expand(batch_shape), self.transform, validate_args=False)

    def tempered(self, temperature: float) -> "Transformed":
        """The same map of the base at a temperature: 0 is the image of the base's mean, `center`."""
        return Transformed(tempered(self.base, temperature), self.transform, validate_args=False)

    def rsample(self, sample_shape=EMPTY) -> Tensor:
        """(*sample_shape, *batch, *event) draws with a gradient; the last ones are remembered.

        Their score has no gradient in them, only the total one in the parameters; for a gradient of log q(z) in z itself, score
        `z.detach().requires_grad_()`, or call `z.retain_grad()` before.
        """
        e = self.base.rsample(torch.Size(sample_shape))
        z, ladj = self._call(e)
        self._drawn = _Drawn(z, e, ladj, torch.is_grad_enabled(), _version(z))
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """(*sample_shape, *batch) log-density in nats, differentiable in the parameters and in `value`."""
        drawn = self._drawn
        if drawn is not None and drawn.is_still(value):
            return self.base.log_prob(drawn.e) - drawn.ladj
        if self._validate_args:
            self._validate_sample(value)
        with _full_precision(value):
            e, ladj = self.transform.inverse_and_ladj(self._flat(value))
        return self.base.log_prob(e.unflatten(-1, self.event_shape)) + ladj

    def _call(self, e: Tensor) -> tuple[Tensor, Tensor]:
        with _full_precision(e):
            z, ladj = self.transform.call_and_ladj(self._flat(e))
        return z.unflatten(-1, self.event_shape), ladj

    def _flat(self, value: Tensor) -> Tensor:
        return value.flatten(-len(self.event_shape))


def _full_precision(value: Tensor) -> torch.autocast:
    return torch.autocast(value.device.type, enabled=False)


def _version(value: Tensor) -> int:
    """The count of changes in place, which inference tensors do not keep."""
    return -1 if value.is_inference() else value._version

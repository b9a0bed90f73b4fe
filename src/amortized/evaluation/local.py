r"""A posterior of its own for every datum: the best q of a family, found by gradient steps on that datum's bound.

    q*(z) = argmax_q L(q),    L(q) = E_q[ log p(x, z) - log q(z) ]      Cremer, Li and Duvenaud 2018, arXiv 1801.03558, sec. 3

Every q is the image of standard noise under a bijection, z = f(e). The families, each of which holds the one before, are

    diagonal    f(e) = m + s e
    full        f(e) = m + L e, L lower triangular
    flow        f(e) = m + L g(e), g made of entrywise bends and of couplings (`maps`)

Parameters are counted in units of the spread of a member of the family, at first of that which is started from and after each
block of steps of that which was reached. There the Fisher information of a Gaussian's parameters is near 1, whatever the model,
so that one step size serves all, and a plain step of gradient is a natural one: Adam's divisor is kept from vanishing by a half,
which is small against the gradients far from the optimum and rules near it. The gradient is that of the path alone (Roeder et al.
2017, arXiv 1703.09194): it has no variance where q is the posterior. All data climb at once, each with a step size of its own
that falls wherever a block gained nothing, as told by noise that is used for nothing else. The noise of both is that of a Latin
hypercube, which makes the mean of a sum of functions of single entries nearly exact.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from amortized.distributions.transforms import Affine, Bijection, Chain
from amortized.evaluation.maps import Bend, Coupling, Triangular

LogJoint = Callable[[Tensor], Tensor]
"""From z (K, B, D) to log p(x, z), (K, B) nats."""

DRAWS = 16
"""Draws of a step."""

BLOCK = 20
"""Steps between two judgements."""

RATE, DECAY, LEAST_RATE = 0.1, 0.3, 0.01
"""The step size of a datum: the first, its factor where a block gained nothing, and where the datum is settled."""

GAIN, LOSS = 0.002, 1.0
"""Nats: what a block must gain over the highest bound so far, and by how much it may fall short, else it is taken back."""

HIDDEN = 16
"""Units of a coupling's network."""

MOMENTS = 512
"""Draws by which the mean and spread of a posterior that is not Gaussian are told."""


class Local(Protocol):
    """A family with one member for each of B data, its parameters counted in units of one member's spread."""

    @property
    def start(self) -> tuple[Tensor, ...]:
        """The parameters of that member, each (B, ...)."""
        ...

    def build(self, p: Sequence[Tensor]) -> Bijection:
        """The bijection at given parameters."""
        ...

    def at(self, p: Sequence[Tensor]) -> Self:
        """The same family in units of the member with these parameters."""
        ...


Family = TypeVar("Family", bound=Local)


@dataclass(frozen=True, eq=False)
class Climbed(Generic[Family]):
    """The best members that were found.

    Attributes:
        local: The family in units of them.
        map: The bijection of the noise.
        value: (B,) their bound by the noise that judged the steps, nats.
        is_settled: (B,) whether no further gain was in sight when the steps ended.
    """

    local: Family
    map: Bijection
    value: Tensor
    is_settled: Tensor


def moments(q: Distribution) -> tuple[Tensor, Tensor]:
    """Mean (B, D) and Cholesky factor (B, D, D) of a posterior: of draws, and diagonal, where it is not Gaussian."""
    if type(q) is MultivariateNormal:
        return q.loc, q.scale_tril
    base = q.base_dist if type(q) is Independent else q
    if type(base) is Normal:
        return base.loc.reshape(len(base.loc), -1), torch.diag_embed(base.scale.reshape(len(base.scale), -1))
    z = q.sample((MOMENTS,))
    z = z.reshape(*z.shape[:2], -1)
    return z.mean(0), torch.diag_embed(z.std(0))


def family_of(q: Distribution) -> str:
    """The smallest family that holds a posterior: "gaussian", "full-gaussian" or, for all others, "flow"."""
    if type(q) is MultivariateNormal:
        return "full-gaussian"
    return "gaussian" if type(q.base_dist if type(q) is Independent else q) is Normal else "flow"


class Diagonal:
    """Gaussians with independent entries, from one with a mean (B, D) and standard deviations (B, D)."""

    @classmethod
    def nearest(cls, loc: Tensor, tril: Tensor) -> "Diagonal":
        """From the best of them for a Gaussian posterior with a mean (B, D) and a Cholesky factor (B, D, D)."""
        return cls(loc, torch.cholesky_inverse(tril).diagonal(dim1=-2, dim2=-1).rsqrt())

    def __init__(self, loc: Tensor, scale: Tensor):
        self.loc, self.scale = loc, scale
        self.start = (torch.zeros_like(loc), torch.zeros_like(loc))

    def build(self, p: Sequence[Tensor]) -> Affine:
        """The bijection with mean loc + scale * p_0 and log standard deviations log scale + p_1."""
        return Affine(torch.addcmul(self.loc, self.scale, p[0]), self.scale.log() + p[1])

    def at(self, p: Sequence[Tensor]) -> Self:
        """The same in units of another member."""
        f = self.build(p)
        return type(self)(f.loc, f.log_scale.exp())


class Full:
    """Gaussians with any covariance, from one with a mean (B, D) and a Cholesky factor (B, D, D)."""

    @classmethod
    def holding(cls, diagonal: Diagonal) -> "Full":
        """From a member of the smaller family."""
        return cls(diagonal.loc, torch.diag_embed(diagonal.scale))

    def __init__(self, loc: Tensor, tril: Tensor):
        self.loc, self.tril = loc, tril
        self.start = (torch.zeros_like(loc), torch.zeros_like(loc), torch.zeros_like(tril))

    def build(self, p: Sequence[Tensor]) -> Triangular:
        """The bijection with mean loc + L p_0 and Cholesky factor L T, where T has log-diagonal p_1 and p_2 below it."""
        shift, log_scale, below = p
        factor = below.tril(-1) + torch.diag_embed(log_scale.exp())
        return Triangular(self.loc + (self.tril @ shift.unsqueeze(-1)).squeeze(-1), self.tril @ factor)

    def at(self, p: Sequence[Tensor]) -> Self:
        """The same in units of another member."""
        f = self.build(p)
        return type(self)(f.loc, f.tril)


class Flow:
    """Gaussians with any covariance of noise that is bent and coupled.

    Args:
        last: The Gaussian.
        start: The parameters to start from; those at which nothing is bent or coupled where left out.
    """

    def __init__(self, last: Full, start: tuple[Tensor, ...] = ()):
        self.last = last
        self.pairs = _pairs(last.loc.shape[1], last.loc.device)
        self.start = start or (*last.start, *self._identity(*last.loc.shape))

    def build(self, p: Sequence[Tensor]) -> Chain:
        """The bijection: two bends, the couplings, and what makes a Gaussian of noise."""
        bends = [Bend(*p[i : i + 2]) for i in (3, 5)]
        coupled = [Coupling(*pair, *p[i : i + 4]) for pair, i in zip(self.pairs, range(7, len(p), 4), strict=True)]
        return Chain(*bends, *coupled, self.last.build(p[:3]))

    def at(self, p: Sequence[Tensor]) -> Self:
        """The same in units of another member's last Gaussian."""
        last = self.last.at(p[:3])
        return type(self)(last, (*last.start, *p[3:]))

    def _identity(self, batch: int, dimension: int) -> Iterator[Tensor]:
        new_zeros, new_full = self.last.loc.new_zeros, self.last.loc.new_full
        for center in (-1.0, 1.0):
            yield from (new_zeros(batch, dimension), new_full((batch, dimension), center))
        for kept, moved in self.pairs:
            yield torch.randn_like(new_zeros(batch, len(kept), HIDDEN)) / len(kept) ** 0.5
            yield from (new_zeros(batch, HIDDEN), new_zeros(batch, HIDDEN, 2 * len(moved)), new_zeros(batch, 2 * len(moved)))


def climb(local: Family, log_joint: LogJoint, noise: Tensor, steps: int) -> Climbed[Family]:
    """Climb the bound of each datum.

    Args:
        local: The family, and where to start.
        log_joint: log p(x, z) of the B data.
        noise: (J, B, D) what judges the steps.
        steps: The most steps to take.
    """
    value = bound(local.build(local.start), log_joint, noise)
    adam, highest, rate = _Adam(local.start), value, torch.full_like(value, RATE)
    while adam.taken < steps and bool((rate >= LEAST_RATE).any()):
        trial = local.start
        for _ in range(min(BLOCK, steps - adam.taken)):
            trial = adam.step(trial, _path_gradient(local, trial, log_joint), rate)
        found = bound(local.build(trial), log_joint, noise)
        is_kept = found > highest - LOSS  # false where it is NaN
        rate = torch.where(found > highest + GAIN, rate, DECAY * rate)
        local = local.at([torch.where(_over(is_kept, new), new, old) for new, old in zip(trial, local.start, strict=True)])
        value, highest = torch.where(is_kept, found, value), torch.fmax(highest, found)
    return Climbed(local, local.build(local.start), value, rate < LEAST_RATE)


def even_noise(count: int, like: Tensor) -> Tensor:
    """Standard normal noise (K, *like) of which each entry has one draw in every K-th of its distribution (McKay et al. 1979)."""
    uniform = torch.rand(2, count, *like.shape, dtype=like.dtype, device=like.device)
    strata = uniform[0].argsort(0).to(like.dtype)
    tiny = torch.finfo(like.dtype).eps
    return torch.special.ndtri(((strata + uniform[1]) / count).clamp(tiny, 1 - tiny))


def bound(f: Bijection, log_joint: LogJoint, noise: Tensor) -> Tensor:
    """The bound L(q) by given noise (K, B, D), (B,) nats."""
    z, log_q = push(f, noise)
    return (log_joint(z) - log_q).double().mean(0)


def push(f: Bijection, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Noise (K, B, D) as draws z (K, B, D), and their log q(z), (K, B) nats."""
    z, ladj = f.call_and_ladj(noise)
    return z, _log_normal(noise) - ladj


def log_density(f: Bijection, z: Tensor) -> Tensor:
    """The log q(z) of any z (K, B, D), (K, B) nats."""
    noise, ladj = f.inverse_and_ladj(z)
    return _log_normal(noise) + ladj


def _path_gradient(local: Local, at: Sequence[Tensor], log_joint: LogJoint) -> tuple[Tensor, ...]:
    noise = even_noise(DRAWS, at[0])
    with torch.enable_grad():
        leaves = [value.detach().requires_grad_() for value in at]
        z, _ = local.build(leaves).call_and_ladj(noise)
        value = (log_joint(z) - log_density(local.build(at), z)).mean(0).sum()
        found = torch.autograd.grad(value, leaves)
    return tuple(gradient.nan_to_num(0.0, 0.0, 0.0) for gradient in found)


class _Adam:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980, algorithm 1), uphill, each datum at a rate of its own."""

    FIRST, SECOND, DAMPING = 0.9, 0.99, 0.5

    def __init__(self, like: Sequence[Tensor]):
        self.means = [torch.zeros_like(value) for value in like]
        self.squares = [torch.zeros_like(value) for value in like]
        self.taken = 0

    def step(self, at: Sequence[Tensor], gradient: Sequence[Tensor], rate: Tensor) -> tuple[Tensor, ...]:
        self.taken += 1
        first, second = 1 - self.FIRST**self.taken, 1 - self.SECOND**self.taken
        moved = []
        for value, slope, mean, square in zip(at, gradient, self.means, self.squares, strict=True):
            mean.lerp_(slope, 1 - self.FIRST)
            square.lerp_(slope.square(), 1 - self.SECOND)
            direction = (mean / first) / ((square / second).sqrt() + self.DAMPING)
            moved.append(torch.addcmul(value, _over(rate, value).to(value.dtype), direction))
        return tuple(moved)


def _pairs(dimension: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Which entries the couplings keep and move: the even and the odd ones, and the other way round."""
    position = torch.arange(dimension, device=device)
    even, odd = position[::2], position[1::2]
    return [(even, odd), (odd, even)] if dimension > 1 else []


def _log_normal(e: Tensor) -> Tensor:
    return Normal(0.0, 1.0, validate_args=False).log_prob(e).sum(-1)


def _over(value: Tensor, like: Tensor) -> Tensor:
    return value.reshape(len(value), *(1 for _ in like.shape[1:]))

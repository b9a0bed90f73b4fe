r"""The encoder's posterior and three of each datum's own: which is the best of each family, and what they say of log p(x).

The families are nested, gaussian < full-gaussian < flow, and each climbs from the best of the smaller one. The best of a
family is sought among all that were found within it, the encoder's q too: it is the climbed one, unless another is better by more
than a standard error. It is chosen by one set of draws and reported by others, so that no bound is biased by having been chosen.

log p(x) is estimated by importance sampling, with a mixture r of the S posteriors as the proposal, of which every one is drawn
equally often (multiple importance sampling, Veach and Guibas 1995, equation 8, with the shares a_s as heuristic),

    log p(x) ~ log 1/K sum_k w_k,    w_k = sum_s a_s p(x, z_sk) / r(z_sk),    z_sk ~ q_s,    r = sum_s a_s q_s

It is unbiased before the logarithm for all shares that do not depend on the draws. Most of r is the best posterior; the others,
with a small share each, bound its weights (Owen and Zhou 2000): where it has lost a mode that another has kept, they find it. So
does the prior, which has its share too: where there are few dimensions and many modes, all posteriors may have climbed the same
one. The z_sk of one k are made of the same noise, which gives differences of bounds little variance.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from amortized.distributions.transforms import Bijection
from amortized.evaluation.joint import Joint
from amortized.evaluation.local import Diagonal, Flow, Full, LogJoint, climb, even_noise, family_of, log_density, moments
from amortized.evaluation.maps import Triangular

JUDGES = 64
"""Draws that judge the steps."""

PIECES = 4
"""Times as many choose among the posteriors."""

DEFENSE = 0.05
"""The share in the proposal of a posterior that is not the best."""

FAMILIES: tuple[str, ...] = ("gaussian", "full-gaussian", "flow")


@dataclass(frozen=True)
class Member:
    """A posterior of B data.

    Attributes:
        draw: From noise (K, B, D) to z (K, B, D).
        log_q: From any z (K, B, D) to log q(z), (K, B) nats.
    """

    draw: Callable[[Tensor], Tensor]
    log_q: Callable[[Tensor], Tensor]

    @classmethod
    def image(cls, f: Bijection) -> "Member":
        """That of noise under a bijection."""
        return cls(lambda noise: f.call_and_ladj(noise)[0], lambda z: log_density(f, z))


@dataclass(frozen=True, eq=False)
class Fitted:
    """The posteriors of B data.

    Attributes:
        family: That of the encoder.
        members: The encoder's, and those that were found for each datum, one of each of the `FAMILIES`.
        prior: The prior, as one of the proposals.
        chosen: (3, B) for each family, which member of it is the best.
        is_settled: (3, B) for each family, whether no gain was in sight when its steps ended.
        log_joint: From z (K, B, D) to log p(x, z), (K, B) nats.
        like: (B, D) a value of the latents.
    """

    family: str
    members: tuple[Member, ...]
    prior: Member
    chosen: Tensor
    is_settled: Tensor
    log_joint: LogJoint
    like: Tensor

    def weigh(self, count: int) -> tuple[Tensor, Tensor]:
        """Weights of `count` draws of each member.

        Returns:
            (S, K, B) float64 log p(x, z) - log q_s(z) of the draws of each, and (K, B) log w_k; nats.
        """
        log_joint, log_q = _scores((*self.members, self.prior), self.log_joint, self.like, count)
        own = log_joint - log_q.diagonal(dim1=0, dim2=1).movedim(-1, 0)
        best = self.chosen[-1] == torch.arange(len(log_q))[:, None]
        share = torch.where(best, 1 - DEFENSE * (len(log_q) - 1), DEFENSE).double().log()[:, None]
        mixture = (share[:, None] + log_q).logsumexp(0)
        return own[: len(self.members)], (share + log_joint - mixture).logsumexp(0)


def fit(joint: Joint, steps: int) -> Fitted:
    """Fit a diagonal Gaussian, a full one and a flow to each of B data.

    Args:
        joint: The data and their model.
        steps: The most steps to take for each.
    """
    loc, tril = (value.detach() for value in moments(joint.q))
    noise, family = even_noise(JUDGES, loc), family_of(joint.q)

    def log_joint(z: Tensor) -> Tensor:
        z = z.reshape(*z.shape[:2], *joint.event_shape)
        return joint.log_prior(z) + joint.log_px(z)

    encoder = Member.image(Triangular(loc, tril)) if family != "flow" else _of_encoder(joint)
    diagonal = climb(Diagonal.nearest(loc, tril), log_joint, noise, steps)
    full = climb(Full(loc, tril) if family == "full-gaussian" else Full.holding(diagonal.local), log_joint, noise, steps)
    flow = climb(Flow(full.local), log_joint, noise, steps)
    members = (encoder, *(Member.image(each.map) for each in (diagonal, full, flow)))
    own = [_own(members, log_joint, loc, JUDGES) for _ in range(PIECES)]
    chosen = _best(torch.cat(own, 1), FAMILIES.index(family))
    settled = torch.stack([each.is_settled.cpu() for each in (diagonal, full, flow)])
    return Fitted(family, members, _of_prior(joint), chosen, settled, log_joint, loc)


def _of_encoder(joint: Joint) -> Member:
    def draw(noise: Tensor) -> Tensor:
        return joint.q.sample(noise.shape[:1]).reshape(noise.shape)

    return Member(draw, lambda z: joint.log_q(z.reshape(*z.shape[:2], *joint.event_shape)))


def _of_prior(joint: Joint) -> Member:
    def draw(noise: Tensor) -> Tensor:
        shape = noise.shape[: 1 if joint.p.batch_shape else 2]
        return joint.p.sample(shape).to(noise.dtype).reshape(noise.shape)

    return Member(draw, lambda z: joint.log_prior(z.reshape(*z.shape[:2], *joint.event_shape)))


def _best(own: Tensor, encoder: int) -> Tensor:
    """For each family which member is the best, (3, B), by log-weights (4, K, B); the encoder's family has number `encoder`."""
    chosen, smallest = [], (encoder, 0, 1, 2)
    for family in range(3):
        best = torch.full(own.shape[2:], family + 1)
        for member in (member for member in range(4) if smallest[member] <= family):
            gain = own[member] - own.gather(0, best.expand(1, own.shape[1], -1))[0]
            is_better = gain.mean(0) > gain.std(0) / len(gain) ** 0.5  # false where it is NaN
            best = torch.where(is_better, member, best)
        chosen.append(best)
    return torch.stack(chosen)


def _own(members: Sequence[Member], log_joint: LogJoint, like: Tensor, count: int) -> Tensor:
    """The log-weights log p(x, z) - log q(z) of draws of each member, (S, K, B) float64."""
    noise = torch.randn(count, *like.shape, dtype=like.dtype, device=like.device)
    draws = [member.draw(noise) for member in members]
    return torch.stack([_exact(log_joint(z)) - _exact(member.log_q(z)) for member, z in zip(members, draws, strict=True)])


def _scores(members: Sequence[Member], log_joint: LogJoint, like: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Of draws of each member log p(x, z), (S, K, B), and log q_t(z) under each, (T, S, K, B)."""
    noise = torch.randn(count, *like.shape, dtype=like.dtype, device=like.device)
    z, shape = torch.cat([member.draw(noise) for member in members]), (len(members), count)
    log_q = torch.stack([_exact(member.log_q(z)) for member in members])
    return _exact(log_joint(z)).unflatten(0, shape), log_q.unflatten(1, shape)


def _exact(value: Tensor) -> Tensor:
    return value.cpu().double()

r"""Chains along the path from a density that can be drawn from to the joint density of data and their latents.

    log f_b(z) = (1 - b) log f_0(z) + b log p(x, z),    0 = b_0 < b_1 < ... < b_T = 1

with f_0 the prior, so that log f_b = log p(z) + b log p(x | z), or the posterior q(z | x), or of a flow, whose density at other
points than its own draws takes an inverse that can be hundreds of times as slow as the decoder, a Gaussian with the moments of
its draws. A chain begins with a draw of f_0, moves on at each b between by a transition that leaves f_b as it is (Hamiltonian
Monte Carlo, `hmc`), and has the weight

    log w = sum_t (b_t - b_{t-1}) [ log p(x, z_{t-1}) - log f_0(z_{t-1}) ],    E[w] = p(x)

(Neal 2001, arXiv physics/9803008, section 2; for decoders Wu et al. 2017, arXiv 1611.04273). The transitions are reversible, so
the chain that begins with an exact draw of p(z | x) and passes the same densities backward is the same process reversed, and

    log v = sum_t (b_{t-1} - b_t) [ log p(x, z_{t-1}) - log f_0(z_{t-1}) ],    E[v] = 1 / p(x)

(Grosse et al. 2015, arXiv 1511.02543, section 3). Both hold for any step sizes that a chain's own noise has no part in: a pilot
finds them with noise of its own (`pilot`). The b_t are spaced evenly, or by a sigmoid: densely at both ends.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from amortized.distributions import Transformed
from amortized.errors import InputError, is_count, nearest
from amortized.evaluation.hmc import Path, Point, transition
from amortized.evaluation.joint import Joint
from amortized.evaluation.pilot import CHAINS, tuned_steps
from amortized.models.model import Model
from amortized.terms import Batch

Start = Literal["prior", "posterior"]
Schedule = Literal["linear", "sigmoid"]

STEEPNESS = 4.0
"""The sigmoid schedule is the sigmoid function from -4 to 4 (Grosse et al. 2015)."""

NEAR_DRAWS, DRAWS_PER_ENTRY = 256, 8
"""Draws of a flow of which the Gaussian near it is made: so many, and so many more for each entry of the latent."""

MOST_CORRELATED = 256
"""Entries of a latent up to which that Gaussian has correlations."""

ROUNDING = 1e-3
"""Added to the variances of the scaled draws, so that their matrix has a factor."""


@dataclass(frozen=True)
class Plan:
    """How chains are annealed.

    Args:
        chains: The number K of chains per datum.
        steps: The number T of steps along the path; there are T - 1 transitions.
        leapfrog: Leapfrog steps of a transition.
        start: f_0, "prior" or "posterior".
        schedule: How the b_t are spaced, "linear" or "sigmoid".

    Raises:
        InputError: A number is no positive integer, or a choice is unknown.
    """

    chains: int
    steps: int
    leapfrog: int
    start: Start
    schedule: Schedule

    def __post_init__(self):
        for name, value, usable in (("chains", self.chains, 16), ("steps", self.steps, 250), ("leapfrog", self.leapfrog, 2)):
            if not is_count(value):
                raise InputError(f"{name} of an annealing must be a positive integer; it is {value}; {usable} is usual.")
        for name, value, valid in (
            ("start", self.start, ("prior", "posterior")),
            ("schedule", self.schedule, ("linear", "sigmoid")),
        ):
            if value not in valid:
                raise InputError(f"{name} of an annealing cannot be '{value}'; {nearest(value, valid)}")

    @property
    def betas(self) -> list[float]:
        """b_0, ..., b_T."""
        even = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64)
        if self.schedule == "linear":
            return even.tolist()
        bent = (STEEPNESS * (2 * even - 1)).sigmoid()
        bent = (bent - bent[0]) / (bent[-1] - bent[0])
        return [0.0, *bent[1:-1].tolist(), 1.0]

    def __str__(self) -> str:
        """In a few words."""
        return f"{self.chains:,} chains each from the {self.start}, {self.steps:,} steps with {self.leapfrog:,} leapfrog steps"


@dataclass(frozen=True, eq=False)
class Annealer:
    """The path of B data, and how chains move along it.

    Attributes:
        joint: p(z), p(x | z) of the data, and q(z | x) or, of a flow, a Gaussian near it.
        plan: How chains are annealed.
        step: (T - 1, B, *event) the step sizes at b_1, ..., b_{T-1}.
    """

    joint: Joint
    plan: Plan
    step: Tensor

    @classmethod
    def of(cls, model: Model, batch: Batch, plan: Plan) -> "Annealer":
        """That of some data, its step sizes found by a pilot."""
        _check_data(batch)
        joint = Joint.of(model, batch, method="annealed importance sampling")
        joint = replace(joint, q=_quick(joint.q))
        pilot = _draws(joint, plan.start, CHAINS)
        return cls(joint, plan, tuned_steps(_path(joint, plan.start), pilot, plan.betas[1:-1], plan.leapfrog))

    def forward(self, at_once: int) -> tuple[Tensor, Tensor]:
        """Log-weights log w (K, B), float64, and the mean acceptance (B,); `at_once` of the chains run side by side."""
        start = self.plan.start
        return self._pieces(at_once, lambda count: _draws(self.joint, start, count), self.plan.betas, self.step)

    def backward(self, z: Tensor, at_once: int) -> tuple[Tensor, Tensor]:
        """Log-weights log v (K, B), float64, of chains from exact draws z (B, *event) of p(z | x), and the mean acceptance."""
        return self._pieces(at_once, lambda count: z.expand(count, *z.shape), self.plan.betas[::-1], self.step.flip(0))

    def _pieces(
        self, at_once: int, begin: Callable[[int], Tensor], betas: Sequence[float], step: Tensor
    ) -> tuple[Tensor, Tensor]:
        path, chains, found = _path(self.joint, self.plan.start), self.plan.chains, []
        for done in range(0, chains, at_once):
            z = begin(min(at_once, chains - done))
            found.append(run_chains(path, z, betas, step, self.plan.leapfrog))
        log_w, acceptance = (torch.cat(pieces) for pieces in zip(*found, strict=True))
        if log_w.isnan().any():
            row = int(log_w.isnan().any(0).nonzero()[0])
            raise InputError(
                f"log p(x, z) of row {row} of a batch is not a number along the chains; check that the model was trained without"
                " NaN, or evaluate it in float64."
            )
        return log_w, acceptance.mean(0)


def run_chains(path: Path, z: Tensor, betas: Sequence[float], step: Tensor, leapfrog: int) -> tuple[Tensor, Tensor]:
    """Run chains from the first density to the last.

    Args:
        path: The path of densities.
        z: (K, B, *event) draws of the first density.
        betas: The T + 1 densities, from 0 to 1 or from 1 to 0.
        step: (T - 1, B, *event) the step sizes at all of them but the ends.
        leapfrog: The number of leapfrog steps of a transition.

    Returns:
        The log-weights (K, B) and the mean acceptance (K, B), NaN where T = 1, both float64.
    """
    point = Point.at(path, z)
    log_w = (betas[1] - betas[0]) * _double(point.tilt)
    taken = torch.zeros_like(log_w)
    for beta, after, size in zip(betas[1:], betas[2:], step, strict=False):
        point, acceptance = transition(path, point, beta, size, leapfrog)
        log_w += (after - beta) * _double(point.tilt)
        taken += _double(acceptance)
    return log_w.cpu(), (taken / len(step)).cpu() if len(step) else torch.full_like(taken, torch.nan).cpu()


@contextmanager
def frozen(model: Model) -> Iterator[None]:
    """Ask no gradient of the model's parameters while the context lasts: backward then stops at z."""
    assert isinstance(model, nn.Module)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learned:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_()


def _quick(q: Distribution) -> Distribution:
    """The posterior, or a Gaussian near it where its density takes an inverse."""
    if not isinstance(q, Transformed):
        return q
    dimension = q.event_shape.numel()
    draws = q.sample(torch.Size((NEAR_DRAWS + DRAWS_PER_ENTRY * dimension,)))
    mean, scale = draws.mean(0), draws.std(0)
    if len(q.event_shape) != 1 or dimension > MOST_CORRELATED:
        return Independent(Normal(mean, scale, validate_args=False), len(q.event_shape), validate_args=False)
    unit = (draws - mean) / scale
    correlation = torch.einsum("kbi,kbj->bij", unit, unit) / len(draws)
    correlation = correlation + ROUNDING * torch.eye(dimension, dtype=draws.dtype, device=draws.device)
    return MultivariateNormal(mean, scale_tril=scale[..., None] * torch.linalg.cholesky(correlation), validate_args=False)


def _path(joint: Joint, start: Start) -> Path:
    """The path from the prior or the posterior to log p(x, z)."""

    def from_prior(z: Tensor) -> tuple[Tensor, Tensor]:
        return joint.log_prior(z), joint.log_px(z)

    def from_posterior(z: Tensor) -> tuple[Tensor, Tensor]:
        log_q = joint.log_q(z)
        return log_q, joint.log_prior(z) + joint.log_px(z) - log_q

    return from_prior if start == "prior" else from_posterior


def _draws(joint: Joint, start: Start, count: int) -> Tensor:
    """Draws (count, B, *event) of the start of the path."""
    if start == "posterior":
        return joint.q.sample((count,))
    return prior_draws(joint.p, (count, len(joint.batch)))


def prior_draws(p: Distribution, shape: tuple[int, ...]) -> Tensor:
    """Draws (*shape, *event) of a prior of batch () or (B,), B the last of `shape`."""
    return p.sample(torch.Size(shape[: len(shape) - len(p.batch_shape)]))


def _check_data(batch: Batch) -> None:
    missing = batch.x.isnan() if batch.observed is None else batch.x.isnan() & batch.observed
    if missing.any():
        row = int(missing.flatten(1).any(1).nonzero()[0])
        raise InputError(f"row {row} of a batch has NaN; mark missing entries by `observed`, or give the bare tensor.")


def _double(value: Tensor) -> Tensor:
    return value.cpu().double() if value.device.type == "mps" else value.double()

r"""Integrals over all real vectors of D = 1 or 2 entries, on panels that are split where they are not yet resolved.

The whole line is mapped to (-1, 1), so that nothing is cut off, and no range has to be guessed:

    z = c + s u / (1 - u^2),        dz/du = s (1 + u^2) / (1 - u^2)^2

with c the center of the prior and s three of its standard deviations, which are at |u| = 0.6. A panel is a cube in u, with the
product of Kronrod's rule of 15 points on each edge (Kronrod 1965; Piessens et al. 1983, QUADPACK, section 2.2.1), in which
Gauss's rule of 7 is embedded. Their difference is the error of the poorer rule, and is claimed as that of the better one: it is
far too great where the integrand is smooth, and right where it has kinks, as with networks of rectified units.

What is integrated are densities of a latent z, with p(x, z) in units of its greatest value so far:

    p(x, z)     p(z)     q(z | x)     q(z | x) log[ p(x, z) / q(z | x) ]     p(x, z) y     p(x, z) y y^T,      y = z - c

In the fourth too, as q(z | x) integrates to 1: else its rounding errors are those of q(z | x), thousands of nats as great.

Panels are split until the claimed errors of the first four sum to the tolerance. No panel can know of a mode between its points.
So panels start as many, and are split where draws from q gather, and around the tops of log p(x, z) to which it climbs from all
local maxima of the points (`peaks`). What a peak may hold that rises between the points of a panel counts as an error of that
panel. And as p(z) and q(z|x) integrate to 1, it is seen where a part of them was missed: then all panels that draws from them
fall on are split.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from amortized.errors import InputError
from amortized.evaluation.cubes import NARROWEST, Panels, product, refined
from amortized.evaluation.peaks import climb, hidden

ABSCISSAE = (
    0.991455371120812639206854697526329,
    0.949107912342758524526189684047851,
    0.864864423359769072789712788640926,
    0.741531185599394439863864773280788,
    0.586087235467691130294144045469022,
    0.405845151377397166906606412076961,
    0.207784955007898467600689403773245,
    0.0,
)
KRONROD = (
    0.022935322010529224963732008058970,
    0.063092092629978553290700663189204,
    0.104790010322250183839876322541518,
    0.140653259715525918745189590510238,
    0.169004726639267902826583426598550,
    0.190350578064785409913256402421014,
    0.204432940075298892414161999234649,
    0.209482141084727828012999174891714,
)
GAUSS = (0.129484966168869693270611432679082, 0.279705391489276667901467771423780, 0.381830050505118944950369775488975,
         0.417959183673469387755102040816327)  # fmt: skip
"""Of the second, fourth, sixth and eighth abscissa."""

EDGE = 2 * len(ABSCISSAE) - 1
"""Points on the edge of a panel."""

PANELS = {1: 64, 2: 10}
"""Of each edge, to begin with."""

DEEP = 40.0
"""Nats below the highest, at which a top is of no account."""

RESCUES = 8
"""How many times panels are split for mass that was missed."""

JUDGED = 4
"""The first integrals, whose errors count."""

Densities = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]
"""From z (K, D) to log p(x, z), log p(z) and log q(z | x), each (K,)."""


@dataclass(frozen=True, eq=False)
class Integrals:
    """Integrals over z for one datum.

    Attributes:
        log_px: log p(x), nats.
        elbo: E_q[ log p(x, z) - log q(z | x) ], nats.
        mean: (D,) the posterior's mean.
        covariance: (D, D) the posterior's covariance.
        error: What the integrals are off by, by their own account, nats.
        points: At how many z the densities were evaluated.
    """

    log_px: float
    elbo: float
    mean: Tensor
    covariance: Tensor
    error: float
    points: int


def integrate(densities: Densities, prior_draws: Tensor, draws: Tensor, *, tolerance: float, most_points: int) -> Integrals:
    """Integrate over all z.

    Args:
        densities: The log-densities at z, in float64.
        prior_draws: (n, D) draws from p(z), which give center and scale.
        draws: (n, D) draws from q(z | x).
        tolerance: The error at which to stop, nats.
        most_points: The number of points beyond which no panel is split.

    Raises:
        InputError: A density is not a number.
    """
    center, scale = prior_draws.median(0).values, 3 * prior_draws.std(0).clamp(min=1e-8)
    mesh = _Mesh(densities, center, scale)
    u_draws, tops = _to_unit(draws, center, scale), mesh.start()
    panels = refined(mesh.take(mesh.panels.is_coarse(u_draws, *tops)), u_draws, *tops)
    of_both, rescues = torch.cat((_to_unit(prior_draws, center, scale), u_draws)), 0
    while True:
        if len(panels.width):
            mesh.add(panels)
        is_split = mesh.unresolved(tolerance)
        if not is_split.any() and mesh.missed > tolerance and rescues < RESCUES:
            is_split, rescues = mesh.panels.count(of_both) > 0, rescues + 1
        is_split &= mesh.panels.width > NARROWEST
        if not is_split.any() or mesh.points >= most_points:
            return mesh.integrals
        panels = mesh.take(is_split).split()


class _Mesh:
    """The panels evaluated so far, with their integrals."""

    def __init__(self, densities: Densities, center: Tensor, scale: Tensor):
        self.densities, self.center, self.scale, self.points = densities, center, scale, 0
        dimension = len(center)
        self.nodes, better, poorer = _rule(dimension, center.device)
        self.better, self.difference = better, better - poorer
        self.panels = Panels(center.new_zeros(0, dimension), center.new_zeros(0))
        self.values = center.new_zeros(0, JUDGED + dimension + dimension**2)
        self.errors = center.new_zeros(0, JUDGED)
        self.rise, self.prior = center.new_zeros(0), center.new_zeros(0)
        self.log_unit = self.log_most = -torch.inf

    def start(self) -> tuple[Tensor, Tensor]:
        """Add panels all over, and climb from their points: to tops (M, D) of log p(x, z), and their steps (M,)."""
        dimension, side = len(self.center), PANELS[len(self.center)]
        panels = Panels.all_over(dimension, side, self.center.device)
        log_joint = self.add(panels)
        order = [axis + part for axis in range(dimension) for part in (0, dimension)]
        shape = [side] * dimension + [EDGE] * dimension
        u = self._u(panels).reshape(*shape, dimension).permute(*order, -1).reshape(*[side * EDGE] * dimension, dimension)
        log_joint = log_joint.reshape(shape).permute(order).reshape(u.shape[:-1])
        tops, heights, steps = climb(self._log_joint, u, log_joint, 2 / side * float(self.nodes.diff(dim=0).max()))
        counts = heights > max(self.log_unit, float(heights.max()) if len(heights) else -torch.inf) - DEEP
        return tops[counts], steps[counts]

    def add(self, panels: Panels) -> Tensor:
        """Evaluate panels, and return log p(x, z) of their points, (P, n)."""
        u = self._u(panels)
        room = 1 - u.square()
        z = self._z(u)
        volume = (self.scale * (1 + u.square()) / room.square() * panels.width[:, None, None]).prod(-1)
        log_joint, log_p, log_q = (value.reshape(u.shape[:-1]) for value in self.densities(z.flatten(0, 1)))
        if log_joint.isnan().any():
            raise InputError(
                "quadrature met a density that is not a number; look for NaN in the data and in the model's parameters."
            )
        self.points += volume.numel()
        self._see(log_joint, log_p)
        self._rescale(float(log_joint.max()))
        joint, q = (log_joint - self.log_unit).exp(), log_q.exp()
        log_ratio = torch.where(q > 0, log_joint - log_q, 0.0)
        y = z - self.center
        moments = joint[..., None] * torch.cat((y, (y[..., None] * y[..., None, :]).flatten(-2)), -1)
        each = volume[..., None] * torch.cat((torch.stack((joint, log_p.exp(), q, q * log_ratio), -1), moments), -1)
        self.panels = self.panels.join(panels)
        self.values = torch.cat((self.values, torch.einsum("n,pnm->pm", self.better, each)))
        self.errors = torch.cat((self.errors, torch.einsum("n,pnm->pm", self.difference, each[..., :JUDGED])))
        log_row = (volume * self.better).log() + math.log(EDGE) * (len(self.center) - 1)  # a ridge may run along it
        rise, prior = hidden(*(value.reshape(-1, *[EDGE] * len(self.center)) for value in (log_joint, log_p, log_row)))
        self.rise, self.prior = torch.cat((self.rise, rise)), torch.cat((self.prior, prior))
        return log_joint

    def take(self, rows: Tensor) -> Panels:
        """Take panels out."""
        panels = self.panels.rows(rows)
        self.panels, self.values, self.errors = self.panels.rows(~rows), self.values[~rows], self.errors[~rows]
        self.rise, self.prior = self.rise[~rows], self.prior[~rows]
        return panels

    def unresolved(self, tolerance: float) -> Tensor:
        """(P,) which panels to split so that the errors of the others sum to no more than the tolerance."""
        errors = self._errors.amax(-1)
        order = errors.argsort()
        is_split = torch.empty_like(order, dtype=torch.bool)
        is_split[order] = ~(errors[order].cumsum(0) <= tolerance)
        return is_split

    @property
    def missed(self) -> float:
        """The part of p(z) or q(z | x) that no panel has found."""
        return float((self.values[:, 1:3].sum(0) - 1).abs().max())

    @property
    def integrals(self) -> Integrals:
        total = self.values.sum(0)
        dimension = len(self.center)
        mean, square = (total[JUDGED:] / total[0]).split((dimension, dimension**2))
        covariance = square.reshape(dimension, dimension) - mean[:, None] * mean
        log_px = self.log_unit + float(total[0].log())
        log_hidden = self._log_hidden.logsumexp(0) - log_px
        error = max(float(self._errors[:, :JUDGED].sum(0).max()), float(softplus(log_hidden)), self.missed)
        elbo = float(total[3]) + self.log_unit * float(1 - total[2])
        return Integrals(log_px, elbo, self.center + mean, covariance, error, self.points)

    @property
    def _errors(self) -> Tensor:
        """(P, 5) claimed errors: those of p(x, z), the first and the last, are shares of its integral, so of log p(x)."""
        total = self.values[:, 0].sum()
        joint, p, q, elbo = self.errors.unbind(-1)
        hidden = (self._log_hidden - self.log_unit - total.log()).exp()
        return torch.stack((joint / total, p, q, elbo - self.log_unit * q, hidden), -1).abs()

    @property
    def _log_hidden(self) -> Tensor:
        """(P,) what may rise between the points, but with p(x | z) nowhere greater than where it is known, in nats."""
        return torch.minimum(self.rise, self.prior + self.log_most)

    def _see(self, log_joint: Tensor, log_p: Tensor) -> None:
        log_px = log_joint - log_p
        self.log_most = max(self.log_most, float(torch.where(log_px.isfinite(), log_px, -torch.inf).max()))

    def _u(self, panels: Panels) -> Tensor:
        return panels.low[:, None] + panels.width[:, None, None] * self.nodes

    def _z(self, u: Tensor) -> Tensor:
        return self.center + self.scale * u / (1 - u.square())

    def _log_joint(self, u: Tensor) -> Tensor:
        self.points += len(u)
        log_joint, log_p, _ = self.densities(self._z(u))
        self._see(log_joint, log_p)
        return log_joint

    def _rescale(self, log_joint: float) -> None:
        if log_joint > self.log_unit:
            factor = torch.tensor(self.log_unit - log_joint, dtype=torch.float64).exp().to(self.values.device)
            self.values[:, [0, *range(JUDGED, self.values.shape[1])]] *= factor
            self.errors[:, 0] *= factor
            self.log_unit = log_joint


def _to_unit(z: Tensor, center: Tensor, scale: Tensor) -> Tensor:
    """The u of z: the root of y u^2 + u - y in (-1, 1), with y = (z - c) / s."""
    y = (z - center) / scale
    return 2 * y / (1 + (1 + 4 * y.square()).sqrt())


def _rule(dimension: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Points (n, D) of the unit cube, and the weights (n,) of the better and of the poorer rule."""
    half = torch.tensor(ABSCISSAE, dtype=torch.float64, device=device)
    poorer = torch.zeros_like(half)
    poorer[1::2] = half.new_tensor(GAUSS)
    nodes = torch.cat((-half, half[:-1].flip(0)))
    weights = [torch.cat((rule, rule[:-1].flip(0))) / 2 for rule in (half.new_tensor(KRONROD), poorer)]
    better, poorer = (product(rule, dimension).prod(-1) for rule in weights)
    return product((nodes + 1) / 2, dimension), better, poorer

r"""The mixture baseline: components of independent entries, their number chosen on a held-out tenth of the training data.

    p(x) = sum_k w_k prod_d p_kd(x_d),        log p(x) exact, by logsumexp over the components

Levels up to 32, and classes, have a table of frequencies per component (bits: the Bernoulli mixture), by the EM algorithm in the
log domain (Dempster, Laird and Rubin 1977, J. R. Stat. Soc. B 39). With e (N, D L) the one-hot codes, all of it is two products:

    E    r_ik = softmax_k( log w_k + e_i . log p_k )
    M    w_k = mean_i r_ik,       p_kdl = ( sum_i r_ik e_idl + 1/L ) / ( sum_i r_ik [d observed in i] + 1 )

One more datum, spread evenly over the levels, keeps the frequencies from 0: the maximum is that of log p(x) summed over the
data, plus 1/L sum_kdl log p_kdl (a Dirichlet prior), which no step lowers. A missing entry has an e of zero, and so drops out.

Everything else has scikit-learn's mixture of diagonal Gaussians. More levels, and counts (on a logarithmic scale), are
dequantized for the fit; what is scored is the exact mass Phi((b - m) / s) - Phi((a - m) / s) of a value, between its `edges` a, b.

1, 2, 4, ... components are tried until more are worse on what was held out; then that number is fitted to all, from several
starts.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amortized.evaluation.baseline_entries import FLOOR, entry_log_px
from amortized.evaluation.baseline_gaussians import check_gaussian
from amortized.evaluation.baseline_rows import Levels, Measure, Reals, Rows
from amortized.evaluation.baseline_setting import NoBaseline, Scored, Setting, held_out

MOST_COMPONENTS = 64
ROWS_PER_COMPONENT = 10
MOST_CLASSES = 4096
MOST_TABLED = 32
"""Ordered levels up to which a component has a table of frequencies: with more, each would have too few data."""

MOST_CODES = 2**24
"""Entries of one-hot codes at once: 128 MiB."""

RESTARTS = 2
STEPS = 100
TOLERANCE_NATS = 1e-3
"""Gain per datum and step below which EM stops."""

Score = Callable[[Rows], Tensor]
Fit = Callable[[Rows, int, int], Score]
"""From training data, a number of components and a seed: a function that gives log p(x) (N,)."""


def mixture(setting: Setting) -> Scored:
    """A mixture whose components have independent entries."""
    measure = setting.measure
    if isinstance(measure, Levels) and (measure.count <= MOST_TABLED or not measure.is_ordered):
        return _tabled(setting, measure)
    check_gaussian(setting)
    varies = setting.train.varies()
    fixed = entry_log_px(measure, setting.train.entries(~varies), setting.test.entries(~varies)).sum(1)
    if not varies.any():
        return Scored(fixed)
    reduced = replace(setting, train=setting.train.entries(varies), test=setting.test.entries(varies))
    found = _choose(reduced, lambda rows, size, seed: fit_gaussians(measure, rows, size, seed))
    return replace(found, log_px=found.log_px + fixed)


def _tabled(setting: Setting, measure: Levels) -> Scored:
    entries = setting.train.x.shape[1] * measure.count
    if measure.count > MOST_CLASSES:
        raise NoBaseline(f"there are {measure.count:,} classes, too many for a table of each component")
    train = setting.train[: max(1, MOST_CODES // entries)]
    return _choose(replace(setting, train=train), lambda rows, size, seed: fit_tables(measure, rows, size, seed))


def _choose(setting: Setting, fit: Fit) -> Scored:
    """The number of components by the held-out data, and then all of the training data."""
    fitted, chosen_by = held_out(setting.train)
    best, size = -math.inf, 1
    for tried in _sizes(len(fitted)):
        score = float(fit(fitted, tried, setting.seed)(chosen_by).mean())
        if score <= best:
            break
        best, size = score, tried
    log_px = fit(setting.train, size, setting.seed)(setting.test)
    data = f"{len(setting.train):,} training data, a tenth of which chose their number"
    return Scored(log_px, notes=(f"The mixture has {size} component{'s' if size > 1 else ''}, fitted to {data}.",))


def _sizes(rows: int) -> Iterator[int]:
    size = 1
    while size <= MOST_COMPONENTS and (size == 1 or size * ROWS_PER_COMPONENT <= rows):
        yield size
        size *= 2


@dataclass(frozen=True, eq=False)
class Tables:
    """A mixture of tables of frequencies.

    Attributes:
        log_weights: (K) log w_k.
        log_probs: (D, L, K) log p_kdl.
    """

    log_weights: Tensor
    log_probs: Tensor

    def joint(self, codes: Tensor) -> Tensor:
        """(N, K) log w_k p_k(x), for one-hot codes (N, D L)."""
        return self.log_weights + codes @ self.log_probs.flatten(0, 1)

    def log_px(self, rows: Rows) -> Tensor:
        """(N,) log p(x), nats."""
        entries, count, _ = self.log_probs.shape
        size = max(1, MOST_CODES // (entries * count))
        parts = (rows[start : start + size] for start in range(0, len(rows), size))
        return torch.cat([self.joint(one_hot(part, count)).logsumexp(1) for part in parts])

    def objective(self, joint: Tensor) -> float:
        """The log-likelihood of the data and the log-prior of the tables together, which EM climbs; nats, per datum."""
        prior = self.log_probs.sum() / self.log_probs.shape[1]
        return float((joint.logsumexp(1).sum() + prior) / len(joint))

    def step(self, codes: Tensor, joint: Tensor) -> "Tables":
        """One step of EM, from `joint` of these codes."""
        return _tables(codes, joint.softmax(1), self.log_probs.shape[1])


def one_hot(rows: Rows, count: int) -> Tensor:
    """(N, D L) float64 codes, zero for a missing entry."""
    codes = torch.zeros(*rows.x.shape, count, dtype=torch.float64)
    return codes.scatter_(2, rows.x.long()[..., None], rows.observed.double()[..., None]).flatten(1)


def _tables(codes: Tensor, responsibilities: Tensor, count: int) -> Tables:
    numbers = (codes.T @ responsibilities).view(-1, count, responsibilities.shape[1]) + 1 / count
    return Tables(responsibilities.mean(0).log(), numbers.log() - numbers.sum(1, keepdim=True).log())


def fit_tables(measure: Levels, rows: Rows, size: int, seed: int) -> Score:
    """A mixture of `size` tables, the best of several starts: every datum joins the nearest of `size` data at random."""
    codes = one_hot(rows, measure.count)
    noise = torch.Generator().manual_seed(seed)
    fits = []
    for _ in range(RESTARTS if size > 1 else 1):
        chosen = codes[torch.randperm(len(codes), generator=noise)[:size]]
        nearest = (codes @ chosen.T).argmax(1)
        fits.append(_climb(_tables(codes, torch.nn.functional.one_hot(nearest, size).double(), measure.count), codes))
    return max(fits, key=lambda fit: fit.objective(fit.joint(codes))).log_px


def _climb(tables: Tables, codes: Tensor) -> Tables:
    joint = tables.joint(codes)
    before = tables.objective(joint)
    for _ in range(STEPS):
        tables = tables.step(codes, joint)
        joint = tables.joint(codes)
        after = tables.objective(joint)
        if after - before < TOLERANCE_NATS:
            break
        before = after
    return tables


def fit_gaussians(measure: Measure, rows: Rows, size: int, seed: int) -> Score:
    """A mixture of `size` diagonal Gaussians, in the measure of the data."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    y = measure.draw(rows.x, torch.Generator().manual_seed(seed))
    mean, unit = y.mean(0), y.std(0, correction=0).clamp(min=FLOOR)
    model = GaussianMixture(
        size,
        covariance_type="diag",
        tol=TOLERANCE_NATS,
        max_iter=STEPS,
        reg_covar=FLOOR**2,
        n_init=RESTARTS if size > 1 else 1,
        random_state=seed % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(((y - mean) / unit).numpy())
    log_weights, loc, variance = (torch.as_tensor(each) for each in (model.weights_, model.means_, model.covariances_))
    components = mean + unit * loc, unit * variance.sqrt()
    return lambda data: gaussian_log_px(measure, data.x, log_weights.log(), *components)


def gaussian_log_px(measure: Measure, x: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """(N,) log p(x) of a mixture of Gaussians of `loc` and `scale` (K, D), of which whole numbers have the mass of their bin."""
    components = zip(loc, scale, strict=True)
    if isinstance(measure, Reals):
        joint = [torch.distributions.Normal(*each).log_prob(x).sum(1) for each in components]
    elif isinstance(measure, Levels):  # a level's mass is needed once, not once per datum
        levels = torch.arange(measure.count, dtype=torch.float64)[:, None].expand(-1, x.shape[1])
        joint = [_log_mass(*measure.edges(levels), *each).gather(0, x.long()).sum(1) for each in components]
    else:
        joint = [_log_mass(*measure.edges(x), *each).sum(1) for each in components]
    return (torch.stack(joint, 1) + log_weights).logsumexp(1)


def _log_mass(low: Tensor, high: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log(Phi(b) - Phi(a)), taken in the tail where both are small."""
    a, b = (low - loc) / scale, (high - loc) / scale
    a, b = torch.where(a + b > 0, -b, a), torch.where(a + b > 0, -a, b)
    above, below = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    return above + torch.log(-torch.expm1(below - above))

r"""The mixture baseline: components of independent entries, their number chosen on a held-out fifth of the training data.

    p(x) = sum_k w_k prod_d p_kd(x_d),        log p(x) exact, by logsumexp over the components

Levels and classes have a table of frequencies per component (of bits: a Bernoulli mixture), by the EM algorithm in the log domain
(Dempster, Laird and Rubin 1977, J. R. Stat. Soc. B 39). With e (N, D L) the one-hot codes, it is two products:

    E    r_ik = softmax_k( log w_k + e_i . log p_k )
    M    w_k = mean_i r_ik,       p_kdl = ( sum_i r_ik e_idl + f_dl ) / ( sum_i r_ik [d observed in i] + 1 )

One more datum, spread over the levels by the frequencies f of the independent baseline, keeps those of a component from 0: the
maximum is that of log p(x) summed over the data, plus sum_kdl f_dl log p_kdl (a Dirichlet prior), which no step lowers. A missing
entry has an e of zero, and so drops out.

More than 8 levels with an order are too many for the data of one component. They are put into 8 bins b(x), of about the same
number of values, or of one level that has more; the components have a table of the bins, and within its bin a level has its
frequency in the independent baseline:

    p_kd(x) = p_kd(b(x)) f_d(x) / sum over x' of the same bin of f_d(x')

Counts (on a logarithmic scale, dequantized for the fit) and real numbers have scikit-learn's mixture of diagonal Gaussians. With
s_d^2 the variance of all of entry d and n_k = N w_k, a component's variance s_kd^2 becomes (n_k s_kd^2 + s_d^2) / (n_k + 1),
again one more datum: the likelihood alone has no maximum. A count is scored by its exact mass
Phi((b - m_kd) / s_kd) - Phi((a - m_kd) / s_kd), between its `edges` a and b.

1, 2, 4, ... components are tried until two numbers in a row are no better on what was held out; then the best is fitted to
all, from two starts.
"""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from amortized.evaluation.baseline_entries import FLOOR, entry_log_px, level_log_probs
from amortized.evaluation.baseline_gaussians import check_gaussian
from amortized.evaluation.baseline_rows import Counts, Levels, Measure, Reals, Rows
from amortized.evaluation.baseline_setting import NoBaseline, Scored, Setting, held_out

MOST_COMPONENTS = 64
ROWS_PER_COMPONENT = 10
MOST_CLASSES = 4096
BINS = 8

MOST_CODES = 2**24
"""Entries of one-hot codes at once: 64 MiB in float32."""

MOST_PRODUCTS = 2**30
"""Codes times components: what a step of EM takes."""

STARTS = 2
STEPS = 100
TOLERANCE = 1e-4
"""Gain in the log-likelihood, of its size, below which EM stops."""

TOLERANCE_NATS = 1e-2
"""Gain per datum below which EM on Gaussians stops."""

Score = Callable[[Rows], Tensor]
Fit = Callable[[Rows, int, int, int], Score]
"""From training data, a number of components, of starts, and a seed: a function that gives log p(x) (N,)."""


def mixture(setting: Setting) -> Scored:
    """A mixture whose components have independent entries."""
    measure = setting.measure
    if isinstance(measure, Levels):
        return _tabled(setting, measure)
    check_gaussian(setting)
    if not (setting.train.is_complete and setting.test.is_complete):
        raise NoBaseline("it is fitted to complete data, and entries of these are missing")
    varies = setting.train.varies()
    fixed = entry_log_px(measure, setting.train.entries(~varies), setting.test.entries(~varies)).sum(1)
    if not varies.any():
        return Scored(fixed)
    reduced = replace(setting, train=setting.train.entries(varies), test=setting.test.entries(varies))
    found = _choose(reduced, partial(fit_gaussians, measure))
    return replace(found, log_px=found.log_px + fixed)


def _tabled(setting: Setting, measure: Levels) -> Scored:
    if not measure.is_ordered and measure.count > MOST_CLASSES:
        raise NoBaseline(f"there are {measure.count:,} classes, too many for a table of each component")
    bins = bins_of(measure, setting.train) if measure.is_ordered and measure.count > BINS else torch.arange(measure.count)
    train, test = (replace(rows, x=bins[rows.x.long()].double()) for rows in (setting.train, setting.test))
    count = int(bins.max()) + 1
    train = train[: max(1, MOST_CODES // (train.x.shape[1] * count))]
    most = min(MOST_COMPONENTS, max(1, MOST_PRODUCTS // (train.x.numel() * count)))
    found = _choose(replace(setting, train=train, test=test), partial(fit_tables, count), most)
    levels = level_log_probs(measure, setting.train)
    masses = torch.zeros(len(levels), count, dtype=levels.dtype).index_add(1, bins, levels.exp())
    within = (levels - masses.log()[:, bins]).gather(1, setting.test.x.long().T).T
    return replace(found, log_px=found.log_px + torch.where(setting.test.observed, within, 0.0).sum(1))


def bins_of(measure: Levels, train: Rows) -> Tensor:
    """(L) the bin of each level: a bin is full when it holds its share of the values that the bins before it have left."""
    numbers = torch.bincount(train.x[train.observed].long(), minlength=measure.count).tolist()
    bins, current, held, left = [], 0, 0, sum(numbers)
    for number in numbers:
        bins.append(current)
        held += number
        if current < BINS - 1 and held * (BINS - current) >= left:
            current, held, left = current + 1, 0, left - held
    return torch.tensor(bins)


def _choose(setting: Setting, fit: Fit, most: int = MOST_COMPONENTS) -> Scored:
    """The number of components, up to `most`, by the held-out data, and then the fit to all of the training data."""
    fitted, chosen_by = held_out(setting.train)
    scores: dict[int, float] = {}
    for tried in _sizes(len(fitted), most):
        scores[tried] = float(fit(fitted, tried, 1, setting.seed)(chosen_by).mean())
        if max(scores.values()) > max(list(scores.values())[-2:]):
            break
    size = max(scores, key=scores.__getitem__)
    log_px = fit(setting.train, size, STARTS, setting.seed)(setting.test)
    data = f"{len(setting.train):,} training data, a fifth of which chose their number"
    return Scored(log_px, notes=(f"The mixture has {size} component{'s' if size > 1 else ''}, fitted to {data}.",))


def _sizes(rows: int, most: int) -> Iterator[int]:
    size = 1
    while size <= most and (size == 1 or size * ROWS_PER_COMPONENT <= rows):
        yield size
        size *= 2


@dataclass(frozen=True, eq=False)
class Tables:
    """A mixture of tables of frequencies.

    Attributes:
        log_weights: (K) log w_k.
        log_probs: (D, L, K) log p_kdl.
        prior: (D, L) f_dl.
    """

    log_weights: Tensor
    log_probs: Tensor
    prior: Tensor

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
        prior = (self.prior[..., None] * self.log_probs).sum()
        return float((joint.double().logsumexp(1).sum() + prior.double()) / len(joint))

    def step(self, codes: Tensor, joint: Tensor) -> "Tables":
        """One step of EM, from `joint` of these codes."""
        return _tables(codes, joint.softmax(1), self.prior)


def one_hot(rows: Rows, count: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """(N, D L) codes, zero for a missing entry."""
    codes = torch.zeros(*rows.x.shape, count, dtype=dtype)
    return codes.scatter_(2, rows.x.long()[..., None], rows.observed.to(dtype)[..., None]).flatten(1)


def _tables(codes: Tensor, responsibilities: Tensor, prior: Tensor) -> Tables:
    numbers = (codes.T @ responsibilities).view(*prior.shape, -1) + prior[..., None]
    return Tables(responsibilities.mean(0).log(), numbers.log() - numbers.sum(1, keepdim=True).log(), prior)


def fit_tables(count: int, rows: Rows, size: int, starts: int, seed: int) -> Score:
    """A mixture of `size` tables, the best of several starts: every datum joins the nearest of `size` data at random.

    It is fitted in float32, whose products are twice as fast, and scores in float64.
    """
    codes = one_hot(rows, count, torch.float32)
    prior = level_log_probs(Levels(count), rows).exp().float()
    noise = torch.Generator().manual_seed(seed)
    fits = []
    for _ in range(starts if size > 1 else 1):
        chosen = codes[torch.randperm(len(codes), generator=noise)[:size]]
        nearest = (codes @ chosen.T).argmax(1)
        fits.append(_climb(_tables(codes, torch.nn.functional.one_hot(nearest, size).float(), prior), codes))
    best = max(fits, key=lambda fit: fit.objective(fit.joint(codes)))
    return Tables(best.log_weights.double().log_softmax(0), best.log_probs.double().log_softmax(1), best.prior).log_px


def _climb(tables: Tables, codes: Tensor) -> Tables:
    joint = tables.joint(codes)
    before = tables.objective(joint)
    for _ in range(STEPS):
        tables = tables.step(codes, joint)
        joint = tables.joint(codes)
        after = tables.objective(joint)
        if after - before < TOLERANCE * abs(before):
            break
        before = after
    return tables


def fit_gaussians(measure: Measure, rows: Rows, size: int, starts: int, seed: int) -> Score:
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
        n_init=starts if size > 1 else 1,
        random_state=seed % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(((y - mean) / unit).numpy())
    log_weights, loc, variance = (torch.as_tensor(each) for each in (model.weights_, model.means_, model.covariances_))
    number = log_weights[:, None] * len(rows)
    variance = (number * variance + 1) / (number + 1)
    components = mean + unit * loc, unit * variance.sqrt()
    return lambda data: gaussian_log_px(measure, data.x, log_weights.log(), *components)


def gaussian_log_px(measure: Measure, x: Tensor, log_weights: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """(N,) log p(x) of a mixture of Gaussians of `loc` and `scale` (K, D), of which counts have the mass of their bin."""
    components = zip(loc, scale, strict=True)
    if isinstance(measure, Reals):
        joint = [torch.distributions.Normal(*each).log_prob(x).sum(1) for each in components]
    else:
        assert isinstance(measure, Counts)
        joint = [_log_mass(*measure.edges(x), *each).sum(1) for each in components]
    return (torch.stack(joint, 1) + log_weights).logsumexp(1)


def _log_mass(low: Tensor, high: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log(Phi(b) - Phi(a)), taken in the tail where both are small."""
    a, b = (low - loc) / scale, (high - loc) / scale
    a, b = torch.where(a + b > 0, -b, a), torch.where(a + b > 0, -a, b)
    above, below = torch.special.log_ndtr(b), torch.special.log_ndtr(a)
    return above + torch.log(-torch.expm1(below - above))

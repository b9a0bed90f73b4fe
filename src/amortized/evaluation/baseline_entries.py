r"""Baselines whose entries are independent: ignorance, and one distribution per entry.

    uniform       levels: 1/L for each entry; values in [0, 1]: density 1; real numbers: one over the range of each entry;
                  how a total n is divided among D entries: one over the number C(n + D - 1, D - 1) of ways
    independent   p(x) = prod_d p_d(x_d), each p_d by maximum likelihood

The range of a real entry is that of the training and the test data together: one of the training data alone gives -inf to a test
value outside it. Counts have no last value, and so no uniform measure.

The families of `independent`: for levels the frequencies with one added to the number of each, without which a level that the
training data lack would be impossible (Laplace's rule); for real numbers the Gaussian; for counts the negative binomial, or the
Poisson where the variance is at most the mean and the former has no maximum (Anscombe 1950, Biometrika 37). The mean m of counts
has half a count added to the total. The inverse dispersion theta of the negative binomial solves, at that maximum,

    1/n sum_i [ psi(x_i + theta) - psi(theta) ] = log(1 + m / theta)
"""

import math

import torch
from torch import Tensor

from amortized.distributions import Multinomial, NegativeBinomial, Poisson
from amortized.evaluation.baseline_rows import Counts, Levels, Measure, Reals, Rows
from amortized.evaluation.baseline_setting import NoBaseline, Scored, Setting

FLOOR = 1e-3
"""The standard deviation of a real entry that never varies: the least scale of the library's likelihoods."""

MOST_DIGAMMAS = 2**21
STEPS = 50  # of the bisection for log theta, over 40 nats: to 1e-14


def uniform(setting: Setting) -> Scored:
    """The uniform measure on the support of the data."""
    measure, train, test = setting.measure, setting.train, setting.test
    if isinstance(measure, Levels):
        return Scored(-math.log(measure.count) * test.observed.sum(1).double())
    if isinstance(measure, Counts):
        return Scored(-_log_ways(test)) if measure.given_total else _no_end()
    assert isinstance(measure, Reals)
    if measure.is_unit:
        return Scored(torch.zeros(len(test), dtype=torch.float64))
    x, observed = torch.cat((train.x, test.x)), torch.cat((train.observed, test.observed))
    high = torch.where(observed, x, -torch.inf).amax(0)
    width = (high - torch.where(observed, x, torch.inf).amin(0)).clamp(min=math.sqrt(12) * FLOOR)
    note = "The uniform baseline spans the range of the training and test data together, which flatters it."
    return Scored(-(width.log() * test.observed).nan_to_num().sum(1), notes=(note,))


def independent(setting: Setting) -> Scored:
    """Independent entries, by maximum likelihood."""
    if isinstance(setting.measure, Counts) and setting.measure.given_total:
        share = (setting.train.x.sum(0) + 0.5).log()
        return Scored(Multinomial(share, 1.0, validate_args=False).log_prob(setting.test.x))
    return Scored(entry_log_px(setting.measure, setting.train, setting.test).sum(1))


def entry_log_px(measure: Measure, train: Rows, test: Rows) -> Tensor:
    """(N, D) log p_d(x_d) of each entry of the test data, 0 where it is missing."""
    if isinstance(measure, Levels):
        value = level_log_probs(measure, train).gather(1, test.x.long().T).T
    elif isinstance(measure, Counts):
        value = _counts(train, test.x)
    else:
        mean, deviation = _moments(train)
        value = torch.distributions.Normal(mean, deviation).log_prob(test.x)
    return torch.where(test.observed, value, 0.0)


def level_log_probs(measure: Levels, train: Rows) -> Tensor:
    """(D, L) log-frequencies of the levels, one added to the number of each."""
    entries, count = train.x.shape[1], measure.count
    codes = (train.x.long() + count * torch.arange(entries))[train.observed]
    numbers = torch.bincount(codes, minlength=entries * count).view(entries, count).double() + 1
    return numbers.log() - numbers.sum(1, keepdim=True).log()


def inverse_dispersion(train: Rows) -> Tensor:
    """(D) the maximum-likelihood theta of a negative binomial; infinite where that is the Poisson."""
    rows = train[: max(2, MOST_DIGAMMAS // max(1, train.x.shape[1]))]
    number = rows.observed.sum(0).clamp(min=1)
    mean = rows.x.sum(0) / number
    variance = torch.where(rows.observed, (rows.x - mean).square(), 0.0).sum(0) / number
    low, high = torch.full_like(mean, -20.0), torch.full_like(mean, 20.0)
    for _ in range(STEPS):
        middle = (low + high) / 2
        theta = middle.exp()
        rise = torch.where(rows.observed, torch.digamma(rows.x + theta) - torch.digamma(theta), 0.0).sum(0) / number
        is_below = rise > torch.log1p(mean / theta)
        low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
    return torch.where(variance > mean, ((low + high) / 2).exp(), torch.inf)


def _counts(train: Rows, x: Tensor) -> Tensor:
    log_mean = ((train.x.sum(0) + 0.5) / train.observed.sum(0).clamp(min=1)).log()
    theta = inverse_dispersion(train)
    dispersed = NegativeBinomial(log_mean, theta.clamp(max=1.0 / FLOOR**4), validate_args=False).log_prob(x)
    return torch.where(theta.isfinite(), dispersed, Poisson(log_mean, validate_args=False).log_prob(x))


def _moments(train: Rows) -> tuple[Tensor, Tensor]:
    """(D) mean and standard deviation of real entries; those of all entries for one that was never observed."""
    number = train.observed.sum(0)
    mean = train.x.sum(0) / number
    deviation = (torch.where(train.observed, train.x - mean, 0.0).square().sum(0) / number).sqrt()
    deviation = torch.where(train.varies(), deviation, FLOOR)
    seen = train.x[train.observed]
    spread = max(float(seen.std(correction=0)), FLOOR) if len(seen) else 1.0
    never = number == 0
    return torch.where(never, seen.mean() if len(seen) else 0.0, mean), torch.where(never, spread, deviation)


def _log_ways(test: Rows) -> Tensor:
    total, others = test.x.sum(1), torch.tensor(test.x.shape[1] - 1.0, dtype=torch.float64)
    return torch.lgamma(total + others + 1) - torch.lgamma(others + 1) - torch.lgamma(total + 1)


def _no_end() -> Scored:
    raise NoBaseline("counts have no last value, so that there is no uniform measure on them")

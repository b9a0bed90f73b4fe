r"""Gaussian baselines: full covariance, probabilistic PCA, factor analysis.

With m and S the mean and covariance of the training data, each is N(m, C) with

    gaussian          C = (1 - r) S + r diag(S)
    ppca              C = W W^T + s^2 I,  W W^T = U_k (Lambda_k - s^2 I) U_k^T,  s^2 = mean of the other D - k eigenvalues
                      the maximum of the likelihood (Tipping and Bishop 1999, J. R. Stat. Soc. B 61, equations 7 and 8)
    factor_analysis   C = W W^T + Psi, Psi diagonal: by scikit-learn from two starts, the better one kept

with k the size of the model's latent. The shrinkage r is 0, or what a held-out fifth of the training data likes better: S has no
inverse where there are fewer data than entries, or entries that determine each other. PCA depends on the units of the entries,
which are those of the data; the others do not.

Whole numbers are dequantized, y = f(x + u) (baseline_rows.py). The expected log-density of N(m, C) at y is, with P = C^-1,

    log N(E[y | x]; m, C) - 1/2 sum_d P_dd Var[y_d | x_d] + sum_d E[log f'_d]

and its maximum over the training data has m = mean of E[y | x] and S = covariance of E[y | x] + diag(mean of Var[y | x]): so
neither the fit nor the bound needs a draw of u.

Entries that never vary in the training data would make S singular, and under dequantization cost 1/2 log(2 pi e / 12) = 0.18 nats
each for what is known for certain. They are scored as in the independent baseline, and the Gaussian has the others.

Where entries are missing, m and S are those of a full Gaussian fitted by EM (baseline_missing.py), which for PCA and factor
analysis is near the maximum and not at it; the observed entries are scored by their marginal.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from amortized.evaluation.baseline_entries import FLOOR, entry_log_px
from amortized.evaluation.baseline_missing import log_density_of_observed, moments_of_observed
from amortized.evaluation.baseline_rows import Counts, Levels, Measure, Relaxed, Rows
from amortized.evaluation.baseline_setting import LEAST_ROWS, NoBaseline, Scored, Setting, held_out

SHRINKAGES = (0.0, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)
STEPS = 300
TOLERANCE_NATS = 1e-3
"""Gain in the log-likelihood of a datum below which the EM algorithm of factor analysis stops."""

MOST_WITH_HOLES = 128
MOST_PRODUCTS = 2**31
"""Data times entries cubed in a step of EM, where entries are missing: what one takes."""

LEAST_RANDOMIZED = 200
"""From so many entries on, the singular values in factor analysis are computed by random projections."""

Fit = Callable[[Setting], tuple[Tensor, Tensor, tuple[str, ...]]]
"""From a setting whose entries all vary: the mean (D), the covariance (D, D), and notes."""


def gaussian(setting: Setting) -> Scored:
    """One Gaussian with full covariance."""
    return _score(setting, _shrunk)


def ppca(setting: Setting) -> Scored:
    """Probabilistic PCA with as many latents as the model has."""
    return _score(setting, _by_eigenvalues)


def factor_analysis(setting: Setting) -> Scored:
    """Factor analysis with as many latents as the model has."""
    return _score(setting, _by_factors)


def log_density(y: Relaxed, observed: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """(N,) the expected log-density of the observed entries of y, in the measure of x."""
    if not observed.all():
        return log_density_of_observed(y, observed, mean, covariance)
    factor = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(factor, (y.mean - mean).T, upper=False)
    inverse = torch.linalg.solve_triangular(factor, torch.eye(len(mean)).double(), upper=False)
    spread = y.variance @ inverse.square().sum(0)
    log_normalizer = len(mean) / 2 * math.log(2 * math.pi) + factor.diagonal().log().sum()
    return -(whitened.square().sum(0) + spread) / 2 - log_normalizer + y.log_slope.sum(1)


def moments(measure: Measure, rows: Rows) -> tuple[Tensor, Tensor]:
    """The maximum-likelihood mean (D) and covariance (D, D) of y."""
    y = measure.relax(rows.x)
    if not rows.is_complete:
        number = max(LEAST_ROWS, MOST_PRODUCTS // rows.x.shape[1] ** 3)
        return moments_of_observed(measure.relax(rows.x[:number]), rows.observed[:number])
    mean = y.mean.mean(0)
    centered = y.mean - mean
    return mean, centered.T @ centered / len(centered) + y.variance.mean(0).diag()


def principal(covariance: Tensor, size: int) -> Tensor:
    """(D, D) the covariance of probabilistic PCA with `size` < D latents, at the maximum of the likelihood."""
    values, vectors = torch.linalg.eigh(covariance)
    rest = values[: len(values) - size].mean().clamp(min=FLOOR**2 * values.mean())
    first = vectors[:, len(values) - size :]
    gains = (values[len(values) - size :] - rest).clamp(min=0.0)
    return first * gains @ first.T + rest * torch.eye(len(values)).double()


def factored(covariance: Tensor, size: int, seed: int = 0) -> tuple[Tensor, bool]:
    """The covariance (D, D) of factor analysis with `size` latents, and whether its algorithm has come to an end.

    scikit-learn takes data: 2 D of them, plus and minus the scaled rows of a root of the correlations, have these correlations.
    """
    unit = covariance.diagonal().sqrt()
    correlation = covariance / unit / unit[:, None]
    values, vectors = torch.linalg.eigh(correlation)
    root = (values.clamp(min=0.0) * len(unit)).sqrt()[:, None] * vectors.T
    starts = [torch.ones_like(unit)]
    if values[0] > FLOOR**2:
        starts.append(1 / torch.linalg.inv(correlation).diagonal())
    fits = [_fit_factors(torch.cat((root, -root)), start, size, seed) for start in starts]
    found, ended = max(fits, key=lambda fit: _log_likelihood(fit[0], correlation))
    return found * unit * unit[:, None], ended


def _fit_factors(data: Tensor, start: Tensor, size: int, seed: int) -> tuple[Tensor, bool]:
    from sklearn.decomposition import FactorAnalysis
    from sklearn.exceptions import ConvergenceWarning

    method = "randomized" if data.shape[1] >= LEAST_RANDOMIZED else "lapack"
    model = FactorAnalysis(
        size,
        tol=TOLERANCE_NATS * len(data),
        max_iter=STEPS,
        noise_variance_init=start.clamp(min=FLOOR**2).numpy(),
        svd_method=method,
        random_state=seed % 2**32,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(data.numpy())
    loadings, noise = torch.as_tensor(model.components_), torch.as_tensor(model.noise_variance_)
    return loadings.T @ loadings + noise.clamp(min=FLOOR**2).diag(), model.n_iter_ < STEPS


def _log_likelihood(covariance: Tensor, target: Tensor) -> float:
    """The mean log-likelihood of data of covariance `target`, up to a constant."""
    factor = torch.linalg.cholesky(covariance)
    return float(-factor.diagonal().log().sum() - torch.cholesky_solve(target, factor).trace() / 2)


def _shrunk(setting: Setting) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    shrinkage = _best_shrinkage(setting.measure, *held_out(setting.train))
    mean, covariance = moments(setting.measure, setting.train)
    note = f"The Gaussian's correlations are shrunk by {shrinkage:g}, chosen on a fifth of the training data."
    return mean, _shrink(covariance, shrinkage), (note,) if shrinkage else ()


def _best_shrinkage(measure: Measure, fitted: Rows, chosen_by: Rows) -> float:
    mean, covariance = moments(measure, fitted)
    # an entry that varies in all of the rows need not do so in these
    covariance = covariance + (covariance.diagonal() == 0).double().diag() * FLOOR**2
    scores = {}
    for shrinkage in SHRINKAGES:
        shrunk = _shrink(covariance, shrinkage)
        if not torch.linalg.cholesky_ex(shrunk).info:
            scores[shrinkage] = float(log_density(measure.relax(chosen_by.x), chosen_by.observed, mean, shrunk).mean())
    return max(scores, key=scores.__getitem__)


def _shrink(covariance: Tensor, shrinkage: float) -> Tensor:
    return (1 - shrinkage) * covariance + shrinkage * covariance.diagonal().diag()


def _by_eigenvalues(setting: Setting) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    mean, covariance = moments(setting.measure, setting.train)
    return mean, principal(covariance, min(setting.latent_dim, len(mean) - 1)), ()


def _by_factors(setting: Setting) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    mean, covariance = moments(setting.measure, setting.train)
    size = min(setting.latent_dim, len(mean) - 1)
    if not size:
        return mean, covariance.diagonal().diag(), ()
    found, ended = factored(covariance, size, setting.seed)
    note = f"Factor analysis was still gaining after {STEPS} steps, so that its baseline is a little too low."
    return mean, found, () if ended else (note,)


def _score(setting: Setting, fit: Fit) -> Scored:
    """Fit to the entries that vary, and score the others as independent."""
    measure, train, test = setting.measure, setting.train, setting.test
    check_gaussian(setting)
    varies = train.varies()
    fixed = entry_log_px(measure, train.entries(~varies), test.entries(~varies)).sum(1)
    if not varies.any():
        return Scored(fixed)
    mean, covariance, notes = fit(replace(setting, train=train.entries(varies)))
    scored = test.entries(varies)
    value = log_density(measure.relax(scored.x), scored.observed, mean, covariance)
    return Scored(value + fixed, is_bound=measure.is_discrete, notes=notes)


def check_gaussian(setting: Setting) -> None:
    """Refuse what no Gaussian can be fitted to.

    Raises:
        NoBaseline: Why.
    """
    measure, rows = setting.measure, (setting.train, setting.test)
    if isinstance(measure, Levels) and not measure.is_ordered and measure.count > 2:
        raise NoBaseline("the values are classes, which have no order that a Gaussian could use")
    if isinstance(measure, Counts) and measure.given_total:
        raise NoBaseline("p(x) is given the total of the counts, of which a Gaussian knows nothing")
    if not all(part.is_complete for part in rows) and setting.train.x.shape[1] > MOST_WITH_HOLES:
        raise NoBaseline(f"entries are missing, and with those it is fitted to data of at most {MOST_WITH_HOLES} entries")
    if len(setting.train) < LEAST_ROWS:
        raise NoBaseline(f"it needs at least {LEAST_ROWS} training data, and there are {len(setting.train)}")

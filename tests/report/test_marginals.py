"""Columns of data beside those of samples: the numbers are numpy's and scipy's, the figures show them."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

import amortized as am
from amortized.report import marginals, marginals_figure
from amortized.report.marginals import compare_columns, largest_difference, most_correlated, share_of_zeros
from amortized.report.marginals_figure import bin_edges
from amortized.report.view import View

pytest.importorskip("matplotlib")
RNG = np.random.default_rng(0)


def test_the_largest_difference_is_that_of_kolmogorov_and_smirnov():
    a, b = RNG.normal(size=80), RNG.normal(0.5, 2.0, size=50)
    ks: Any = ks_2samp
    assert largest_difference(a, b) == pytest.approx(ks(a, b).statistic)
    counted = RNG.poisson(2.0, 60).astype(float), RNG.poisson(3.0, 40).astype(float)
    assert largest_difference(*counted) == pytest.approx(ks(*counted).statistic)
    assert largest_difference(np.append(a, np.nan), b) == largest_difference(a, b)
    assert np.isnan(largest_difference(np.array([np.nan]), b))


def test_shares_of_zeros_are_of_what_is_observed():
    x = np.array([[0.0, 1.0, np.nan], [0.0, 0.0, np.nan], [2.0, np.nan, np.nan], [0.0, 0.0, np.nan]])
    np.testing.assert_allclose(share_of_zeros(x), [0.75, 2 / 3, np.nan])


def test_moments_of_both_sides_are_numpys():
    data, samples = RNG.poisson(3.0, (70, 4)).astype(float), RNG.poisson(2.0, (50, 4)).astype(float)
    found = compare_columns(data, samples)
    np.testing.assert_allclose(found.mean, data.mean(0))
    np.testing.assert_allclose(found.mean_of_samples, samples.mean(0))
    np.testing.assert_allclose(found.variance, data.var(0))
    np.testing.assert_allclose(found.variance_of_samples, samples.var(0))
    np.testing.assert_allclose(found.zeros_of_samples, (samples == 0).mean(0))


def test_the_most_correlated_pairs_come_first():
    x = RNG.normal(size=(200, 5))
    x[:, 3] = -x[:, 1] + 0.1 * RNG.normal(size=200)
    x[:, 4] = x[:, 0] + 0.5 * RNG.normal(size=200)
    (first, second, r), (third, fourth, _) = most_correlated(x, 2)
    assert (first, second) == (1, 3)
    assert (third, fourth) == (0, 4)
    assert r == pytest.approx(np.corrcoef(x[:, 1], x[:, 3])[0, 1])
    x[RNG.random(x.shape) < 0.2] = np.nan
    both = x[~np.isnan(x[:, [1, 3]]).any(1)]
    assert most_correlated(x, 1)[0][2] == pytest.approx(float(np.corrcoef(both[:, 1], both[:, 3])[0, 1]), abs=0.02)
    assert most_correlated(x[:, :1], 3) == []
    assert most_correlated(np.ones((9, 3)), 3) == []


def test_whole_numbers_have_a_bar_each_until_they_reach_far():
    few = RNG.poisson(2.0, 100).astype(float)
    np.testing.assert_allclose(bin_edges(few, few) % 1, 0.5)
    assert np.diff(bin_edges(few, few)).max() == 1
    many = np.concatenate((RNG.poisson(2.0, 100), RNG.poisson(900.0, 50))).astype(float)
    edges = bin_edges(many, many)
    np.testing.assert_allclose(edges % 1, 0.5)
    assert np.diff(edges)[0] == 1
    assert len(edges) < 40
    assert edges[0] < many.min()
    assert many.max() < edges[-1]


def test_the_outline_of_the_data_is_numpys_histogram():
    table = RNG.normal(size=(150, 3)).astype(np.float32)
    table[::7, 1] = np.nan
    view = View(am.fit(table, latent_dim=1, epochs=1, quiet=True))
    figure = marginals_figure(view)
    for column in range(3):
        data = view.shown_x[:, column].astype(float)
        data = data[~np.isnan(data)]
        outline: Any = [patch for patch in figure.axes[column].patches if not patch.get_fill()][0]
        heights, edges, _ = outline.get_data()
        np.testing.assert_allclose(edges, bin_edges(data, view.draws[:, column].astype(float)))
        np.testing.assert_allclose(heights, np.histogram(data, edges)[0] / len(data) / np.diff(edges))


def test_samples_of_the_model_that_made_the_data_are_near_them(linear_gaussian):
    how: dict[str, Any] = {"data.standardize": "none", "steps": 1, "lr": 1e-9}
    x = linear_gaussian.sample(1500).float().numpy()
    found = marginals(am.train(linear_gaussian.model().float(), x, quiet=True, **how))
    assert found.distance.max() < 0.29  # which two samples of 150 exceed once in 10,000 times
    error = np.sqrt(4 / 150) * found.variance  # of the difference of two variances
    np.testing.assert_array_less(np.abs(found.variance_of_samples - found.variance), 4 * error)

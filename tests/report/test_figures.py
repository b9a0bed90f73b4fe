"""The picture of q over the posterior shows the densities that they are, and leaves matplotlib as it was."""

import sys
from typing import Any

import pytest
import torch

from amortized import VAE, InputError, likelihoods, posteriors, priors
from amortized.evaluation import quadrature
from amortized.networks import MLP
from amortized.report import posterior_figure
from amortized.report.figures import _levels
from amortized.report.style import PALETTE, style

matplotlib: Any = pytest.importorskip("matplotlib")


def gaussian(truth: Any, size: int, factor: float = 1.4) -> tuple[VAE, torch.Tensor, Any]:
    made = type(truth)(size, 4)
    return made.model(made.wide_posterior(factor)), made.sample(3), made


def test_curves_are_the_densities_of_posterior_and_q(linear_gaussian):
    model, x, truth = gaussian(linear_gaussian, 1)
    ax = posterior_figure(model, x, data=2).axes[1]
    z, q = ax.lines[0].get_data()
    p = truth.posterior(x[1])
    expected = torch.distributions.Normal(p.loc, 1.4 * truth.covariance.sqrt()).log_prob(torch.from_numpy(z)[:, None]).exp()
    torch.testing.assert_close(torch.from_numpy(q), expected[:, 0, 0] if expected.ndim == 3 else expected[:, 0])
    outline = torch.from_numpy(ax.collections[0].get_paths()[0].vertices)
    inside = outline[(outline[:, 1] > 0)]
    torch.testing.assert_close(inside[:, 1], p.log_prob(inside[:, :1]).exp())
    assert ax.get_title() == f"KL {quadrature(model, [x]).kl_q_posterior[1]:.2f} nats"


def test_contours_hold_half_and_95_percent_of_a_gaussian(linear_gaussian):
    """In two dimensions exp(-r^2 / 2) is the share of the mass beyond r: half of it lies within r^2 = 2 log 2."""
    model, x, truth = gaussian(linear_gaussian, 2)
    figure = posterior_figure(model, x)
    assert len(figure.axes) == 3
    p = truth.posterior(x[0])
    wide = 1.4**2 * truth.covariance
    contours = figure.axes[0].collections[-1]
    for path, held in zip(contours.get_paths(), (0.95, 0.5), strict=True):
        away = torch.from_numpy(path.vertices).double() - p.loc
        beyond = (-(away @ torch.linalg.inv(wide) * away).sum(-1) / 2).exp()
        assert (beyond - (1 - held)).abs().max() < 0.02


def test_the_levels_of_a_density_that_is_all_in_one_point_ascend():
    density = torch.zeros(5, 5)
    density[2, 2] = 1.0
    low, high = _levels(density)
    assert 0 < low < high


def test_no_setting_of_matplotlib_outlives_the_figure():
    before = dict(matplotlib.rcParams)
    with style() as mpl:
        assert mpl.rcParams["axes.prop_cycle"].by_key()["color"] == list(PALETTE)
    assert dict(matplotlib.rcParams) == before


def test_what_cannot_be_drawn_is_refused_with_what_works(monkeypatch, linear_gaussian):
    large = VAE(priors.StandardNormal(3), posteriors.DiagonalGaussian(MLP(5, [8]), 3), likelihoods.Bernoulli(MLP(3, [8]), 5))
    with pytest.raises(InputError, match="a latent of 1 or 2 entries, and that of this model has 3"):
        posterior_figure(large, torch.ones(2, 5))
    with pytest.raises(InputError, match="data must be a positive integer; it is 0"):
        posterior_figure(large, torch.ones(2, 5), data=0)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"pip install 'amortized\[plots\]'"):
        posterior_figure(linear_gaussian.model(), linear_gaussian.sample(2))

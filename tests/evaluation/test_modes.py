"""Quadrature finds the modes of p(x, z) that q does not see and that are narrower than its points are apart, or says so.

In x | z ~ N(z^2, s) of n entries z and -z are as likely: half of p(x) is where q is not, and three
quarters of it if z has two entries.
"""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, StudentT

from amortized import VAE, priors
from amortized.evaluation import quadrature
from amortized.evaluation.panels import Integrals, integrate

CENTERS = (0.5, 1.0, 1.7, 2.3, 5.1)


class Square(nn.Module):
    """x | z ~ N(z^2, s), as many entries of x for each of z."""

    def __init__(self, scale: float, entries: int, size: int):
        super().__init__()
        self.scale, self.entries, self.event_shape = scale, entries, torch.Size((entries * size,))

    def forward(self, z: Tensor) -> Distribution:
        loc = z.square().repeat_interleave(self.entries, -1)
        return Independent(Normal(loc, self.scale, validate_args=False), 1, validate_args=False)


class Root(nn.Module):
    """A Gaussian of the posterior's width about the positive roots alone."""

    has_density, space = True, "real"

    def __init__(self, scale: float, entries: int, size: int):
        super().__init__()
        self.scale, self.entries, self.event_shape = scale / math.sqrt(entries), entries, torch.Size((size,))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        loc = x.unflatten(-1, (-1, self.entries)).mean(-1).sqrt()
        return Independent(Normal(loc, self.scale / 2 / loc), 1)


def square_model(scale: float, entries: int, size: int = 1) -> VAE:
    return VAE(priors.StandardNormal(size).double(), Root(scale, entries, size), Square(scale, entries, size))


def data(centers: Tensor, scale: float, entries: int) -> Tensor:
    """x (N, D entries) about centers (N, D)."""
    noise = torch.randn(*centers.shape, entries, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return (centers[..., None] + scale * noise).flatten(1)


def log_px(x: Tensor, scale: float) -> float:
    """Log p(x) of one entry of z and x (n,): both modes by a trapezoidal rule of 15 widths to each side."""
    root = float(x.mean().sqrt())
    width = scale / math.sqrt(len(x)) / 2 / root
    z = torch.linspace(-15, 15, 2001, dtype=torch.float64) * width + torch.tensor([[root], [-root]], dtype=torch.float64)
    spread = -(x - x.mean()).square().sum() / 2 / scale**2 - len(x) * math.log(scale * math.sqrt(2 * math.pi))
    log_likelihood = spread - len(x) * ((z.square() - x.mean()) / scale).square() / 2
    log_joint = log_likelihood - z.square() / 2 - math.log(2 * math.pi) / 2
    return float(log_joint.flatten().logsumexp(0)) + math.log(30 * width / 2000)


@pytest.mark.parametrize(
    ("scale", "entries"), [(3e-3, 1), (1e-3, 1), (3e-3, 4), (1e-3, 4), (1e-6, 1), (0.03, 784), (3e-3, 784), (1e-4, 784)]
)
def test_both_modes_of_a_square_are_found_though_q_sees_one_and_no_point_the_other(scale, entries):
    x = data(torch.tensor(CENTERS, dtype=torch.float64)[:, None], scale, entries)
    found = quadrature(square_model(scale, entries), [x])
    expected = torch.tensor([log_px(each, scale) for each in x], dtype=torch.float64)
    torch.testing.assert_close(found.log_px, expected, rtol=0, atol=1e-8)
    assert (found.error <= found.tolerance).all()
    assert found.metrics["quadrature_log_px_nats"].kind == "exact"
    assert found.points < 10_000
    torch.testing.assert_close(found.kl_q_posterior, torch.full((5,), math.log(2)).double(), rtol=0, atol=0.1)


@pytest.mark.parametrize(("scale", "entries"), [(0.1, 1), (1e-2, 1), (1e-3, 1), (1e-3, 4), (0.03, 50)])
def test_all_four_modes_of_two_squares_are_found(scale, entries):
    x = data(torch.tensor([[0.5, 1.7], [1.03, 2.3]], dtype=torch.float64), scale, entries)
    found = quadrature(square_model(scale, entries, 2), [x])
    if scale < 0.1:
        expected = torch.tensor([sum(log_px(part, scale) for part in each.chunk(2)) for each in x], dtype=torch.float64)
        torch.testing.assert_close(found.log_px, expected, rtol=0, atol=1e-3)
    assert (found.error <= 1e-3).all()


def gaussian_draws(q: Normal) -> Tensor:
    noise = torch.randn(1024, len(q.loc), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return q.loc + q.scale * noise


def integral(log_likelihood, loc: list[float], scale: list[float], tolerance: float, most_points: int = 2**18) -> Integrals:
    """Under a standard Gaussian prior, with q of that loc and scale."""
    prior = Normal(torch.zeros(len(loc), dtype=torch.float64), torch.ones(len(loc), dtype=torch.float64))
    q = Normal(torch.tensor(loc, dtype=torch.float64), torch.tensor(scale, dtype=torch.float64))

    def densities(z):
        log_p = prior.log_prob(z).sum(-1)
        return log_p + log_likelihood(z), log_p, q.log_prob(z).sum(-1)

    return integrate(densities, gaussian_draws(prior), gaussian_draws(q), tolerance=tolerance, most_points=most_points)


def test_modes_with_heavy_tails_that_rise_far_above_their_feet_are_found():
    """784 entries of Student's t of scale 1e-3: log p(x, z) is convex but at the tops, 2,000 nats above the next points."""
    t, expected = StudentT(torch.tensor(3.0, dtype=torch.float64)), []
    for sides in (1, 2):
        found = integral(
            lambda z, sides=sides: 784 * t.log_prob(((z[:, 0].abs() if sides == 2 else z[:, 0]) - 1.03) / 1e-3),
            [1.03], [3e-5], 1e-9,
        )  # fmt: skip
        assert found.error <= 1e-9
        expected.append(found.log_px)
    assert expected[1] - expected[0] == pytest.approx(math.log(2), abs=1e-8)


def ring(scale: float) -> Integrals:
    """x | z ~ N(|z|^2, s) at x = 2."""
    x = torch.tensor(2.0, dtype=torch.float64)
    return integral(lambda z: Normal(z.square().sum(-1), scale).log_prob(x), [math.sqrt(2), 0.0], [scale, 0.1], 1e-3)


def line(scale: float) -> Integrals:
    """x | z ~ N(0.6 z_1 + 0.8 z_2, s) at x = 0.37."""
    x = torch.tensor(0.37, dtype=torch.float64)
    return integral(lambda z: Normal(z @ z.new_tensor([0.6, 0.8]), scale).log_prob(x), [0.22, 0.3], [scale, scale], 1e-3)


@pytest.mark.parametrize("scale", [0.1, 1e-2, 1e-3])
def test_ridges_are_integrated_or_the_error_is_owned_up_to(scale):
    """The square of the radius has density exp(-r/2)/2 on the half line, of which N(r, s) is a moment; the line is a Gaussian."""
    found, expected = ring(scale), math.log(0.5) - 1 + scale**2 / 8
    assert abs(found.log_px - expected) < found.error
    assert (found.error <= 1e-3) == (scale == 0.1)
    found, total = line(scale), math.sqrt(1 + scale**2)
    assert abs(found.log_px + (0.37 / total) ** 2 / 2 + math.log(total * math.sqrt(2 * math.pi))) < found.error
    assert (found.error <= 1e-3) == (scale > 1e-3)


def test_an_integral_is_exact_only_where_its_error_is_the_one_that_was_asked_for():
    x = data(torch.tensor([[0.5], [1.7]], dtype=torch.float64), 0.1, 1)
    found = quadrature(square_model(0.1, 1), [x])
    rough = dataclasses.replace(found, error=torch.tensor([0.5, 1.5], dtype=torch.float64) * found.tolerance)
    assert found.metrics["kl_q_posterior_nats"].kind == "exact"
    assert found.notes == []
    assert rough.metrics["kl_q_posterior_nats"].kind == "estimate"
    assert "For 1 of 2 data" in rough.notes[0]

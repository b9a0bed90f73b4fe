import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from amortized.evaluation.hmc import Point, leapfrog, transition
from amortized.evaluation.pilot import CHAINS, TARGET, tuned_steps


def quartic(z):
    """A density that no leapfrog step is exact for, and a tilt: both with all entries coupled."""
    return -(z.square().sum(-1).square() / 8 + (z[..., 0] - 1).square() / 2), z.sin().prod(-1)


def gaussian(entries=4, seed=0):
    """A Gaussian whose entries differ in scale by up to a hundred, and a path that is that Gaussian all along."""
    noise = torch.Generator().manual_seed(seed)
    scale = 10.0 ** torch.linspace(-1, 1, entries, dtype=torch.float64)
    mix = torch.eye(entries).double() + 0.3 * torch.randn(entries, entries, generator=noise, dtype=torch.float64).tril(-1)
    p = MultivariateNormal(torch.arange(entries).double(), scale_tril=scale[:, None] * mix)
    return p, lambda z: (p.log_prob(z), torch.zeros_like(z[..., 0]))


def state(*shape, seed=0):
    noise = torch.Generator().manual_seed(seed)
    z, v = (torch.randn(*shape, generator=noise, dtype=torch.float64) for _ in range(2))
    step = 0.05 + 0.1 * torch.rand(shape[1:], generator=noise, dtype=torch.float64)
    return z, v, step


def energy(point, v, beta):
    return -(point.start + beta * point.tilt) + v.square().sum(-1) / 2


@pytest.fixture(autouse=True)
def _noise():
    torch.manual_seed(0)


def test_a_point_knows_the_gradients_of_both_densities():
    z, _, _ = state(3, 2, 4)
    point = Point.at(quartic, z)
    leaf = z.clone().requires_grad_()
    start, tilt = quartic(leaf)
    (expected,) = torch.autograd.grad((start + 0.3 * tilt).sum(), leaf)
    torch.testing.assert_close(point.slope(0.3), expected)
    assert not point.start.requires_grad


def test_a_density_that_does_not_depend_on_the_latent_has_no_slope():
    point = Point.at(lambda z: (z.new_zeros(z.shape[:2]), z.new_ones(z.shape[:2])), torch.randn(3, 2, 4))
    assert not point.slope(0.5).any()


def test_the_leapfrog_is_reversible():
    z, v, step = state(3, 5, 4)
    end, v_end = leapfrog(quartic, Point.at(quartic, z), v, 0.7, step, 20)
    assert (end.z - z).abs().max() > 0.1
    back, v_back = leapfrog(quartic, end, -v_end, 0.7, step, 20)
    torch.testing.assert_close(back.z, z, rtol=0, atol=1e-10)
    torch.testing.assert_close(-v_back, v, rtol=0, atol=1e-10)


def test_the_leapfrog_preserves_volume():
    """The determinant of its Jacobian, by central differences of the code itself: each perturbed state is a chain."""
    z, v, step = state(1, 1, 3)
    width = 1e-4
    moved = torch.cat((z[0, 0], v[0, 0])) + width * torch.cat((torch.eye(6), -torch.eye(6))).double()
    start = moved[:, None, :3].clone()
    end, v_end = leapfrog(quartic, Point.at(quartic, start), moved[:, None, 3:], 0.7, step, 10)
    plus, minus = torch.cat((end.z, v_end), -1)[:, 0].split(6)
    jacobian = (plus - minus) / (2 * width)
    assert (jacobian - torch.eye(6)).abs().max() > 0.1
    assert torch.linalg.det(jacobian).item() == pytest.approx(1.0, abs=100 * width**2)


def test_the_energy_error_falls_with_the_square_of_the_step():
    z, v, step = state(1, 200, 4)
    point, errors = Point.at(quartic, z), []
    for halvings in range(3):
        end, v_end = leapfrog(quartic, point, v, 0.7, step / 2**halvings / 2, 8 * 2**halvings)
        errors.append((energy(end, v_end, 0.7) - energy(point, v, 0.7)).abs().mean())
    orders = [math.log2(coarse / fine) for coarse, fine in zip(errors, errors[1:], strict=False)]
    assert orders == pytest.approx([2.0, 2.0], abs=0.1)


def test_the_pilot_finds_the_acceptance_that_is_asked_for():
    p, path = gaussian()
    betas = [i / 50 for i in range(1, 50)]
    step = tuned_steps(path, p.sample((CHAINS, 40)), betas, 3)
    assert step.shape == (49, 40, 4)
    point, found = Point.at(path, p.sample((64, 40))), []
    for beta, size in zip(betas, step, strict=True):
        point, acceptance = transition(path, point, beta, size, 3)
        found.append(acceptance)
    assert float(torch.stack(found).mean()) == pytest.approx(TARGET, abs=0.04)


def test_the_pilot_follows_a_path_that_narrows():
    """From N(0, 1) to N(0, 0.01^2): steps fall with the scale, and the last density is accepted as the first."""
    start = torch.distributions.Normal(torch.zeros(3).double(), 1.0)

    def path(z):
        log_start = start.log_prob(z).sum(-1)
        return log_start, -z.square().sum(-1) / 2 * (1e4 - 1)

    betas = [10 ** (-6 + 6 * i / 300) for i in range(300)]
    step = tuned_steps(path, start.sample((CHAINS, 20)), betas, 3)
    ratio = (step[0] / step[-1]).log10().mean()
    assert float(ratio) == pytest.approx(2.0, abs=0.15)


def test_moments_are_those_of_the_target():
    """Independent chains, from far out: z-scores of mean and covariance over the chains."""
    p, path = gaussian()
    chains = 4000
    step = tuned_steps(path, p.sample((CHAINS, 1)), [0.5] * 2, 6)[0]
    point = Point.at(path, p.mean + 3 * p.covariance_matrix.diagonal().sqrt() * torch.randn(chains, 1, 4).double())
    for _ in range(60):
        point, _ = transition(path, point, 0.5, step, 6)
    white = torch.linalg.solve_triangular(p.scale_tril, (point.z[:, 0] - p.mean).T, upper=False)
    assert (white.mean(1) * math.sqrt(chains)).abs().max() < 4.5
    error = white @ white.T / chains - torch.eye(4).double()
    spread = torch.ones(4, 4).double() + torch.eye(4).double()  # the variance of a product of two standard normals
    assert (error / (spread / chains).sqrt()).abs().max() < 4.5


def test_a_transition_leaves_a_non_gaussian_density_as_it_is():
    """Exact draws of f_b stay draws of it: each entry's moments, before and after large steps that are often refused."""
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.3, 0.7])),
        torch.distributions.Normal(torch.tensor([-1.5, 1.0]).double(), torch.tensor([0.4, 0.8]).double()),
    )

    def path(z):
        return mixture.log_prob(z).sum(-1), torch.zeros_like(z[..., 0])

    exact = mixture.sample((20_000, 1, 1))
    point = Point.at(path, exact)
    for _ in range(3):
        point, acceptance = transition(path, point, 1.0, torch.full((1, 1), 1.2).double(), 2)
        assert acceptance.mean() < 0.9
    for power in (1, 2, 3):
        moments = mixture.sample((200_000,)) ** power
        error = (point.z**power).mean() - moments.mean()
        assert abs(error) < 4.5 * moments.std() * math.sqrt(1 / 20_000 + 1 / 200_000)


def test_a_trajectory_that_leaves_all_numbers_is_not_taken():
    z, _, _ = state(3, 2, 4)
    point, acceptance = transition(quartic, Point.at(quartic, z), 0.7, torch.full((2, 4), 1e200, dtype=torch.float64), 3)
    assert not acceptance.any()
    assert torch.equal(point.z, z)


def test_every_leapfrog_step_asks_for_one_gradient():
    calls = []

    def counted(z):
        calls.append(z)
        return quartic(z)

    z, _, step = state(3, 2, 4)
    point = Point.at(counted, z)
    for beta in (0.1, 0.2, 0.3):
        point, _ = transition(counted, point, beta, step, 5)
    assert len(calls) == 1 + 3 * 5

import copy
import math
import subprocess
import sys

import pytest
import torch
from torch.distributions import Normal

from amortized import InputError
from amortized.priors import Flow

KINDS = ("coupling", "spline", "maf")


@pytest.fixture(params=KINDS)
def kind(request):
    torch.manual_seed(0)
    return request.param


def shaken(prior, size=0.3):
    """The prior with noise on its weights, in float64: at its start its map is nearly the identity."""
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(size * torch.randn_like(parameter))
    return prior.double()


def trained(prior, steps=30):
    """The prior after a few steps of maximum likelihood on two clusters."""
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.01)
    for _ in range(steps):
        z = 0.5 * torch.randn(100, *prior.event_shape, dtype=torch.float64)
        z = z + torch.randn(100, *(1 for _ in prior.event_shape), dtype=torch.float64).sign()
        loss = -prior().log_prob(z).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return prior


def to_noise(p, z):
    """f(z) (N, D) and its log-determinant (N,)."""
    return p.transform.inverse_and_ladj(z.flatten(-len(p.event_shape)))


@pytest.mark.parametrize("train", [False, True])
def test_the_log_determinant_is_that_of_the_jacobian(kind, train):
    prior = shaken(Flow(4, kind, hidden=(16,)))
    p = (trained(prior) if train else prior)()
    for z in 1.5 * torch.randn(4, 4, dtype=torch.float64):
        noise, log_det = to_noise(p, z)
        jacobian = torch.autograd.functional.jacobian(lambda value: to_noise(p, value)[0], z)
        torch.testing.assert_close(log_det, torch.linalg.slogdet(jacobian).logabsdet)
        torch.testing.assert_close(p.log_prob(z), Normal(0.0, 1.0).log_prob(noise).sum() + log_det)
        assert log_det.abs() > 1e-3


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("event", [1, 5, (2, 3)])
def test_the_inverse_inverts(kind, event, train):
    prior = shaken(Flow(event, kind, hidden=(16,)))
    p = (trained(prior) if train else prior)()
    noise = torch.randn(50, prior.event_shape.numel(), dtype=torch.float64)
    z, log_det = p.transform.call_and_ladj(noise)
    again, log_det_back = to_noise(p, z.reshape(50, *prior.event_shape))
    torch.testing.assert_close(again, noise, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(log_det_back, -log_det, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(p.transform.call_and_ladj(to_noise(p, z.reshape(50, *prior.event_shape))[0])[0], z)
    assert (z - noise).abs().max() > 0.05


@pytest.mark.parametrize("dimension", [1, 2])
def test_after_training_the_density_integrates_to_one_and_its_samples_agree_with_it(kind, dimension):
    n, p = 20_000, trained(Flow(dimension, kind, hidden=(16,), bins=4).double())()
    with torch.no_grad():
        drawn = p.sample((n,))
        nodes = torch.linspace(-12, 12, 4001 if dimension == 1 else 501, dtype=torch.float64)
        z = drawn.mean(0) + drawn.std(0) * torch.cartesian_prod(*[nodes] * dimension).reshape(-1, dimension)
        log_p, information = p.log_prob(z), -p.log_prob(drawn.clone())
    mass = drawn.std(0).prod() * (nodes[1] - nodes[0]) ** dimension * log_p.exp()
    assert abs(mass.sum() - 1) < (1e-4 if kind == "spline" else 1e-8)  # a spline's density has kinks at its knots
    assert abs(information.mean() + (mass * log_p).sum()) < 4.5 * information.std() / math.sqrt(n)


def test_by_maximum_likelihood_it_bends_towards_the_data(kind):
    prior = Flow(2, kind, hidden=(32,), transforms=2)

    def data(n):  # a parabola: independent Gaussians of its moments would have 0.65 nats more than its entropy
        first = torch.randn(n)
        return torch.stack((first, 0.5 * first.square() - 0.5 + 0.3 * torch.randn(n)), -1)

    optimizer = torch.optim.Adam(prior.parameters(), lr=0.01)
    for _ in range(200):
        loss = -prior().log_prob(data(200)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    entropy = math.log(2 * math.pi * math.e) + math.log(0.3)
    with torch.no_grad():
        score = -prior().log_prob(data(20_000))
    assert score.mean() - entropy < 0.15
    assert score.mean() - entropy > -4 * score.std() / math.sqrt(len(score))


def test_it_starts_near_the_standard_normal(kind):
    z = torch.randn(4000, 10)
    kl = Normal(0.0, 1.0).log_prob(z).sum(-1) - Flow(10, kind)().log_prob(z)
    assert abs(kl.mean()) < 0.01
    one = Flow(1, kind)()
    assert (one.log_prob(z[:, :1]) - Normal(0.0, 1.0).log_prob(z[:, 0])).abs().mean() < 0.05


def test_the_temperature_multiplies_the_deviation_of_the_noise(kind):
    prior = shaken(Flow(3, kind, hidden=(16,)))
    noise = {}
    for temperature in (0.0, 0.5, 1.0):
        torch.manual_seed(1)
        p = prior(temperature=temperature)
        z = p.sample((20,))
        noise[temperature], _ = to_noise(p, z)
    torch.testing.assert_close(noise[0.5], 0.5 * noise[1.0])
    assert noise[0.0].abs().max() < 1e-10
    torch.testing.assert_close(prior(temperature=0.0).sample(), prior().center)


def test_given_a_condition_each_datum_has_its_own_density(kind):
    for event in (1, 3):
        prior = shaken(Flow(event, kind, hidden=(16,), context_features=2))
        context, z = torch.randn(6, 2, dtype=torch.float64), torch.randn(4, 6, event, dtype=torch.float64)
        p = prior(context)
        assert p.batch_shape == (6,)
        assert p.sample((4,)).shape == (4, 6, event)
        alone = torch.stack([prior(context[i : i + 1]).log_prob(z[:, i : i + 1])[:, 0] for i in range(6)], 1)
        torch.testing.assert_close(p.log_prob(z), alone)
        assert p.log_prob(z[0, 0]).shape == (6,)
        assert p.log_prob(z[0, 0]).std() > 0.01


def test_expanded_it_is_the_same_distribution(kind):
    p = shaken(Flow((2, 2), kind, hidden=(8,)))()
    larger = p.expand((3, 5))
    z = torch.randn(3, 5, 2, 2, dtype=torch.float64)
    torch.testing.assert_close(larger.log_prob(z), p.log_prob(z))
    assert larger.sample((7,)).shape == (7, 3, 5, 2, 2)


def test_it_has_no_mean_and_can_be_copied(kind):
    prior = Flow(3, kind, hidden=(8,))
    with pytest.raises(NotImplementedError):
        _ = prior().mean
    z = torch.randn(5, 3)
    assert torch.equal(copy.deepcopy(prior)().log_prob(z), prior().log_prob(z))


def test_importing_zuko_leaves_the_validation_of_others_alone():
    program = (
        "from torch.distributions import Normal\n"
        "from amortized.priors import Flow\n"
        "Flow(2)().sample()\n"
        "try: Normal(0.0, -1.0)\n"
        "except ValueError: print('validated')"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "validated"


def test_what_cannot_be_built_is_refused():
    with pytest.raises(InputError, match="unknown kind of flow 'splines': did you mean 'spline'"):
        Flow(3, "splines")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="bins of a flow must be an integer, 2 or more; it is 1"):
        Flow(3, "spline", bins=1)
    with pytest.raises(InputError, match="transforms of a flow must be an integer, 1 or more; it is 0"):
        Flow(3, transforms=0)
    with pytest.raises(InputError, match="built for a condition of width 2 and was called without one"):
        Flow(3, context_features=2)()
    with pytest.raises(InputError, match="built for a condition of width 0 and got one of width 2"):
        Flow(3)(torch.zeros(5, 2))

import pytest
import torch

from amortized.distributions import SphereUniform
from amortized.divergences import exact_kl
from amortized.errors import InputError
from amortized.networks import MLP
from amortized.posteriors import VonMisesFisher
from amortized.posteriors.von_mises_fisher import CAP, FLOOR, unit_direction


def constant(bias, dimension=3):
    posterior = VonMisesFisher(MLP(5, [8]), dimension)
    with torch.no_grad():
        posterior.get_parameter("head.output.weight").zero_()
        posterior.get_parameter("head.output.bias").copy_(torch.tensor(bias))
    return posterior


def test_direction_and_concentration_are_what_the_network_says():
    q = constant([3.0, 0.0, -4.0, 2.0])(torch.randn(2, 5))
    torch.testing.assert_close(q.loc, torch.tensor([0.6, 0.0, -0.8]).expand(2, 3))
    torch.testing.assert_close(q.concentration, torch.full((2,), FLOOR) + torch.nn.functional.softplus(torch.tensor(2.0)))


@pytest.mark.parametrize(("raw", "limit"), [(-1e4, FLOOR), (1e9, CAP)])
def test_the_concentration_stays_between_its_floor_and_its_cap(raw, limit):
    q = constant([1.0, 2.0, 3.0, raw])(torch.randn(2, 5))
    torch.testing.assert_close(q.concentration, torch.full((2,), limit))
    z = q.rsample((100,))
    assert q.log_prob(z).isfinite().all()
    torch.testing.assert_close(z.norm(dim=-1), torch.ones(100, 2))


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-30, 1.0, 1e30])
def test_a_vector_of_any_length_has_a_direction_and_a_finite_gradient(size):
    vector = torch.tensor([0.0, size, 0.0], requires_grad=True)
    direction = unit_direction(vector)
    torch.testing.assert_close(direction.norm(), torch.tensor(1.0))
    direction.sum().backward()
    assert vector.grad is not None
    assert vector.grad.isfinite().all()


def test_the_gradient_of_a_direction_lies_across_it():
    vector = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unit_direction, vector)
    unit_direction(vector).square().sum().backward()
    assert vector.grad is not None
    torch.testing.assert_close(vector.grad, torch.zeros_like(vector), atol=1e-12, rtol=0)


def test_the_kl_from_the_uniform_prior_has_a_closed_form_and_a_gradient():
    posterior = VonMisesFisher(MLP(5, [8], activation="tanh"), 3)
    kl = exact_kl(posterior(torch.randn(4, 5)), SphereUniform(3))
    assert kl is not None
    assert kl.shape == (4,)
    kl.sum().backward()
    gradient = posterior.get_parameter("head.output.weight").grad
    assert gradient is not None
    assert gradient.isfinite().all()
    assert torch.equal(gradient[:3], torch.zeros(3, 8))  # it does not depend on the direction
    assert (gradient[3] != 0).all()


def test_the_circle_is_the_smallest_sphere():
    assert VonMisesFisher(MLP(5, [8]), 2)(torch.randn(4, 5)).rsample((3,)).shape == (3, 4, 2)
    with pytest.raises(InputError, match="dimension is 1"):
        VonMisesFisher(MLP(5, [8]), 1)

import torch
from torch.distributions import MultivariateNormal

from amortized.networks import MLP
from amortized.posteriors import Delta, DiagonalGaussian, FullGaussian


def test_a_full_gaussian_can_have_any_covariance():
    torch.manual_seed(0)
    wanted = torch.randn(3, 3, dtype=torch.float64)
    wanted = wanted @ wanted.T + torch.eye(3).double()
    tril = torch.linalg.cholesky(wanted)
    posterior = FullGaussian(MLP(5, []), 3).double()
    with torch.no_grad():
        posterior.head.output.weight.zero_()
        below = tril[tuple(torch.tril_indices(3, 3, offset=-1))]
        posterior.get_parameter("head.output.bias").copy_(torch.cat((torch.arange(3.0).double(), tril.diagonal().log(), below)))
    q = posterior(torch.randn(2, 5, dtype=torch.float64))
    assert isinstance(q, MultivariateNormal)
    torch.testing.assert_close(q.covariance_matrix, wanted.expand(2, 3, 3))
    torch.testing.assert_close(q.mean, torch.arange(3.0).double().expand(2, 3))


def test_a_full_gaussian_covariance_depends_on_x_off_its_diagonal_too():
    torch.manual_seed(0)
    q = FullGaussian(MLP(5, [8]), 3)(torch.randn(2, 5))
    assert isinstance(q, MultivariateNormal)
    first, second = q.covariance_matrix
    assert not torch.allclose(first[1, 0], second[1, 0])


def test_an_event_may_have_several_dimensions():
    q = DiagonalGaussian(MLP(5, [8]), (2, 3))(torch.randn(4, 5))
    assert q.event_shape == (2, 3)
    assert q.rsample((7,)).shape == (7, 4, 2, 3)
    assert Delta(MLP(5, [8]), (2, 3))(torch.randn(4, 5)).rsample((7,)).shape == (7, 4, 2, 3)


def test_a_point_mass_is_always_at_its_point():
    torch.manual_seed(0)
    q = Delta(MLP(5, [8]), 3)(torch.randn(4, 5))
    z = q.rsample((7,))
    assert torch.equal(z, q.mean.expand(7, 4, 3))
    assert torch.equal(q.log_prob(z), torch.zeros(7, 4))

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MultivariateNormal, Normal

from amortized.distributions import center
from amortized.distributions.chain import Chain
from amortized.divergences import exact_kl

B = 4


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def link(z):
    return Independent(Normal(torch.cat((z, z.sum(-1, keepdim=True)), -1).unsqueeze(-2), 0.5), 2)


def last(z):
    return Normal(z.sum((-2, -1)), 2.0)


def make(batch=(B,), *, backward=False):
    """Two entries, then a row of three, then a number."""
    torch.manual_seed(1)
    first = Independent(Normal(torch.randn(*batch, 2, dtype=torch.float64), 1.5), 1)
    return Chain(first, [link, last], [(2,), (1, 3), ()], backward=backward)


def flat(chain, first, second, third):
    groups = [first, second.flatten(-2), third.unsqueeze(-1)]
    return torch.cat(groups[::-1] if chain.backward else groups, -1)


def joint(chain):
    """The same as one Gaussian, in the order of drawing."""
    spread = torch.zeros(6, 6, dtype=torch.float64)
    spread[:2, :2] = 1.5 * torch.eye(2)
    copies = torch.tensor([[1.0, 0], [0, 1], [1, 1]], dtype=torch.float64)
    spread[2:5] = torch.cat((copies @ spread[:2, :2], 0.5 * torch.eye(3), torch.zeros(3, 1)), -1)
    spread[5] = spread[2:5].sum(0)
    spread[5, 5] = 2.0
    loc = chain.first.mean
    loc = torch.cat((loc, loc @ copies.T, (loc @ copies.T).sum(-1, keepdim=True)), -1)
    return MultivariateNormal(loc, spread @ spread.T)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("batch", [(), (B,)])
def test_shapes(batch, backward):
    chain = make(batch, backward=backward)
    assert chain.batch_shape == batch
    assert chain.event_shape == (6,)
    for lead in ((), (3,), (2, 3)):
        z = chain.rsample(lead)
        assert z.shape == (*lead, *batch, 6)
        assert chain.log_prob(z).shape == (*lead, *batch)
        assert chain.sample(lead).shape == z.shape
    assert chain.center.shape == (*batch, 6)


@pytest.mark.parametrize("backward", [False, True])
def test_the_density_is_that_of_the_joint_distribution(backward):
    chain, z = make(backward=backward), torch.randn(3, B, 6, dtype=torch.float64)
    vector = flat(chain, z[..., :2], z[..., 2:5].unsqueeze(-2), z[..., 5])
    torch.testing.assert_close(chain.log_prob(vector), joint(chain).log_prob(z))


def test_draws_have_the_moments_of_the_joint_distribution():
    chain, n = make(()), 40_000
    z, truth = chain.sample((n,)), joint(chain)
    assert ((z.mean(0) - truth.mean).abs() < 4.5 * truth.stddev / math.sqrt(n)).all()
    products = (z - truth.mean).unsqueeze(-1) * (z - truth.mean).unsqueeze(-2)
    assert ((products.mean(0) - truth.covariance_matrix).abs() < 5 * products.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize("backward", [False, True])
def test_its_center_is_that_of_each_group_given_the_center_of_the_one_before(backward):
    chain = make(backward=backward)
    mean = joint(chain).mean  # in a linear chain that is the mean
    torch.testing.assert_close(center(chain), flat(chain, mean[..., :2], mean[..., 2:5].unsqueeze(-2), mean[..., 5]))
    with pytest.raises(NotImplementedError):
        _ = chain.mean


@pytest.mark.parametrize("backward", [False, True])
def test_groups_drawn_after_the_one_that_moves_give_way_to_their_centers(backward):
    chain, z = make(backward=backward), torch.randn(B, 6, dtype=torch.float64)
    second, third = z[:, [0, 1]] @ torch.tensor([[1.0, 0, 1], [0, 1, 1]], dtype=torch.float64), z[:, 2:5].sum(1)

    def vector(row, number):
        return flat(chain, z[:, :2], row.unsqueeze(-2), number)

    given = vector(z[:, 2:5], z[:, 5])
    wanted = {0: vector(second, second.sum(1)), 1: vector(z[:, 2:5], third), 2: given}
    place = flat(chain, torch.zeros(2), torch.ones(1, 3), torch.tensor(2.0)).tolist()  # the group of each entry
    for entry, group in enumerate(place):
        torch.testing.assert_close(chain.follow(given, entry), wanted[int(group)])
    each = torch.tensor([0, 1, 4, 5])
    expected = torch.stack([wanted[int(place[entry])][row] for row, entry in enumerate(each.tolist())])
    torch.testing.assert_close(chain.follow(given, each), expected)


def test_one_point_is_scored_under_every_distribution_of_the_batch():
    chain, z = make(), torch.randn(6, dtype=torch.float64)
    torch.testing.assert_close(chain.log_prob(z), chain.log_prob(z.expand(B, 6)))


def test_it_expands():
    chain = make().expand((3, B))
    assert chain.sample((2,)).shape == (2, 3, B, 6)
    z = torch.randn(B, 6, dtype=torch.float64)
    torch.testing.assert_close(chain.log_prob(z), make().log_prob(z).expand(3, B))
    torch.testing.assert_close(make(()).expand((B,)).log_prob(z), make(()).log_prob(z))


def test_a_gradient_goes_from_a_draw_to_all_groups_before():
    loc = torch.zeros(2, requires_grad=True)
    chain = Chain(Independent(Normal(loc, 1.0), 1), [link, last], [(2,), (1, 3), ()])
    chain.rsample()[-1].backward()
    torch.testing.assert_close(loc.grad, torch.full((2,), 2.0))
    assert not chain.sample().requires_grad


def test_a_group_without_a_gradient_is_drawn_without():
    chain = Chain(Normal(torch.zeros(3), 1.0), [lambda z: Categorical(logits=z.unsqueeze(-1).expand(*z.shape, 4))], [(), ()])
    assert chain.sample((5,)).shape == (5, 3, 2)
    with pytest.raises(NotImplementedError):
        chain.rsample()


def test_no_closed_form_is_claimed_for_it():
    assert exact_kl(make(), make()) is None

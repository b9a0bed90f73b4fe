import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from amortized.distributions import Transformed, center
from amortized.distributions import transforms as maps
from amortized.distributions.tempering import tempered
from amortized.divergences import exact_kl

B, D = 3, 2


class Counting:
    """A bijection that counts its inverses."""

    def __init__(self, transform):
        self.transform, self.inverses = transform, 0

    def call_and_ladj(self, z):
        return self.transform.call_and_ladj(z)

    def inverse_and_ladj(self, z):
        self.inverses += 1
        return self.transform.inverse_and_ladj(z)


def inverses(q):
    assert isinstance(q.transform, Counting)
    return q.transform.inverses


@pytest.fixture
def parameters():
    torch.manual_seed(0)
    return torch.randn(5, B, D, dtype=torch.float64).requires_grad_()


def build(parameters):
    base = Independent(Normal(parameters[0], parameters[1].exp()), 1)
    return Transformed(base, Counting(maps.Planar(parameters[2], parameters[3], parameters[4, :, 0])))


def test_an_affine_map_of_a_gaussian_is_a_gaussian(parameters):
    base = MultivariateNormal(torch.zeros(D).double(), torch.eye(D).double())
    q = Transformed(base.expand((B,)), maps.Affine(parameters[0], parameters[1]))
    exact = Independent(Normal(parameters[0], parameters[1].exp()), 1)
    z = torch.randn(4, B, D, dtype=torch.float64)
    torch.testing.assert_close(q.log_prob(z), exact.log_prob(z))
    torch.testing.assert_close(center(q), exact.mean)
    torch.manual_seed(1)
    drawn = q.rsample((4,))
    torch.manual_seed(1)
    torch.testing.assert_close(drawn, exact.rsample((4,)))


def test_its_last_draw_is_scored_without_an_inverse(parameters):
    q = build(parameters)
    first, z = q.rsample((4,)), q.rsample((4,))
    remembered = q.log_prob(z)
    assert inverses(q) == 0
    torch.testing.assert_close(remembered, q.log_prob(z.clone()))
    q.log_prob(first)
    assert inverses(q) == 2


def test_both_routes_have_the_same_gradient(parameters):
    q = build(parameters)
    z = q.rsample((4,))
    remembered, inverted = (
        torch.autograd.grad(q.log_prob(value).sum(), parameters, retain_graph=True)[0] for value in (z, z + 0)
    )
    torch.testing.assert_close(remembered, inverted)


def test_a_draw_without_a_graph_is_scored_with_the_gradient_of_a_foreign_point(parameters):
    q = build(parameters)
    z = q.sample((4,))
    with torch.no_grad():
        q.log_prob(z)
        assert inverses(q) == 0
    score = torch.autograd.grad(q.log_prob(z).sum(), parameters)[0]
    exact = torch.autograd.grad(build(parameters).log_prob(z).sum(), parameters)[0]
    assert torch.equal(score, exact)
    assert score.abs().sum() > 0


def test_a_draw_that_became_a_leaf_gets_its_own_gradient(parameters):
    q = build(parameters.detach())
    z = q.rsample((4,)).requires_grad_()
    (gradient,) = torch.autograd.grad(q.log_prob(z).sum(), z)
    assert gradient.abs().sum() > 0


def test_a_draw_whose_gradient_is_retained_gets_its_own_gradient(parameters):
    q = build(parameters)
    z, same = q.rsample((4,)), None
    by_total = torch.autograd.grad(q.log_prob(z).sum(), parameters, retain_graph=True)[0]
    assert inverses(q) == 0
    z.retain_grad()
    score = q.log_prob(z).sum()
    (direct,) = torch.autograd.grad(score, z, retain_graph=True)
    same = z.detach().requires_grad_()
    torch.testing.assert_close(direct, torch.autograd.grad(q.log_prob(same).sum(), same)[0])
    torch.testing.assert_close(torch.autograd.grad(score, parameters)[0], by_total)


def test_a_draw_that_was_changed_in_place_is_another_point(parameters):
    q = build(parameters)
    with torch.no_grad():
        z = q.sample((4,)).mul_(2)
        torch.testing.assert_close(q.log_prob(z), build(parameters).log_prob(z))
    assert inverses(q) == 1


def test_draws_in_inference_mode_are_remembered_too(parameters):
    with torch.inference_mode():
        q = build(parameters)
        z = q.sample((4,))
        torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()))
    assert inverses(q) == 1


def test_a_temperature_is_that_of_its_base(parameters):
    q = build(parameters)
    z = torch.randn(4, B, D, dtype=torch.float64)
    cold = Transformed(Independent(Normal(parameters[0], 0.5 * parameters[1].exp()), 1), q.transform)
    assert torch.equal(tempered(q, 0.5).log_prob(z), cold.log_prob(z))
    assert torch.equal(tempered(q, 0.0).sample((4,)), center(q).expand(4, B, D))


def test_its_mean_is_not_known_and_its_center_is_the_image_of_the_mean(parameters):
    q = build(parameters)
    with pytest.raises(NotImplementedError):
        _ = q.mean
    assert torch.equal(center(q), q.transform.call_and_ladj(parameters[0])[0])
    assert exact_kl(q, q.base) is None
    assert exact_kl(q, q) is None


def test_it_expands_and_broadcasts(parameters):
    q = build(parameters)
    z = torch.randn(4, 1, D, dtype=torch.float64)
    wide = q.expand((4, B))
    assert wide.rsample((7,)).shape == (7, 4, B, D)
    torch.testing.assert_close(wide.log_prob(z.expand(4, B, D)), q.log_prob(z))


def test_an_event_of_several_dimensions_is_a_vector_to_the_map(parameters):
    matrix = Independent(Normal(parameters[:2], torch.ones(2, B, D).double()), 2)
    u, w = torch.randn(2, 2, B * D, dtype=torch.float64)
    flow = maps.Planar(u, w, torch.zeros(2).double())
    q = Transformed(matrix, flow)
    assert q.event_shape == (B, D)
    z = q.rsample((7,))
    assert z.shape == (7, 2, B, D)
    assert center(q).shape == (2, B, D)
    torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()))


def test_autocast_does_not_round_the_map():
    torch.manual_seed(0)
    q = Transformed(
        Independent(Normal(torch.zeros(B, D), torch.ones(B, D)), 1),
        maps.Sylvester(
            maps.Columns(torch.eye(D)), (torch.randn(D), torch.randn(D)), (torch.randn(1), torch.randn(1)), torch.randn(D)
        ),
    )
    z = torch.randn(4, B, D)
    exact = q.log_prob(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(q.log_prob(z), exact)
        assert q.rsample().dtype == torch.float32

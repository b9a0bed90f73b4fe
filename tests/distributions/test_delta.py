import torch
from torch.distributions import Independent, Normal

from amortized.distributions import Delta
from amortized.divergences import exact_kl


def test_a_delta_is_where_it_is():
    value = torch.randn(3, 2, requires_grad=True)
    delta = Delta(value, event_dim=1)
    assert delta.batch_shape == (3,)
    assert delta.event_shape == (2,)
    z = delta.rsample((4,))
    assert z.shape == (4, 3, 2)
    assert torch.equal(delta.log_prob(z), torch.zeros(4, 3))
    assert torch.equal(delta.log_prob(value + 1), torch.full((3,), -torch.inf))
    assert torch.equal(delta.mean, value)
    assert torch.equal(delta.mode, value)
    assert torch.equal(delta.variance, torch.zeros(3, 2))
    z.sum().backward()
    assert value.grad is not None
    assert torch.equal(value.grad, torch.full((3, 2), 4.0))


def test_one_moved_entry_moves_the_point():
    delta = Delta(torch.zeros(2, 3), event_dim=2)
    assert delta.log_prob(torch.tensor([[0.0, 0, 0], [0, 1, 0]])) == -torch.inf


def test_a_delta_expands():
    delta = Delta(torch.arange(3.0)).expand((2, 3))
    assert delta.sample().shape == (2, 3)
    assert torch.equal(delta.log_prob(torch.arange(3.0)), torch.zeros(2, 3))


def test_no_closed_form_is_claimed_between_two_families_that_have_none():
    point, line = Delta(torch.zeros(2)), Normal(torch.zeros(2), torch.ones(2))
    assert exact_kl(Independent(line, 1), Independent(point, 1)) is None

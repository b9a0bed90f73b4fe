import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal, constraints

from amortized.distributions import Autoregressive, Bits, OneHot


class Linear:
    """x_i given the entries of earlier steps is N(sum_j W_ij x_j + b, s_i^2); counts how often it is called."""

    def __init__(self, order, seed=0):
        noise = torch.Generator().manual_seed(seed)
        size, flat = order.numel(), order.flatten()
        earlier = flat[:, None] > flat
        self.weight = torch.where(earlier, torch.randn(size, size, generator=noise, dtype=torch.float64), 0.0)
        self.scale = 0.5 + torch.rand(size, generator=noise, dtype=torch.float64)
        self.order, self.calls, self.seen = order, 0, []
        self.shift = torch.zeros((), dtype=torch.float64)

    def __call__(self, x):
        self.calls += 1
        self.seen.append(x)
        loc = (x.flatten(-self.order.ndim) @ self.weight.T + self.shift).reshape(
            *torch.broadcast_shapes(x.shape[: -self.order.ndim], self.shift.shape[:-1]), *self.order.shape
        )
        return Independent(Normal(loc, self.scale.reshape(self.order.shape)), self.order.ndim)

    def joint(self):
        solve = torch.linalg.inv(torch.eye(len(self.scale), dtype=torch.float64) - self.weight)
        return MultivariateNormal(solve @ self.shift.expand(len(self.scale)), solve @ self.scale.diag().square() @ solve.T)

    def distribution(self, batch_shape=()):
        steps = int(self.order.max()) + 1
        support = constraints.independent(constraints.real, self.order.ndim)
        return Autoregressive(self, self.order, steps, torch.Size(batch_shape), support=support, dtype=torch.float64)


ORDERS = {
    "forward": torch.arange(4),
    "any order": torch.tensor([2, 0, 3, 1]),
    "two groups": torch.tensor([1, 0, 0, 1]),
    "independent": torch.tensor([0, 0, 0]),
    "an image": torch.arange(4).reshape(2, 2),
}


@pytest.fixture(params=ORDERS, ids=str)
def linear(request):
    torch.manual_seed(0)
    return Linear(ORDERS[request.param])


def test_it_is_the_joint_gaussian_of_its_linear_conditionals(linear):
    x = torch.randn(5, *linear.order.shape, dtype=torch.float64)
    torch.testing.assert_close(linear.distribution().log_prob(x), linear.joint().log_prob(x.flatten(1)))
    assert linear.calls == 1


def test_samples_have_the_moments_of_the_joint_and_take_one_pass_a_step(linear):
    n, joint = 40_000, linear.joint()
    x = linear.distribution().sample((n,)).flatten(1)
    assert linear.calls == linear.order.max() + 1
    white = torch.linalg.solve_triangular(joint.scale_tril, (x - joint.mean).T, upper=False).T
    outer = white[:, :, None] * white[:, None]
    assert (white.mean(0).abs() < 4.5 / math.sqrt(n)).all()
    assert ((outer.mean(0) - torch.eye(x.shape[1])).abs() < 4.5 * outer.std(0) / math.sqrt(n)).all()


def test_what_is_not_drawn_yet_is_zero(linear):
    linear.distribution().sample((3,))
    for step, x in enumerate(linear.seen):
        assert (x[:, linear.order >= step] == 0).all()
        assert (x[:, linear.order < step] != 0).all()


def test_the_batch_is_that_of_what_the_conditionals_know():
    linear = Linear(torch.arange(3))
    linear.shift = torch.randn(6, 3, dtype=torch.float64)  # one condition per datum
    p = linear.distribution((6,))
    assert p.sample((2,)).shape == (2, 6, 3)
    assert p.sample().shape == (6, 3)
    x = torch.randn(3, dtype=torch.float64)
    assert p.log_prob(x).shape == (6,)
    assert p.log_prob(torch.randn(2, 6, 3, dtype=torch.float64)).shape == (2, 6)
    larger = p.expand((4, 6))
    assert larger.batch_shape == (4, 6)
    assert larger.sample().shape == (4, 6, 3)
    torch.testing.assert_close(larger.log_prob(x), p.log_prob(x).expand(4, 6))


def test_a_sample_has_no_gradient_and_a_score_has():
    linear = Linear(torch.arange(3))
    linear.weight.requires_grad_()
    p = linear.distribution()
    assert not p.has_rsample
    assert not p.sample().requires_grad
    assert p.log_prob(p.sample()).requires_grad
    with pytest.raises(NotImplementedError):
        _ = p.mean


def test_discrete_families_sum_to_one_and_are_sampled_as_scored():
    torch.manual_seed(0)
    order = torch.tensor([1, 0, 2])[:, None].expand(3, 2)
    table = torch.randn(3, 6, dtype=torch.float64)

    def classes(x):  # two classes, their logits linear in the earlier variables
        logit = torch.stack([x.flatten(-2) @ (row * (order < order[i, 0]).flatten()) for i, row in enumerate(table)], -1)
        return OneHot(torch.stack((logit + 0.3, -logit), -1))

    p = Autoregressive(classes, order, 3, support=constraints.independent(constraints.one_hot, 1), dtype=torch.float64)
    assert p.support.is_discrete
    values = torch.eye(2, dtype=torch.float64)[torch.cartesian_prod(*[torch.arange(2)] * 3)]
    mass = p.log_prob(values).exp()
    assert mass.sum().item() == pytest.approx(1, abs=1e-14)
    n = 20_000
    counts = torch.einsum("nvc,mvc->nm", p.sample((n,)), values).eq(3).double().sum(0)
    assert counts.sum() == n
    chi2 = ((counts - n * mass).square() / (n * mass)).sum()
    assert chi2 < 7 + 5 * math.sqrt(14)  # mean plus five standard deviations, 7 degrees of freedom


def test_bits_that_copy_each_other():
    p = Autoregressive(
        lambda x: Bits(200 * torch.nn.functional.pad(x[..., :-1] - 0.5, (1, 0))),
        torch.arange(5),
        5,
        support=constraints.independent(constraints.boolean, 1),
    )
    x = p.sample((100,))
    assert (x == x[:, :1]).all()
    assert 20 < x[:, 0].sum() < 80
    torch.testing.assert_close(p.log_prob(torch.ones(5)), -torch.tensor(2.0).log())

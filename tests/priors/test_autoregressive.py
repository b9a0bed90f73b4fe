import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from amortized import InputError
from amortized.conditional import call_detached
from amortized.distributions import RelaxedBits, RelaxedOneHot
from amortized.priors import Autoregressive


def shaken(prior, size=0.3, seed=0):
    """The prior with noise on its weights: at its start its conditionals hardly depend on anything."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=noise))
    return prior.double()


def parameters_of(prior, z, context=None):
    """(D, P) whatever the network says at one z (*event)."""
    rows = z.flatten() if context is None else torch.cat((z.flatten(), context))
    return prior.network(rows).reshape(prior.variables.numel(), -1)


KINDS = {
    "real": ((6,), "real", {}),
    "mixture": ((6,), "real", {"components": 3}),
    "an event of two dimensions": ((2, 3), "real", {}),
    "binary": ((6,), "binary", {}),
    "categorical": ((6, 3), "categorical", {}),
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("groups", [None, 2, 4, 1])
@pytest.mark.parametrize("width", [0, 2])
def test_a_conditional_depends_on_earlier_groups_and_the_condition_alone(kind, groups, width):
    event, space, options = KINDS[kind]
    prior = shaken(Autoregressive(event, space, hidden=(40, 40), groups=groups, context_features=width, **options))
    order = prior.order.flatten()
    per_variable = order if space != "categorical" else order[:: event[-1]]
    assert sorted(set(order.tolist())) == list(range(groups or 6))
    assert per_variable.diff().min() >= 0
    sizes = torch.bincount(per_variable)
    assert sizes.max() - sizes.min() <= 1
    z = torch.randn(event, dtype=torch.float64)
    context = torch.randn(width, dtype=torch.float64) if width else None
    jacobian = torch.autograd.functional.jacobian(lambda value: parameters_of(prior, value, context), z)
    depends = jacobian.reshape(6, -1, len(order)).abs().amax(1) > 0
    assert torch.equal(depends, per_variable[:, None] > order)
    if context is not None:
        to_context = torch.autograd.functional.jacobian(lambda value: parameters_of(prior, z, value), context)
        assert (to_context.abs().amax(1) > 0).all()


def test_one_group_makes_the_entries_independent():
    prior = shaken(Autoregressive(3, groups=1))
    z = torch.randn(5, 3, dtype=torch.float64)
    loc, log_scale = prior.network(z[0]).reshape(3, 2).unbind(-1)
    torch.testing.assert_close(prior().log_prob(z), Normal(loc, log_scale.exp()).log_prob(z).sum(-1))
    assert prior().steps == 1


@pytest.mark.parametrize(("event", "space"), [((5,), "binary"), ((3, 3), "categorical")])
@pytest.mark.parametrize("groups", [None, 2])
def test_a_discrete_prior_sums_to_one_over_all_values(event, space, groups):
    prior = shaken(Autoregressive(event, space, hidden=(16,), groups=groups), 1.0)
    codes = torch.cartesian_prod(*[torch.arange(2 if space == "binary" else 3)] * event[0])
    values = codes.double() if space == "binary" else torch.eye(3, dtype=torch.float64)[codes]
    for temperature in (1.0, 0.3):
        mass = prior(temperature=temperature).log_prob(values).exp()
        assert mass.sum().item() == pytest.approx(1, abs=1e-12)
    assert mass.max() > 3 * mass.mean()  # far from uniform, so that the sum says something


@pytest.mark.parametrize("dimension", [1, 2])
@pytest.mark.parametrize("options", [{}, {"components": 2}, {"groups": 1}, {"hidden": ()}], ids=str)
def test_a_real_prior_integrates_to_one_and_its_samples_agree_with_it(dimension, options):
    n = 20_000
    torch.manual_seed(0)
    p = shaken(Autoregressive(dimension, **{"hidden": (8,), **options}), 0.15)()
    nodes = torch.linspace(-14, 14, 401, dtype=torch.float64)  # the trapezoid rule converges geometrically for such densities
    with torch.no_grad():
        log_p = p.log_prob(torch.cartesian_prod(*[nodes] * dimension).reshape(-1, dimension))
        information = -p.log_prob(p.sample((n,)))
    mass = (nodes[1] - nodes[0]) ** dimension * log_p.exp()
    assert abs(mass.sum() - 1) < 1e-9
    assert abs(information.mean() + (mass * log_p).sum()) < 4.5 * information.std() / math.sqrt(n)


def test_it_stays_what_it_was_when_the_module_has_other_parameters_for_a_while():
    prior, z = shaken(Autoregressive(3, hidden=(8,))), torch.randn(5, 3, dtype=torch.float64)
    constant = call_detached(prior)
    assert torch.equal(constant.log_prob(z), prior().log_prob(z))
    assert not constant.log_prob(z).requires_grad


def test_it_starts_near_the_standard_normal_or_the_uniform():
    torch.manual_seed(0)
    z = torch.randn(4000, 10)
    normal = Normal(0.0, 1.0).log_prob(z).sum(-1)
    kl = {k: (normal - Autoregressive(10, components=k)().log_prob(z)).mean().item() for k in (1, 2, 3, 5)}
    assert all(abs(value) < 0.02 for value in kl.values())  # nats, over all 10 entries
    bits = Autoregressive(10, "binary")().log_prob((z > 0).float())
    assert (bits + 10 * math.log(2)).abs().max() < 0.1
    components = Autoregressive(10, components=3)().conditionals(z[0]).base_dist.component_distribution
    assert components.mean.diff(dim=-1).min() > 0.5  # apart, or they would stay alike


def test_by_maximum_likelihood_it_finds_a_correlated_gaussian():
    torch.manual_seed(0)
    target = MultivariateNormal(torch.tensor([1.0, -0.5]), torch.tensor([[1.0, 1.2], [1.2, 2.0]]))
    prior = Autoregressive(2, hidden=(16,))
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.02)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / 300)
        loss = -prior().log_prob(target.sample((500,))).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    z = target.sample((50_000,))
    with torch.no_grad():
        excess = target.log_prob(z) - prior().log_prob(z)  # its mean is KL(target || prior), 0.64 nats for independent entries
    assert excess.mean() < 0.02
    assert excess.mean() > -4 * excess.std() / math.sqrt(len(z))
    drawn = prior().sample((50_000,))
    torch.testing.assert_close(drawn.T.cov(), target.covariance_matrix, rtol=0.1, atol=0.1)


def test_a_mixture_of_conditionals_finds_two_modes():
    torch.manual_seed(0)
    prior = Autoregressive(2, hidden=(16,), components=2)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.02)

    def data(n):  # the second entry is plus or minus the first, so that its conditional has two modes
        first = 2 + 0.1 * torch.randn(n)
        return torch.stack((first, first * torch.randn(n).sign() + 0.1 * torch.randn(n)), -1)

    for _ in range(300):
        loss = -prior().log_prob(data(200)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    entropy = 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.1)) + math.log(2)
    with torch.no_grad():
        nll = -prior().log_prob(data(10_000)).mean()
    assert nll < entropy + 0.25  # one Gaussian for the second entry would cost 2.3 nats more
    assert prior().sample((1000,))[:, 1].abs().mean() == pytest.approx(2, abs=0.1)


@pytest.mark.parametrize(("event", "space", "relaxed"), [(4, "binary", RelaxedBits), ((4, 3), "categorical", RelaxedOneHot)])
def test_a_relaxed_value_has_a_finite_score_and_gradient(event, space, relaxed):
    prior = shaken(Autoregressive(event, space, hidden=(16,)))
    logits = torch.randn(7, *prior.event_shape, dtype=torch.float64, requires_grad=True)
    z = relaxed(logits, 0.5).rsample((3,))
    score = prior().log_prob(z)
    assert score.shape == (3, 7)
    assert score.isfinite().all()
    score.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_the_score_of_the_last_bit_is_linear_in_it():
    prior = shaken(Autoregressive(4, "binary", hidden=(16,)))
    ends = torch.tensor([[1.0, 0, 1, 0], [1.0, 0, 1, 1]], dtype=torch.float64)
    low, high, middle = prior().log_prob(torch.stack((*ends, ends.mean(0))))
    torch.testing.assert_close(middle, (low + high) / 2)


@pytest.mark.parametrize("space", ["binary", "categorical"])
def test_cold_classes_are_the_most_probable_ones(space):
    prior = shaken(Autoregressive((5, 3) if space == "categorical" else 5, space, hidden=(16,)))
    for temperature in (0.0, 1e-3):
        z = prior(temperature=temperature).sample((50,))
        assert (z == z[:1]).all()
    conditionals = prior().conditionals(z[0])
    assert torch.equal(z[0], conditionals.mode)


def test_an_extreme_network_gives_finite_scores():
    prior = Autoregressive(3, components=2)
    with torch.no_grad():
        for extreme in (-1e4, 1e4):
            prior.get_parameter("network.network.4.bias").fill_(extreme)
            assert prior().log_prob(torch.randn(5, 3)).isfinite().all()
            assert prior().sample((5,)).isfinite().all()


def test_what_cannot_be_built_is_refused():
    with pytest.raises(InputError, match=r"groups must be an integer from 1 to the 3 variables of z; it is 4"):
        Autoregressive(3, groups=4)
    with pytest.raises(InputError, match="no space 'binray': did you mean 'binary'"):
        Autoregressive(3, "binray")  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"on space 'categorical' is \(D, C\).*it is \(3,\)"):
        Autoregressive(3, "categorical")
    with pytest.raises(InputError, match="components is 2; leave components out"):
        Autoregressive(3, "binary", components=2)
    with pytest.raises(InputError, match="width 2 and got one of width 3"):
        Autoregressive(3, context_features=2)(torch.zeros(5, 3))

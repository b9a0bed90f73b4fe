import math

import pytest
import torch
from torch.distributions import Categorical as Codes
from torch.distributions import Independent, Laplace, MixtureSameFamily, MultivariateNormal, Normal

from amortized import InputError
from amortized.distributions import Bits, Delta, EnumeratedBits, Mixture, center, draw, is_relaxed
from amortized.distributions.discrete import RelaxedBits
from amortized.distributions.tempering import tempered

M, D = 5, 3


def gaussians(*batch, event=(D,), dtype=torch.float64, seed=0):
    """Log-weights and diagonal Gaussians of batch (*batch, M), their parameters leaves of the graph."""
    noise = torch.Generator().manual_seed(seed)
    log_weights, loc, log_scale = (
        torch.randn(*batch, M, *shape, generator=noise, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((), event, event)
    )
    components = Independent(Normal(loc, (0.3 * log_scale).exp(), validate_args=False), len(event))
    return Mixture(log_weights, components), (log_weights, loc, log_scale)


def direct(mixture, z):
    """The density as the definition has it: component by component."""
    each = mixture.components.log_prob(z.unsqueeze(-1 - len(mixture.event_shape)))
    return (mixture.log_weights + each).logsumexp(-1)


def test_it_agrees_with_torch():
    p, _ = gaussians()
    other = MixtureSameFamily(Codes(logits=p.log_weights), p.components)
    z = torch.randn(7, D, dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), other.log_prob(z))
    torch.testing.assert_close(p.mean, other.mean)
    torch.testing.assert_close(p.variance, other.variance)


@pytest.mark.parametrize("event", [(), (D,), (2, 3)])
@pytest.mark.parametrize("lead", [(), (4,), (2, 4)])
def test_matrix_products_give_what_the_definition_gives_and_its_gradient(event, lead):
    p, parameters = gaussians(event=event)
    z = torch.randn((*lead, *event), dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(p.log_prob(z), direct(p, z))
    wanted = torch.autograd.grad(direct(p, z).square().sum(), (z, *parameters), retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(p.log_prob(z).square().sum(), (z, *parameters)), wanted)


def test_matrix_products_are_taken_piece_by_piece(monkeypatch):
    p, _ = gaussians()
    z = torch.randn(3, 7, D, dtype=torch.float64)
    monkeypatch.setattr("amortized.distributions.mixture.LARGEST_PRODUCT", 4 * M)
    torch.testing.assert_close(p.log_prob(z), direct(p, z))
    assert p.log_prob(z[:0]).shape == (0, 7)


@pytest.mark.parametrize("scale", [1.0, 0.1, 0.02, 1e-3])
def test_matrix_products_in_single_precision_lose_no_digits(scale):
    noise = torch.Generator().manual_seed(0)
    loc = 3 * torch.randn(50, 40, generator=noise) + 5
    z = (loc + scale * torch.randn(50, 40, generator=noise)).requires_grad_()
    p = Mixture(torch.zeros(50), Independent(Normal(loc, torch.full_like(loc, scale)), 1))
    exact = Mixture(torch.zeros(50).double(), Independent(Normal(loc.double(), torch.full_like(loc, scale).double()), 1))
    wide = z.detach().double().requires_grad_()
    value, wanted = p.log_prob(z), direct(exact, wide)
    assert value.dtype == torch.float32
    epsilon = torch.finfo(torch.float32).eps
    assert ((value - wanted).abs() < 4 * epsilon * wanted.abs().clamp(min=40)).all()
    value.sum().backward()
    wanted.sum().backward()
    assert z.grad is not None
    assert wide.grad is not None
    assert (z.grad - wide.grad).abs().max() < 10 * epsilon * wide.grad.abs().max()


def test_autocast_rounds_nothing():
    p, _ = gaussians(dtype=torch.float32)
    z = torch.randn(4, D)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = p.log_prob(z)
    assert torch.equal(rounded, p.log_prob(z))


def test_far_points_and_narrow_components_have_finite_values_and_gradients():
    for size, scale in ((1e4, 1.0), (10.0, math.exp(-12)), (1.0, math.exp(8))):
        loc, log_scale = torch.randn(M, D).requires_grad_(), torch.full((M, D), math.log(scale), requires_grad=True)
        z = (size * torch.randn(6, D)).requires_grad_()
        p = Mixture(torch.zeros(M), Independent(Normal(loc, log_scale.exp()), 1))
        torch.testing.assert_close(p.log_prob(z), direct(p, z), rtol=1e-5, atol=1e-4)
        p.log_prob(z).sum().backward()
        for value in (z, loc, log_scale):
            assert value.grad is not None
            assert value.grad.isfinite().all()


def test_a_batch_of_mixtures_scores_each_datum_under_its_own():
    p, _ = gaussians(4)
    z = torch.randn(2, 4, D, dtype=torch.float64)
    assert p.batch_shape == (4,)
    one = Mixture(p.log_weights[3], Independent(Normal(p.components.mean[3], p.components.stddev[3]), 1))
    torch.testing.assert_close(p.log_prob(z)[:, 3], one.log_prob(z[:, 3]))
    torch.testing.assert_close(p.expand((2, 4)).log_prob(z), p.log_prob(z))


def test_a_component_is_a_whole_event_not_an_entry():
    """A mixture of events differs from independent mixtures of their entries: p(z) = 1/2 at (0, 0) and (1, 1) only."""
    p = Mixture(torch.zeros(2), Bits(torch.tensor([[-50.0, -50.0], [50.0, 50.0]])))
    z = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(p.log_prob(z).exp(), torch.tensor([0.5, 0.5, 0.0]))


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("family", ["diagonal", "full"])
def test_samples_have_the_mixture_moments(family, batch):
    torch.manual_seed(0)
    p, _ = gaussians(*batch)
    if family == "full":
        tril = torch.diag_embed(p.components.stddev) + 0.3 * torch.ones(D, D).double().tril(-1)
        p = Mixture(p.log_weights, MultivariateNormal(p.components.mean, scale_tril=tril))
    n = 40_000
    z = p.sample((n,))
    assert z.shape == (n, *batch, D)
    assert not z.requires_grad
    assert ((z.mean(0) - p.mean).abs() < 4.5 * p.stddev / math.sqrt(n)).all()
    spread = (z - p.mean).square()
    assert ((spread.mean(0) - p.variance).abs() < 4.5 * spread.std(0) / math.sqrt(n)).all()
    assert p.sample().shape == (*batch, D)
    assert p.sample((2, 3)).shape == (2, 3, *batch, D)


def test_samples_of_any_family_are_drawn_piece_by_piece(monkeypatch):
    monkeypatch.setattr("amortized.distributions.mixture.LARGEST_DRAW", 8 * M * D)
    torch.manual_seed(0)
    value = torch.arange(float(M)).unsqueeze(-1).expand(M, D)
    z = Mixture(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]).log(), Delta(value, 1)).sample((20_000,))
    assert (z == z[:, :1]).all()  # never entries of two components in one draw
    share = z[:, 0].long().bincount(minlength=M) / len(z)
    torch.testing.assert_close(share, torch.arange(1.0, 6.0) / 15, rtol=0, atol=4.5 * 0.5 / math.sqrt(len(z)))


@pytest.mark.parametrize("batch", [(), (4,)])
def test_its_own_draws_are_strata_and_their_weights_sum_to_one(batch):
    p, parameters = gaussians(*batch)
    drawn = draw(p, 2)
    assert drawn.z.shape == (2 * M, *batch, D)
    assert drawn.log_weight is not None
    assert not drawn.is_complete
    torch.testing.assert_close(drawn.log_weight.logsumexp(0), torch.zeros(batch, dtype=torch.float64))
    torch.testing.assert_close(drawn.log_weight[::M].logsumexp(0), p.log_weights[..., 0])
    expectation = (drawn.log_weight.exp().unsqueeze(-1) * drawn.z).sum()
    for gradient in torch.autograd.grad(expectation, parameters):
        assert gradient.abs().sum() > 0


def test_strata_give_an_expectation_without_bias_and_without_noise_between_the_components():
    torch.manual_seed(0)
    p, _ = gaussians()
    n, drawn = 4000, p.draw(4000)
    assert drawn.log_weight is not None
    strata = (n * drawn.log_weight.exp().unsqueeze(-1) * drawn.z).reshape(n, M, D).sum(1)  # n estimates of one draw each
    assert ((strata.mean(0) - p.mean).abs() < 4.5 * strata.std(0) / math.sqrt(n)).all()
    within = (p.log_weights.exp().square().unsqueeze(-1) * p.components.variance).sum(0)  # nothing between the components
    assert ((strata.var(0) - within).abs() < 4.5 * math.sqrt(2 / n) * within).all()
    assert (within < p.variance).all()


def test_draws_of_components_that_list_their_support_give_exact_expectations():
    p = Mixture(torch.randn(M), EnumeratedBits(torch.randn(M, D)))
    drawn = p.draw(1)
    assert drawn.log_weight is not None
    torch.testing.assert_close((drawn.log_weight.exp().unsqueeze(-1) * drawn.z).sum(0), p.mean)


@pytest.mark.parametrize(("batch", "event"), [((), (D,)), ((4,), (D,)), ((), (2, 3)), ((), ())])
def test_a_value_drawn_again_is_itself_and_moves_as_the_expectation_does(batch, event):
    """Of h(z) = sum c z + z^2 the expectation is known, and with it its gradient in means, scales and weights."""
    p, parameters = gaussians(*batch, event=event)
    c = torch.randn(event, dtype=torch.float64)
    dims = tuple(range(-len(event), 0))

    def summed(value):
        return value.sum(dims) if dims else value

    exact = torch.autograd.grad(summed(c * p.mean + p.variance + p.mean.square()).sum(), parameters, retain_graph=True)
    found, repeats = [], 60
    for _ in range(repeats):
        z = p.sample((4000,))
        again = p.reparameterized(z)
        assert again is not None
        value, log_weights = again
        torch.testing.assert_close(value, z, rtol=0, atol=1e-12)
        h = summed(c * z + z.square())
        surrogate = summed((c + 2 * z) * value) + h * log_weights
        found.append(torch.autograd.grad(surrogate.mean(0).sum(), parameters, retain_graph=True))
    for position, wanted in enumerate(exact):
        each = torch.stack([gradient[position] for gradient in found])
        error = each.std(0) / math.sqrt(repeats)
        assert ((each.mean(0) - wanted).abs() / error).max() < 5


def test_components_without_a_noise_of_their_own_are_not_drawn_again():
    p = Mixture(torch.zeros(M), Independent(Laplace(torch.zeros(M, D), 1.0), 1))
    assert p.reparameterized(torch.zeros(7, D)) is None


def test_it_is_relaxed_as_its_components_are():
    assert is_relaxed(Mixture(torch.zeros(M), RelaxedBits(torch.randn(M, D), 0.5)))
    assert not is_relaxed(gaussians()[0])


def test_its_center_is_its_mean():
    p, _ = gaussians()
    torch.testing.assert_close(center(p), (p.log_weights.exp().unsqueeze(-1) * p.components.mean).sum(0))


def test_temperature_multiplies_the_deviation_of_gaussians_whole():
    p, _ = gaussians()
    full = MultivariateNormal(p.components.mean, scale_tril=torch.diag_embed(p.components.stddev))
    for family in (p.components, full, p):
        inner = family.components if isinstance(family, Mixture) else family
        cold = tempered(family, 0.5)
        torch.testing.assert_close((cold.components if isinstance(cold, Mixture) else cold).stddev, 0.5 * inner.stddev)
    with pytest.raises(InputError, match=r"temperature 0\.5 has no meaning for a Laplace.*leave it at 1"):
        tempered(Mixture(torch.zeros(M), Laplace(torch.zeros(M), 1.0)), 0.5)


@pytest.mark.parametrize(("weights", "batch"), [(3, (5,)), (5, ())])
def test_weights_and_components_must_be_as_many(weights, batch):
    with pytest.raises(InputError, match="one weight per component"):
        Mixture(torch.zeros(weights), Normal(torch.zeros(batch), 1.0))

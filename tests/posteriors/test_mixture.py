import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from amortized.conditional import call_detached
from amortized.distributions import draw
from amortized.distributions.mixture import Mixture
from amortized.errors import InputError
from amortized.networks import MLP
from amortized.objectives.bounds import elbo, iwae
from amortized.posteriors import DiagonalGaussian
from amortized.posteriors.mixture import MixtureOfGaussians
from amortized.terms import Latent, Terms

B, X, M, D = 4, 5, 3, 2


@pytest.fixture
def posterior():
    torch.manual_seed(0)
    return MixtureOfGaussians(MLP(X, []), D, M).double()


@pytest.fixture
def x():
    return torch.randn(B, X, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def parameters(q):
    """pi (*batch, M), means and standard deviations (*batch, M, D)."""
    gaussian = q.components.base_dist
    return q.log_weights.exp(), gaussian.loc, gaussian.scale


def quadratic(z):
    return z[..., 0].square() - 0.5 * z[..., 0] * z[..., 1] + z.sum(-1)


def expected_quadratic(pi, loc, scale):
    return (pi * (quadratic(loc) + scale[..., 0].square())).sum(-1)


def apart(replicates):
    """The same mixture of three components well apart, as `replicates` sets of leaves: one gradient each."""
    log_weights = torch.tensor([0.5, 0.0, -0.4]).double().log_softmax(-1).expand(replicates, M).clone().requires_grad_()
    loc = torch.tensor([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]]).double().expand(replicates, M, D).clone().requires_grad_()
    scale = torch.tensor([[0.5, 1.0], [0.8, 0.3], [0.4, 0.6]]).double().expand(replicates, M, D).clone().requires_grad_()
    return (log_weights, loc, scale), Mixture(log_weights, Independent(Normal(loc, scale), 1))


def test_the_density_is_that_of_the_whole_mixture(posterior, x):
    q, z = posterior(x), torch.randn(7, B, D, dtype=torch.float64)
    pi, loc, scale = parameters(q)
    reference = MixtureSameFamily(Categorical(pi), Independent(Normal(loc, scale), 1))
    torch.testing.assert_close(q.log_prob(z), reference.log_prob(z))
    torch.testing.assert_close(q.mean, reference.mean)
    torch.testing.assert_close(q.variance, reference.variance)


def test_ordinary_samples_have_its_moments(posterior, x):
    torch.manual_seed(2)
    n, q = 40_000, posterior(x)
    z = q.sample((n,))
    assert z.shape == (n, B, D)
    assert not z.requires_grad
    assert ((z.mean(0) - q.mean).abs() < 4.5 * q.stddev / math.sqrt(n)).all()
    spread = (z - q.mean).square()
    assert ((spread.mean(0) - q.variance).abs() < 4.5 * spread.std(0) / math.sqrt(n)).all()


@pytest.mark.parametrize("samples", [1, 4])
def test_a_draw_has_samples_of_every_component(posterior, x, samples):
    torch.manual_seed(3)
    q = posterior(x)
    drawn = draw(q, samples)
    pi, _, _ = parameters(q)
    assert drawn.z.shape == (M * samples, B, D)
    assert drawn.z.requires_grad
    assert not drawn.is_complete
    assert drawn.log_weight is not None
    assert drawn.log_weight.shape == (M * samples, B)
    expected = (pi.log() - math.log(samples)).T.repeat(samples, 1)
    torch.testing.assert_close(drawn.log_weight, expected)
    torch.testing.assert_close(drawn.log_weight.logsumexp(0), torch.zeros(B).double(), rtol=0, atol=1e-14)


def test_expectations_and_their_gradients_are_unbiased():
    torch.manual_seed(4)
    replicates = 10_000
    leaves, q = apart(replicates)
    drawn = draw(q, 2)
    assert drawn.log_weight is not None
    estimates = (drawn.log_weight.exp() * quadratic(drawn.z)).sum(0)
    exact = expected_quadratic(*parameters(q))
    error = estimates.std() / math.sqrt(replicates)
    assert abs(estimates.mean() - exact[0]) < 4.5 * error
    gradients = torch.autograd.grad(estimates.sum(), leaves, retain_graph=True)
    for gradient, truth in zip(gradients, torch.autograd.grad(exact.sum(), leaves), strict=True):
        error = gradient.std(0) / math.sqrt(replicates)
        assert ((gradient.mean(0) - truth[0]).abs() <= 4.5 * error + 1e-12).all()


def test_strata_leave_out_the_variance_between_the_components():
    # var sum_m pi_m f(z_m) = sum_m pi_m^2 var_m f, against the variance of f under the mixture over M ordinary draws
    torch.manual_seed(5)
    replicates = 10_000
    _, q = apart(replicates)
    drawn = draw(q, 1)
    assert drawn.log_weight is not None
    first = (drawn.log_weight.exp() * drawn.z[..., 0]).sum(0)
    pi, loc, scale = (parameter[0].detach() for parameter in parameters(q))
    exact = (pi.square() * scale[:, 0].square()).sum()
    assert abs(first.var() / exact - 1) < 4.5 * math.sqrt(2 / replicates)  # it is a sum of Gaussians
    ordinary = q.variance[0, 0] / M
    assert ordinary > 5 * exact
    assert q.sample((M,))[..., 0].mean(0).var() > 4 * first.var()


class Mixed:
    """z ~ a mixture of two Gaussians on the line, x | z ~ N(z, s^2): p(z | x) is a mixture, and log p(x) is known."""

    s, pi = 0.6, torch.tensor([0.3, 0.7], dtype=torch.float64)
    loc, scale = torch.tensor([[-1.5], [1.0]], dtype=torch.float64), torch.tensor([[0.8], [0.5]], dtype=torch.float64)
    x = torch.tensor([[-0.4], [0.1], [2.0]], dtype=torch.float64)

    def __init__(self):
        self.p = Mixture(self.pi.log(), Independent(Normal(self.loc, self.scale), 1))
        self.each = self.pi.log() + Normal(self.loc.T, (self.scale.T.square() + self.s**2).sqrt()).log_prob(self.x)
        self.log_px = self.each.logsumexp(-1)

    def exact(self):
        precision = self.scale.T**-2 + self.s**-2
        loc = (self.loc.T * self.scale.T**-2 + self.x * self.s**-2) / precision
        components = Normal(loc.unsqueeze(-1), precision.rsqrt().expand_as(loc).unsqueeze(-1))
        return Mixture(self.each, Independent(components, 1))

    def terms(self, q, samples, x=None, q_path=None):
        drawn = draw(q, samples)
        log_px = Normal(drawn.z, self.s).log_prob(self.x if x is None else x).sum(-1)
        return Terms(log_px, (Latent(q, self.p, drawn.z, q_path),), log_sample_weight=drawn.log_weight)


def test_under_the_exact_posterior_every_weight_is_the_evidence():
    model = Mixed()
    terms = model.terms(model.exact(), 3)
    torch.testing.assert_close(terms.log_w, model.log_px.expand(6, 3), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(elbo(terms), model.log_px, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(iwae(terms), model.log_px, rtol=1e-12, atol=1e-12)


def test_the_weighted_importance_weights_average_to_the_evidence_and_bound_it():
    torch.manual_seed(6)
    model, n = Mixed(), 20_000
    # wider than the exact posterior, so that the weights have a variance
    q = Mixture(torch.zeros(2).double(), Independent(Normal(model.loc, 1.2 * torch.ones(2, 1).double()), 1)).expand((n,))
    terms = model.terms(q, 2, x=model.x[1])
    ratios = (iwae(terms) - model.log_px[1]).exp()
    assert abs(ratios.mean() - 1) < 4.5 * ratios.std() / math.sqrt(n)
    bounds = {name: value - model.log_px[1] for name, value in (("elbo", elbo(terms)), ("siwae", iwae(terms)))}
    for gap in bounds.values():
        assert gap.mean() < -4.5 * gap.std() / math.sqrt(n)
    assert (bounds["siwae"] >= bounds["elbo"] - 1e-12).all()  # Jensen's inequality holds for each draw


def test_the_path_gradient_is_zero_at_the_exact_posterior():
    # the score of q averages to zero, and what remains of the gradient does so at every sample there
    model = Mixed()
    torch.manual_seed(7)
    posterior = MixtureOfGaussians(MLP(1, []), 1, 2).double()
    x, exact = model.x[1:2], model.exact()
    pi, loc, scale = (parameter[1].flatten() for parameter in parameters(exact))
    with torch.no_grad():
        posterior.get_parameter("head.output.weight").zero_()
        posterior.get_parameter("head.output.bias").copy_(torch.cat((pi.log(), loc, scale.log())))
    terms = model.terms(posterior(x), 2, x=x, q_path=call_detached(posterior, x))
    elbo(terms).sum().backward()
    for parameter in posterior.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() < 1e-12


def test_one_component_is_the_diagonal_gaussian(x):
    torch.manual_seed(8)
    single, gaussian = MixtureOfGaussians(MLP(X, []), D, 1).double(), DiagonalGaussian(MLP(X, []), D).double()
    with torch.no_grad():
        for name in ("weight", "bias"):
            getattr(gaussian.head.output, name).copy_(getattr(single.head.output, name)[1:])
    z = torch.randn(7, B, D, dtype=torch.float64)
    torch.testing.assert_close(single(x).log_prob(z), gaussian(x).log_prob(z))
    assert draw(single(x), 3).z.shape == (3, B, D)


@pytest.mark.parametrize("bias", [-1e4, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_outputs_give_finite_values_and_gradients(x, bias, dtype):
    torch.manual_seed(9)
    posterior = MixtureOfGaussians(MLP(X, []), D, M).to(dtype)
    with torch.no_grad():
        posterior.get_parameter("head.output.bias")[::2] = bias
    q = posterior(x.to(dtype))
    assert (q.variance > 0).all()
    drawn = draw(q, 2)
    assert drawn.log_weight is not None
    value = (drawn.log_weight.exp() * (drawn.z.tanh().sum(-1) - q.log_prob(drawn.z))).sum()
    value.backward()
    assert value.isfinite()
    for parameter in posterior.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.dtype == dtype


def test_events_of_any_shape(x):
    q = MixtureOfGaussians(MLP(X, []), (2, 3), M).double()(x)
    assert q.event_shape == (2, 3)
    drawn = draw(q, 2)
    assert drawn.z.shape == (2 * M, B, 2, 3)
    assert q.log_prob(drawn.z).shape == (2 * M, B)


@pytest.mark.parametrize("components", [0, -1, 2.0, True])
def test_the_number_of_components_is_a_positive_integer(components):
    with pytest.raises(InputError, match="components must be a positive integer; it is"):
        MixtureOfGaussians(MLP(X, []), D, components)

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from amortized import VAE, Hierarchical, Latent, likelihoods, posteriors, priors
from amortized.evaluation import evaluate
from amortized.models import BottomUp, Ladder, TopDown
from amortized.networks import MLP
from amortized.objectives import elbo, elbo_sampled
from amortized.posteriors import DiagonalGaussian

X = 5
double = torch.float64


class Truth:
    """z_L ~ N(m, diag), z_l | z_(l+1) and x | z_1 linear and Gaussian: all of it is one Gaussian, in float64.

    With `aligned`, the maps keep the entries of z apart, so that every exact posterior has independent entries.
    """

    def __init__(self, sizes=(3, 2), *, aligned=False, skip=False):
        noise = torch.Generator().manual_seed(3)

        def draw(*shape):
            return torch.randn(*shape, generator=noise, dtype=double)

        self.sizes, self.skip = sizes, skip
        levels = len(sizes)
        above = [sum(sizes) if skip else sizes[0], *sizes[1:]]  # what x, z_1, ..., z_(L-1) are drawn given
        self.maps = [draw(below, width) for below, width in zip((X, *sizes), above, strict=False)]
        if aligned:
            columns = torch.linalg.qr(self.maps[0])[0] * (1 + torch.rand(sizes[0], generator=noise, dtype=double))
            self.maps = [columns, *(torch.diag(0.5 + draw(size).abs()) for size in sizes[1:])]
        self.shifts = [draw(size) for size in (X, *sizes)]
        self.scales = [torch.full((X,), 0.8, dtype=double), *(0.5 + draw(size).abs() for size in sizes)]
        self.blocks = [slice(start, start + size) for start, size in zip(self._starts(), (X, *sizes), strict=True)]
        total = X + sum(sizes)
        self.mean, root = torch.zeros(total, dtype=double), torch.zeros(total, total, dtype=double)
        for level in reversed(range(levels + 1)):  # root maps independent noise to [x, z_1, ..., z_L]
            block = self.blocks[level]
            self.mean[block], root[block, block] = self.shifts[level], self.scales[level].diag()
            if level < levels:
                given = slice(X, total) if skip and level == 0 else self.blocks[level + 1]
                self.mean[block] += self.maps[level] @ self.mean[given]
                root[block] += self.maps[level] @ root[given]
        self.covariance = root @ root.T

    def _starts(self):
        return [0, *torch.tensor((X, *self.sizes)).cumsum(0).tolist()[:-1]]

    @property
    def marginal(self):
        return MultivariateNormal(self.mean[:X], self.covariance[:X, :X])

    def sample(self, n):
        return self.marginal.sample((n,))

    def given(self, level, *known):
        """Gain, offset and covariance of the group `level` given those of `known`, side by side; 0 is x."""
        target, rows = self.blocks[level], torch.cat([torch.arange(X + sum(self.sizes))[self.blocks[other]] for other in known])
        gain = torch.linalg.solve(self.covariance[rows][:, rows], self.covariance[rows][:, target]).T
        covariance = self.covariance[target, target] - gain @ self.covariance[rows][:, target]
        return gain, self.mean[target] - gain @ self.mean[rows], covariance

    def inference(self, kind, size=0.0):
        """The exact posterior, or one off it by a random amount of the order of `size`."""
        levels = len(self.sizes)
        if kind == "bottom-up":
            known = [(0,), *((level,) for level in range(1, levels))]
            return BottomUp([gaussian(*self.given(level + 1, *each), size) for level, each in enumerate(known)])
        if kind == "top-down":
            parts = [gaussian(*self.given(level, 0, level + 1), size) for level in range(levels - 1, 0, -1)]
            return TopDown([gaussian(*self.given(levels, 0), size), *parts], [identity() for _ in parts])
        inference = Ladder([identity() for _ in self.sizes], self.sizes).double()
        for level, part in enumerate(inference.posteriors, 1):
            gain, offset, covariance = self.given(level, 0, level + 1) if level < levels else self.given(level, 0)
            precision, own = torch.linalg.inv(covariance), torch.zeros(1, dtype=double)
            if level < levels:  # the exact posterior is the evidence times p(z_l | z_(l+1)): take that out again
                own = self.scales[level] ** -2
                offset = offset - covariance @ (own * self.shifts[level])
            share = torch.linalg.inv(precision - own.diag_embed() * (level < levels)) @ precision
            set_diagonal(part, share @ gain[:, :X], share @ offset, (share @ covariance).diagonal(), size)
        return inference

    def model(self, inference):
        likelihood = likelihoods.Gaussian(MLP(sum(self.sizes) if self.skip else self.sizes[0], []), X, scale=0.8).double()
        set_linear(likelihood.head.output, self.maps[0], self.shifts[0])
        likelihood.get_buffer("scale.fixed").fill_(0.8)  # again: the constructor has rounded it to float32
        prior = priors.Gaussian(self.sizes[-1]).double()
        with torch.no_grad():
            prior.loc.copy_(self.shifts[-1])
            prior.log_scale.copy_(self.scales[-1].log())
        links = [
            DiagonalGaussian(MLP(above, []), below).double() for below, above in zip(self.sizes, self.sizes[1:], strict=False)
        ]
        for level, link in enumerate(links, 1):
            set_diagonal(link, self.maps[level], self.shifts[level], self.scales[level] ** 2)
        return Hierarchical(prior, links[::-1], inference, likelihood, skip=self.skip).double()


@torch.no_grad()
def set_linear(layer, weight, bias):
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)


def identity():
    network = MLP(X, [X], activation="identity").double()
    set_linear(network.layers[0].affine, torch.eye(X), torch.zeros(X))
    return network


def set_diagonal(part, gain, offset, variance, size=0.0):
    bias = torch.cat((offset, variance.log() / 2))
    set_linear(part.head.output, torch.cat((gain, torch.zeros_like(gain))), bias + size * torch.randn_like(bias))


def gaussian(gain, offset, covariance, size=0.0):
    dimension = len(offset)
    part = posteriors.FullGaussian(MLP(gain.shape[1], []), dimension).double()
    tril = torch.linalg.cholesky(covariance)
    below = tril[tuple(torch.tril_indices(dimension, dimension, offset=-1))]
    bias = torch.cat((offset, tril.diagonal().log(), below))
    zeros = torch.zeros(len(bias) - dimension, gain.shape[1], dtype=double)
    set_linear(part.head.output, torch.cat((gain, zeros)), bias + size * torch.randn_like(bias))
    return part


def truth_for(kind, levels=2):
    return Truth((2,) * levels, aligned=True) if kind == "ladder" else Truth((3, 2, 2)[:levels])


@pytest.mark.parametrize("levels", [2, 3])
def test_log_w_under_the_exact_posterior_is_log_px_whatever_was_drawn(kind, levels):
    truth = truth_for(kind, levels)
    x, model = truth.sample(7), truth.model(truth.inference(kind))
    terms = model.terms(x, samples=11)
    assert terms.kl.shape == (levels, 11, 7)
    assert [latent.z.shape[-1] for latent in terms.latents] == list(truth.sizes)
    torch.testing.assert_close(terms.log_w, truth.marginal.log_prob(x).expand(11, 7), rtol=0, atol=1e-10)


def test_it_is_log_px_as_well_where_the_likelihood_sees_all_groups():
    truth = Truth((3, 2), skip=True)
    x, model = truth.sample(7), truth.model(truth.inference("top-down"))
    torch.testing.assert_close(model.terms(x, samples=5).log_w, truth.marginal.log_prob(x).expand(5, 7), rtol=0, atol=1e-10)


def test_the_joint_distributions_agree_with_the_sum_over_the_groups(kind):
    truth = truth_for(kind, 3)
    x, model = truth.sample(4), truth.model(truth.inference(kind, 0.3))
    terms = model.terms(x, samples=3)
    z = torch.cat([latent.z for latent in terms.latents], -1)
    assert all(torch.equal(*pair) for pair in zip(model.groups(z), [latent.z for latent in terms.latents], strict=True))
    log_p = sum(latent.p.log_prob(latent.z) for latent in latents(terms))
    log_q = sum(latent.q.log_prob(latent.z) for latent in latents(terms))
    torch.testing.assert_close(model.prior().log_prob(z), log_p)
    torch.testing.assert_close(model.posterior(x).log_prob(z), log_q)
    torch.testing.assert_close(model.decode(z).log_prob(x) + log_p - log_q, terms.log_w)


def test_the_bounds_lie_below_log_px_and_the_importance_weighted_one_rises(kind):
    truth = truth_for(kind)
    x, model = truth.sample(5), truth.model(truth.inference(kind, 0.3))
    log_w, k = model.terms(x, samples=16_000).log_w, 16
    one, many = log_w.view(k, 1000, 5).mean(0), log_w.view(k, 1000, 5).logsumexp(0) - math.log(k)
    for low, high in ((one, many), (many, truth.marginal.log_prob(x))):
        rise = high - low
        assert (rise.mean(0) > -4.5 * rise.std(0) / math.sqrt(1000)).all()
    total = (many - one).mean(1)
    assert total.mean() > 4.5 * total.std() / math.sqrt(1000)


def test_the_elbo_is_the_same_in_the_mean_with_closed_forms_and_without(kind):
    truth = truth_for(kind, 3)
    x, model = truth.sample(4), truth.model(truth.inference(kind, 0.3))
    terms = model.terms(x, samples=20_000)
    difference = (terms.kl - terms.kl_sampled).sum(0)
    assert (difference.mean(0).abs() < 4.5 * difference.std(0) / math.sqrt(20_000)).all()
    log_w = terms.log_w
    z = (elbo(terms) - elbo_sampled(terms)) / (difference.std(0) / math.sqrt(20_000))
    assert z.abs().max() < 4.5
    torch.testing.assert_close(elbo_sampled(terms), log_w.mean(0))


def test_the_closed_form_is_taken_where_it_has_the_right_mean_and_nowhere_else(kind):
    truth = Truth((2, 2, 2), aligned=True)
    inference = Ladder([MLP(X, [])] * 3, (2, 2, 2)) if kind == "ladder" else None
    if kind == "bottom-up":
        inference = BottomUp([DiagonalGaussian(MLP(width, []), 2) for width in (X, 2, 2)])
    if kind == "top-down":
        inference = TopDown([DiagonalGaussian(MLP(width, []), 2) for width in (X, X + 2, X + 2)])
    model = truth.model(inference)
    exact = [latent.kl_is_exact for latent in latents(model.terms(truth.sample(4)))]
    assert exact == ([False, False, True] if kind == "bottom-up" else [True] * 3)
    assert not model.terms(truth.sample(4), gradient="path").kl_is_exact


def test_evaluate_meets_log_px_within_its_monte_carlo_error(kind):
    truth = truth_for(kind)
    x, model = truth.sample(100), truth.model(truth.inference(kind, 0.1))
    metrics = evaluate(model, [x], samples=500).metrics
    excess = metrics["nll_nats"].value + truth.marginal.log_prob(x).mean().item()
    assert abs(excess - metrics["nll_bias_nats"].value) < 4.5 * metrics["nll_mc_stderr_nats"].value


def latents(terms) -> list[Latent]:
    assert all(isinstance(latent, Latent) for latent in terms.latents)
    return terms.latents


def gradient(model, objective, x, **options):
    parameters = list(model.parts["posterior"].parameters())
    values = torch.autograd.grad(objective(model.terms(x, **options)).sum(), parameters, allow_unused=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(values, parameters, strict=True)]
    )


@pytest.mark.parametrize("levels", [2, 3])
def test_with_the_exact_posterior_the_path_gradient_has_no_variance_and_the_total_one_has(kind, levels):
    truth = truth_for(kind, levels)
    x, model = truth.sample(6), truth.model(truth.inference(kind))
    assert gradient(model, elbo, x, gradient="path").abs().max() < 1e-10
    assert gradient(model, elbo_sampled, x).abs().max() > 0.1


def test_the_path_gradient_and_the_total_gradient_have_the_same_mean(kind):
    truth, n = truth_for(kind), 60
    x, model = truth.sample(2), truth.model(truth.inference(kind, 0.3))
    drawn = {
        how: torch.stack([gradient(model, elbo, x, gradient=how, samples=50) for _ in range(n)]) for how in ("path", "total")
    }
    difference = drawn["path"].mean(0) - drawn["total"].mean(0)
    error = torch.stack([values.var(0) / n for values in drawn.values()]).sum(0).sqrt()
    moving = error > 0
    assert moving.float().mean() > 0.8
    assert (difference[moving] / error[moving]).abs().max() < 5


def test_the_links_have_the_whole_gradient_of_the_ladder_in_the_mean():
    truth, n = truth_for("ladder"), 60
    x, model = truth.sample(2), truth.model(truth.inference("ladder", 0.3))
    parameters = list(model.parts["links"].parameters())

    def draw(how, function):
        grads = torch.autograd.grad(function(model.terms(x, gradient=how, samples=50)).sum(), parameters)
        return torch.cat([g.flatten() for g in grads])

    ways = [("path", elbo), ("total", elbo), ("total", elbo_sampled)]
    first, *others = [torch.stack([draw(*way) for _ in range(n)]) for way in ways]
    for other in others:
        error = ((first.var(0) + other.var(0)) / n).sqrt()
        assert ((first.mean(0) - other.mean(0)).abs() < 5 * error + 1e-12).all()


def test_samples_have_the_moments_of_the_marginal():
    truth, n = truth_for("top-down", 3), 40_000
    x = truth.model(truth.inference("top-down")).sample(n)
    deviation = x.double() - truth.marginal.mean
    assert (deviation.mean(0).abs() < 4.5 * truth.marginal.stddev / math.sqrt(n)).all()
    products = deviation.unsqueeze(-1) * deviation.unsqueeze(-2)
    error = products.std(0) / math.sqrt(n)
    assert ((products.mean(0) - truth.marginal.covariance_matrix).abs() < 5 * error).all()


def test_a_gaussian_prior_with_a_hyperprior_on_its_mean_has_the_bound_of_its_marginal():
    theta, sigma, tau = (0.3 + torch.rand(3, 2, dtype=double)).unbind()
    posterior = DiagonalGaussian(MLP(X, [8]), 2).double()
    likelihood = likelihoods.Gaussian(MLP(2, [8]), X).double()
    share = theta**2 / (theta**2 + sigma**2)
    mean = DiagonalGaussian(MLP(2, []), 2).double()
    set_diagonal(mean, share.diag(), (1 - share) * tau, share * sigma**2)
    hyper, link, marginal = priors.Gaussian(2).double(), priors.Centered(2).double(), priors.Gaussian(2).double()
    with torch.no_grad():
        hyper.loc.copy_(tau)
        hyper.log_scale.copy_(theta.log())
        link.log_scale.copy_(sigma.log())
        marginal.loc.copy_(tau)
        marginal.log_scale.copy_((theta**2 + sigma**2).log() / 2)
    values, x = [], torch.randn(6, X, dtype=double)
    for model in (Hierarchical(hyper, [link], BottomUp([posterior, mean]), likelihood), VAE(marginal, posterior, likelihood)):
        torch.manual_seed(1)
        values.append(model.terms(x, samples=4).log_w)  # the first group is drawn with the same noise
    torch.testing.assert_close(*values, rtol=0, atol=1e-10)

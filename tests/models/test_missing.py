"""Bounds over observed entries, and what the encoder sees of the others."""

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal

from amortized import VAE, Batch, likelihoods, posteriors, priors
from amortized.evaluation import evaluate
from amortized.models import BottomUp, Hierarchical
from amortized.networks import MLP, ConvEncoder, Fill, LogCounts, OneHot, Standardize
from amortized.objectives import elbo, iwae

EVENT, LATENTS = 5, 3


class ExactGivenObserved(nn.Module):
    """p(z | x_o) of a linear Gaussian model, read off the values and the mask beside them.

    With W_o the rows of W that were observed: precision I + W_o^T W_o / s^2, mean precision^-1 W_o^T (x_o - b_o) / s^2.
    """

    def __init__(self, truth):
        super().__init__()
        self.truth, self.event_shape = truth, torch.Size([truth.latent_dim])

    def forward(self, seen):
        values, mask = seen.chunk(2, -1)
        weight = mask.unsqueeze(-1) * self.truth.weight
        precision = torch.eye(self.truth.latent_dim).double() + weight.mT @ weight / self.truth.scale**2
        pull = (weight.mT @ (values - self.truth.bias).unsqueeze(-1)) / self.truth.scale**2
        return MultivariateNormal(torch.linalg.solve(precision, pull).squeeze(-1), precision_matrix=precision)


def incomplete(truth, n=12):
    """Data of the model with holes; all of the first row is observed, and nothing of the second."""
    observed = torch.rand(n, truth.dimension) < 0.6
    observed[0], observed[1] = True, False
    return torch.where(observed, truth.sample(n), torch.nan), observed


def log_marginal(truth, x, observed):
    """(B,) the exact log p(x_o), row by row."""
    covariance = truth.marginal.covariance_matrix
    values = []
    for row, seen in zip(x, observed, strict=True):
        if not seen.any():
            values.append(torch.zeros((), dtype=torch.float64))
            continue
        values.append(MultivariateNormal(truth.bias[seen], covariance[seen][:, seen]).log_prob(row[seen]))
    return torch.stack(values)


def exact_model(truth):
    vae = truth.model()
    return VAE(vae.parts["prior"], ExactGivenObserved(truth), vae.parts["likelihood"], fill=Fill(mask=True)).double()


def test_under_the_exact_posterior_of_what_is_observed_the_bound_is_its_marginal(linear_gaussian):
    x, observed = incomplete(linear_gaussian)
    exact = log_marginal(linear_gaussian, x, observed)
    terms = exact_model(linear_gaussian).terms(Batch(x, observed=observed), samples=7)
    torch.testing.assert_close(terms.log_w, exact.expand(7, -1), rtol=0, atol=1e-10)
    torch.testing.assert_close(iwae(terms), exact, rtol=0, atol=1e-10)
    evidence = evaluate(exact_model(linear_gaussian), [Batch(x, observed=observed)], samples=5)
    torch.testing.assert_close(evidence.nll, -exact, rtol=0, atol=1e-10)


def test_the_posterior_without_the_mask_takes_a_hole_for_a_zero_and_has_a_smaller_bound(linear_gaussian):
    x, observed = incomplete(linear_gaussian, 200)
    terms = linear_gaussian.model().terms(Batch(x, observed=observed), samples=500)
    gap = log_marginal(linear_gaussian, x, observed) - terms.log_w.mean(0)
    error = terms.log_w.var(0).div(500).sqrt()
    complete = observed.all(1)
    assert (gap[~complete] > -4 * error[~complete]).all()
    assert gap[~complete].mean() > 0.1
    torch.testing.assert_close(gap[complete], torch.zeros_like(gap[complete]), rtol=0, atol=1e-10)


def test_a_bare_tensor_with_nan_is_a_batch_with_holes(linear_gaussian):
    x, observed = incomplete(linear_gaussian)
    assert torch.equal(Batch.of(x).observed, observed)  # pyright: ignore[reportArgumentType]
    assert Batch.of(x[:1]).observed is None
    assert Batch.of(torch.arange(4).reshape(2, 2)).observed is None
    exact = log_marginal(linear_gaussian, x, observed)
    torch.testing.assert_close(exact_model(linear_gaussian).terms(x).log_w[0], exact, rtol=0, atol=1e-10)


def test_batches_with_and_without_holes_join():
    holes, full = Batch.of(torch.tensor([[1.0, torch.nan]])), Batch.of(torch.tensor([[3.0, 4.0]]))
    for joined in (Batch.join([holes, full]), Batch.join([full, holes])):
        assert joined.observed is not None
        assert torch.equal(joined.observed, ~joined.x.isnan())
    assert Batch.join([full, full]).observed is None


def made(kind: str, mask: bool) -> VAE:
    width = EVENT * (4 if kind == "categorical" else 1) + EVENT * mask
    network, encoder = MLP(LATENTS, [16]), None
    likelihood: nn.Module
    if kind == "categorical":
        likelihood, preprocess = likelihoods.Categorical(network, EVENT, classes=4), OneHot(4)
        encoder = MLP((EVENT, 4 + mask), [16])
    elif kind == "poisson":
        likelihood, preprocess = likelihoods.Poisson(network, EVENT), LogCounts()
    elif kind == "bernoulli":
        likelihood, preprocess = likelihoods.Bernoulli(network, EVENT), None
    else:
        scale = "optimal" if kind == "optimal" else "per-entry"
        likelihood, preprocess = likelihoods.Gaussian(network, EVENT, scale=scale), Standardize(1.0, 2.0)
    posterior = posteriors.DiagonalGaussian(encoder or MLP(width, [16]), LATENTS)
    return VAE(priors.StandardNormal(LATENTS), posterior, likelihood, preprocess=preprocess, fill=Fill(mask)).double()


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize("kind", ["gaussian", "optimal", "bernoulli", "categorical", "poisson"])
def test_what_a_hole_is_filled_with_changes_neither_terms_nor_gradients(kind, mask):
    model = made(kind, mask)
    observed = torch.rand(8, EVENT) < 0.5
    truth = torch.randint(0, 2, (8, EVENT)).double()
    results = []
    for fill in (0.0, torch.nan, -7.25, 1e30, torch.inf):
        torch.manual_seed(1)
        terms = model.terms(Batch(torch.where(observed, truth, fill), observed=observed), samples=3)
        results.append((terms.log_w.detach(), torch.autograd.grad(elbo(terms).sum(), list(model.parameters()))))
    log_w, gradients = results[0]
    assert log_w.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)
    for other, other_gradients in results[1:]:
        assert torch.equal(other, log_w)
        assert all(map(torch.equal, other_gradients, gradients))


@pytest.mark.parametrize("mask", [False, True])
def test_an_observed_zero_differs_from_a_hole_by_the_mask_alone(mask):
    fill = Fill(mask)
    x, observed = torch.tensor([[0.0, 2.0]]), torch.tensor([[False, True]])
    full = fill(x, None, None, nn.Identity())
    assert full.tolist() == ([[0, 2, 1, 1]] if mask else [[0, 2]])
    assert fill(x, observed, None, nn.Identity()).tolist() == ([[0, 2, 0, 1]] if mask else [[0, 2]])


def test_holes_of_an_input_of_its_own_are_filled_where_it_leaves_them():
    x, observed = torch.tensor([[torch.nan, torch.nan, 2.0]]), torch.tensor([[False, False, True]])
    given = torch.tensor([[5.0, torch.nan, 3.0]])
    assert Fill(True)(x, observed, given, Standardize(1.0, 2.0)).tolist() == [[2, 0, 1, 0, 0, 1]]


@pytest.mark.parametrize(("event", "shape"), [((4,), (8,)), ((4, 3), (4, 3, 2)), ((4, 3, 1), (4, 3, 2)), ((4, 3, 3), (4, 3, 6))])
def test_the_mask_lies_beside_the_values_along_the_last_axis(event, shape):
    x = torch.randn(6, *event)
    observed = torch.rand(6, *event) < 0.5
    values, mask = Fill(True)(torch.where(observed, x, torch.nan), observed, None, nn.Identity()).chunk(2, -1)
    assert (*event[:-1], 2 * event[-1]) == shape or (*event, 2) == shape
    assert torch.equal(values.reshape(x.shape), torch.where(observed, x, 0.0))
    assert torch.equal(mask.reshape(x.shape), observed.float())


@pytest.mark.parametrize("event", [(5,), (4, 3)])
def test_a_missing_code_has_no_class(event):
    codes = torch.randint(0, 3, (6, *event)).float()
    observed = torch.rand(6, *event) < 0.5
    seen = Fill(True)(torch.where(observed, codes, torch.nan), observed, None, OneHot(3))
    assert seen.shape == (6, *event, 4)
    assert torch.equal(seen[..., :3].sum(-1), observed.float())
    assert torch.equal(seen[..., :3].argmax(-1)[observed], codes[observed].long())
    assert torch.equal(seen[..., 3], observed.float())


def test_a_preprocessing_in_which_holes_cannot_be_told_is_refused():
    x, observed = torch.zeros(2, 4, 4), torch.ones(2, 4, 4, dtype=torch.bool)
    assert Fill()(x, None, None, nn.Flatten()).shape == (2, 16)
    with pytest.raises(ValueError, match=r"shape \(4, 4\) has shape \(16,\)"):
        Fill()(x, observed, None, nn.Flatten())


def test_the_optimal_scale_is_that_of_the_observed_entries():
    model = made("optimal", mask=True)
    likelihood = model.parts["likelihood"]
    nn.init.zeros_(likelihood.head.output.weight)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
    bias = likelihood.head.output.bias.detach()  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    x = 3 * torch.randn(50, EVENT).double()
    x[torch.rand(x.shape) < 0.4] = torch.nan
    expected = (x - bias).square().nanmean().sqrt()
    model.calibrate([Batch.of(x[:20]), Batch.of(x[20:])])
    torch.testing.assert_close(likelihood.frozen.double(), expected, rtol=1e-6, atol=0)  # pyright: ignore[reportAttributeAccessIssue, reportCallIssue]
    best = torch.distributions.Normal(bias, expected, validate_args=False).log_prob(x).nansum()
    torch.testing.assert_close(model.train().terms(x).log_px.sum(), best, rtol=1e-6, atol=0)


def test_images_with_holes_go_through_convolutions_and_hierarchies():
    x = torch.randn(6, 8, 8)
    x[torch.rand(x.shape) < 0.5] = torch.nan
    first = posteriors.DiagonalGaussian(ConvEncoder((8, 8, 2), [4, 8]), 4)
    model = Hierarchical(
        priors.StandardNormal(2),
        [posteriors.DiagonalGaussian(MLP(2, [8]), 4)],
        BottomUp([first, posteriors.DiagonalGaussian(MLP(4, [8]), 2)]),
        likelihoods.Gaussian(MLP(4, [8]), (8, 8)),
        fill=Fill(mask=True),
    )
    assert model.seen_shape == (8, 8, 2)
    terms = model.terms(x, samples=3)
    elbo(terms).mean().backward()
    assert terms.log_w.isfinite().all()
    assert model.posterior(x).sample().isfinite().all()
    px = model.decode(terms.z)  # pyright: ignore[reportArgumentType]
    expected = torch.where(x.isnan(), 0.0, px.base_dist.log_prob(x.nan_to_num())).sum((-1, -2))  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(terms.log_px, expected)

"""What discrete latents must give, whatever the prior: a rate that is that of the hard family, and sums that are exact."""

import math

import pytest
import torch

from amortized import VAE, Batch, Hierarchical, InputError, Latent, likelihoods, posteriors, priors
from amortized.evaluation import evaluate
from amortized.models import BottomUp, TopDown
from amortized.networks import MLP

X, D, C = 4, 3, 3


def with_classes(estimator, prior):
    posterior = posteriors.Categorical(MLP(X, [8]), D, C, estimator=estimator, temperature=0.7)
    return VAE(prior, posterior, likelihoods.Bernoulli(MLP((D, C), [8]), X)).double()


@pytest.mark.parametrize("estimator", ["gumbel", "straight-through"])
def test_in_training_the_rate_under_a_prior_without_closed_form_is_that_of_the_hard_family(estimator):
    prior = priors.Autoregressive((D, C), "categorical", hidden=[8])
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter))
    model, x = with_classes(estimator, prior), (torch.rand(5, X) < 0.5).double()
    terms = model.train().terms(x, samples=20_000)
    assert not terms.kl_is_exact
    q = model.eval().posterior(x)
    support = posteriors.Categorical(MLP(X, [8]), D, C, estimator="enumerate").double()(x).draw(1).z
    log_q = q.log_prob(support)
    exact = (log_q.exp() * (log_q - model.prior().log_prob(support))).sum(0)
    drawn = terms.kl.squeeze(0)
    z_scores = (drawn.mean(1 - 1) - exact) / (drawn.std(0) / math.sqrt(len(drawn)))
    assert z_scores.abs().max() < 4.5


def test_a_relaxed_link_of_a_hierarchy_has_the_closed_form_of_its_hard_family():
    def classes(size):
        return posteriors.Categorical(MLP(size, [8]), D, C)

    above = posteriors.Categorical(MLP(X + D * C, [8]), D, C)
    model = Hierarchical(
        priors.Uniform((D, C), "categorical"),
        [classes((D, C))],
        TopDown([classes(X), above]),
        likelihoods.Bernoulli(MLP((D, C), [8]), X),
    )
    x = (torch.rand(5, X) < 0.5).float()
    for mode in (True, False):
        terms = model.train(mode).terms(x, samples=2)
        assert terms.kl_is_exact
        assert terms.is_bound != mode


def test_the_error_of_an_enumerated_first_group_is_that_of_repeats():
    """The groups after it are drawn anew for each of its values, and their noise is all that there is."""
    first = posteriors.Bernoulli(MLP(X, [8]), D, estimator="enumerate")
    model = Hierarchical(
        priors.StandardNormal(2),
        [posteriors.Bernoulli(MLP(2, [8]), D)],
        BottomUp([first, posteriors.DiagonalGaussian(MLP(D, [8]), 2)]),
        likelihoods.Bernoulli(MLP(D, [8]), X),
    ).double()
    x = (torch.rand(4, X) < 0.5).double()
    found = [evaluate(model, [x], samples=20, seed=seed) for seed in range(100)]
    nll = torch.stack([each.nll for each in found if each.nll is not None])
    stated = torch.stack([each.nll_variance for each in found if each.nll_variance is not None]).mean(0)
    ratio = stated / nll.var(0)
    assert ((ratio > 0.5) & (ratio < 2.0)).all()


def test_an_enumerated_evaluation_takes_one_sum():
    posterior = posteriors.Bernoulli(MLP(X, [8]), D, estimator="enumerate")
    model = VAE(priors.Uniform(D, "binary"), posterior, likelihoods.Bernoulli(MLP(D, [8]), X))
    calls = []
    posterior.register_forward_hook(lambda *_: calls.append(1))
    evaluate(model, [torch.zeros(4, X)], samples=5000)
    assert len(calls) == 1


def test_a_rate_that_is_averaged_over_the_groups_above_is_an_estimate():
    top, below = posteriors.DiagonalGaussian(MLP(X, [8]), 2), posteriors.DiagonalGaussian(MLP(X + 2, [8]), 2)
    link = posteriors.DiagonalGaussian(MLP(2, [8]), 2)
    model = Hierarchical(priors.StandardNormal(2), [link], TopDown([top, below]), likelihoods.Bernoulli(MLP(2, [8]), X))
    x = (torch.rand(5, X) < 0.5).float()
    assert model.terms(x).kl_is_exact
    assert evaluate(model, [x], samples=5).metrics["rate_nats"].kind == "estimate"


def test_a_likelihood_of_ones_own_that_does_not_factorize_refuses_missing_entries():
    class Own(likelihoods.Bernoulli):
        factorizes = False

    model = VAE(priors.StandardNormal(2), posteriors.DiagonalGaussian(MLP(X, [8]), 2), Own(MLP(2, [8]), X))
    with pytest.raises(InputError, match="likelihood Own does not factorize"):
        model.terms(Batch(torch.zeros(3, X), observed=torch.ones(3, X, dtype=torch.bool)))


def test_a_negative_temperature_is_refused():
    model = VAE(priors.StandardNormal(2), posteriors.DiagonalGaussian(MLP(X, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), X))
    with pytest.raises(InputError, match="temperature cannot be negative"):
        model.sample(2, temperature=-1.0)


def test_the_latent_of_a_relaxed_family_is_scored_where_its_hard_draw_is():
    q = posteriors.Bernoulli(MLP(X, [8]), D).train()(torch.zeros(5, X))
    p = priors.Uniform(D, "binary")()
    z = q.rsample((7,))
    latent = Latent(q, p, z)
    assert torch.equal(latent.log_ratio, p.log_prob(z.round()) - q.log_prob(z.round()))
    (gradient,) = torch.autograd.grad(latent.log_ratio.sum(), z)
    assert gradient.abs().sum() > 0

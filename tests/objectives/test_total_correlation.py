# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false
import itertools
import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from amortized import VAE, InputError, Latent, Terms, fit, likelihoods, posteriors, priors
from amortized.models import BottomUp, Hierarchical
from amortized.networks import MLP
from amortized.objectives import Linear, Objective, beta_tcvae, elbo_sampled
from amortized.objectives.total_correlation import log_aggregate
from amortized.training.step import Trainable

ESTIMATORS = ("mws", "mss")


def latent(loc, scale, samples=1, z=None):
    q = Independent(Normal(loc, scale), loc.ndim - 1)
    p = Independent(Normal(torch.zeros_like(loc[0]), torch.ones_like(loc[0])), loc.ndim - 1)
    return Latent(q, p, q.rsample((samples,)) if z is None else z)


def random_latent(rows=6, entries=3, samples=2):
    loc = torch.randn(rows, entries, dtype=torch.float64, requires_grad=True)
    log_scale = torch.randn(rows, entries, dtype=torch.float64, requires_grad=True)
    return latent(loc, log_scale.exp(), samples), (loc, log_scale)


def terms(latent):
    return Terms(torch.randn(latent.z.shape[:2]).double(), (latent,))


def total_correlation(latent, data_size, estimator="mss"):
    """(K, B), read off the objective as the change with beta."""
    t = Terms(torch.zeros(latent.z.shape[:2]).double(), (latent,))
    return beta_tcvae(t, beta=0.0, data_size=data_size, estimator=estimator) - beta_tcvae(
        t, beta=1.0, data_size=data_size, estimator=estimator
    )


def mixture(q, z):
    """The exact log q(z) of the data in q, and log q(z_d)."""
    log_q = q.base_dist.log_prob(z.unsqueeze(-2))
    count = math.log(log_q.shape[-2])
    return log_q.sum(-1).logsumexp(-1) - count, log_q.logsumexp(-2) - count


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_all_weights_one_give_the_sampled_elbo_and_its_gradient(estimator):
    drawn, parameters = random_latent()
    t = terms(drawn)
    value, bound = beta_tcvae(t, beta=1.0, data_size=50, estimator=estimator), elbo_sampled(t)
    torch.testing.assert_close(value, bound)
    for one, other in zip(
        torch.autograd.grad(value.sum(), parameters, retain_graph=True), torch.autograd.grad(bound.sum(), parameters), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_each_weight_weighs_its_own_part_of_the_kl():
    drawn, _ = random_latent(samples=1)
    t, z = terms(drawn), drawn.z[0]
    log_qz, log_qz_each = mixture(drawn.q, z)
    product = log_qz_each.sum(-1)
    parts = (drawn.q.log_prob(z) - log_qz, log_qz - product, product - drawn.p.log_prob(z))
    expected = t.log_px[0] - 0.3 * parts[0] - 5.0 * parts[1] - 0.7 * parts[2]
    torch.testing.assert_close(beta_tcvae(t, 0.3, 5.0, 0.7, data_size=6, estimator="mss"), expected)


@pytest.mark.parametrize("shape", [(2, 2), (4,)])
def test_entries_are_told_apart_whatever_the_shape_of_the_event(shape):
    drawn, _ = random_latent(entries=4, samples=1)
    q = drawn.q.base_dist
    shaped = latent(q.loc.reshape(-1, *shape), q.scale.reshape(-1, *shape), z=drawn.z.reshape(1, -1, *shape))
    torch.testing.assert_close(total_correlation(shaped, 9), total_correlation(drawn, 9))


def test_the_batch_of_all_data_gives_the_aggregate_itself():
    drawn, _ = random_latent()
    for value, exact in zip(log_aggregate(drawn, 6, "mss"), mixture(drawn.q, drawn.z), strict=True):
        torch.testing.assert_close(value, exact)
    for value, exact in zip(log_aggregate(drawn, 6, "mws"), mixture(drawn.q, drawn.z), strict=True):
        torch.testing.assert_close(value, exact - math.log(6))


def enumerated(estimator, batches):
    """The mean estimate of q(z) and q(z_d) at a z drawn given datum 0, over batches of indices of which 0 is the first."""
    data, _ = random_latent(rows=5)
    z = data.z[0, 0]
    joint, each = [], []
    for batch in batches:
        rows = torch.tensor(batch)
        own = z.expand(1, len(rows), -1)
        found = log_aggregate(latent(data.q.base_dist.loc[rows], data.q.base_dist.scale[rows], z=own), 5, estimator)
        joint.append(found[0][0, 0].exp())
        each.append(found[1][0, 0].exp())
    log_qz, log_qz_each = mixture(data.q, z.expand(1, 1, -1))
    own = data.q.base_dist.log_prob(z)[0].exp()
    exact = torch.cat((log_qz[0].exp(), log_qz_each[0, 0].exp()))
    found = torch.stack([torch.cat((a.reshape(1), b)) for a, b in zip(joint, each, strict=True)])
    return found, exact, torch.cat((own.prod().reshape(1), own))


def test_stratified_sampling_is_unbiased_over_all_batches_without_replacement():
    found, exact, _ = enumerated("mss", [(0, *rest) for rest in itertools.combinations(range(1, 5), 2)])
    torch.testing.assert_close(found.mean(0), exact)


def test_weighted_sampling_has_the_mean_that_the_paper_states_over_all_batches_with_replacement():
    found, exact, own = enumerated("mws", [(0, *rest) for rest in itertools.product(range(5), repeat=2)])
    torch.testing.assert_close(found.mean(0), (own + 2 * exact) / (5 * 3))
    assert (found.log().mean(0) <= exact.log()).all()


def test_weighted_sampling_over_all_batches_without_replacement():
    found, exact, own = enumerated("mws", [(0, *rest) for rest in itertools.combinations(range(1, 5), 2)])
    torch.testing.assert_close(found.mean(0), (own + 2 * (5 * exact - own) / 4) / (5 * 3))
    assert (found.log().mean(0) <= exact.log()).all()


def test_the_weights_of_stratified_sampling_are_the_mean_of_the_papers_over_the_order_of_the_batch():
    size, rows = 20, 5
    others = rows - 1
    paper = torch.full((others,), 1 / others)
    paper[-1] = (size - others) / (size * others)
    mean = torch.stack([paper[list(order)] for order in itertools.permutations(range(others))]).mean(0)
    torch.testing.assert_close(mean, torch.full((others,), (size - 1) / (size * others)))


def test_total_correlation_vanishes_where_the_aggregate_factorizes():
    first, second = torch.randn(4).double(), torch.randn(5).double()  # a grid: q(z) is the product of two mixtures
    loc = torch.cartesian_prod(first, second)
    scale = torch.cartesian_prod(torch.rand(4).double() + 0.1, torch.rand(5).double() + 0.1)
    found = total_correlation(latent(loc, scale), 20)
    torch.testing.assert_close(found, torch.zeros(20).double(), rtol=0, atol=1e-12)


def test_total_correlation_of_a_correlated_gaussian_aggregate_is_its_closed_form():
    covariance = torch.tensor([[1.5, 0.7, 0.0], [0.7, 1.3, 0.2], [0.0, 0.2, 2.0]]).double()
    scale = torch.tensor([0.8, 0.6, 1.0]).double()
    means = MultivariateNormal(torch.zeros(3).double(), covariance - scale.square().diag())
    repeats = []
    for _ in range(12):
        loc = means.sample((500,))
        # of so large a data set the stratified estimate leaves the datum itself out, and the rest are draws of the population
        log_qz, log_qz_each = log_aggregate(latent(loc, scale.expand_as(loc)), 10**12, "mss")
        repeats.append((log_qz - log_qz_each.sum(-1)).mean())
    found = torch.stack(repeats)
    exact = 0.5 * (covariance.diagonal().log().sum() - covariance.logdet())
    assert exact > 0.1
    assert abs(found.mean() - exact) < 4 * found.std() / math.sqrt(len(found))


def test_the_mean_over_samples_is_taken():
    drawn, _ = random_latent(samples=3)
    t = terms(drawn)
    each = [
        beta_tcvae(Terms(t.log_px[k : k + 1], (latent(drawn.q.mean, drawn.q.stddev, z=drawn.z[k : k + 1]),)), data_size=9)
        for k in range(3)
    ]
    torch.testing.assert_close(beta_tcvae(t, data_size=9), torch.stack(each).mean(0))


def test_a_single_datum_has_a_finite_value():
    drawn, _ = random_latent(rows=1)
    for estimator in ESTIMATORS:
        assert beta_tcvae(terms(drawn), data_size=9, estimator=estimator).isfinite().all()


def test_other_posteriors_and_several_latents_are_refused_at_the_call():
    drawn, _ = random_latent()
    full = MultivariateNormal(torch.zeros(6, 3).double(), torch.eye(3).double())
    with pytest.raises(InputError, match="the first a MultivariateNormal"):
        beta_tcvae(terms(Latent(full, drawn.p, drawn.z)), data_size=9)
    with pytest.raises(InputError, match="this one has 2"):
        beta_tcvae(Terms(torch.zeros(2, 6), (drawn, drawn)), data_size=9)


def test_models_without_independent_gaussian_entries_are_refused_when_they_are_built():
    likelihood = likelihoods.Bernoulli(MLP(2, [4]), 5)
    full = VAE(priors.StandardNormal(2), posteriors.FullGaussian(MLP(5, [4]), 2), likelihood)
    links = [posteriors.DiagonalGaussian(MLP(2, [4]), 2)]
    inference = BottomUp([posteriors.DiagonalGaussian(MLP(5, [4]), 2), posteriors.DiagonalGaussian(MLP(2, [4]), 2)])
    for model in (full, Hierarchical(priors.StandardNormal(2), links, inference, likelihood)):
        with pytest.raises(InputError, match="needs one latent variable whose posterior is a Gaussian with independent entries"):
            Trainable(model, Objective(beta_tcvae, fixed={"data_size": 9}))


def test_the_path_gradient_is_refused():
    with pytest.raises(InputError, match="'beta_tcvae' has gradient 'path', which is biased for an estimate of q"):
        Objective(beta_tcvae, gradient="path", fixed={"data_size": 9})


def test_its_weights_follow_schedules():
    objective = Objective(beta_tcvae, hyper={"beta": Linear(1.0, 6.0, 10)}, fixed={"data_size": 9})
    t = terms(random_latent()[0])
    torch.testing.assert_close(objective(t, **objective.values(0)), elbo_sampled(t))


@pytest.mark.slow
def test_training_with_it_lowers_the_total_correlation():
    means = {}
    for beta in (1.0, 20.0):
        run = fit(
            "digits",
            **{"objective": {"kind": "beta-tcvae", "beta": beta, "estimator": "mss"}, "latent_dim": 4, "lr": 0.003},
            epochs=8,
            quiet=True,
        )
        x = torch.cat([batch.x for batch in run.batches()[1]])
        with torch.no_grad():
            drawn = run.model.terms(x).latents[0]
            means[beta] = total_correlation(drawn, len(x)).mean()
    assert means[20.0] < 0.5 * means[1.0]

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from amortized import VAE, Batch, Hierarchical, InputError, likelihoods, posteriors, priors
from amortized.evaluation import aggregate, surgery
from amortized.models import BottomUp, TopDown
from amortized.networks import MLP, Categorical, Context

double = torch.float64


@pytest.fixture(params=[None, 1, 50], ids=lambda size: f"at once {size}")
def at_once(request, monkeypatch):
    if request.param is not None:
        monkeypatch.setattr(aggregate, "AT_ONCE", request.param)


def total_correlation(covariance):
    """That of a Gaussian: 1/2 [ sum_j log S_jj - log det S ]."""
    return 0.5 * float(covariance.diagonal().log().sum() - covariance.logdet())


def gaussian_kl(mean, covariance):
    """KL( N(mean, covariance) || N(0, I) )."""
    return 0.5 * float(covariance.trace() + mean @ mean - len(mean) - covariance.logdet())


def channel(truth, posterior):
    """Mean and covariance of the aggregate posterior over data from the model itself, and the covariance of each q(z|x)."""
    with torch.no_grad():
        q = posterior(torch.stack((truth.bias, truth.bias)))
        gain = (posterior(truth.bias + torch.eye(truth.dimension, dtype=double)).mean - q.mean[:1]).T
    own = q.variance[0].diag_embed() if isinstance(q, Independent) else q.covariance_matrix[0]
    return q.mean[0], gain @ truth.marginal.covariance_matrix @ gain.T + own, own


def small(posterior: Any = posteriors.DiagonalGaussian, prior=None, event=2, seed=0, **options):
    torch.manual_seed(seed)
    prior = priors.StandardNormal(event) if prior is None else prior
    return VAE(prior, posterior(MLP(5, [8]), event), likelihoods.Gaussian(MLP(event, [8]), 5), **options)


def data(n=30, seed=1):
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed))


def test_the_parts_are_those_of_the_mixture_evaluated_by_hand(linear_gaussian, at_once):
    posterior = linear_gaussian.random_posterior("diagonal")
    model, x = linear_gaussian.model(posterior), linear_gaussian.sample(12)
    found = surgery(model, x.split(5), samples=4)
    with torch.no_grad():
        part = [model.posterior(piece) for piece in x.split(5)]
        loc, scale = (torch.cat([getattr(q.base_dist, name) for q in part]) for name in ("loc", "scale"))
    z = drawn(model, x, 4)
    log_q_each = Normal(loc, scale).log_prob(z.unsqueeze(2))  # (S, N, N, D)
    log_q = log_q_each.sum(-1).logsumexp(2) - math.log(12)
    log_product = (log_q_each.logsumexp(2) - math.log(12)).sum(-1)
    log_own = Normal(loc, scale).log_prob(z).sum(-1)
    log_p = Normal(0.0, 1.0).log_prob(z).sum(-1)
    others = log_q_each.sum(-1).masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf).logsumexp(2) - math.log(11)
    expected = {
        "mutual_information": log_own - log_q,
        "mutual_information_upper": log_own - others,
        "marginal_kl": log_q - log_p,
        "total_correlation": log_q - log_product,
        "dimension_wise_kl": log_product - log_p,
    }
    for name, values in expected.items():
        torch.testing.assert_close(getattr(found, name), values.mean(0), rtol=0, atol=1e-11)


def drawn(model, x, samples):
    """The draws of a surgery over the data in pieces of 5."""
    from amortized.evaluation.surgery import _Drawn

    pieces = [_Drawn.of(model, Batch.of(piece), samples, 0, number).z for number, piece in enumerate(x.split(5))]
    return torch.cat(pieces, 1)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_the_parts_sum_to_the_mean_kl_and_that_is_the_closed_form(linear_gaussian, kind):
    posterior = linear_gaussian.random_posterior(kind)
    model, x = linear_gaussian.model(posterior), linear_gaussian.sample(200)
    found = surgery(model, [x], samples=50)
    assert found.total_correlation is not None
    assert found.dimension_wise_kl is not None
    parts = found.mutual_information + found.total_correlation + found.dimension_wise_kl
    torch.testing.assert_close(parts, found.mean_kl, rtol=0, atol=1e-10)
    exact = model.terms(x).kl[0, 0].detach()
    error = found.mean_kl - exact
    assert abs(float(error.mean())) < 4.5 * float(error.std()) / math.sqrt(200)
    assert float(error.mean()) != 0


@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_on_a_gaussian_channel_the_parts_are_the_closed_forms_within_error_and_bias(linear_gaussian, kind):
    """Mutual information 1/2 log det(S_aggregate) - 1/2 log det(S_own); the truth lies between the estimate and its other."""
    truth = type(linear_gaussian)(2, 3, seed=4)
    posterior = truth.random_posterior(kind)
    mean, covariance, own = channel(truth, posterior)
    information = 0.5 * float(covariance.logdet() - own.logdet())
    found = surgery(truth.model(posterior), [truth.sample(2000)], samples=1)
    values = {name: (metric.value, found.metrics) for name, metric in found.metrics.items()}

    def value(name):
        return values[f"{name}_nats"][0]

    slack = 4.5 * value("mutual_information_stderr")
    assert value("mutual_information") - slack < information < value("mutual_information_upper") + slack
    bias = value("mutual_information_upper") - value("mutual_information")
    assert bias < 0.05
    for name, exact in {
        "mutual_information": information,
        "marginal_kl": gaussian_kl(mean, covariance),
        "total_correlation": total_correlation(covariance),
        "dimension_wise_kl": gaussian_kl(mean, covariance.diagonal().diag()),
    }.items():
        assert abs(value(name) - exact) < 4.5 * value(f"{name}_stderr") + bias, name


@pytest.fixture
def aggregate_model(linear_gaussian):
    return partial(model_of_aggregate, type(linear_gaussian))


def model_of_aggregate(kind, covariance, own):
    """q(z | x) = N(x, own I) for x of given covariance: the aggregate is N(0, covariance + own I)."""
    dimension = len(covariance)
    truth = kind(dimension, dimension)
    gain, zero = torch.eye(dimension, dtype=double), torch.zeros(dimension, dtype=double)
    posterior = truth.diagonal_posterior(gain, zero, zero + math.log(own) / 2)
    return truth.model(posterior), partial(sample_gaussian, covariance), covariance + own * torch.eye(dimension, dtype=double)


def sample_gaussian(covariance, n, seed):
    noise = torch.randn(n, len(covariance), generator=torch.Generator().manual_seed(seed), dtype=double)
    return noise @ torch.linalg.cholesky(covariance).T


def test_the_marginals_of_a_correlated_gaussian_are_those_of_its_covariance():
    tril = torch.tensor([[1.0, 0.0, 0.0], [0.9, 0.2, 0.0], [-2.0, 1.0, 0.5]], dtype=double)
    q = MultivariateNormal(torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=double), scale_tril=tril)
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=double)
    joint, each = aggregate.Components.of(q).score(z)
    assert each is not None
    expected = Normal(q.mean, (tril @ tril.T).diagonal().sqrt()).log_prob(z[:, None])
    torch.testing.assert_close(each.transpose(1, 2), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(joint, q.log_prob(z[:, None]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, math.pi / 6])
def test_a_factorized_aggregate_has_no_total_correlation_and_a_rotated_one_that_of_its_gaussian(aggregate_model, angle):
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]], dtype=double)
    model, sample, covariance = aggregate_model(turn @ torch.tensor([2.0, 0.2], dtype=double).diag() @ turn.T, 0.3)
    found = surgery(model, [sample(1500, 3)], samples=1)
    value = found.metrics["total_correlation_nats"].value
    error = found.metrics["total_correlation_stderr_nats"].value
    bias = found.metrics["mutual_information_upper_nats"].value - found.metrics["mutual_information_nats"].value
    assert abs(value - total_correlation(covariance)) < 4.5 * error + bias
    assert (total_correlation(covariance) > 0.2) == (angle > 0)


def test_the_standard_error_is_how_far_repetitions_scatter_and_the_bounds_hold_on_average(aggregate_model):
    model, sample, covariance = aggregate_model(torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=double), 0.3)
    found = [surgery(model, [sample(60, seed)], samples=3, seed=seed).metrics for seed in range(150)]
    information = 0.5 * float(covariance.logdet() - 2 * math.log(0.3))

    def values(name):
        return torch.tensor([metrics[f"{name}_nats"].value for metrics in found], dtype=double)

    for name in ("mutual_information", "marginal_kl", "total_correlation", "dimension_wise_kl"):
        stated, scatter = values(f"{name}_stderr").square().mean().sqrt(), values(name).std()
        assert abs(float(scatter / stated) - 1) < 4.5 / math.sqrt(2 * 150) + 0.1, name  # and what is of second order in 1/60
    error = {name: float(values(name).std()) / math.sqrt(150) for name in ("mutual_information", "mutual_information_upper")}
    assert values("mutual_information").mean() < information + 4.5 * error["mutual_information"]
    assert values("mutual_information_upper").mean() > information - 4.5 * error["mutual_information_upper"]
    exact = gaussian_kl(torch.zeros(2, dtype=double), covariance)
    assert values("marginal_kl").mean() > exact - 4.5 * float(values("marginal_kl").std()) / math.sqrt(150)
    assert values("mutual_information").mean() < information - 4.5 * error["mutual_information"]  # the bias is there


def test_posteriors_far_apart_reach_the_cap_and_the_note_says_so(aggregate_model):
    model, _, _ = aggregate_model(torch.eye(2, dtype=double), 1e-4)
    found = surgery(model, [100 * torch.arange(40, dtype=double)[:, None].expand(40, 2)], samples=5)
    torch.testing.assert_close(found.mutual_information, torch.full((40,), math.log(40), dtype=double), rtol=0, atol=1e-12)
    assert found.metrics["mutual_information_cap_nats"].value == pytest.approx(math.log(40))
    assert "within 0.5 of its cap log N = 3.69" in str(found)
    assert found.total_correlation is not None  # every entry tells the datum by itself
    torch.testing.assert_close(found.total_correlation, found.mutual_information, rtol=0, atol=1e-9)


def test_posteriors_that_are_all_the_same_carry_nothing(aggregate_model):
    model, _, _ = aggregate_model(torch.eye(2, dtype=double), 1.0)
    found = surgery(model, [torch.zeros(9, 2, dtype=double)], samples=3)
    for values in (found.mutual_information, found.mutual_information_upper, found.total_correlation, found.marginal_kl):
        torch.testing.assert_close(values, torch.zeros(9, dtype=double), rtol=0, atol=1e-12)
    assert "its cap" not in str(found)


@pytest.mark.parametrize(
    ("posterior", "prior", "event", "parts"),
    [
        (posteriors.FullGaussian, None, 2, 5),
        (posteriors.MixtureOfGaussians, None, 2, 3),
        (posteriors.Planar, None, 2, 3),
        (posteriors.InverseAutoregressive, None, 2, 3),
        (posteriors.VonMisesFisher, priors.Uniform(3, "sphere"), 3, 3),
        (posteriors.Bernoulli, priors.Uniform(3, "binary"), 3, 5),
        (partial(posteriors.Bernoulli, estimator="enumerate"), priors.Uniform(3, "binary"), 3, 5),
        (posteriors.DiagonalGaussian, priors.Mixture(2, 3), 2, 4),
        (posteriors.DiagonalGaussian, priors.Flow(2), 2, 4),
        (posteriors.DiagonalGaussian, None, 2, 5),
    ],
)
def test_every_posterior_and_prior_is_divided_as_far_as_it_can_be(posterior, prior, event, parts):
    model, x = small(posterior, prior, event), data()
    found = surgery(model, x.split(20), samples=20)
    kinds = (
        found.mutual_information,
        found.mutual_information_upper,
        found.marginal_kl,
        found.total_correlation,
        found.dimension_wise_kl,
    )
    assert sum(values is not None for values in kinds) == parts
    assert (found.mutual_information.mean() >= -1e-5) & (found.mutual_information.mean() <= math.log(30) + 1e-5)
    assert found.mutual_information.dtype == double
    with torch.no_grad():
        terms = model.eval().terms(x, samples=400)
        rate = terms.mean_over_samples(terms.kl[0]).double()
    error = found.mean_kl - rate
    assert abs(float(error.mean())) < 5 * float(error.std()) / math.sqrt(30) + 1e-4
    assert ("no further" in str(found) or "not divided further" in str(found)) == (parts == 3)
    assert ("no dimension-wise part" in str(found)) == (parts == 4)


def test_classes_are_divided_as_their_probabilities_say():
    torch.manual_seed(0)
    posterior = posteriors.Categorical(MLP(5, [8]), event=2, classes=3)
    model = VAE(priors.Uniform((2, 3), "categorical"), posterior, likelihoods.Gaussian(MLP((2, 3), [8]), 5))
    x = 3 * data(7)
    with torch.no_grad():
        probabilities = model.eval().posterior(x).mean.double()  # (N, 2, 3)
    joint = torch.einsum("ni,nj->nij", probabilities[:, 0], probabilities[:, 1])
    mixed = joint.mean(0)
    product = torch.outer(mixed.sum(1), mixed.sum(0))
    found = surgery(model, [x], samples=20_000)
    assert found.total_correlation is not None
    assert found.dimension_wise_kl is not None
    exact = {
        "mutual_information": float((joint * (joint / mixed).log()).sum()) / 7,
        "marginal_kl": float((mixed * (9 * mixed).log()).sum()),
        "total_correlation": float((mixed * (mixed / product).log()).sum()),
        "dimension_wise_kl": float((mixed * (9 * product).log()).sum()),
    }
    for name, value in exact.items():
        # Over draws alone, of values within a few nats of each other.
        assert float(getattr(found, name).mean()) == pytest.approx(value, abs=4.5 * 1.5 / math.sqrt(7 * 20_000)), name


@pytest.mark.parametrize("kind", ["bottom-up", "top-down"])
def test_a_hierarchy_is_divided_in_two_as_one_vector(kind):
    torch.manual_seed(0)
    low, high = (posteriors.DiagonalGaussian(MLP(width, [6]), event) for width, event in ((5, 3), (3, 2)))
    if kind == "bottom-up":
        inference = BottomUp([low, high])
    else:
        inference = TopDown([posteriors.DiagonalGaussian(MLP(5, [6]), 2), low_given_high()], features=[MLP(5, [4])])
    link = posteriors.DiagonalGaussian(MLP(2, [6]), 3)
    model = Hierarchical(priors.StandardNormal(2), [link], inference, likelihoods.Gaussian(MLP(3, [6]), 5))
    x = data(20)
    found = surgery(model, x.split(8), samples=30)
    assert found.total_correlation is None
    with torch.no_grad():
        z = model.eval().posterior(x).sample((300,))
        rate = (model.posterior(x).log_prob(z) - model.prior().log_prob(z)).mean(0).double()
        # q(z) of a value, by hand: each component is called with all data but scored at one value
        q = torch.stack([model.posterior(x[i : i + 1]).log_prob(z[0][:, None])[:, 0] for i in range(20)], 1)
    error = found.mean_kl - rate
    assert abs(float(error.mean())) < 5 * float(error.std()) / math.sqrt(20)
    components = aggregate.Components.of(model.posterior(x))
    with torch.no_grad():
        torch.testing.assert_close(components.score(z[0])[0], q.double(), rtol=1e-4, atol=1e-4)


def low_given_high():
    from amortized.networks import Joined

    return posteriors.DiagonalGaussian(Joined([MLP(4, []), MLP(2, [6])], MLP(10, [6])), 3)


def test_a_conditioned_prior_is_said_not_to_give_a_kl():
    torch.manual_seed(0)
    model = VAE(
        priors.Gaussian(2, MLP(3, [4])),
        posteriors.DiagonalGaussian(MLP(5, [8], context_features=3), 2),
        likelihoods.Gaussian(MLP(2, [8], context_features=3), 5),
        context=Context({"y": Categorical(3)}),
        condition=("prior", "posterior", "likelihood"),
    )
    batch = Batch(data(12), context={"y": torch.arange(12) % 3})
    found = surgery(model, [batch], samples=50)
    exact = model.terms(batch).kl[0, 0].detach().double()
    error = found.mean_kl - exact
    assert abs(float(error.mean())) < 4.5 * float(error.std()) / math.sqrt(12)
    assert "may be negative" in str(found)
    assert found.metrics["marginal_kl_nats"].kind == "estimate"


def test_missing_entries_are_left_to_the_encoder():
    x = data(10)
    x[3, 2] = torch.nan
    assert surgery(small(), [x], samples=3).mean_kl.isfinite().all()


def test_the_same_seed_gives_the_same_parts_and_leaves_no_trace():
    model, x = small().train(), data()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, second = (surgery(model, [x], samples=2, seed=7) for _ in range(2))
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(first.mean_kl, second.mean_kl)
    assert not torch.equal(first.mean_kl, surgery(model, [x], samples=2, seed=8).mean_kl)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_metrics_say_what_they_bound_and_progress_counts_every_datum():
    seen = []
    found = surgery(small(), data().split(12), samples=2, split="valid", progress=seen.append)
    assert sum(seen) == 30
    kinds = {name: metric.kind for name, metric in found.metrics.items() if "stderr" not in name}
    assert kinds == {
        "mean_kl_nats": "estimate",
        "mutual_information_nats": "lower bound",
        "mutual_information_upper_nats": "upper bound",
        "marginal_kl_nats": "upper bound",
        "total_correlation_nats": "estimate",
        "dimension_wise_kl_nats": "upper bound",
        "mutual_information_cap_nats": "exact",
    }
    assert {(metric.split, metric.samples) for metric in found.metrics.values()} == {("valid", 2)}


@pytest.mark.parametrize("samples", [0, -1, 1.5, True])
def test_a_number_of_samples_that_is_none_is_refused(samples):
    with pytest.raises(InputError, match="samples must be a positive integer; it is"):
        surgery(small(), [data()], samples=samples)


def test_too_few_data_and_a_point_mass_are_refused_with_what_works():
    with pytest.raises(InputError, match="has 0 data"):
        surgery(small(), [])
    with pytest.raises(InputError, match="has 1 data"):
        surgery(small(), [data(1)])
    with pytest.raises(InputError, match="`activity`"):
        surgery(small(posteriors.Delta), [data()])


def test_a_narrow_posterior_in_float32_is_divided_in_float64():
    """Standard deviations of 1e-4 about means near 1: in float32 the parts would be off by more than a tenth of a nat."""
    loc = 1 + 0.1 * torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    q = Independent(Normal(loc, torch.full_like(loc, 1e-4)), 1)
    exact = MultivariateNormal(loc.double(), (torch.full_like(loc, 1e-4).double() ** 2).diag_embed())
    torch.manual_seed(0)
    z = q.sample()
    scored = aggregate.Components.of(q).score(z)[0]
    torch.testing.assert_close(scored.diagonal(), exact.log_prob(z.double()), rtol=0, atol=1e-8)

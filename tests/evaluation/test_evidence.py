import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from amortized import VAE, Batch, InputError, Terms, likelihoods, posteriors, priors
from amortized.evaluation import Evidence, chunks, evaluate
from amortized.evaluation.evidence import METRICS
from amortized.networks import MLP


class Fixed(nn.Module):
    """A model whose importance weights are given beforehand, (K, N), handed out in pieces in order."""

    event_shape = torch.Size((1,))

    def __init__(self, log_w, dtype=torch.float32, log_sample_weight=None, strata=1):
        super().__init__()
        self.all, self.used, self.dtype, self.weight = log_w, {}, dtype, log_sample_weight
        self.values_per_sample = strata

    def terms(self, batch, *, samples=1, gradient="total"):
        first = int(batch.x[0, 0])
        start = self.used.get(first, 0)
        count = samples * self.values_per_sample
        self.used[first] = start + count
        piece = slice(start, start + count), slice(first, first + len(batch.x))
        weight = None if self.weight is None else self.weight[piece]
        return NoLatent(self.all[piece].to(self.dtype), (), log_sample_weight=weight)


class NoLatent(Terms):
    """Terms without a latent: log_w is log_px."""

    kl = property(lambda self: torch.zeros(1, *self.log_px.shape, dtype=self.log_px.dtype))  # pyright: ignore


def fixed(log_w, dtype=torch.float32, log_sample_weight=None, strata=1) -> Any:
    return Fixed(log_w, dtype, log_sample_weight, strata)


def rows(n):
    return torch.arange(float(n))[:, None]


def vae(posterior: type[nn.Module] = posteriors.DiagonalGaussian):
    torch.manual_seed(0)
    return VAE(priors.StandardNormal(2), posterior(MLP(5, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 5))


def bits(n=6):
    return (torch.rand(n, 5, generator=torch.Generator().manual_seed(1)) < 0.5).float()


@pytest.fixture(params=[None, 1, 7, 40], ids=lambda entries: f"entries {entries}")
def chunk(request, monkeypatch):
    if request.param is not None:
        monkeypatch.setattr(chunks, "CACHE_ENTRIES", request.param)
    return request.param


def test_the_estimate_is_the_direct_log_mean_of_the_weights_however_they_are_cut(chunk):
    log_w = 3 * torch.randn(11, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = evaluate(fixed(log_w, dtype=torch.float64), [rows(6)], samples=11)
    assert found.nll is not None
    assert found.elbo is not None
    torch.testing.assert_close(-found.nll, log_w.logsumexp(0) - math.log(11), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.elbo, log_w.mean(0), rtol=0, atol=1e-12)


def test_the_variance_is_that_of_a_mean_of_weights(chunk):
    log_w = torch.randn(11, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = evaluate(fixed(log_w, dtype=torch.float64), [rows(6)], samples=11)
    weights = log_w.exp()
    assert found.nll_variance is not None
    torch.testing.assert_close(found.nll_variance, weights.var(0) / weights.mean(0) ** 2 / 11, rtol=1e-9, atol=0)


def test_weights_beyond_the_exponent_are_summed(chunk):
    log_w = torch.randn(11, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for shift in (-5000.0, 5000.0):
        found = evaluate(fixed(log_w + shift, dtype=torch.float64), [rows(6)], samples=11)
        assert found.nll is not None
        torch.testing.assert_close(-found.nll, log_w.logsumexp(0) - math.log(11) + shift, rtol=0, atol=1e-9)


def test_a_piece_of_weights_that_are_all_zero_adds_nothing(chunk):
    log_w = torch.zeros(8, 2, dtype=torch.float64)
    log_w[:7, 0] = -torch.inf
    log_w[:, 1] = -torch.inf
    found = evaluate(fixed(log_w, dtype=torch.float64), [rows(2)], samples=8)
    assert found.nll is not None
    assert found.nll[0].item() == pytest.approx(math.log(8), abs=1e-12)
    assert found.nll[1] == torch.inf


def test_weights_in_float32_are_summed_in_float64():
    log_w = torch.full((20_000, 1), -300.0)
    log_w[1:] -= 17.0  # together 8.3e-4 of the first: one by one, below what float32 can add to it
    found = evaluate(fixed(log_w), [rows(1)], samples=20_000)
    assert found.nll is not None
    assert found.nll.dtype == torch.float64
    assert -found.nll.item() == pytest.approx(log_w.double().logsumexp(0).item() - math.log(20_000), abs=1e-12)


def test_samples_that_do_not_weigh_the_same_are_weighed():
    noise = torch.Generator().manual_seed(0)
    log_w, raw = (torch.randn(11, 6, dtype=torch.float64, generator=noise) for _ in range(2))
    weight = raw.log_softmax(0)
    found = evaluate(fixed(log_w, dtype=torch.float64, log_sample_weight=weight), [rows(6)], samples=11)
    assert found.nll is not None
    torch.testing.assert_close(-found.nll, (log_w + weight).logsumexp(0), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("entries", "size"), [(2**20, 40), (2**20, 7), (5 * 40 * 3, 40), (5 * 20, 40)])
def test_how_the_data_are_cut_does_not_matter_beyond_the_noise(monkeypatch, linear_gaussian, entries, size):
    model, x = linear_gaussian.model(linear_gaussian.wide_posterior(1.3)), linear_gaussian.sample(40)
    monkeypatch.setattr(chunks, "CACHE_ENTRIES", entries)
    found = evaluate(model, x.split(size), samples=200)
    assert found.nll is not None
    assert found.nll_variance is not None
    z = (found.nll + linear_gaussian.log_px(x) - found.nll_variance / 2) / found.nll_variance.sqrt()
    assert z.abs().max() < 4.5
    assert abs(z.mean()) < 4.5 / math.sqrt(40)
    assert abs(z.var() - 1) < 4.5 * math.sqrt(2 / 40)  # the noise is as large as it is said to be


def test_the_same_seed_gives_the_same_evidence_and_leaves_the_generator_alone():
    model, x = vae(), bits()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    first, second = (evaluate(model, [x], samples=5, seed=7).nll for _ in range(2))
    assert torch.equal(torch.rand(4), expected)
    other = evaluate(model, [x], samples=5, seed=8).nll
    assert first is not None
    assert second is not None
    assert other is not None
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_model_is_evaluated_in_evaluation_mode_and_left_as_it_was():
    model = vae()
    seen = []
    model.parts["likelihood"].register_forward_hook(lambda part, given, out: seen.append(part.training))
    evaluate(model.train(), [bits()], samples=2)
    assert seen == [False]
    assert model.training
    evaluate(model.eval(), [bits()], samples=2)
    assert not model.training


def test_elbo_rate_and_distortion_are_one_equation():
    found = evaluate(vae(), [bits()], samples=20)
    assert found.elbo is not None
    assert found.rate is not None
    assert found.rate_is_exact
    torch.testing.assert_close(found.elbo, -found.distortion - found.rate)
    expected = vae().terms(bits()).kl[0, 0].double()
    torch.testing.assert_close(found.rate, expected.detach(), rtol=1e-5, atol=1e-6)


def test_one_sample_states_no_error():
    found = evaluate(vae(), [bits()], samples=1)
    assert found.nll_variance is not None
    assert found.nll_variance.isnan().all()
    assert not {"nll_mc_stderr_nats", "nll_bias_nats"} & set(found.metrics)
    assert {"nll_nats", "elbo_nats", "nll_stderr_nats"} <= set(found.metrics)
    assert "one posterior sample" in str(found)


def test_one_datum_states_no_error_over_the_data():
    metrics = evaluate(vae(), [bits(1)], samples=50).metrics
    assert "nll_stderr_nats" not in metrics
    assert metrics["nll_mc_stderr_nats"].value > 0


def test_a_point_mass_has_a_distortion_and_nothing_else():
    model, x = vae(posteriors.Delta), bits()
    found = evaluate(model, [x], samples=3)
    assert set(found.metrics) == {"distortion_nats"}
    expected = -model.decode(model.posterior(x).mean).log_prob(x).double()
    torch.testing.assert_close(found.distortion, expected.detach(), rtol=1e-5, atol=1e-6)
    assert "point mass" in str(found)


def test_the_metrics_name_their_split_samples_and_kind():
    metrics = evaluate(vae(), [bits()], samples=20, split="valid").metrics
    assert {(metric.split, metric.samples) for metric in metrics.values()} == {("valid", 20)}
    kinds = {name: metric.kind for name, metric in metrics.items()}
    assert kinds["elbo_nats"] == "lower bound"
    assert kinds["nll_nats"] == "estimate"
    assert kinds["rate_nats"] == "exact"
    assert "bits_per_dim" not in metrics


def test_the_standard_errors_are_over_data_and_over_samples():
    found = evaluate(vae(), [bits()], samples=20)
    assert found.nll is not None
    assert found.elbo is not None
    assert found.nll_variance is not None
    value = {name: metric.value for name, metric in found.metrics.items()}
    assert value["nll_stderr_nats"] == pytest.approx(found.nll.std().item() / math.sqrt(6))
    assert value["elbo_stderr_nats"] == pytest.approx(found.elbo.std().item() / math.sqrt(6))
    assert value["nll_mc_stderr_nats"] == pytest.approx(found.nll_variance.sum().sqrt().item() / 6)
    assert value["nll_bias_nats"] == pytest.approx(found.nll_variance.mean().item() / 2)


def test_bits_per_dimension_are_nats_in_another_unit():
    metrics = evaluate(vae(), [bits()], samples=20, dimensions=5).metrics
    assert metrics["bits_per_dim"].value == pytest.approx(metrics["nll_nats"].value / (5 * math.log(2)))


def test_weights_that_vary_too_much_are_announced():
    log_w = 4 * torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
    assert "too high by about" in str(evaluate(fixed(log_w), [rows(6)], samples=10))
    assert "too high" not in str(evaluate(fixed(0.01 * log_w), [rows(6)], samples=10))


def test_the_progress_counts_every_datum_once():
    seen = []
    evaluate(vae(), [bits(), Batch(bits(3))], samples=2, progress=seen.append)
    assert sum(seen) == 9


def test_no_data_and_no_samples_are_refused():
    with pytest.raises(InputError, match="samples must be a positive integer; it is 0"):
        evaluate(vae(), [bits()], samples=0)
    with pytest.raises(InputError, match="the valid split has no data to evaluate"):
        evaluate(vae(), [], split="valid")


def test_the_order_of_the_data_is_kept():
    model, x = vae(), bits(12)
    found = evaluate(model, x.split(5), samples=400)
    assert isinstance(found, Evidence)
    assert found.nll is not None
    assert found.nll_variance is not None
    alone = evaluate(model, [x[7:8]], samples=400, seed=1)
    assert alone.nll is not None
    assert abs(alone.nll[0] - found.nll[7]) < 4.5 * (2 * found.nll_variance[7]).sqrt()


def test_the_error_of_strata_is_that_of_their_weighted_sums():
    """The n estimates of one draw of each stratum are independent; the draws within one are not alike."""
    noise = torch.Generator().manual_seed(0)
    log_w = torch.randn(12, 6, dtype=torch.float64, generator=noise)
    share = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64).log()
    weight = (share - math.log(4)).repeat(4)[:, None].expand(12, 6)
    found = evaluate(fixed(log_w, dtype=torch.float64, log_sample_weight=weight, strata=3), [rows(6)], samples=4)
    strata = (share[:, None] + log_w.reshape(4, 3, 6)).logsumexp(1).exp()
    assert found.nll is not None
    assert found.nll_variance is not None
    torch.testing.assert_close(-found.nll, strata.mean(0).log(), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.nll_variance, strata.var(0) / strata.mean(0) ** 2 / 4, rtol=1e-9, atol=0)


def test_a_sum_over_the_whole_support_is_exact_whatever_the_samples():
    torch.manual_seed(0)
    x = (torch.rand(5, 4) < 0.5).float()
    posterior = posteriors.Bernoulli(MLP(4, [6]), 3, estimator="enumerate")
    model = VAE(priors.Uniform(3, "binary"), posterior, likelihoods.Bernoulli(MLP(3, [6]), 4)).double()
    support = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    log_px = model.decode(support[:, None].expand(8, 5, 3)).log_prob(x.double())
    exact = (log_px - 3 * math.log(2)).logsumexp(0)
    for samples in (1, 3):
        found = evaluate(model, [x.double()], samples=samples)
        assert found.nll is not None
        torch.testing.assert_close(-found.nll, exact, rtol=0, atol=1e-12)
        assert found.is_exact
        assert found.metrics["nll_nats"].kind == "exact"
        assert found.metrics["nll_mc_stderr_nats"].value == 0
        assert "exact" in str(found)


def test_the_chi_bound_is_the_logarithm_of_the_second_moment_however_the_samples_are_cut(chunk):
    log_w = 30 * torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 700
    found = evaluate(fixed(log_w, dtype=torch.float64), [rows(6)], samples=50)
    assert found.cubo is not None
    assert found.nll is not None
    torch.testing.assert_close(found.cubo, ((2 * log_w).logsumexp(0) - math.log(50)) / 2)
    assert (found.cubo > -found.nll).all()
    assert found.metrics["cubo_nats"].value == pytest.approx(found.cubo.mean().item())
    assert found.metrics["cubo_nats"].kind == "estimate"


def test_the_evidence_lies_between_the_elbo_and_the_chi_bound_and_both_are_log_px_at_the_exact_posterior(linear_gaussian):
    x = linear_gaussian.sample(40)
    exact = evaluate(linear_gaussian.model(), [x], samples=10)
    assert exact.cubo is not None
    torch.testing.assert_close(exact.cubo, linear_gaussian.log_px(x), rtol=0, atol=1e-10)
    found = evaluate(linear_gaussian.model(linear_gaussian.wide_posterior(1.3)), [x], samples=5_000)
    assert found.cubo is not None
    assert found.elbo is not None
    assert (found.elbo < linear_gaussian.log_px(x)).all()
    assert (linear_gaussian.log_px(x) < found.cubo).all()


@pytest.mark.parametrize("posterior", [posteriors.Delta, partial(posteriors.Bernoulli, estimator="enumerate")])
def test_where_there_is_no_bound_or_no_doubt_there_is_no_chi_bound(posterior):
    prior = priors.StandardNormal(2) if posterior is posteriors.Delta else priors.Uniform(2, "binary")
    model = VAE(prior, posterior(MLP(5, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 5))
    assert "cubo_nats" not in evaluate(model, [bits()], samples=3).metrics
    assert "cubo_nats" not in evaluate(vae(), [bits()], samples=1).metrics


def test_every_metric_that_the_evidence_has_is_named_as_its_own():
    model = vae()
    for samples in (1, 50):
        assert set(evaluate(model, [bits()], samples=samples, dimensions=5).metrics) <= METRICS
    assert set(evaluate(model, [bits()], samples=50, dimensions=5).metrics) == METRICS

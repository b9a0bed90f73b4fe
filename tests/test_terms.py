import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from amortized import Batch, InputError, Latent, LatentPath, Terms
from amortized.objectives import elbo, iwae

K, B, D = 3, 4, 2


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def normal(*shape):
    return Independent(Normal(torch.randn(*shape), torch.rand(*shape) + 0.5), 1)


def latent(**fields):
    q = fields.pop("q", normal(B, D))
    return Latent(q, fields.pop("p", normal(D)), q.rsample((K,)), **fields)


def test_a_bare_tensor_is_a_batch_of_nothing_but_x():
    x = torch.zeros(B, D)
    assert Batch.of(x).x is x
    assert Batch.of(x).context == {}
    batch = Batch(x, labels=torch.zeros(B))
    assert Batch.of(batch) is batch
    assert len(batch) == B


def full_batch():
    x = torch.arange(B * D, dtype=torch.float32).reshape(B, D)
    return Batch(x, -x, {"y": torch.arange(B), "v": x}, x > 2, torch.arange(B), torch.arange(B))


def test_rows_of_a_batch_are_rows_of_every_field():
    part = full_batch().rows(slice(1, 3))
    assert len(part) == 2
    for value in (part.input, part.observed, part.labels, part.index, *part.context.values()):
        assert value is not None
        assert len(value) == 2
    assert torch.equal(part.context["v"], part.x)
    assert part.index is not None
    assert part.index.tolist() == [1, 2]


def test_joined_rows_are_the_batch_again():
    batch = full_batch()
    again = Batch.join([batch.rows(slice(0, 1)), batch.rows(slice(1, None))])
    for name in ("x", "input", "observed", "labels", "index"):
        assert torch.equal(getattr(again, name), getattr(batch, name))
    for name, value in batch.context.items():
        assert torch.equal(again.context[name], value)


def test_only_floats_change_their_type():
    batch = full_batch().to(torch.device("cpu"), torch.float64)
    assert batch.x.dtype == batch.context["v"].dtype == torch.float64
    assert batch.context["y"].dtype == torch.int64
    assert batch.observed is not None
    assert batch.observed.dtype == torch.bool


def test_the_kl_is_the_closed_form_where_there_is_one():
    value = latent()
    assert value.kl_is_exact
    assert value.kl.shape == (K, B)
    torch.testing.assert_close(value.kl[0], torch.distributions.kl_divergence(value.q, value.p.expand((B,))))
    assert value.kl_elementwise is not None
    assert value.kl_elementwise.shape == (K, B, D)
    torch.testing.assert_close(value.kl_elementwise.sum(-1), value.kl)


def test_the_kl_is_minus_the_log_ratio_where_there_is_none():
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(torch.ones(2)), normal(2, D))
    value = latent(p=mixture)
    assert not value.kl_is_exact
    assert value.kl_elementwise is None
    torch.testing.assert_close(value.kl, value.q.log_prob(value.z) - mixture.log_prob(value.z))
    torch.testing.assert_close(value.kl, value.kl_sampled)


def test_the_path_posterior_takes_the_place_of_the_closed_form():
    q = normal(B, D)
    value = latent(q=q, q_path=q)
    assert not value.kl_is_exact
    assert value.kl_elementwise is None
    torch.testing.assert_close(value.kl, -value.log_ratio)


def test_the_log_ratio_is_scored_under_the_path_posterior():
    other = normal(B, D)
    value = latent(q_path=other)
    torch.testing.assert_close(value.log_ratio, value.p.log_prob(value.z) - other.log_prob(value.z))


def test_a_weight_multiplies_every_form_of_the_kl_and_leaves_the_log_ratio():
    weight = torch.rand(K, B) + 1
    plain = latent()
    weighted = Latent(plain.q, plain.p, plain.z, weight=weight)
    torch.testing.assert_close(weighted.kl, weight * plain.kl)
    torch.testing.assert_close(weighted.kl_sampled, weight * plain.kl_sampled)
    torch.testing.assert_close(weighted.log_ratio, plain.log_ratio)
    assert weighted.kl_elementwise is not None
    torch.testing.assert_close(weighted.kl_elementwise.sum(-1), weighted.kl)


def test_a_full_gaussian_has_a_kl_without_entries():
    q = MultivariateNormal(torch.randn(B, D), torch.eye(D))
    value = latent(q=q)
    assert value.kl_is_exact
    assert value.kl_elementwise is None


def test_log_w_sums_what_there_is_of_every_latent():
    first, second, log_px = latent(), latent(), torch.randn(K, B)
    terms = Terms(log_px, (first, second))
    torch.testing.assert_close(terms.log_w, log_px + first.log_ratio + second.log_ratio)
    assert terms.kl.shape == terms.kl_sampled.shape == (2, K, B)
    assert terms.kl_is_exact


@pytest.mark.parametrize("weight", [2.0, torch.ones(K, B)], ids=["number", "tensor"])
def test_log_w_of_a_subsampled_latent_is_refused(weight):
    terms = Terms(torch.zeros(K, B), (latent(), latent(weight=weight)))
    with pytest.raises(InputError, match="latent 1 of 2 was sub-sampled.*elbo"):
        iwae(terms)
    assert elbo(terms).shape == (B,)


def test_log_w_of_a_continuum_is_refused_and_its_elbo_is_not():
    path = LatentPath(torch.rand(K, B), torch.zeros(K, B, D), torch.zeros(K, B))
    terms = Terms(torch.zeros(K, B), (path,))
    with pytest.raises(InputError, match="sub-sampled"):
        iwae(terms)
    assert not terms.kl_is_exact
    torch.testing.assert_close(elbo(terms), -path.kl.mean(0))
    torch.testing.assert_close(terms.kl_sampled[0], path.kl)


def test_sample_weights_replace_the_plain_mean():
    log_weight = torch.randn(K, B).log_softmax(0)
    value = torch.randn(K, B)
    plain, weighted = Terms(value, ()), Terms(value, (), log_sample_weight=log_weight)
    torch.testing.assert_close(plain.mean_over_samples(value), value.mean(0))
    torch.testing.assert_close(weighted.mean_over_samples(value), (log_weight.exp() * value).sum(0))


def test_importance_weights_are_refused_of_a_posterior_without_density():
    normal = torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    z = torch.zeros(3, 2)
    with pytest.raises(InputError, match="density"):
        _ = Terms(torch.zeros(3, 2), (Latent(normal, normal, z),), is_bound=False).log_w

import pytest
import torch

from amortized import VAE, Batch, Latent, likelihoods, posteriors, priors
from amortized.networks import MLP, Categorical, Context
from amortized.objectives import elbo

K, B, X, D = 3, 4, 5, 2


def vae(width=8, *, context_features=0, context=None, **options):
    network = MLP(X, [width], context_features=context_features, **options)
    posterior, likelihood = posteriors.DiagonalGaussian(network, D), likelihoods.Gaussian(MLP(D, [8]), X)
    return VAE(priors.StandardNormal(D), posterior, likelihood, context=context, condition=("posterior",))


def only_latent(terms) -> Latent:
    (latent,) = terms.latents
    assert isinstance(latent, Latent)
    return latent


def gradient(model, terms, part="posterior"):
    parameters = list(model.parts[part].parameters())
    return torch.cat([g.flatten() for g in torch.autograd.grad(elbo(terms).sum(), parameters)])


def test_with_the_exact_posterior_the_path_gradient_has_no_variance_and_the_total_one_has(linear_gaussian):
    model, x = linear_gaussian.model(), linear_gaussian.sample(6)
    assert gradient(model, model.terms(x, gradient="path")).abs().max() < 1e-10
    model_terms = model.terms(x)
    latent = only_latent(model_terms)
    parameters = list(model.parts["posterior"].parameters())
    sampled = torch.autograd.grad((model_terms.log_px - latent.kl_sampled).sum(), parameters)
    assert max(g.abs().max() for g in sampled) > 0.1


def test_the_path_gradient_and_the_total_gradient_have_the_same_mean(linear_gaussian):
    model, x = linear_gaussian.model(linear_gaussian.random_posterior("full")), linear_gaussian.sample(2)
    n = 600
    drawn = {how: torch.stack([gradient(model, model.terms(x, gradient=how)) for _ in range(n)]) for how in ("path", "total")}
    difference = drawn["path"].mean(0) - drawn["total"].mean(0)
    error = torch.stack([values.var(0) / n for values in drawn.values()]).sum(0).sqrt()
    moving = error > 0
    assert moving.float().mean() > 0.9
    assert (difference[moving] / error[moving]).abs().max() < 5


def test_the_decoder_has_the_same_gradient_in_both_modes():
    model, x = vae(), torch.randn(B, X)
    values = []
    for how in ("path", "total"):
        torch.manual_seed(1)
        values.append(gradient(model, model.terms(x, samples=K, gradient=how), "likelihood"))
    torch.testing.assert_close(*values)


def test_the_encoder_of_the_condition_is_held_constant_in_the_path_density():
    model = vae(context_features=4, context=Context({"y": Categorical(3, "embedding", 4)}))
    terms = model.terms(Batch(torch.randn(B, X), context={"y": torch.arange(B) % 3}), gradient="path")
    latent = only_latent(terms)
    assert latent.q_path is not None
    score = latent.q_path.log_prob(latent.z.detach())
    assert not score.requires_grad


def test_dropout_masks_are_the_same_in_the_path_density():
    model, x = vae(64, dropout=0.5).train(), torch.randn(B, X)
    latent = only_latent(model.terms(x, gradient="path"))
    assert latent.q_path is not None
    assert torch.equal(latent.q.mean, latent.q_path.mean)
    assert torch.equal(latent.q.variance, latent.q_path.variance)


def test_the_path_mode_draws_the_noise_of_the_total_mode():
    model, x = vae(64, dropout=0.5).train(), torch.randn(B, X)
    drawn = []
    for how in ("total", "path"):
        torch.manual_seed(1)
        drawn.append(model.terms(x, gradient=how).latents[0].z)
    assert torch.equal(*drawn)


def test_running_statistics_are_updated_once_in_the_path_mode():
    model, x = vae(norm="batch").train(), torch.randn(B, X)
    model.terms(x, gradient="path")
    counts = [buffer for name, buffer in model.named_buffers() if name.endswith("num_batches_tracked")]
    assert [int(count) for count in counts] == [1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, whose generator is its own")
def test_dropout_masks_are_the_same_in_the_path_density_on_cuda():
    model, x = vae(64, dropout=0.5).train().cuda(), torch.randn(B, X).cuda()
    latent = only_latent(model.terms(x, gradient="path"))
    assert latent.q_path is not None
    assert torch.equal(latent.q.mean, latent.q_path.mean)

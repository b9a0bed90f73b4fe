import pytest
import torch

from amortized import VAE, Batch, InputError, Latent, likelihoods, posteriors, priors
from amortized.networks import MLP
from amortized.objectives import elbo

D, X = 3, 5


def semi(linear_gaussian, size=2.0, **options):
    """The linear-Gaussian model with the refined posterior, from a guess that is wrong by `size`."""
    guess = linear_gaussian.random_posterior("diagonal", size=size)
    posterior = posteriors.SemiAmortized(guess.head.network, D, **options).double()
    posterior.guess.load_state_dict(guess.state_dict())
    return linear_gaussian.model(posterior)


def exact_bound(linear_gaussian, x, q):
    """ELBO of a diagonal q by its closed form."""
    loc, covariance = q.mean, torch.diag_embed(q.variance)
    prior = torch.distributions.Independent(torch.distributions.Normal(torch.zeros_like(loc), torch.ones_like(loc)), 1)
    return linear_gaussian.expected_log_px(x, loc, covariance) - torch.distributions.kl_divergence(q, prior)


def test_it_converges_to_the_best_q_of_its_family(linear_gaussian):
    model, x = semi(linear_gaussian, steps=200, noise="cubature"), linear_gaussian.sample(20)
    q = model.posterior(x)
    exact = linear_gaussian.posterior(x)
    torch.testing.assert_close(q.mean, exact.mean, rtol=0, atol=1e-6)
    best = 1 / exact.precision_matrix.diagonal(dim1=-2, dim2=-1)  # of a Gaussian target, the mean-field optimum
    torch.testing.assert_close(q.variance, best, rtol=1e-5, atol=0)


@pytest.mark.parametrize("step_size", [0.01, 0.5, 30.0])
def test_no_step_lowers_the_bound(linear_gaussian, step_size):
    x = linear_gaussian.sample(20)
    values = [
        exact_bound(linear_gaussian, x, semi(linear_gaussian, steps=steps, noise="cubature", step_size=step_size).posterior(x))
        for steps in (0, 1, 2, 5, 10, 30)
    ]
    for before, after in zip(values, values[1:], strict=False):
        assert (after >= before - 1e-10).all()
    assert (values[-1] > values[0] + 0.1).any()


def test_the_cubature_has_the_moments_of_the_noise(linear_gaussian):
    posterior = posteriors.SemiAmortized(MLP(X, [4]), (2, 2), noise="cubature").double()
    points = posterior._draw(torch.zeros(2, 7, 2, 2, dtype=torch.float64)).flatten(2)
    assert points.shape == (8, 7, 4)
    torch.testing.assert_close(points.mean(0), torch.zeros(7, 4, dtype=torch.float64), atol=1e-12, rtol=0)
    covariance = torch.einsum("sbi,sbj->bij", points, points) / 8
    torch.testing.assert_close(covariance, torch.eye(4, dtype=torch.float64).expand(7, 4, 4), atol=1e-12, rtol=0)


def test_without_steps_it_is_the_guess(linear_gaussian):
    model, x = semi(linear_gaussian, steps=0), linear_gaussian.sample(4)
    torch.testing.assert_close(model.posterior(x).mean, model.parts["posterior"](x).mean)
    torch.testing.assert_close(model.posterior(x).stddev, model.parts["posterior"](x).stddev)


def test_it_refines_without_gradient_and_in_training(linear_gaussian):
    model, x = semi(linear_gaussian, steps=5), linear_gaussian.sample(4)
    with torch.no_grad():
        q = model.eval().posterior(x)
    assert not q.mean.requires_grad
    assert not torch.allclose(q.mean, model.parts["posterior"](x).mean)
    for through in (False, True):
        model = semi(linear_gaussian, steps=3, end_to_end=through).train()
        elbo(model.terms(x)).mean().backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_the_gradient_through_the_steps_is_the_derivative(linear_gaussian):
    model, x = semi(linear_gaussian, steps=3, noise="cubature", end_to_end=True), linear_gaussian.sample(3)
    bias = model.parts["posterior"].guess.head.output.bias

    def value():
        torch.manual_seed(0)
        return exact_bound(linear_gaussian, x, model.posterior(x)).sum()

    (gradient,) = torch.autograd.grad(value(), bias)
    with torch.no_grad():
        for entry in range(len(bias)):
            ends = []
            for shift in (1e-5, -1e-5):
                bias[entry] += shift
                ends.append(value())
                bias[entry] -= shift
            assert abs((ends[0] - ends[1]) / 2e-5 - gradient[entry]) < 1e-5 * (1 + gradient.abs().max())


def test_each_datum_is_refined_by_itself(linear_gaussian):
    model, x = semi(linear_gaussian, steps=4, noise="cubature"), linear_gaussian.sample(6)
    torch.manual_seed(0)
    alone = model.posterior(x[:1])
    torch.manual_seed(0)
    torch.testing.assert_close(alone.mean, model.posterior(x[:1].repeat(6, 1)).mean[:1])


def test_dropout_and_missing_entries_are_held_still():
    torch.manual_seed(0)
    decoder = MLP(D, [16], dropout=0.5)
    model = VAE(
        priors.StandardNormal(D),
        posteriors.SemiAmortized(MLP(X, [8]), D, steps=3),
        likelihoods.Gaussian(decoder, X),
    ).train()
    x = torch.randn(8, X)
    seen = []
    decoder.register_forward_hook(lambda module, given, out: seen.append(module.training))
    terms = model.terms(Batch(x, observed=torch.rand(8, X) > 0.5))
    assert seen == [False] * 4 + [True]
    assert all(module.training for module in model.modules())
    elbo(terms).sum().backward()


def test_the_path_gradient_is_that_of_a_constant_q():
    torch.manual_seed(0)
    model = VAE(priors.StandardNormal(D), posteriors.SemiAmortized(MLP(X, [8]), D, steps=3), likelihoods.Gaussian(MLP(D, [8]), X))
    terms = model.terms(torch.randn(4, X), gradient="path")
    (latent,) = terms.latents
    assert isinstance(latent, Latent)
    assert latent.q_path is not None
    assert not latent.q_path.mean.requires_grad
    torch.testing.assert_close(latent.q_path.mean, latent.q.mean)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": -1}, "steps >= 0"),
        ({"samples": 0}, "samples >= 1"),
        ({"step_size": 0.0}, "step_size > 0"),
        ({"noise": "cubatur"}, "did you mean 'cubature'"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        posteriors.SemiAmortized(MLP(X, [8]), D, **options)


def test_by_default_the_true_bound_is_not_lowered():
    """On a decoder that bends, whose log joint is no quadratic: what the climb sees is not the bound, but near it."""
    torch.manual_seed(0)
    x = (torch.randn(64, 2) @ torch.randn(2, 10)).tanh() + 0.1 * torch.randn(64, 10)
    posterior = posteriors.SemiAmortized(MLP(10, [32]), 4)
    model = VAE(priors.StandardNormal(4), posterior, likelihoods.Gaussian(MLP(4, [32], activation="tanh"), 10, scale=0.3))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    posterior.steps = 0
    for _ in range(200):
        optimizer.zero_grad()
        (-elbo(model.terms(x)).mean()).backward()
        optimizer.step()
    bounds = {}
    with torch.no_grad():
        for steps in (0, 5, 30):
            posterior.steps = steps
            bounds[steps] = elbo(model.eval().terms(x, samples=2000)).mean()
    assert bounds[0] + 0.02 < bounds[5] < bounds[30] + 0.05


def test_in_evaluation_it_is_a_function_of_the_datum():
    torch.manual_seed(0)
    for noise in ("cubature", "gaussian"):
        posterior = posteriors.SemiAmortized(MLP(X, [8]), D, noise=noise)
        model = VAE(priors.StandardNormal(D), posterior, likelihoods.Bernoulli(MLP(D, [8]), X)).eval()
        x = torch.rand(6, X).round()
        together = model.posterior(x).mean
        torch.testing.assert_close(together[2:4], model.posterior(x[2:4]).mean, rtol=1e-4, atol=1e-5)


def test_the_scale_of_a_batch_is_refused():
    with pytest.raises(InputError, match="climbs the bound of each datum by itself"):
        VAE(
            priors.StandardNormal(D),
            posteriors.SemiAmortized(MLP(X, [8]), D),
            likelihoods.Gaussian(MLP(D, [8]), X, scale="optimal"),
        )


def test_the_prior_is_asked_once_for_all_the_steps():
    posterior = posteriors.SemiAmortized(MLP(X, [8]), D, steps=5)
    prior = priors.Vamp(posterior, torch.randn(4, X))
    model = VAE(prior, posterior, likelihoods.Gaussian(MLP(D, [8]), X))
    calls = []
    prior.register_forward_hook(lambda *_: calls.append(1))
    elbo(model.terms(torch.randn(3, X))).sum().backward()
    assert len(calls) == 2  # for the climb, held still, and for the terms


def test_inference_mode_says_what_to_use_instead(linear_gaussian):
    model, x = semi(linear_gaussian, steps=2).eval(), linear_gaussian.sample(4)
    with torch.inference_mode(), pytest.raises(InputError, match=r"takes gradient steps.*use torch.no_grad\(\)"):
        model.posterior(x)


def test_a_transform_of_functions_says_what_to_use_instead(linear_gaussian):
    model, x = semi(linear_gaussian, steps=2), linear_gaussian.sample(4)
    with pytest.raises(InputError, match=r"inside torch\.func.*use torch\.autograd\.grad"):
        torch.func.grad(lambda x: model.posterior(x).mean.sum())(x)


def test_end_to_end_it_goes_through_a_transform_of_functions(linear_gaussian):
    model, x = semi(linear_gaussian, steps=2, noise="cubature", end_to_end=True), linear_gaussian.sample(4)

    def total(x):
        torch.manual_seed(0)
        return model.posterior(x).mean.sum()

    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(torch.func.grad(total)(x), torch.autograd.grad(total(leaf), leaf)[0])


def test_what_is_refined_keeps_the_contract_of_a_posterior():
    """Saved and loaded the same, in bfloat16 a distribution in float32, in float64 the same as in float32, a batch of one."""
    torch.manual_seed(0)

    def make():
        return VAE(
            priors.StandardNormal(D), posteriors.SemiAmortized(MLP(X, [8]), D), likelihoods.Gaussian(MLP(D, [8]), X)
        ).eval()

    model, other, x = make(), make(), torch.randn(6, X)
    other.load_state_dict(model.state_dict())
    q = model.posterior(x)
    assert torch.equal(q.mean, other.posterior(x).mean)
    torch.testing.assert_close(model.posterior(x[:1]).mean, q.mean[:1], rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model.posterior(x)
    assert rounded.mean.dtype == torch.float32
    torch.testing.assert_close(rounded.mean, q.mean, rtol=0.1, atol=0.1)
    model.double().train()
    terms = model.terms(x.double(), samples=3)
    assert terms.log_w.dtype == torch.float64
    elbo(terms).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in model.parameters())

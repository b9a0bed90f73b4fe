import math

import pytest
import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform

from amortized import VAE, Batch, InputError, Latent, likelihoods, posteriors, priors
from amortized.networks import MLP, Categorical, Context, Continuous, Standardize
from amortized.objectives import elbo, iwae

K, B, X, D = 3, 4, 5, 2


class OwnPosterior(nn.Module):
    """A user's posterior: a plain module, and torch's distributions."""

    def __init__(self, width=X):
        super().__init__()
        self.linear = nn.Linear(width, 2 * D)

    def forward(self, x, c=None) -> Distribution:
        loc, log_scale = self.linear(x if c is None else torch.cat((x, c), -1)).chunk(2, -1)
        return Independent(Normal(loc, log_scale.exp()), 1)


class LazyFlow(nn.Module):
    """A posterior as the flow libraries have them: no event_shape, a transformed distribution."""

    def __init__(self):
        super().__init__()
        self.base = OwnPosterior()

    def forward(self, x) -> Distribution:
        return TransformedDistribution(self.base(x), [TanhTransform(cache_size=1), AffineTransform(0.0, 3.0, event_dim=1)])


class OwnPrior(nn.Module):
    def forward(self) -> Distribution:
        return Independent(Normal(torch.zeros(D), torch.ones(D)), 1)


class OwnLikelihood(nn.Module):
    event_shape = (X,)

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(D, X)

    def forward(self, z) -> Distribution:
        return Independent(Normal(self.linear(z), 1.0), 1)


def vae(posterior=None, likelihood=None, prior=None, **options):
    return VAE(
        prior or priors.StandardNormal(D),
        posterior or posteriors.DiagonalGaussian(MLP(X, [8]), D),
        likelihood or likelihoods.Gaussian(MLP(D, [8]), X),
        **options,
    )


def conditional(condition):
    context = Context({"y": Categorical(3), "v": Continuous(0.0, 1.0)})
    width = {part: context.features if part in condition else 0 for part in ("prior", "posterior", "likelihood")}
    prior = priors.Gaussian(D, MLP(width["prior"], [8])) if width["prior"] else None
    return vae(
        posteriors.DiagonalGaussian(MLP(X, [8], context_features=width["posterior"]), D),
        likelihoods.Gaussian(MLP(D, [8], context_features=width["likelihood"]), X),
        prior,
        context=context,
        condition=condition,
    )


def conditions(code, rows=B):
    return {"y": torch.full((rows,), code), "v": torch.zeros(rows)}


def only_latent(terms) -> Latent:
    (latent,) = terms.latents
    assert isinstance(latent, Latent)
    return latent


@pytest.mark.parametrize("how", ["total", "path"])
def test_the_terms_have_the_shapes_of_samples_by_data(how):
    terms = vae().terms(torch.randn(B, X), samples=K, gradient=how)
    assert terms.log_px.shape == terms.log_w.shape == (K, B)
    assert terms.kl.shape == (1, K, B)
    assert terms.latents[0].z.shape == (K, B, D)
    assert terms.is_bound
    assert terms.kl_is_exact == (how == "total")


def test_the_terms_are_those_of_the_parts():
    model, x = vae(), torch.randn(B, X)
    terms = model.terms(x, samples=K)
    latent = only_latent(terms)
    torch.testing.assert_close(terms.log_px, model.decode(latent.z).log_prob(x))
    expected = terms.log_px + model.prior().log_prob(latent.z) - model.posterior(x).log_prob(latent.z)
    torch.testing.assert_close(terms.log_w, expected)


@pytest.mark.parametrize(
    "condition", [("posterior", "likelihood"), ("prior", "posterior", "likelihood"), ("likelihood",), ("prior",)]
)
def test_the_condition_reaches_the_parts_that_are_named_and_no_other(condition):
    model, x, z = conditional(condition), torch.randn(B, X), torch.randn(B, D)
    q = [model.posterior(Batch(x, context=conditions(code))).mean for code in (0, 1)]
    px = [model.decode(z, conditions(code)).mean for code in (0, 1)]
    p = [model.prior(conditions(code)).mean for code in (0, 1)]
    for part, (first, second) in {"posterior": q, "likelihood": px, "prior": p}.items():
        assert torch.equal(first, second) == (part not in condition), part
    assert model.terms(Batch(x, context=conditions(2)), samples=K).log_w.shape == (K, B)


def test_every_datum_is_conditioned_on_its_own_row():
    model, x = conditional(("posterior", "likelihood")), torch.randn(1, X).expand(3, X)
    codes = {"y": torch.tensor([0, 1, 0]), "v": torch.zeros(3)}
    z = torch.randn(K, 1, D).expand(K, 3, D)
    mean = model.decode(z, codes).mean
    torch.testing.assert_close(mean[:, 0], mean[:, 2])
    assert not torch.allclose(mean[:, 0], mean[:, 1])
    q = model.posterior(Batch(x, context=codes)).mean
    torch.testing.assert_close(q[0], q[2])
    assert not torch.allclose(q[0], q[1])


def test_samples_at_a_condition_have_one_row_each():
    for condition in (("posterior", "likelihood"), ("prior", "likelihood")):
        assert conditional(condition).sample(7, conditions(1, 7)).shape == (7, X)
    assert vae().sample(7).shape == (7, X)


def test_temperature_zero_samples_decode_the_mean_of_the_prior():
    model = vae()
    samples = model.sample(7, temperature=0.0, mean=True)
    torch.testing.assert_close(samples, model.decode(torch.zeros(7, D)).mean)


def test_what_the_encoder_sees_may_differ_from_what_is_scored():
    model, x, noisy = vae(), torch.randn(B, X), torch.randn(B, X)
    batch = Batch(x, noisy)
    torch.testing.assert_close(model.posterior(batch).mean, model.posterior(noisy).mean)
    terms = model.terms(batch)
    torch.testing.assert_close(terms.log_px, model.decode(terms.latents[0].z).log_prob(x))


def test_the_encoder_alone_sees_the_preprocessed_data():
    x = 100 + 10 * torch.randn(B, X)
    model = vae(preprocess=Standardize(torch.tensor(100.0), torch.tensor(10.0)))
    bare = vae()
    bare.load_state_dict(model.state_dict(), strict=False)
    torch.testing.assert_close(model.posterior(x).mean, bare.posterior((x - 100) / 10).mean)
    terms = model.terms(x)
    torch.testing.assert_close(terms.log_px, model.decode(terms.latents[0].z).log_prob(x))


@pytest.mark.parametrize("posterior", [OwnPosterior, LazyFlow])
@pytest.mark.parametrize("how", ["total", "path"])
def test_parts_of_ones_own_work_with_every_objective(posterior, how):
    model = VAE(OwnPrior(), posterior(), OwnLikelihood())
    terms = model.terms(torch.randn(B, X), samples=K, gradient=how)
    assert terms.kl_is_exact == (posterior is OwnPosterior and how == "total")
    (elbo(terms) + iwae(terms)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert model.sample(6).shape == (6, X)
    assert model.event_shape == (X,)


def test_a_posterior_of_ones_own_takes_the_condition():
    context = Context({"y": Categorical(3)})
    model = vae(OwnPosterior(X + 3), context=context, condition=("posterior",))
    batch = Batch(torch.randn(B, X), context={"y": torch.arange(B) % 3})
    assert model.terms(batch).log_w.shape == (1, B)


def test_a_point_mass_gives_no_bound():
    model = vae(posteriors.Delta(MLP(X, [8]), D))
    assert not model.terms(torch.randn(B, X)).is_bound
    of_a_density = {"bound", "log_w", "density"}
    assert not model.offers & of_a_density
    assert vae().offers >= of_a_density


def test_an_unknown_part_in_condition_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="condition names 'posteriors'.*did you mean 'posterior'"):
        vae(condition=("posteriors",))


def test_conditions_without_a_context_are_refused():
    with pytest.raises(InputError, match="this model has no conditions; the batch brings 'y'"):
        vae().terms(Batch(torch.randn(B, X), context=conditions(0)))


def test_a_posterior_without_reparameterized_samples_is_refused():
    class Codes(nn.Module):
        def forward(self, x):
            return torch.distributions.Categorical(torch.ones(len(x), 3))

    with pytest.raises(InputError, match="posterior returned a Categorical, which has no reparameterized samples"):
        vae(Codes()).terms(torch.randn(B, X))


def test_a_posterior_with_another_batch_than_the_data_is_refused():
    model = vae(posteriors.DiagonalGaussian(MLP(X, [8]), D))
    with pytest.raises(InputError, match=r"gave a distribution of batch \(4, 7\) for 4 data; it must be \(4,\)"):
        model.terms(torch.randn(B, 7, X))


def test_an_event_other_than_that_of_a_datum_is_refused():
    class Rows(nn.Module):
        def forward(self, z):
            return Normal(z.sum(-1, keepdim=True).expand(*z.shape[:-1], X), 1.0)

    with pytest.raises(InputError, match=r"scored x of shape \(4, 5\) as \(1, 4, 5\) where \(K, B\) = \(1, 4\) is wanted"):
        vae(likelihood=Rows()).terms(torch.randn(B, X))


def test_a_prior_that_takes_no_temperature_says_so():
    with pytest.raises(InputError, match="prior OwnPrior takes no temperature; 0.5 was asked for"):
        vae(prior=OwnPrior()).sample(3, temperature=0.5)


def test_a_missing_condition_is_named():
    model = conditional(("likelihood",))
    with pytest.raises(InputError, match="condition 'y' is missing"):
        model.terms(torch.randn(B, X))


def test_only_observed_entries_are_scored():
    model, x = vae(), torch.randn(B, X)
    observed = torch.rand(B, X) < 0.6
    holes = torch.where(observed, x, torch.nan)
    terms = model.terms(Batch(holes, x, observed=observed), samples=K)
    px = model.decode(terms.latents[0].z)
    assert isinstance(px, Independent)
    torch.testing.assert_close(terms.log_px, (px.base_dist.log_prob(x) * observed).sum(-1))
    elbo(terms).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_nothing_missing_is_the_same_as_no_mask():
    model, x = vae().eval(), torch.randn(B, X)
    values = []
    for observed in (None, torch.ones(B, X, dtype=torch.bool)):
        torch.manual_seed(1)
        values.append(model.terms(Batch(x, observed=observed)).log_px)
    torch.testing.assert_close(*values)


def test_calibration_sets_the_scale_that_maximizes_the_likelihood_of_the_training_data():
    likelihood = likelihoods.Gaussian(MLP(D, [8]), X, scale="optimal", unit=3.0)
    model = vae(posteriors.Delta(MLP(X, [8]), D), likelihood).double().eval()  # no noise: the optimum is known exactly
    x = 3 * torch.randn(30, X, dtype=torch.float64)
    assert model.needs_calibration
    model.calibrate([Batch(x[:20]), Batch(x[20:])])
    mean = model.decode(model.posterior(x).mean).mean.detach()
    best = (x - mean).square().mean().sqrt() / 3
    torch.testing.assert_close(likelihood.frozen, best)
    score = elbo(model.terms(x)).mean()
    closed = -X * (math.log(3 * best.item()) + 0.5 * math.log(2 * math.pi) + 0.5)
    assert score.item() == pytest.approx(closed, abs=1e-9)


def test_calibration_leaves_out_what_is_missing():
    likelihood = likelihoods.Gaussian(MLP(D, [8]), X, scale="optimal")
    model = vae(posteriors.Delta(MLP(X, [8]), D), likelihood).double().eval()
    x, observed = torch.randn(30, X, dtype=torch.float64), torch.rand(30, X) < 0.6
    model.calibrate([Batch(torch.where(observed, x, torch.nan), x, observed=observed)])
    residual = (x - model.decode(model.posterior(x).mean).mean.detach())[observed]
    torch.testing.assert_close(likelihood.frozen, residual.square().mean().sqrt())


def test_a_model_without_an_optimal_scale_needs_no_calibration():
    assert not vae().needs_calibration
    assert not VAE(OwnPrior(), OwnPosterior(), OwnLikelihood()).needs_calibration

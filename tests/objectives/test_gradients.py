"""Gradients in the mean against those that they stand for: exact ones by enumeration, others by z-scores."""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportCallIssue=false

import copy
import dataclasses
import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal
from torch.nn.functional import one_hot

from amortized import VAE, Batch, Hierarchical, InputError, Latent, Terms, likelihoods, posteriors, priors
from amortized.models import BottomUp, Ladder, TopDown
from amortized.networks import MLP
from amortized.objectives import Objective, dreg, elbo, elbo_sampled, iwae, miwae, piwae, rloo, stl, vimco
from amortized.objectives import gradients as gradients_module
from amortized.posteriors import DiagonalGaussian
from amortized.training.step import Trainable

X, D, K = 4, 2, 4
COPIES, REPEATS = 256, 40
double = torch.float64


def mlp(width, out=6, **options):
    return MLP(width, [out], activation="tanh", **options)


def clear(model: nn.Module):
    """Weights large enough for importance weights that differ."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return model.double()


def vae(posterior=DiagonalGaussian, prior=None, **options):
    q = posterior(mlp(X, **options), D)
    p = priors.StandardNormal(D) if prior is None else prior(q)
    return clear(VAE(p, q, likelihoods.Bernoulli(mlp(D), X)))


def hierarchy(kind, prior=None, **options):
    def net(width):
        return mlp(width, **options)

    inference = {
        "bottom-up": lambda: BottomUp([DiagonalGaussian(net(X), 3), DiagonalGaussian(net(3), D)]),
        "top-down": lambda: TopDown([DiagonalGaussian(net(X), D), DiagonalGaussian(net(X + D), 3)]),
        "ladder": lambda: Ladder([net(X), net(6)], [3, D]),
    }[kind]()
    p = priors.StandardNormal(D) if prior is None else prior(getattr(inference, "top", inference.posteriors[-1]))
    return clear(Hierarchical(p, [DiagonalGaussian(net(D), 3)], inference, likelihoods.Bernoulli(mlp(3), X)))


def fitted(model, steps=100):
    """The model after some steps on random bits."""
    optimizer, batch = torch.optim.Adam(model.parameters(), 1e-2), Batch((torch.rand(64, X) < 0.5).double())
    for _ in range(steps):
        optimizer.zero_grad()
        (-elbo(model.terms(batch)).mean()).backward()
        optimizer.step()
    return model


def vamp(q):
    return priors.Vamp(q, torch.rand(3, X))


MODELS = {
    "one latent": vae,
    "full Gaussian": lambda: vae(posteriors.FullGaussian),
    "planar flow": lambda: vae(partial(posteriors.Planar, flows=2)),
    "inverse autoregressive flow": lambda: vae(partial(posteriors.InverseAutoregressive, flows=2, hidden=[6], summary=3)),
    "sphere": lambda: vae(posteriors.VonMisesFisher, lambda q: priors.Uniform(D, "sphere")),
    "semi-amortized": lambda: vae(partial(posteriors.SemiAmortized, steps=1)),
    "vamp": lambda: vae(prior=vamp),
    "bottom-up": lambda: hierarchy("bottom-up"),
    "top-down": lambda: hierarchy("top-down"),
    "ladder": lambda: hierarchy("ladder"),
    "top-down with vamp": lambda: hierarchy("top-down", vamp),
    "ladder with vamp": lambda: hierarchy("ladder", vamp),
}


def data(copies=COPIES):
    """Copies of one datum; the encoder sees no zero, which would leave weights without a gradient."""
    x, seen = (torch.tensor(values, dtype=double).expand(copies, X) for values in ([1.0, 0, 1, 1], [0.8, -0.5, 1.2, 0.4]))
    return Batch(x, input=seen)


def part_of(model, part):
    return [parameter for name, parameter in model.named_parameters() if name.startswith(part) and parameter.requires_grad]


def gradients(model, function, *, samples=K, gradient=None, repeats=REPEATS, part=""):
    """(repeats, parameters) gradients of the mean over copies of one datum, each from noise of its own."""
    parameters, how = part_of(model, part), getattr(function, "gradient", "total") if gradient is None else gradient
    x, found = data(), []
    for _ in range(repeats):
        value = function(model.terms(x, samples=samples, gradient=how)).mean()
        found.append(torch.cat([each.flatten() for each in torch.autograd.grad(value, parameters)]))
    return torch.stack(found)


def worst(one, other):
    """The largest z-score of the difference of the means; every parameter must be reached by both."""
    error = ((one.var(0) + other.var(0)) / len(one)).sqrt()
    difference = (one.mean(0) - other.mean(0)).abs()
    moving = error > 1e-12
    assert moving.double().mean() > 0.8  # the masked weights of a flow do not move
    assert (difference[~moving] < 1e-9).all()
    return (difference[moving] / error[moving]).max()


def spread(found):
    return found.var(0).sum()


class TestDReG:
    @pytest.mark.parametrize("name", MODELS)
    def test_its_mean_is_the_gradient_of_the_importance_weighted_bound(self, name):
        model = MODELS[name]()
        assert worst(gradients(model, dreg), gradients(model, iwae)) < 5

    @pytest.mark.parametrize("name", MODELS)
    def test_its_variance_is_less_where_q_is_near_the_posterior(self, name):
        """A VampPrior's p, which depends on the encoder, is reparameterized too."""
        model = fitted(MODELS[name]())
        found = {function: gradients(model, function, part="parts.posterior", repeats=REPEATS // 2) for function in (dreg, iwae)}
        assert spread(found[dreg]) < 0.5 * spread(found[iwae])

    @pytest.mark.parametrize("name", ["one latent", "top-down", "vamp"])
    def test_the_path_gradient_of_the_weighted_bound_is_another_and_the_comparison_sees_it(self, name):
        model = MODELS[name]()
        assert worst(gradients(model, iwae, gradient="path"), gradients(model, iwae)) > 8

    @pytest.mark.parametrize("name", MODELS)
    def test_the_decoder_has_the_gradient_of_the_weighted_bound_itself(self, name):
        model = MODELS[name]()
        found = []
        for function in (dreg, iwae):
            torch.manual_seed(1)
            found.append(gradients(model, function, repeats=1, part="parts.likelihood"))
        torch.testing.assert_close(*found)

    def test_one_sample_makes_it_sticking_the_landing(self):
        model, found = vae(), []
        for function in (dreg, stl):
            torch.manual_seed(1)
            found.append(gradients(model, function, samples=1, repeats=1))
        torch.testing.assert_close(*found)

    def test_it_has_no_variance_at_the_exact_posterior(self, linear_gaussian):
        model, x = linear_gaussian.model(), linear_gaussian.sample(6)
        value = dreg(model.terms(x, samples=K, gradient="split")).mean()
        found = torch.autograd.grad(value, part_of(model, "parts.posterior"))
        assert max(each.abs().max() for each in found) < 1e-10

    def test_terms_whose_draws_are_not_held_apart_are_refused(self):
        for function in (dreg, piwae):
            with pytest.raises(InputError, match="ask the model for gradient='split'"):
                function(vae().terms(data(), samples=8))


class TestPIWAE:
    @pytest.mark.parametrize("name", ["one latent", "planar flow", "bottom-up", "top-down", "ladder"])
    def test_the_encoder_has_the_mean_gradient_of_the_groups_and_the_decoder_that_of_all_samples(self, name):
        model, part = MODELS[name](), "parts.posterior"
        encoder = gradients(model, partial(piwae, groups=2), gradient="split", part=part)
        assert worst(encoder, gradients(model, partial(miwae, groups=2), part=part)) < 5
        found = []
        for function in (partial(piwae, groups=2), iwae):
            torch.manual_seed(1)
            how = "total" if function is iwae else "split"
            found.append(gradients(model, function, gradient=how, repeats=1, part="parts.likelihood"))
        torch.testing.assert_close(*found)

    def test_the_comparison_tells_the_groups_from_all_samples(self):
        model, part = vae(), "parts.posterior"
        encoder = gradients(model, partial(piwae, groups=4), gradient="split", part=part)
        assert worst(encoder, gradients(model, iwae, part=part)) > 8

    def test_one_group_makes_it_dreg(self):
        model, found = vae(), []
        for function in (dreg, partial(piwae, groups=1)):
            torch.manual_seed(1)
            found.append(gradients(model, function, gradient="split", repeats=1))
        torch.testing.assert_close(*found)

    def test_samples_that_do_not_divide_are_refused(self):
        with pytest.raises(InputError, match="5 posterior samples do not divide into 2 groups"):
            piwae(vae().terms(data(), samples=5, gradient="split"), groups=2)


class TestSTL:
    def test_it_has_no_variance_at_the_exact_posterior_and_the_total_gradient_has(self, linear_gaussian):
        model, x = linear_gaussian.model(), linear_gaussian.sample(6)
        for function, how, is_zero in ((stl, "path", True), (elbo_sampled, "total", False)):
            value = function(model.terms(x, samples=2, gradient=how)).mean()
            found = torch.autograd.grad(value, part_of(model, "parts.posterior"))
            assert (max(each.abs().max() for each in found) < 1e-10) == is_zero

    @pytest.mark.parametrize("name", ["one latent", "planar flow", "vamp", "bottom-up", "top-down", "ladder"])
    def test_its_mean_is_the_gradient_of_the_evidence_lower_bound(self, name):
        model = MODELS[name]()
        assert worst(gradients(model, stl), gradients(model, elbo)) < 5

    def test_strata_have_the_mean_gradient_too(self):
        model = vae(partial(posteriors.MixtureOfGaussians, components=2))
        assert worst(gradients(model, stl), gradients(model, elbo)) < 5


@pytest.mark.parametrize("steps", [0, 20])
def test_a_prior_that_shares_the_encoder_has_less_noise_from_the_start(steps):
    model = fitted(MODELS["vamp"](), steps)
    for samples in (2, 16):
        found = [gradients(model, function, samples=samples, repeats=REPEATS // 2) for function in (dreg, iwae)]
        assert spread(found[0]) < spread(found[1])


def mixture_prior(q):
    del q
    return priors.Mixture(D, components=3)


@pytest.mark.parametrize(
    "make",
    [
        lambda: vae(prior=mixture_prior),
        lambda: hierarchy("bottom-up", mixture_prior),
        lambda: vae(prior=lambda q: priors.Vamp(q, torch.rand(3, X), learn_weights=True)),
        lambda: vae(posteriors.FullGaussian, vamp),
        lambda: vae(prior=lambda q: priors.Gaussian(D)),
    ],
    ids=[
        "learned mixture",
        "bottom-up under one",
        "VampPrior with learned weights",
        "components that are not diagonal",
        "learned Gaussian",
    ],
)
@pytest.mark.parametrize("function", [dreg, partial(piwae, groups=1)], ids=["dreg", "piwae"])
def test_a_learned_prior_has_the_mean_gradient_too(make, function):
    model = make()
    assert worst(gradients(model, function, gradient="split"), gradients(model, iwae)) < 5


def discrete(kind, prior=None, estimator="sample"):
    torch.manual_seed(3)
    if kind == "bits":
        space, shape, values = "binary", (D,), list(itertools.product((0.0, 1.0), repeat=D))
        q, support = posteriors.Bernoulli(mlp(X), D, estimator=estimator), torch.tensor(values, dtype=double)
    else:
        space, shape = "categorical", (1, 3)
        q, support = posteriors.Categorical(mlp(X), 1, 3, estimator=estimator), one_hot(torch.arange(3), 3).double().unsqueeze(1)
    p = priors.Uniform(shape, space) if prior is None else prior(shape, space)
    return clear(VAE(p, q, likelihoods.Bernoulli(mlp(shape if len(shape) > 1 else D), X))), support


def autoregressive(shape, space):
    return priors.Autoregressive(shape, space, hidden=[4])


DISCRETE = {
    "bits": partial(discrete, "bits"),
    "classes": partial(discrete, "classes"),
    "bits, KL without closed form": partial(discrete, "bits", autoregressive),
}


def at_all_tuples(model, support, samples):
    """Terms whose data are copies of one, each at another K-tuple of the support, and the probability of each tuple."""
    tuples = torch.tensor(list(itertools.product(range(len(support)), repeat=samples)))
    z = support[tuples.T]  # (K, tuples, *event)
    batch = data(len(tuples))
    q = model.parts["posterior"](batch.input)
    terms = Terms(model.score(batch, z, None), (Latent(q, model.parts["prior"](), z),))
    return terms, q.log_prob(z).sum(0).detach().exp()


def exact(model, support, samples, function):
    """The gradient of E[function] over all K-tuples, their probabilities differentiated too."""
    terms, _ = at_all_tuples(model, support, samples)
    (latent,) = terms.latents
    probability = latent.q.log_prob(latent.z).sum(0).exp()
    return torch.autograd.grad((probability * function(terms)).sum(), part_of(model, ""), allow_unused=True)


def flat(model, found):
    pairs = zip(found, part_of(model, ""), strict=True)
    return torch.cat([torch.zeros(p.numel(), dtype=double) if g is None else g.flatten() for g, p in pairs])


class TestScoreFunction:
    @pytest.mark.parametrize("name", DISCRETE)
    @pytest.mark.parametrize(("function", "bound"), [(rloo, elbo), (vimco, iwae)], ids=["rloo", "vimco"])
    @pytest.mark.parametrize("samples", [2, 3])
    def test_its_mean_over_all_tuples_of_the_support_is_the_exact_gradient(self, name, function, bound, samples):
        model, support = DISCRETE[name]()
        terms, probability = at_all_tuples(model, support, samples)
        surrogate = torch.autograd.grad((probability * function(terms)).sum(), part_of(model, ""), allow_unused=True)
        truth = flat(model, exact(model, support, samples, bound))
        assert truth.abs().max() > 1e-3
        torch.testing.assert_close(flat(model, surrogate), truth, rtol=0, atol=1e-12)

    @pytest.mark.parametrize("name", DISCRETE)
    def test_the_exact_gradient_is_that_of_the_enumerated_posterior(self, name):
        model, support = DISCRETE[name]()
        enumerated, _ = DISCRETE[name](estimator="enumerate")
        enumerated.load_state_dict(model.state_dict())
        found = torch.autograd.grad(elbo(enumerated.terms(data(1))).sum(), part_of(enumerated, ""), allow_unused=True)
        torch.testing.assert_close(flat(model, found), flat(model, exact(model, support, 2, elbo)), rtol=0, atol=1e-12)

    @pytest.mark.parametrize("name", DISCRETE)
    @pytest.mark.parametrize(("function", "bound"), [(rloo, elbo), (vimco, iwae)], ids=["rloo", "vimco"])
    def test_drawn_by_the_model_it_has_that_mean_too_and_less_variance_than_without_the_others(self, name, function, bound):
        model, support = DISCRETE[name]()
        truth = flat(model, exact(model, support, 2, bound))
        found, plain = (gradients(model, each, samples=2, gradient="score") for each in (function, partial(by_score, bound)))
        for drawn in (found, plain):
            error = drawn.std(0) / math.sqrt(len(drawn))
            assert ((drawn.mean(0) - truth).abs() < 5 * error + 1e-9).all()
        assert spread(found) < spread(plain)

    @pytest.mark.parametrize("name", ["one latent", "planar flow", "vamp", "bottom-up", "top-down", "ladder"])
    @pytest.mark.parametrize(("function", "bound"), [(rloo, elbo), (vimco, iwae)], ids=["rloo", "vimco"])
    def test_of_continuous_latents_it_has_the_mean_of_the_reparameterized_gradient(self, name, function, bound):
        model = MODELS[name]()
        assert worst(gradients(model, function), gradients(model, bound)) < 5

    def test_at_the_exact_posterior_the_others_take_all_of_the_noise_away(self, linear_gaussian):
        model, x = linear_gaussian.model(), linear_gaussian.sample(6)
        terms = model.terms(x, samples=3, gradient="score")
        (latent,) = terms.latents
        sampled = Terms(terms.log_px, (Latent(latent.q, latent.p, latent.z, is_averaged=False),))
        found = torch.autograd.grad(rloo(sampled).mean(), part_of(model, "parts.posterior"))
        assert max(each.abs().max() for each in found) < 1e-10


def by_score(bound, t):
    """The bound with the plain gradient of the score function."""
    value = bound(t)
    (latent,) = t.latents
    score = latent.q.log_prob(latent.z).sum(0)
    return value + value.detach() * (score - score.detach())


VALUES = [
    ("dreg", dreg, iwae),
    ("piwae", partial(piwae, groups=2), iwae),
    ("stl", stl, elbo_sampled),
    ("rloo", rloo, elbo),
    ("vimco", vimco, iwae),
]
HOW = {"dreg": "split", "piwae": "split", "stl": "path", "rloo": "score", "vimco": "score"}


@pytest.mark.parametrize("name", ["one latent", "planar flow", "vamp", "bottom-up", "top-down", "ladder"])
@pytest.mark.parametrize(("kind", "function", "bound"), VALUES, ids=[kind for kind, *_ in VALUES])
def test_the_value_is_the_bound_itself_to_the_bit_with_and_without_a_gradient(name, kind, function, bound):
    model, x = MODELS[name](), data()
    terms = model.terms(x, samples=K, gradient=HOW[kind])
    assert torch.equal(function(terms), bound(terms))
    with torch.no_grad():
        plain = model.terms(x, samples=K)
        assert torch.equal(function(plain), bound(plain))
    values = []
    for how in (HOW[kind], "total"):
        torch.manual_seed(1)
        values.append(bound(model.terms(x, samples=K, gradient=how)))
    torch.testing.assert_close(*values, rtol=0, atol=1e-8)  # a flow scores a draw that was held apart through its inverse


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("kind", "function", "bound"), VALUES, ids=[kind for kind, *_ in VALUES])
def test_a_gradient_reaches_every_parameter(name, kind, function, bound):
    model = MODELS[name]()
    function(model.terms(data(), samples=K, gradient=HOW[kind])).mean().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


def coupled():
    """A VAE whose decoder normalizes over the batch, so that log p(x|z) of a datum depends on the z of all."""
    return clear(VAE(priors.StandardNormal(D), DiagonalGaussian(mlp(X), D), likelihoods.Bernoulli(mlp(D, norm="batch"), X)))


@pytest.mark.parametrize(("function", "bound"), [(dreg, iwae), (piwae, iwae), (vimco, iwae), (rloo, elbo)])
def test_what_weighs_each_datum_by_itself_is_refused_where_the_data_are_coupled_because_it_is_biased(function, bound):
    model = coupled()
    with pytest.raises(InputError, match=f"objective '{function.__name__}' needs a log joint of each datum"):
        Trainable(model, Objective(function))
    Trainable(model, Objective(bound))
    if function is not piwae:  # whose gradient is that of no single bound
        found = [gradients(model, each, part="parts.posterior") for each in (function, bound)]
        assert worst(*found) > 8


BATCH_NORM = {
    "encoder": (lambda: vae(norm="batch"), True),
    "encoder, held by a VampPrior": (lambda: vae(prior=vamp, norm="batch"), True),
    "decoder": (coupled, False),
    "optimal scale": (
        lambda: VAE(priors.StandardNormal(D), DiagonalGaussian(mlp(X), D), likelihoods.Gaussian(mlp(D), X, scale="optimal")),
        False,
    ),
    "bottom-up": (lambda: hierarchy("bottom-up", norm="batch"), False),
    "top-down": (lambda: hierarchy("top-down", norm="batch"), False),
    "ladder": (lambda: hierarchy("ladder", norm="batch"), False),
    "no norm": (lambda: hierarchy("ladder"), True),
}


@pytest.mark.parametrize("name", BATCH_NORM)
def test_only_what_sees_draws_couples_the_data(name):
    make, is_separate = BATCH_NORM[name]
    assert ("separate" in make().offers) == is_separate


def test_batch_norm_on_the_way_up_of_a_ladder_sees_data_alone():
    up = Ladder([mlp(X, norm="batch"), mlp(6, norm="batch")], [3, D])
    model = Hierarchical(priors.StandardNormal(D), [DiagonalGaussian(mlp(D), 3)], up, likelihoods.Bernoulli(mlp(3), X))
    assert "separate" in model.offers


@pytest.mark.parametrize(("kind", "function", "bound"), VALUES, ids=[kind for kind, *_ in VALUES])
def test_terms_of_another_gradient_are_refused(kind, function, bound):
    with pytest.raises(InputError, match=f"gradient='{HOW[kind]}'"):
        function(vae().terms(data(), samples=K))


@pytest.mark.parametrize(("function", "how", "bound"), [(vimco, "score", iwae), (dreg, "split", iwae), (rloo, "score", elbo)])
def test_a_sample_of_no_weight_counts_for_nothing(function, how, bound):
    terms = vae().terms(data(3), samples=K, gradient=how)
    log_px = terms.log_px.clone()
    log_px[1, 0] = -torch.inf
    value = function(dataclasses.replace(terms, log_px=log_px))
    wanted = bound(dataclasses.replace(terms, log_px=log_px))
    assert torch.equal(value[1:], wanted[1:])
    if bound is iwae:  # the mean of the ELBO is lost
        assert torch.equal(value, wanted)


def test_the_bound_without_each_weight_keeps_its_digits():
    log_w = 30 * torch.randn(6, 4, dtype=double)
    log_w[0, 0] = 200.0
    others = [torch.cat((log_w[:k], log_w[k + 1 :])) for k in range(6)]
    wanted = [torch.cat((each, each.mean(0, keepdim=True))).logsumexp(0) - math.log(6) for each in others]
    torch.testing.assert_close(gradients_module._without_each(log_w), torch.stack(wanted), rtol=1e-13, atol=1e-12)


def test_a_weight_of_the_rate_acts_on_the_score_gradient_as_on_the_bound():
    model, support = DISCRETE["bits, KL without closed form"]()
    terms, probability = at_all_tuples(model, support, 2)
    surrogate = (probability * rloo(terms, beta=3.0)).sum()
    found = torch.autograd.grad(surrogate, part_of(model, ""), allow_unused=True)
    wanted = exact(model, support, 2, partial(elbo, beta=3.0))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


NOISY = {"dropout": 0.5, "norm": "batch"}


@pytest.mark.parametrize(
    "make",
    [vae, partial(hierarchy, "bottom-up"), partial(hierarchy, "top-down", vamp), partial(hierarchy, "ladder", vamp)],
    ids=["one latent", "bottom-up", "top-down", "ladder"],
)
def test_draws_held_apart_are_scored_under_the_same_dropout_masks_and_update_statistics_once(make):
    model, batch = make(**NOISY).train(), Batch(torch.rand(COPIES, X, dtype=double).round())
    found = []
    for how in ("total", "split"):
        again = copy.deepcopy(model)
        torch.manual_seed(1)
        log_w = again.terms(batch, samples=K, gradient=how).log_w
        found.append((log_w, [buffer for name, buffer in again.named_buffers() if "running" in name]))
    torch.testing.assert_close(*found, rtol=0, atol=1e-10)


def test_nothing_is_averaged_over_the_data():
    q = Independent(Normal(torch.randn(3, D, dtype=double), 1.0), 1)
    z = q.sample((K,))
    p = Independent(Normal(torch.zeros(D, dtype=double), 1.0), 1)
    log_px = torch.randn(K, 3, dtype=double)
    leaf = z.clone().requires_grad_()
    for _, function, _ in VALUES:
        at = [
            function(Terms(log_px + shift, (Latent(q, p, leaf, q_path=q, draw=z),)))
            for shift in (torch.zeros(3, dtype=double), torch.tensor([9.0, 0, 0], dtype=double))
        ]
        torch.testing.assert_close(at[0][1:], at[1][1:])

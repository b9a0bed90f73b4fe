import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from amortized import Batch, Hierarchical, InputError, Latent, likelihoods, posteriors, priors
from amortized.distributions import center
from amortized.models import BottomUp, Ladder, TopDown
from amortized.models.factorizations import Links
from amortized.models.inference import Value
from amortized.networks import MLP, Categorical, Context, Joined
from amortized.objectives import elbo, iwae
from amortized.posteriors import DiagonalGaussian
from amortized.posteriors.mixture import MixtureOfGaussians
from amortized.tasks import encode, interpolate, reconstruct, sample
from amortized.training.checkpoints import load_state_tensors, state_tensors

X = 5
double = torch.float64


def small(kind="top-down", prior=None, *, y=0, skip=True, sizes=(3, 2), **options):
    """Two groups by networks; y is the width of the encoded condition."""
    low, high = sizes

    def mlp(width, hidden=8, condition=y):
        return MLP(width, [hidden], context_features=condition)

    inference = {
        "bottom-up": lambda: BottomUp([DiagonalGaussian(mlp(X), low), DiagonalGaussian(mlp(low), high)]),
        "top-down": lambda: TopDown(
            [
                DiagonalGaussian(mlp(X), high),
                DiagonalGaussian(Joined([MLP(7, []), MLP(high, [6])], MLP(13, [8], gated=True, context_features=y)), low),
            ],
            features=[mlp(X, 7)],
        ),
        "ladder": lambda: Ladder([mlp(X), MLP(8, [6])], [low, high]),
    }[kind]()
    likelihood = likelihoods.Gaussian(mlp(low + high if skip else low), X)
    prior = prior(inference) if prior else priors.StandardNormal(high)
    link = DiagonalGaussian(mlp(high, condition=y if "prior" in options.get("condition", ()) else 0), low)
    return Hierarchical(prior, [link], inference, likelihood, skip=skip, **options)


def vamp(inference, rows=4):
    return priors.Vamp(inference.posteriors[-1], torch.randn(rows, X))


def lowest(terms) -> Latent:
    assert isinstance(terms.latents[0], Latent)
    return terms.latents[0]


def conditional(kind, condition=("prior", "posterior", "likelihood")):
    return small(kind, y=3, context=Context({"y": Categorical(3)}), condition=condition)


@pytest.mark.parametrize("prior", [None, vamp])
@pytest.mark.parametrize("how", ["total", "path"])
def test_a_finite_gradient_reaches_every_parameter(kind, how, prior):
    model = small(kind, prior if kind == "top-down" else None)
    terms = model.terms(torch.randn(4, X), samples=3, gradient=how)
    assert terms.is_bound
    (elbo(terms) + (iwae(terms) if how == "total" else 0)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_encoder_is_held_constant_in_the_path_density(kind):
    context = Context({"y": Categorical(3, "embedding", 3)})
    model = small(kind, y=3, context=context, condition=("prior", "posterior", "likelihood"))
    given = (context({"y": torch.arange(4) % 3}),)
    first, (step,) = model.inference.begin(torch.randn(4, X), given, Links(model.links, given), "path")
    before = torch.randn(3, 4, *first.q.event_shape)
    leaf = before.clone().requires_grad_()
    for held, factor in ((True, first), (True, step(Value(before, before))), (False, step(Value(leaf, leaf)))):
        z = torch.randn(3, 4, *factor.q.event_shape)
        assert factor.q_path is not None
        scores = factor.q_path.log_prob(z)
        assert scores.requires_grad != held  # the path goes through the group drawn before, and through nothing else
        torch.testing.assert_close(scores, factor.q.log_prob(z))


def test_weights_that_prior_and_posterior_share_are_stored_once_and_loaded():
    model, other, x = small(prior=vamp), small(prior=vamp), torch.randn(4, X)
    tensors = state_tensors(model)
    assert len(tensors) < len(model.state_dict())
    assert not [name for name in tensors if name.startswith("parts.prior.posterior")]
    load_state_tensors(other, tensors, Path("here"))
    values = []
    for each in (model, other):
        torch.manual_seed(1)
        values.append(each.terms(x, samples=3).log_w)
    assert torch.equal(*values)


def test_autocast_scores_in_float32(kind):
    model, x = small(kind, vamp if kind == "top-down" else None), torch.randn(4, X)
    values = []
    for enabled in (False, True):
        torch.manual_seed(1)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            values.append(model.terms(x, samples=3).log_w)
    assert values[1].dtype == torch.float32
    torch.testing.assert_close(*values, rtol=0.1, atol=0.5)  # the networks round to 8 bits


def test_a_batch_of_one(kind):
    model, x = small(kind), torch.randn(1, X)
    assert model.terms(x, samples=3).log_w.shape == (3, 1)
    assert model.posterior(x).sample((2,)).shape == (2, 1, 5)


@pytest.mark.parametrize("condition", [("posterior", "likelihood"), ("prior", "posterior", "likelihood")])
def test_the_condition_reaches_the_parts_that_are_named(kind, condition):
    model = small(kind, y=3, context=Context({"y": Categorical(3)}), condition=condition)
    x, z = torch.randn(4, X), torch.randn(4, 5)
    first, second = ({"y": torch.full((4,), code)} for code in (0, 1))
    assert model.terms(Batch(x, context=first), samples=3).log_w.shape == (3, 4)
    q = [center(model.posterior(Batch(x, context=each))) for each in (first, second)]
    p = [model.prior(each) for each in (first, second)]
    assert not torch.equal(*q)
    assert p[0].batch_shape == ((4,) if "prior" in condition else ())
    assert torch.equal(*(each.log_prob(z) for each in p)) == ("prior" not in condition)
    assert model.sample(4, first).shape == (4, X)


def test_at_temperature_zero_a_sample_is_the_center_of_the_prior():
    model = small().double()
    z = model.prior(temperature=0.0).sample((3,))
    torch.testing.assert_close(z, center(model.prior()).expand(3, 5))
    half = [torch.stack([model.prior(temperature=t).sample() for _ in range(300)])[:, 3:].std() for t in (0.5, 1.0)]
    assert half[0] < 0.65 * half[1]


def test_the_tasks_take_it_like_any_model(kind):
    model, x = small(kind), torch.randn(6, X)
    assert encode(model, x).shape == (6, 5)
    assert encode(model, x, sample=True).shape == (6, 5)
    torch.testing.assert_close(encode(model, x), center(model.posterior(x)))
    assert reconstruct(model, x).shape == (6, X)
    assert interpolate(model, x[:2], x[2:4], steps=3, path="spherical").shape == (2, 3, X)
    assert sample(model, 4, temperature=0.7).shape == (4, X)


def test_an_optimal_scale_is_calibrated():
    model = small(skip=False)
    model.parts["likelihood"] = likelihoods.Gaussian(MLP(3, [8]), X, scale="optimal")
    assert model.needs_calibration
    model.eval().calibrate([Batch(torch.randn(10, X))])
    assert model.terms(torch.randn(3, X)).log_px.isfinite().all()


def test_the_group_drawn_first_may_be_a_mixture_in_strata():
    first = MixtureOfGaussians(MLP(X, [8]), 3, components=4)
    model = small("bottom-up")
    model = Hierarchical(
        model.parts["prior"],
        model.links,
        BottomUp([first, DiagonalGaussian(MLP(3, [8]), 2)]),
        likelihoods.Gaussian(MLP(3, [8]), X),
    )
    terms = model.terms(torch.randn(6, X), samples=2)
    assert terms.log_w.shape == (8, 6)
    assert terms.log_sample_weight is not None
    torch.testing.assert_close(terms.log_sample_weight.logsumexp(0), torch.zeros(6), rtol=0, atol=1e-5)
    assert not terms.is_complete


def test_the_group_drawn_first_may_be_enumerated_and_the_next_one_drawn_several_times_for_each_value():
    inference = TopDown([posteriors.Bernoulli(MLP(X, [8]), 2, "enumerate"), DiagonalGaussian(MLP(X + 2, [8]), 3)])
    prior, link = priors.Uniform(2, space="binary"), DiagonalGaussian(MLP(2, [8]), 3)
    model = Hierarchical(prior, [link], inference, likelihoods.Gaussian(MLP(3, [8]), X))
    terms = model.terms(torch.randn(6, X), samples=5)
    assert terms.log_w.shape == (20, 6)
    assert terms.log_sample_weight is not None
    assert not terms.is_complete
    weights = terms.log_sample_weight.exp()
    torch.testing.assert_close(weights.sum(0), torch.ones(6))
    low, high = terms.latents
    assert len(high.z[:, 0].unique(dim=0)) == 4
    assert len(low.z[:, 0].unique(dim=0)) == 20
    torch.testing.assert_close(terms.mean_over_samples(terms.kl[1]), terms.mean_over_samples(terms.kl_sampled[1]))


def test_a_group_drawn_later_may_not_have_weights():
    first, later = DiagonalGaussian(MLP(X, [8]), 3), MixtureOfGaussians(MLP(3, [8]), 2, components=4)
    with pytest.raises(InputError, match="MixtureOfGaussians is drawn as several values that have weights of their own"):
        Hierarchical(
            priors.StandardNormal(2),
            [DiagonalGaussian(MLP(2, [8]), 3)],
            BottomUp([first, later]),
            likelihoods.Gaussian(MLP(3, [8]), X),
        ).terms(torch.randn(6, X))


def test_any_prior_and_link_whose_call_returns_a_distribution_will_do():
    class Own(nn.Module):
        event_shape = (2,)

        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, given=None):
            loc = torch.zeros(2) if given is None else given
            return Independent(Normal(loc, self.scale), 1)

    model = Hierarchical(
        Own(),
        [Own()],
        TopDown([DiagonalGaussian(MLP(width, [8]), 2) for width in (X, X + 2)]),
        likelihoods.Gaussian(MLP(2, []), X),
    )
    elbo(model.terms(torch.randn(4, X))).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    with pytest.raises(InputError, match="prior Own takes no temperature"):
        model.sample(3, temperature=0.5)


def test_what_does_not_fit_is_refused_in_words():
    q = [DiagonalGaussian(MLP(X, []), 2), DiagonalGaussian(MLP(2, []), 2)]
    prior, likelihood = priors.StandardNormal(2), likelihoods.Gaussian(MLP(2, []), X)
    with pytest.raises(InputError, match="2 groups of latents have 1 links between them; 0 were given"):
        Hierarchical(prior, [], BottomUp(q), likelihood)
    with pytest.raises(InputError, match=r"events of shape \(3,\) and posterior DiagonalGaussian of shape \(2,\)"):
        Hierarchical(prior, [DiagonalGaussian(MLP(2, []), 3)], BottomUp(q), likelihood)
    with pytest.raises(InputError, match="BottomUp infers two groups of latents or more; it was given 1"):
        BottomUp(q[:1])
    with pytest.raises(InputError, match="a network of features for each posterior after the first: 1; it was given 2"):
        TopDown(q, features=[None, None])
    with pytest.raises(InputError, match="given 1 networks and 2 events"):
        Ladder([MLP(X, [])], [2, 2])
    ladder = Hierarchical(prior, [posteriors.FullGaussian(MLP(2, []), 2)], Ladder([MLP(X, [])] * 2, [2, 2]), likelihood)
    with pytest.raises(InputError, match="link FullGaussian gave another MultivariateNormal"):
        ladder.terms(torch.randn(3, X))
    with pytest.raises(InputError, match="condition names 'links'.*choose one of 'likelihood', 'posterior', 'prior'"):
        Hierarchical(prior, [q[1]], BottomUp(q), likelihood, condition=("links",))
    with pytest.raises(InputError, match="posterior Identity in BottomUp does not say the shape of z"):
        BottomUp([q[0], nn.Identity()])


def test_the_ladder_multiplies_densities_at_any_scale():
    inference = Ladder([MLP(X, []), MLP(X, [])], [2, 2])
    model = Hierarchical(
        priors.StandardNormal(2), [DiagonalGaussian(MLP(2, []), 2)], inference, likelihoods.Gaussian(MLP(2, []), X)
    )
    own, link = inference.posteriors[0].get_submodule("head.output"), model.links[0].get_submodule("head.output")
    assert isinstance(own, nn.Linear)
    assert isinstance(link, nn.Linear)
    for mine, theirs in ((-12.0, 8.0), (8.0, -12.0), (8.0, 8.0), (-12.0, -12.0)):
        with torch.no_grad():
            own.bias[2:], link.bias[2:] = mine, theirs
            own.weight[2:], link.weight[2:] = 0.0, 0.0
        model.zero_grad()
        terms = model.terms(torch.randn(3, X))
        scale = lowest(terms).q.stddev
        expected = -0.5 * math.log(math.exp(-2 * mine) + math.exp(-2 * theirs))
        torch.testing.assert_close(scale.log(), torch.full((1, 3, 2), expected), rtol=1e-5, atol=1e-5)
        elbo(terms).sum().backward()
        assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())

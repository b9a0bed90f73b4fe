import copy
import math

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

from amortized import InputError, posteriors
from amortized.distributions import Mixture
from amortized.networks import MLP
from amortized.priors import Vamp, random_pseudo_inputs
from amortized.training.checkpoints import state_tensors

B, C, D, M, X = 6, 4, 3, 7, 5

POSTERIORS = {
    "diagonal": posteriors.DiagonalGaussian,
    "full": posteriors.FullGaussian,
    "mixture": posteriors.MixtureOfGaussians,
    "planar": posteriors.Planar,
    "radial": posteriors.Radial,
    "sylvester": posteriors.Sylvester,
    "iaf": posteriors.InverseAutoregressive,
    "spline": posteriors.Spline,
    "semi-amortized": posteriors.SemiAmortized,
    "sphere": posteriors.VonMisesFisher,
    "bits": posteriors.Bernoulli,
    "classes": lambda network, event: posteriors.Categorical(network, event, 4),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def encoder(**options):
    return MLP(X, [8], activation="tanh", **options)


def vamp(kind="diagonal", count=M, low=-torch.inf, high=torch.inf, context_features=0, **options):
    posterior = POSTERIORS[kind](encoder(context_features=context_features), D)
    return Vamp(posterior, torch.randn(count, X), low, high, **options)


def points(kind, *lead):
    z = torch.randn(*lead, D)
    if kind == "sphere":
        return z / z.norm(dim=-1, keepdim=True)
    if kind == "bits":
        return (z > 0).float()
    return one_hot(torch.randint(4, (*lead, D)), 4).float() if kind == "classes" else z


@pytest.mark.parametrize("kind", POSTERIORS)
def test_it_is_the_average_of_the_posterior_at_the_pseudo_inputs(kind):
    prior, z = vamp(kind).double().eval(), points(kind, 2, B).double()
    each = [prior.posterior(u.expand(2 * B, X)).log_prob(z.flatten(0, 1)).exp() for u in prior.pseudo_inputs]
    brute = torch.stack(each).mean(0).log().reshape(2, B)
    torch.testing.assert_close(prior().log_prob(z), brute, rtol=1e-6, atol=1e-6)
    assert prior.space == getattr(prior.posterior, "space", "real")
    assert prior.event_shape == prior.posterior.event_shape
    assert prior().sample((4,)).shape == (4, *prior.event_shape)


@pytest.mark.parametrize("kind", POSTERIORS)
def test_with_one_pseudo_input_it_is_the_posterior_there(kind):
    prior, z = vamp(kind, count=1).double().eval(), points(kind, 2, 1).double()
    torch.testing.assert_close(prior().log_prob(z), prior.posterior(prior.pseudo_inputs).log_prob(z), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", POSTERIORS)
def test_the_gradient_reaches_the_encoder_the_pseudo_inputs_and_z(kind):
    prior, z = vamp(kind), points(kind, 2, B).requires_grad_()
    prior().log_prob(z).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()
    for name, parameter in prior.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_the_gradient_of_a_pseudo_input_is_that_of_finite_differences():
    prior, z = vamp().double(), torch.randn(B, D, dtype=torch.float64)

    def score(inputs):
        return torch.func.functional_call(prior, {"pseudo_inputs": inputs}).log_prob(z)

    assert torch.autograd.gradcheck(score, (prior.pseudo_inputs.detach().requires_grad_(),))


def test_with_all_the_data_as_pseudo_inputs_it_is_the_aggregate_posterior():
    """No prior scores draws of the aggregate posterior higher, in the mean: cross-entropy is least at the density itself."""
    x = torch.randn(20, X)
    posterior = posteriors.DiagonalGaussian(encoder(), D)
    prior = Vamp(posterior, x)
    with torch.no_grad():
        posterior.head.output.weight.mul_(5)  # so that the components lie apart
        q = posterior(x)
        z = q.sample((200,))
        log_q = torch.stack([q.log_prob(value) for value in z.flatten(0, 1)]).logsumexp(-1) - math.log(len(x))
        torch.testing.assert_close(prior().log_prob(z.flatten(0, 1)), log_q, rtol=1e-5, atol=1e-5)
        others = [Vamp(posterior, x[:10]), Vamp(posterior, x + 0.3 * torch.randn_like(x))]
        for other in others:
            gain = prior().log_prob(z) - other().log_prob(z)
            assert gain.mean() > 4.5 * gain.mean(1).std() / math.sqrt(len(z))


def test_given_a_condition_the_posterior_meets_every_pseudo_input_under_it():
    prior, c, z = vamp(context_features=C).double(), torch.randn(B, C).double(), torch.randn(2, B, D).double()
    p = prior(c)
    assert p.batch_shape == (B,)
    for row in range(B):
        q = prior.posterior(prior.pseudo_inputs, c[row].expand(M, C))
        torch.testing.assert_close(p.log_prob(z)[:, row], Mixture(torch.zeros(M).double(), q).log_prob(z[:, row]))


def test_learned_conditions_take_the_place_of_the_condition():
    prior, z = vamp(context_features=C, pseudo_context=C), torch.randn(B, D)
    q = prior.posterior(prior.pseudo_inputs, prior.pseudo_context)
    torch.testing.assert_close(prior().log_prob(z), Mixture(torch.zeros(M), q).log_prob(z))
    with pytest.raises(InputError, match="build it with pseudo_context=0"):
        prior(torch.randn(B, C))


def test_a_condition_that_is_lacking_or_unwanted_says_what_to_do():
    with pytest.raises(InputError, match=r"wants 'prior' in the model's condition, or pseudo_context=C"):
        vamp(context_features=C)()
    with pytest.raises(InputError, match="built for a context of width 0"):
        vamp()(torch.randn(B, C))


def test_learned_weights_start_equal_and_are_learned():
    prior, plain, z = vamp(learn_weights=True), vamp(), torch.randn(B, D)
    plain.load_state_dict(prior.state_dict(), strict=False)
    assert torch.equal(prior().log_prob(z), plain().log_prob(z))
    prior().log_prob(z).sum().backward()
    assert prior.log_weights is not None
    assert prior.log_weights.grad is not None
    assert prior.log_weights.grad.abs().sum() > 0


def test_pseudo_inputs_are_never_used_outside_their_range():
    prior = Vamp(vamp().posterior, 3 * torch.randn(M, X), -1.0, torch.full((X,), 0.5))
    with torch.no_grad():
        prior.pseudo_inputs.add_(3 * torch.randn(M, X))
    assert prior.inputs().min() == -1.0
    assert prior.inputs().max() == 0.5
    assert (prior.pseudo_inputs.abs() > 1).any()


def identity_vamp(low=0.0, high=1.0):
    """A prior of one component, N(u, I) at its pseudo-input u."""

    class Identity(nn.Module):
        out_features = X

        def forward(self, x):
            return x

    posterior = posteriors.DiagonalGaussian(Identity(), X)
    with torch.no_grad():
        posterior.head.output.weight.zero_()[:X].copy_(torch.eye(X))
        posterior.get_parameter("head.output.bias").zero_()
    return Vamp(posterior, torch.full((1, X), 0.5), low, high)


def descend(prior, target, steps, project=True):
    optimizer = torch.optim.SGD([prior.pseudo_inputs], 0.1)
    for step in range(steps):
        if project:
            prior.at_step(step)
            assert torch.equal(prior.pseudo_inputs, prior.inputs())
        optimizer.zero_grad()
        (-prior().log_prob(torch.full((X,), target))).backward()
        optimizer.step()


def test_a_pseudo_input_waits_at_its_bound_and_comes_back_at_once():
    prior = identity_vamp()
    for target, steps, end in ((5.0, 20, 1.0), (0.3, 80, 0.3), (-5.0, 20, 0.0), (0.3, 80, 0.3)):
        descend(prior, target, steps)
        assert prior.pseudo_inputs.abs().max() < 1.6  # at most one step outside
        torch.testing.assert_close(prior.inputs(), torch.full((1, X), end), rtol=0, atol=1e-3)


def test_without_a_projection_a_pseudo_input_drifts_and_what_is_used_stays_inside():
    prior = identity_vamp()
    descend(prior, 5.0, 20, project=False)
    assert prior.pseudo_inputs.min() > 3
    assert torch.equal(prior.inputs(), torch.ones(1, X))
    prior.at_step(0)
    assert torch.equal(prior.pseudo_inputs.detach(), torch.ones(1, X))


def test_the_mean_of_the_gradients_of_shards_is_the_gradient_of_the_whole_batch():
    """What processes average: also at the bounds, where pseudo-inputs that are rows of binary data start."""
    prior = Vamp(vamp().posterior, (torch.rand(M, X) > 0.5).float(), 0.0, 1.0).double()
    z = 3 * torch.randn(8, D, dtype=torch.float64)

    def gradient(rows):
        (value,) = torch.autograd.grad(prior().log_prob(rows).mean(), prior.pseudo_inputs)
        return value

    whole = gradient(z)
    assert (whole > 0).any()
    assert (whole < 0).any()
    torch.testing.assert_close((gradient(z[:4]) + gradient(z[4:])) / 2, whole)


@pytest.mark.parametrize(("low", "high"), [(-torch.inf, torch.inf), (0.0, torch.inf), (-torch.inf, 0.0), (-0.5, 0.5)])
def test_a_step_projects_into_any_range_and_leaves_what_is_inside(low, high):
    prior, away = vamp(low=low, high=high), 3 * torch.randn(M, X)
    with torch.no_grad():
        prior.pseudo_inputs.copy_(away)
    (slope,) = torch.autograd.grad(prior.inputs().sum(), prior.pseudo_inputs)
    assert torch.equal(slope, torch.ones(M, X))
    prior.at_step(0)
    assert torch.equal(prior.pseudo_inputs.detach(), away.clamp(low, high))
    assert prior.pseudo_inputs.requires_grad
    assert prior.pseudo_inputs.is_leaf


def test_it_goes_through_the_transforms_of_functions():
    prior, z = vamp(low=-0.5, high=0.5), torch.randn(B, D)
    start = prior.pseudo_inputs.detach()

    def score(inputs, point):
        return torch.func.functional_call(prior, {"pseudo_inputs": inputs}).log_prob(point)

    each = torch.func.vmap(torch.func.grad(score), (None, 0))(start, z)
    (total,) = torch.autograd.grad(prior().log_prob(z).sum(), prior.pseudo_inputs)
    torch.testing.assert_close(each.sum(0), total, rtol=1e-4, atol=1e-5)


def test_what_was_encoded_is_kept_in_evaluation_until_something_changes():
    prior, calls = vamp().eval(), []
    prior.posterior.register_forward_hook(lambda *given: calls.append(given))
    z = torch.randn(B, D)

    def encodings(act):
        before = len(calls)
        act()
        with torch.no_grad():
            value = prior().log_prob(z.to(prior.pseudo_inputs.dtype))
            kept = len(calls) - before
            fresh = Mixture(torch.zeros(M).to(value), prior.posterior(prior.inputs())).log_prob(z.to(value))
        assert torch.equal(value, fresh)  # never a stale value
        return kept

    first = next(prior.posterior.parameters())
    other = vamp().state_dict()
    assert encodings(lambda: None) == 1
    assert encodings(lambda: None) == 0
    assert encodings(lambda: prior.load_state_dict(other)) == 1
    assert encodings(lambda: None) == 0
    assert encodings(lambda: first.data.add_(0.1)) == 1
    assert encodings(lambda: fused_step(prior)) == 1
    assert encodings(lambda: prior.high.fill_(0.1)) == 1
    assert encodings(prior.double) == 1
    assert encodings(prior.train) == 1
    assert encodings(lambda: None) == 1
    assert encodings(prior.eval) == 1
    assert encodings(prior) == 2  # with a gradient nothing is kept
    assert encodings(lambda: None) == 0
    clone = copy.deepcopy(prior)
    with torch.no_grad():
        clone.pseudo_inputs.add_(1.0)
        assert not torch.equal(clone().log_prob(z.double()), prior().log_prob(z.double()))


def fused_step(prior):
    """A step of a fused optimizer, which changes the parameters without counting up their versions."""
    for parameter in prior.parameters():
        parameter.grad = torch.ones_like(parameter)
    torch.optim.Adam(prior.parameters(), 0.1, fused=True).step()
    prior.zero_grad()


def test_what_was_encoded_under_autocast_or_inference_mode_is_not_used_outside():
    prior, z = vamp().eval(), torch.randn(B, D)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = prior().log_prob(z)
    with torch.inference_mode():
        prior()
    with torch.no_grad():
        p = prior()
        assert not torch.equal(p.log_prob(z), rounded)
    z.requires_grad_()
    p.log_prob(z).sum().backward()  # tensors of inference mode would refuse


def test_the_pseudo_inputs_go_through_the_encoder_in_its_mode():
    posterior = posteriors.DiagonalGaussian(MLP(X, [8], dropout=0.5, norm="batch"), D)
    prior, z = Vamp(posterior, torch.randn(M, X)), torch.randn(B, D)
    with torch.no_grad():
        assert not torch.equal(prior().log_prob(z), prior().log_prob(z))
        prior.eval()
        assert torch.equal(prior().log_prob(z), prior().log_prob(z))
        posterior.train()  # a part in training within a prior in evaluation keeps nothing
        assert not torch.equal(prior().log_prob(z), prior().log_prob(z))


def test_a_posterior_that_two_parts_hold_is_stored_once_and_has_one_gradient():
    posterior = posteriors.DiagonalGaussian(encoder(), D)
    both = nn.ModuleDict({"prior": Vamp(posterior, torch.randn(M, X)), "posterior": posterior})
    tensors = state_tensors(both)
    assert len(tensors) == len(list(posterior.parameters())) + 3  # the pseudo-inputs and their range
    assert len(list(both.parameters())) == len(list(posterior.parameters())) + 1


def test_a_mixture_posterior_is_tempered_within_its_components():
    prior = vamp("mixture")
    cold, warm = prior(temperature=0.5).components, prior().components
    assert isinstance(cold, Mixture)
    assert isinstance(warm, Mixture)
    torch.testing.assert_close(cold.components.stddev, 0.5 * warm.components.stddev)


@pytest.mark.parametrize("kind", POSTERIORS)
def test_every_posterior_has_a_temperature(kind):
    prior = vamp(kind).eval()
    with torch.no_grad():
        plain, cold, frozen = prior(), prior(temperature=0.5), prior(temperature=0.0)
        z = points(kind, 2, B)
        assert cold.log_prob(z).isfinite().all()
        assert not torch.allclose(cold.log_prob(z), plain.log_prob(z))
        assert prior(temperature=0.5).sample((4,)).shape == (4, *prior.event_shape)
        draws = frozen.sample((64,))
    if kind == "mixture":
        return  # at each of whose components' means it stands still
    assert len(draws.flatten(1).unique(dim=0).mul(1e4).round().unique(dim=0)) <= M


def test_convolutional_inputs_keep_their_shape():
    posterior = posteriors.DiagonalGaussian(MLP((4, 3), [8]), D)
    prior = Vamp(posterior, random_pseudo_inputs(M, (4, 3), 0.5, 0.1), 0.0, 1.0)
    assert prior().log_prob(torch.randn(2, B, D)).shape == (2, B)


def test_random_pseudo_inputs_have_the_moments_asked_for():
    mean, std = torch.tensor([0.0, 1.0, 5.0]), torch.tensor([0.1, 1.0, 2.0])
    u = random_pseudo_inputs(4000, 3, mean, std, torch.Generator().manual_seed(0))
    assert ((u.mean(0) - mean).abs() < 4.5 * std / math.sqrt(4000)).all()
    torch.testing.assert_close(u.std(0), std, rtol=0.06, atol=0)
    assert torch.equal(u, random_pseudo_inputs(4000, 3, mean, std, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize(
    ("inputs", "bounds", "message"),
    [
        (torch.zeros(M), (), r"pseudo_inputs must be \(M, \*in_shape\)"),
        (torch.zeros(0, X), (), "M of 1 or more"),
        (torch.full((M, X), torch.nan), (), "not finite"),
        (torch.zeros(M, X), (1.0, 0.0), "low must be below high; they are 1.0 and 0.0"),
        (torch.zeros(M, X), (torch.zeros(2), 1.0), r"low must fit a pseudo-input of shape \(5,\); it has shape \(2,\)"),
    ],
)
def test_unusable_pseudo_inputs_are_refused(inputs, bounds, message):
    with pytest.raises(InputError, match=message):
        Vamp(posteriors.DiagonalGaussian(encoder(), D), inputs, *bounds)


def test_a_posterior_without_a_density_or_of_other_inputs_is_refused():
    with pytest.raises(InputError, match="averages the densities of the posterior, and Delta has none"):
        Vamp(posteriors.Delta(encoder(), D), torch.randn(M, X))
    with pytest.raises(InputError, match="cannot put its pseudo-inputs through the posterior"):
        Vamp(posteriors.DiagonalGaussian(encoder(), D), torch.randn(M, X + 1))()

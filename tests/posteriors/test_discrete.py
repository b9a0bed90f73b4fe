import math

import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from amortized.conditional import call_detached
from amortized.distributions import Bits, EnumeratedBits, EnumeratedOneHot, OneHot, RelaxedBits, RelaxedOneHot, draw
from amortized.errors import InputError
from amortized.networks import MLP
from amortized.objectives.bounds import elbo, iwae
from amortized.posteriors.discrete import Bernoulli, Categorical
from amortized.terms import Latent, Terms

B, X = 4, 5
POSTERIORS = [
    (lambda **options: Categorical(MLP(X, []), 2, 3, **options), (2, 3)),
    (lambda **options: Bernoulli(MLP(X, []), 3, **options), (3,)),
]


class Mixed(nn.Module):
    """z from a prior with random probabilities, x | z ~ N(W z + b, 0.7^2 I): log p(x) is a sum over the values of z."""

    def __init__(self, event):
        super().__init__()
        torch.manual_seed(7)
        self.decoder = nn.Linear(math.prod(event), X).double()
        self.event = event
        self.p = (OneHot if len(event) == 2 else Bits)(torch.randn(event).double())
        self.x = torch.randn(B, X).double()

    def likelihood(self, z):
        return Independent(Normal(self.decoder(z.flatten(-len(self.event))), 0.7), 1)

    def terms(self, q, samples=1, q_path=None):
        drawn = draw(q, samples)
        log_px = self.likelihood(drawn.z).log_prob(self.x)
        latent = Latent(q, self.p, drawn.z, q_path)
        return Terms(log_px, (latent,), log_sample_weight=drawn.log_weight, is_complete=drawn.is_complete)

    def log_joint(self):
        """(values, B) log p(x, z) of every value, and the values."""
        z = self.p.complete_support().unsqueeze(1)
        return self.likelihood(z).log_prob(self.x) + self.p.log_prob(z), z

    def log_px(self):
        return self.log_joint()[0].logsumexp(0)

    def exact_elbo(self, q):
        log_joint, z = self.log_joint()
        return (q.log_prob(z).exp() * (log_joint - q.log_prob(z))).sum(0)


@pytest.fixture(params=POSTERIORS, ids=("categorical", "bernoulli"))
def tested(request):
    make, event = request.param
    torch.manual_seed(0)
    return make, event, Mixed(event)


def gradients(value, posterior):
    return torch.cat(
        [gradient.flatten() for gradient in torch.autograd.grad(value, tuple(posterior.parameters()), retain_graph=True)]
    )


class TestEnumeration:
    def test_the_elbo_and_its_gradient_are_the_sum_over_the_values(self, tested):
        make, _, model = tested
        posterior = make(estimator="enumerate").double()
        for samples in (1, 5):  # the support is drawn once, however many samples are asked for
            q = posterior(model.x)
            terms = model.terms(q, samples)
            exact = model.exact_elbo(q)
            torch.testing.assert_close(elbo(terms), exact, rtol=1e-12, atol=1e-12)
            torch.testing.assert_close(terms.mean_over_samples(terms.log_w), exact, rtol=1e-12, atol=1e-12)
            gradient = gradients(elbo(terms).sum(), posterior)
            torch.testing.assert_close(gradient, gradients(exact.sum(), posterior), rtol=1e-10, atol=1e-10)

    def test_the_path_gradient_is_exact_as_well(self, tested):
        make, _, model = tested
        posterior = make(estimator="enumerate").double()
        q = posterior(model.x)
        terms = model.terms(q, q_path=call_detached(posterior, model.x))
        gradient = gradients(elbo(terms).sum(), posterior)
        torch.testing.assert_close(gradient, gradients(model.exact_elbo(q).sum(), posterior), rtol=1e-10, atol=1e-10)

    def test_the_importance_weights_sum_to_the_evidence(self, tested):
        make, _, model = tested
        terms = model.terms(make(estimator="enumerate").double()(model.x))
        assert terms.is_complete
        torch.testing.assert_close(iwae(terms), model.log_px(), rtol=1e-13, atol=1e-13)

    def test_under_the_exact_posterior_every_weight_is_the_evidence(self):
        model = Mixed((1, 6))  # one variable of six classes: its posterior can be any distribution
        terms = model.terms(EnumeratedOneHot(model.log_joint()[0].T.unsqueeze(1)))
        torch.testing.assert_close(terms.log_w, model.log_px().expand(6, B), rtol=1e-13, atol=1e-13)
        torch.testing.assert_close(elbo(terms), model.log_px(), rtol=1e-13, atol=1e-13)

    def test_too_many_values_are_refused_by_number(self):
        Categorical(MLP(X, []), 5, 4, estimator="enumerate")
        Bernoulli(MLP(X, []), 10, estimator="enumerate")
        with pytest.raises(InputError, match=r"at most 1,024 values of z; .*\(5, 5\) has 3,125; take estimator='gumbel'"):
            Categorical(MLP(X, []), 5, 5, estimator="enumerate")
        with pytest.raises(InputError, match=r"\(11,\) has 2,048"):
            Bernoulli(MLP(X, []), 11, estimator="enumerate")
        with pytest.raises(InputError, match=r"has 10\^60"):
            Bernoulli(MLP(X, []), 200, estimator="enumerate")


class TestRelaxation:
    @pytest.mark.parametrize("estimator", ["gumbel", "straight-through"])
    def test_training_draws_relaxed_and_evaluation_hard(self, tested, estimator):
        make, event, model = tested
        posterior = make(estimator=estimator, temperature=0.5).double()
        assert posterior.is_relaxed
        q = posterior(model.x)
        assert type(q) is (RelaxedOneHot if event == (2, 3) else RelaxedBits)
        assert (q.temperature, q.hard) == (0.5, estimator == "straight-through")
        assert draw(q, 2).z.requires_grad
        exact = posterior.eval()(model.x)
        assert type(exact) is (OneHot if event == (2, 3) else Bits)
        assert posterior.is_relaxed
        z = draw(exact, 2).z
        assert ((z == 0) | (z == 1)).all()
        assert torch.equal(exact.mean, q.mean)

    def test_enumeration_is_the_same_in_training_and_evaluation(self, tested):
        make, event, model = tested
        posterior = make(estimator="enumerate").double()
        assert not posterior.is_relaxed
        for mode in (True, False):
            assert type(posterior.train(mode)(model.x)) is (EnumeratedOneHot if event == (2, 3) else EnumeratedBits)

    def test_hard_samples_estimate_the_exact_elbo(self, tested):
        make, _, model = tested
        torch.manual_seed(3)
        posterior = make().double().eval()
        q, n = posterior(model.x), 20_000
        with torch.no_grad():
            terms = model.terms(q, n)
            error = terms.log_w.std(0) / math.sqrt(n)
            assert ((terms.log_w.mean(0) - model.exact_elbo(q)).abs() < 4.5 * error).all()
            assert ((elbo(terms) - model.exact_elbo(q)).abs() < 4.5 * terms.log_px.std(0) / math.sqrt(n)).all()
            assert ((terms.log_w - model.log_px()).exp().mean(0) - 1).abs().max() < 0.1

    @pytest.mark.parametrize("estimator", ["gumbel", "straight-through"])
    def test_training_climbs_to_the_bound_that_enumeration_finds(self, tested, estimator):
        make, _, model = tested

        def trained(estimator, steps=150):
            torch.manual_seed(4)
            posterior = make(estimator=estimator, temperature=0.3).double()
            optimizer = torch.optim.Adam(posterior.parameters(), 0.05)
            start = model.exact_elbo(posterior(model.x)).mean().item()
            for _ in range(steps):
                optimizer.zero_grad()
                (-elbo(model.terms(posterior(model.x), 20)).mean()).backward()
                optimizer.step()
            return start, model.exact_elbo(posterior(model.x)).mean().item()

        (start, best), (_, reached) = trained("enumerate"), trained(estimator)
        assert best <= model.log_px().mean().item()
        assert best - reached < 0.2 * (best - start)


class TestSchedule:
    def test_the_temperature_falls_exponentially_and_stays(self, tested):
        posterior = tested[0](temperature=2.0, final_temperature=0.5, temperature_steps=100)
        seen = []
        for step in (0, 50, 100, 1000, 50):
            posterior.at_step(step)
            seen.append(posterior.temperature)
        assert seen == pytest.approx([2.0, 1.0, 0.5, 0.5, 1.0], rel=1e-12)
        assert seen[1] == seen[4]
        assert posterior(torch.zeros(B, X)).temperature == posterior.temperature
        assert set(posterior.state_dict()) == {name for name, _ in posterior.named_parameters()}

    def test_without_a_schedule_it_is_constant(self, tested):
        posterior = tested[0](temperature=0.7)
        posterior.at_step(10**6)
        assert posterior.temperature == 0.7

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"temperature": 0.0}, "temperature must be positive and finite; it is 0.0"),
            ({"temperature": math.inf}, "temperature must be positive and finite; it is inf"),
            ({"final_temperature": -1.0, "temperature_steps": 5}, "final_temperature must be positive and finite; it is -1.0"),
            ({"final_temperature": 0.5}, "final_temperature=0.5 and temperature_steps=0 do not go together"),
            ({"temperature_steps": 10}, "final_temperature=None and temperature_steps=10 do not go together"),
            ({"estimator": "gumbell"}, "estimator 'gumbell' is unknown; did you mean 'gumbel'"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, tested, options, message):
        with pytest.raises(InputError, match=message):
            tested[0](**options)


@pytest.mark.parametrize("classes", [1, 0, 2.5])
def test_a_variable_has_at_least_two_classes(classes):
    with pytest.raises(InputError, match="classes must be an integer of 2 or more"):
        Categorical(MLP(X, []), 2, classes)


def test_there_is_at_least_one_variable():
    with pytest.raises(InputError, match="event must be an integer of 1 or more; it is 0"):
        Bernoulli(MLP(X, []), 0)


@pytest.mark.parametrize("estimator", ["gumbel", "straight-through", "enumerate"])
@pytest.mark.parametrize("bias", [-1e4, 1e4])
def test_extreme_logits_train_with_finite_gradients(tested, estimator, bias):
    make, _, model = tested
    posterior = make(estimator=estimator, temperature=0.1).double()
    with torch.no_grad():
        posterior.get_parameter("head.output.bias")[::2] = bias
    value = elbo(model.terms(posterior(model.x), 3))
    assert value.isfinite().all()
    assert gradients(value.sum(), posterior).isfinite().all()

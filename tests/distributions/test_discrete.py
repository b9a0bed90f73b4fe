import math

import pytest
import torch

from amortized.distributions import (
    Bits,
    EnumeratedBits,
    EnumeratedOneHot,
    OneHot,
    RelaxedBits,
    RelaxedOneHot,
    draw,
    is_relaxed,
)
from amortized.distributions.tempering import tempered
from amortized.divergences import exact_kl, exact_kl_elementwise

B = 4
FAMILIES = [
    pytest.param(OneHot, RelaxedOneHot, EnumeratedOneHot, (2, 3), id="one-hot"),
    pytest.param(Bits, RelaxedBits, EnumeratedBits, (4,), id="bits"),
]
RELAXED = [pytest.param(RelaxedOneHot, (2, 3), id="one-hot"), pytest.param(RelaxedBits, (4,), id="bits")]


def logits(event, batch=(B,), seed=0, dtype=torch.float64):
    noise = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*batch, *event, generator=noise, dtype=dtype)).requires_grad_()


def chi_square(counts, probabilities, n):
    """The statistic in standard errors: (X^2 - degrees of freedom) / sqrt(2 degrees of freedom)."""
    statistic = ((counts - n * probabilities) ** 2 / (n * probabilities)).sum().item()
    freedom = counts.numel() - len(counts)
    return (statistic - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize(("hard", "relaxed", "enumerated", "event"), FAMILIES)
class TestFamily:
    def test_the_support_is_complete_and_sums_to_one(self, hard, relaxed, enumerated, event):
        q = hard(logits(event))
        z = q.complete_support()
        assert len(z) == len(z.unique(dim=0)) == (9 if event == (2, 3) else 16)
        assert z.shape[1:] == event
        torch.testing.assert_close(q.log_prob(z.unsqueeze(1)).logsumexp(0), torch.zeros(B).double(), rtol=0, atol=1e-14)

    def test_moments_and_entropy_are_those_of_the_enumeration(self, hard, relaxed, enumerated, event):
        value = logits(event)
        z = hard(value).complete_support().unsqueeze(1)
        for q in (hard(value), relaxed(value, 0.5), enumerated(value)):
            weight = q.log_prob(z).exp()
            mean = torch.einsum("kb,k...->b...", weight, z.squeeze(1))
            torch.testing.assert_close(q.mean, mean)
            torch.testing.assert_close(q.variance, mean - mean.square())
            torch.testing.assert_close(q.entropy(), -(weight * q.log_prob(z)).sum(0))
            most = q.log_prob(z).argmax(0)
            assert torch.equal(q.mode, z[most, 0])

    def test_a_single_variable_is_a_family_as_well(self, hard, relaxed, enumerated, event):
        q = enumerated(logits((1, *event[1:])))
        assert len(q.complete_support()) == (3 if event == (2, 3) else 2)
        torch.testing.assert_close(q.draw(1).log_weight.logsumexp(0), torch.zeros(B).double(), rtol=0, atol=1e-14)

    def test_the_kl_is_that_of_the_enumeration_from_every_way_of_drawing(self, hard, relaxed, enumerated, event):
        value, p = logits(event), hard(logits(event, batch=(), seed=1))
        z = p.complete_support().unsqueeze(1)
        for q in (hard(value), relaxed(value, 0.5), relaxed(value, 0.5, True), enumerated(value)):
            kl = exact_kl(q, p)
            assert kl is not None
            torch.testing.assert_close(kl, (q.log_prob(z).exp() * (q.log_prob(z) - p.log_prob(z))).sum(0))
            assert exact_kl_elementwise(q, p) is None
        hidden = [exact_kl(p, family) for family in (hard(value), relaxed(value, 0.5), enumerated(value))]
        assert all(
            kl is not None and hidden[0] is not None and torch.equal(kl, hidden[0]) for kl in hidden
        )  # how p is drawn does not matter

    def test_log_prob_is_linear_in_z_and_its_slope_is_the_logits(self, hard, relaxed, enumerated, event):
        q = relaxed(logits(event), 0.5)
        z = torch.rand(B, *event, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(q.log_prob(z).sum(), z)
        expected = q.logits if event == (4,) else q.logits.log_softmax(-1)
        torch.testing.assert_close(slope, expected)
        middle = q.log_prob((z + q.mode) / 2)
        torch.testing.assert_close(middle, (q.log_prob(z) + q.log_prob(q.mode)) / 2)

    def test_hard_samples_have_the_probabilities(self, hard, relaxed, enumerated, event):
        torch.manual_seed(0)
        n = 20_000
        support = hard(logits(event)).complete_support()
        for q in (hard(logits(event)), relaxed(logits(event), 0.3), enumerated(logits(event))):
            z = q.sample((n,))
            assert not z.requires_grad
            counts = (z.unsqueeze(2) == support).flatten(3).all(-1).double().sum(0)
            assert counts.sum() == n * B
            assert abs(chi_square(counts, q.log_prob(support.unsqueeze(1)).exp().T.detach(), n)) < 4.5

    def test_a_hard_family_is_drawn_without_a_gradient(self, hard, relaxed, enumerated, event):
        drawn = draw(hard(logits(event)), 5)
        assert drawn.z.shape == (5, B, *event)
        assert not drawn.z.requires_grad
        assert drawn.log_weight is None
        assert not drawn.is_complete

    def test_an_enumerated_family_draws_its_support(self, hard, relaxed, enumerated, event):
        q = enumerated(logits(event))
        drawn = draw(q, 5)
        assert drawn.is_complete
        assert drawn.log_weight is not None
        assert torch.equal(drawn.z, q.complete_support().unsqueeze(1).expand(-1, B, *event))
        torch.testing.assert_close(drawn.log_weight, q.log_prob(drawn.z))
        torch.testing.assert_close(drawn.log_weight.logsumexp(0), torch.zeros(B).double(), rtol=0, atol=1e-14)

    def test_the_weights_keep_their_digits_under_autocast(self, hard, relaxed, enumerated, event):
        q = enumerated(logits(event, dtype=torch.float32))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            log_weight = q.draw(1).log_weight
        assert torch.equal(log_weight, q.draw(1).log_weight)

    def test_a_temperature_divides_the_logits_and_keeps_the_way_of_drawing(self, hard, relaxed, enumerated, event):
        value = logits(event)
        z = hard(value).complete_support().unsqueeze(1)
        for q in (hard(value), relaxed(value, 0.5, True), enumerated(value)):
            cold = tempered(q, 0.25)
            assert type(cold) is type(q)
            assert getattr(cold, "temperature", 0.5) == 0.5  # that of the relaxation is another
            assert getattr(cold, "hard", True)
            torch.testing.assert_close(cold.log_prob(z).exp(), (4 * q.log_prob(z)).softmax(0))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_without_temperature_the_draws_are_the_mode(self, hard, relaxed, enumerated, event, dtype):
        value = logits(event, dtype=dtype)
        for q in (hard(value), relaxed(value, 0.5), enumerated(value)):
            frozen = tempered(q, 0.0)
            assert torch.equal(frozen.sample((100,)), q.mode.expand(100, B, *event))
            torch.testing.assert_close(frozen.log_prob(q.mode), torch.zeros(B, dtype=dtype))
            scores = frozen.log_prob(q.complete_support().unsqueeze(1))
            assert scores.isfinite().all()
            (slope,) = torch.autograd.grad(scores.sum(), value)
            assert slope.isfinite().all()

    def test_without_temperature_equal_values_are_as_probable_as_each_other(self, hard, relaxed, enumerated, event):
        frozen = tempered(hard(torch.zeros(B, *event)), 0.0)
        torch.testing.assert_close(frozen.mean, torch.full((B, *event), 1 / (3 if event == (2, 3) else 2)))

    def test_expansion_keeps_the_way_of_drawing(self, hard, relaxed, enumerated, event):
        value = logits(event, batch=())
        for q in (hard(value), relaxed(value, 0.5, True), enumerated(value)):
            larger = q.expand((3, B))
            assert type(larger) is type(q)
            assert is_relaxed(larger) == is_relaxed(q)
            assert larger.sample().shape == (3, B, *event)
            assert getattr(larger, "temperature", 0.5) == 0.5
            assert getattr(larger, "hard", True)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_extreme_logits_give_finite_values_and_gradients(self, hard, relaxed, enumerated, event, dtype):
        extreme = torch.tensor([1e4, -1e4], dtype=dtype).repeat(6)[: math.prod(event)].reshape(1, *event)
        p = hard(-extreme)
        for make in (hard, enumerated, lambda value: relaxed(value, 0.05), lambda value: relaxed(value, 0.05, True)):
            value = extreme.clone().requires_grad_()
            q = make(value)
            drawn = draw(q, 3)
            kl = exact_kl(q, p)
            assert kl is not None
            total = q.entropy().sum() + kl.sum() + q.mean.sum() + q.log_prob(drawn.z).sum() + p.log_prob(drawn.z).sum()
            if drawn.log_weight is not None:
                total = total + (drawn.log_weight.exp() * drawn.log_weight).sum()
            (gradient,) = torch.autograd.grad(total, value)
            for result in (total, kl, gradient, drawn.z):
                assert result.isfinite().all()
                assert result.dtype == dtype


@pytest.mark.parametrize(("relaxed", "event"), RELAXED)
class TestRelaxed:
    @pytest.mark.parametrize("temperature", [0.1, 1.0, 5.0])
    def test_rounded_to_a_vertex_the_draws_have_the_probabilities(self, relaxed, event, temperature):
        torch.manual_seed(1)
        n, q = 20_000, relaxed(logits(event), temperature)
        z = q.rsample((n,))
        if event == (4,):
            first = (z > 0.5).double().sum(0)
            counts, probabilities = torch.stack((first, n - first), -1), torch.stack((q.mean, 1 - q.mean), -1)
        else:
            counts, probabilities = (z == z.amax(-1, keepdim=True)).double().sum(0), q.mean
        assert abs(chi_square(counts.flatten(0, 1), probabilities.flatten(0, 1).detach(), n)) < 4.5

    def test_the_draws_become_hard_as_the_temperature_falls(self, relaxed, event):
        distances = []
        for temperature in (2.0, 0.5, 0.1, 1e-4):
            torch.manual_seed(2)
            z = relaxed(logits(event), temperature).rsample((500,))
            assert (z >= 0).all()
            assert (z <= 1).all()
            distances.append((z * (1 - z)).mean().item())
        assert distances == sorted(distances, reverse=True)
        assert distances[-1] < 1e-4

    def test_the_gradient_is_that_of_the_relaxation_at_the_same_noise(self, relaxed, event):
        torch.manual_seed(3)
        value, direction = logits(event), torch.randn(B, *event, dtype=torch.float64)

        def relaxation(value):
            torch.manual_seed(4)
            return relaxed(value, 0.7).rsample((3,))

        (gradient,) = torch.autograd.grad(relaxation(value).square().sum(), value)
        with torch.no_grad():
            step = 1e-6 * direction
            slope = (relaxation(value + step).square().sum() - relaxation(value - step).square().sum()) / 2e-6
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-6, atol=1e-8)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_straight_through_draws_are_hard_with_the_relaxed_gradient(self, relaxed, event, dtype):
        value = logits(event, dtype=dtype)
        weights = torch.randn(B, *event, dtype=dtype)

        def drawn(hard):
            torch.manual_seed(5)
            z = relaxed(value, 0.7, hard).rsample((50,))
            return z, torch.autograd.grad((z * weights).sum(), value)[0]

        (soft, soft_gradient), (hard, hard_gradient) = drawn(False), drawn(True)
        assert ((hard == 0) | (hard == 1)).all()
        assert torch.equal(hard_gradient, soft_gradient)
        if event == (4,):
            assert torch.equal(hard, (soft > 0.5).to(dtype))
        else:
            assert torch.equal(hard.argmax(-1), soft.argmax(-1))
            assert (hard.sum(-1) == 1).all()

    def test_it_says_that_its_draws_are_relaxed(self, relaxed, event):
        q = relaxed(logits(event), 0.7)
        assert is_relaxed(q)
        assert q.has_rsample
        assert torch.equal(q.log_prob(q.mode), type(q)(q.logits, 0.1).log_prob(q.mode))


def test_the_mean_of_a_relaxed_bit_is_that_of_quadrature():
    # E[z] of the binary Concrete by quadrature over the logistic noise, against the mean of the draws
    torch.manual_seed(6)
    n, logit, temperature = 200_000, torch.tensor([0.8], dtype=torch.float64), 0.6
    z = RelaxedBits(logit, temperature).rsample((n,))
    u = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    exact = ((logit + u.logit()) / temperature).sigmoid()
    assert abs(z.mean() - exact.mean()) < 4.5 * z.std() / math.sqrt(n)
    two = RelaxedOneHot(torch.cat((logit, 0 * logit)).unsqueeze(0), temperature).rsample((n,))[..., 0]
    assert abs(two.mean() - exact.mean()) < 4.5 * two.std() / math.sqrt(n)

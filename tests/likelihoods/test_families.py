import pytest
import torch
from torch import distributions

from amortized import likelihoods
from amortized.errors import InputError
from amortized.networks import MLP


def made(kind, **options):
    torch.manual_seed(3)
    return getattr(likelihoods, kind)(MLP(2, [4], activation="tanh"), (3,), **options).double().eval()


def with_head_of(likelihood, other):
    likelihood.head.load_state_dict(other.head.state_dict())
    return likelihood


Z = torch.linspace(-2, 2, 12, dtype=torch.float64).view(6, 2)
X = torch.linspace(-3, 4, 18, dtype=torch.float64).view(6, 3)


@pytest.mark.parametrize("kind", ["StudentT", "GaussianMixture"])
def test_the_density_in_own_units_is_the_standardized_one_less_the_log_unit(kind):
    shift, unit = torch.tensor([10.0, -4.0, 0.5]), torch.tensor([0.25, 8.0, 2.0])
    own = made(kind, scale="predicted", shift=shift, unit=unit)
    standardized = with_head_of(made(kind, scale="predicted"), own)
    expected = standardized(Z).log_prob(X) - unit.double().log().sum()
    torch.testing.assert_close(own(Z).log_prob(shift + unit * X), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", ["learned", "predicted", 0.5])
def test_a_student_t_of_many_degrees_of_freedom_is_the_gaussian_likelihood(scale):
    gaussian = made("Gaussian", scale=scale, shift=2.0, unit=3.0)
    student = with_head_of(made("StudentT", scale=scale, df=1e12, shift=2.0, unit=3.0), gaussian)
    torch.testing.assert_close(student(Z).log_prob(X), gaussian(Z).log_prob(X), rtol=0, atol=1e-9)
    torch.testing.assert_close(student(Z).mean, gaussian(Z).mean)


@pytest.mark.parametrize("scale", ["learned", "per-entry", 0.5])
def test_a_mixture_of_one_component_is_the_gaussian_likelihood(scale):
    gaussian = made("Gaussian", scale=scale, shift=2.0, unit=3.0)
    mixture = made("GaussianMixture", components=1, scale=scale, shift=2.0, unit=3.0)
    with torch.no_grad():  # the head's first three outputs are the weights of the only component
        for name, parameter in mixture.head.output.named_parameters():
            parameter[3:].copy_(gaussian.head.output.get_parameter(name))
        mixture.head.network.load_state_dict(gaussian.head.network.state_dict())
    torch.testing.assert_close(mixture(Z).log_prob(X), gaussian(Z).log_prob(X), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(mixture(Z).variance, gaussian(Z).variance)


def test_the_components_of_a_mixture_start_apart_and_around_the_mean():
    mixture = made("GaussianMixture", components=3, shift=5.0, unit=2.0)
    mixture.initialize(torch.tensor([5.0, 7.0, 1.0]))
    bias = mixture.head.output.bias.view(9, 3)
    assert bias[3:6, 1].tolist() == pytest.approx([0.0, 1.0, 2.0])
    assert bias[[0, 1, 2, 6, 7, 8]].abs().max() == 0


@pytest.mark.parametrize("df", ["learned", "per-entry", "predicted"])
def test_degrees_of_freedom_start_at_eight_and_never_fall_to_where_the_variance_ends(df):
    student = made("StudentT", df=df)
    student.initialize(torch.zeros(3))
    with torch.no_grad():
        for layer in student.head.output, student.head.network:
            for name, parameter in layer.named_parameters():
                parameter.mul_(0) if "weight" in name else None
        assert student(Z).base_dist.df.unique().tolist() == pytest.approx([8.0])
        (student.head.output.bias if df == "predicted" else student.df.raw).fill_(-1e4)
        assert student(Z).base_dist.df.unique().tolist() == pytest.approx([2.1])
        assert student(Z).variance.isfinite().all()


def test_fixed_degrees_of_freedom_may_be_a_cauchy_with_its_center_as_what_is_shown():
    cauchy = made("StudentT", df=1.0, scale=0.5)
    loc = cauchy(Z).mode
    expected = distributions.Cauchy(loc, 0.5).log_prob(X).sum(-1)
    torch.testing.assert_close(cauchy(Z).log_prob(X), expected)
    assert cauchy(Z).mean.isnan().all()


@pytest.mark.parametrize("cutpoints", ["learned", "per-entry"])
def test_the_levels_of_an_ordinal_have_equal_masses_at_the_start(cutpoints):
    ordinal = made("Ordinal", levels=5, cutpoints=cutpoints)
    with torch.no_grad():
        for parameter in ordinal.head.parameters():
            parameter.zero_()
    mass = ordinal(Z[:1]).base_dist.log_prob(torch.arange(5.0)[:, None, None]).exp()
    torch.testing.assert_close(mass, torch.full_like(mass, 0.2), rtol=1e-6, atol=0)
    assert ordinal.first.shape == ((3, 1) if cutpoints == "per-entry" else (1,))


def test_cutpoints_stay_in_order_wherever_training_takes_them():
    ordinal = made("Ordinal", levels=6).float()
    with torch.no_grad():
        ordinal.gaps.fill_(-1e4)
        ordinal.first.fill_(300.0)
    value = ordinal(Z.float()).base_dist.log_prob(torch.arange(6.0)[:, None, None])
    assert value.isfinite().all()


def test_an_ordinal_likelihood_of_two_levels_is_the_bernoulli_likelihood():
    bernoulli = made("Bernoulli")
    ordinal = with_head_of(made("Ordinal", levels=2), bernoulli)
    bits = (X > 0).double()
    torch.testing.assert_close(ordinal(Z).log_prob(bits), bernoulli(Z).log_prob(bits))


def test_without_excess_zeros_the_zinb_is_the_negative_binomial_likelihood():
    plain = made("NegativeBinomial")
    zinb = with_head_of(made("ZeroInflatedNegativeBinomial", zeros="per-entry"), plain)
    with torch.no_grad():
        zinb.zero_logits.fill_(-1e4)
    counts = torch.arange(18.0).view(6, 3).double()
    torch.testing.assert_close(zinb(Z).log_prob(counts), plain(Z).log_prob(counts), rtol=1e-12, atol=1e-12)


def test_the_multinomial_scores_each_datum_by_its_own_total_and_draws_that_of_the_training_data():
    multinomial = made("Multinomial")
    multinomial.initialize(torch.tensor([4.0, 1.0, 0.0]))
    counts = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]).double()
    value = multinomial(Z[:3]).log_prob(counts)
    for row, (z, n) in enumerate(zip(Z, (6, 1, 0), strict=False)):
        logits = multinomial(z[None]).log_probs[0]
        expected = distributions.Multinomial(n, logits=logits).log_prob(counts[row]) if n else torch.zeros(()).double()
        torch.testing.assert_close(value[row], expected)
    assert multinomial(Z).sample((7,)).sum(-1).unique().item() == 5
    assert multinomial(Z).event_shape == (3,)
    assert not multinomial.factorizes
    other = made("Multinomial")
    other.load_state_dict(multinomial.state_dict())
    assert other.total.item() == 5


def test_the_mean_of_a_continuous_bernoulli_starts_no_nearer_to_an_end_than_a_logit_of_fifty():
    flat = made("ContinuousBernoulli")
    flat.initialize(torch.tensor([0.0, 0.5, 1.0]))
    assert flat.head.output.bias.tolist() == pytest.approx([-50.0, 0.0, 50.0], abs=1e-9)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("StudentT", {"df": 0.0}, "df must be positive and finite; it is 0.0"),
        ("StudentT", {"df": float("inf")}, "df must be positive and finite; it is inf"),
        ("StudentT", {"df": "learnd"}, "df cannot be 'learnd'; did you mean 'learned'"),
        ("StudentT", {"scale": "optimal"}, "scale cannot be 'optimal'"),
        ("StudentT", {"unit": 0.0}, "unit must be positive and finite"),
        ("GaussianMixture", {"components": 0}, "components must be an integer of 1 or more; it is 0"),
        ("GaussianMixture", {"scale": "optimal"}, "scale cannot be 'optimal'"),
        ("Beta", {"concentration": 0.0}, "concentration 0.0 is not a number from its floor 0.001 up"),
        ("Ordinal", {"levels": 1}, "levels must be an integer of 2 or more; it is 1"),
        ("Ordinal", {"levels": 4, "cutpoints": "predicted"}, "cutpoints cannot be 'predicted'"),
        ("ZeroInflatedNegativeBinomial", {"zeros": "per_entry"}, "zeros cannot be 'per_entry'; did you mean 'per-entry'"),
    ],
    ids=str,
)
def test_a_wrong_option_is_refused_in_one_sentence(kind, options, message):
    with pytest.raises(InputError, match=message):
        made(kind, **options)

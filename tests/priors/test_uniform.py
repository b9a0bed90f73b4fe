import math

import pytest
import torch

from amortized import InputError
from amortized.divergences import exact_kl
from amortized.networks import MLP
from amortized.posteriors import Bernoulli, Categorical
from amortized.priors import Uniform


def test_the_density_on_the_sphere_is_one_over_its_area():
    z = torch.tensor([[1.0, 0.0, 0.0]])
    assert math.isclose(Uniform(3, "sphere")().log_prob(z).item(), -math.log(4 * math.pi), rel_tol=1e-6)


def test_every_discrete_value_is_as_probable_as_any_other():
    bits = (torch.rand(6, 5) < 0.5).float()
    torch.testing.assert_close(Uniform(5, "binary")().log_prob(bits), torch.full((6,), -5 * math.log(2)))
    classes = torch.nn.functional.one_hot(torch.randint(4, (6, 3)), 4).float()
    torch.testing.assert_close(Uniform((3, 4), "categorical")().log_prob(classes), torch.full((6,), -3 * math.log(4)))


def test_a_discrete_posterior_has_an_exact_kl_from_it_which_is_what_its_entropy_lacks():
    x = torch.randn(6, 8)
    for posterior, prior, most in (
        (Bernoulli(MLP(8, [4]), 5), Uniform(5, "binary"), 5 * math.log(2)),
        (Categorical(MLP(8, [4]), 3, 4), Uniform((3, 4), "categorical"), 3 * math.log(4)),
    ):
        q = posterior(x)
        kl = exact_kl(q, prior())
        assert kl is not None
        torch.testing.assert_close(kl, most - q.entropy())


def test_it_follows_its_model_and_saves_nothing():
    for prior in (Uniform(3, "sphere"), Uniform(3, "binary"), Uniform((2, 3), "categorical")):
        assert prior.double()().sample((4,)).dtype == torch.float64
        assert not prior.state_dict()
        assert not list(prior.parameters())


@pytest.mark.parametrize(
    ("event", "space", "message"),
    [
        (3, "real", "ends at a box.*or the prior StandardNormal"),
        (3, "spheer", "did you mean 'sphere'"),
        (3, "categorical", r"\(D, C\), D variables of C classes; it is \(3,\)"),
        ((2, 3), "binary", r"is \(D,\); it is \(2, 3\)"),
        (1, "sphere", "2 or more dimensions"),
    ],
)
def test_what_it_does_not_hold_is_refused(event, space, message):
    with pytest.raises(InputError, match=message):
        Uniform(event, space)

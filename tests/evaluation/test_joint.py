import pytest
import torch

from amortized import VAE, InputError, likelihoods, posteriors, priors
from amortized.evaluation import Joint
from amortized.networks import MLP


def test_the_joint_is_that_of_the_importance_weights(linear_gaussian):
    x = linear_gaussian.sample(7)
    with torch.no_grad():
        joint = Joint.of(linear_gaussian.model(), x, method="a test")
        z = joint.q.sample((3,))
        log_w = joint.log_prior(z) + joint.log_px(z) - joint.log_q(z)
    torch.testing.assert_close(log_w, linear_gaussian.log_px(x).expand(3, 7))


@pytest.mark.parametrize(
    ("posterior", "prior", "named"),
    [
        (posteriors.Delta, priors.StandardNormal(2), "a point"),
        (posteriors.Bernoulli, priors.Uniform(2, space="binary"), "importance sampling"),
    ],
)
def test_a_space_in_which_nothing_moves_is_refused_with_what_works(posterior, prior, named):
    model = VAE(prior, posterior(MLP(5, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 5))
    with pytest.raises(InputError, match=named):
        Joint.of(model.eval(), torch.zeros(4, 5), method="annealed importance sampling")

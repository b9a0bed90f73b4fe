import pytest
import torch

from amortized import VAE, Batch, InputError, likelihoods, posteriors, priors
from amortized.evaluation import representations
from amortized.networks import MLP


def test_a_representation_is_the_posteriors_mean_with_the_deviations_of_its_marginals(linear_gaussian):
    x = linear_gaussian.sample(40)
    found = representations(linear_gaussian.model(), x.split(7))
    exact = linear_gaussian.posterior(x)
    torch.testing.assert_close(found.z, exact.mean)
    assert found.scales is not None
    torch.testing.assert_close(found.scales, linear_gaussian.covariance.diagonal().sqrt().expand(40, -1))
    assert found.labels is None


@pytest.mark.parametrize(
    ("posterior", "prior", "scaled"),
    [
        (posteriors.DiagonalGaussian, priors.StandardNormal, True),
        (posteriors.Delta, priors.StandardNormal, False),
        (posteriors.Bernoulli, lambda size: priors.Uniform(size, "binary"), False),
    ],
)
def test_labels_are_kept_and_deviations_where_the_posterior_is_gaussian(posterior, prior, scaled):
    torch.manual_seed(0)
    model = VAE(prior(2), posterior(MLP(5, [8]), 2), likelihoods.Bernoulli(MLP(2, [8]), 5))
    x = (torch.rand(9, 5) < 0.5).float()
    labels, seen = torch.arange(9), []
    found = representations(model, [Batch(x[:4], labels=labels[:4]), Batch(x[4:], labels=labels[4:])], progress=seen.append)
    assert found.labels is not None
    assert torch.equal(found.labels, labels)
    assert found.z.shape == (9, 2)
    assert found.z.dtype == torch.float64
    assert (found.scales is not None) == scaled
    assert sum(seen) == 9
    assert model.training


def test_no_data_and_labels_of_some_are_refused(linear_gaussian):
    with pytest.raises(InputError, match="no data to encode"):
        representations(linear_gaussian.model(), [])
    x = linear_gaussian.sample(4)
    with pytest.raises(InputError, match="some of the data have labels"):
        representations(linear_gaussian.model(), [Batch(x, labels=torch.arange(4)), x])

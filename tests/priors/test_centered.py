import pytest
import torch

from amortized import InputError
from amortized.priors import Centered


@pytest.mark.parametrize("event", [3, (2, 3)])
def test_it_is_a_gaussian_around_what_it_is_called_with(event):
    torch.manual_seed(0)
    prior = Centered(event)
    with torch.no_grad():
        prior.log_scale.normal_()
    mean = torch.randn(5, 4, *prior.event_shape, requires_grad=True)
    p = prior(mean)
    assert p.batch_shape == (5, 4)
    assert p.event_shape == prior.event_shape
    assert torch.equal(p.mean, mean)
    torch.testing.assert_close(p.stddev, prior.log_scale.exp().expand_as(mean))
    p.log_prob(torch.randn_like(mean)).sum().backward()
    assert mean.grad is not None
    assert prior.log_scale.grad is not None


def test_the_temperature_multiplies_the_standard_deviation_and_a_condition_does_nothing():
    prior, mean = Centered(3), torch.randn(4, 3)
    torch.testing.assert_close(prior(mean, torch.randn(4, 2), temperature=0.5).stddev, torch.full((4, 3), 0.5))
    torch.testing.assert_close(prior(mean, temperature=0.0).sample(), mean)


def test_a_mean_of_another_event_is_refused():
    with pytest.raises(InputError, match=r"events of shape \(3,\), and its mean has shape \(4, 2\)"):
        Centered(3)(torch.randn(4, 2))

import torch
from torch import nn
from torch.distributions import Distribution, Independent, Normal

from amortized import Conditional, posteriors, priors
from amortized.conditional import call_detached
from amortized.networks import MLP


class Flow(nn.Module):
    """A part of another library: nothing of ours, a call that returns a Distribution."""

    def forward(self, c=None) -> Distribution:
        return Independent(Normal(torch.zeros(2), torch.ones(2)), 1)


def gaussian(**options):
    torch.manual_seed(0)
    return posteriors.DiagonalGaussian(MLP(5, [8], **options), 2)


def test_the_protocol_is_structural():
    for part in (gaussian(), priors.StandardNormal(2), Flow()):
        assert isinstance(part, Conditional)
    assert not isinstance(torch.zeros(2), Conditional)


def test_detached_parameters_give_the_same_distribution_and_no_gradient():
    part, x = gaussian(), torch.randn(4, 5, requires_grad=True)
    constant = call_detached(part, x)
    z = torch.randn(4, 2, requires_grad=True)
    score = constant.log_prob(z)
    torch.testing.assert_close(score, part(x).log_prob(z))
    score.sum().backward()
    assert all(parameter.grad is None for parameter in part.parameters())
    for value in (x, z):
        assert value.grad is not None
        assert value.grad.abs().sum() > 0


def test_the_parameters_stay_trainable_after_a_detached_call():
    part, x = gaussian(), torch.randn(4, 5)
    call_detached(part, x)
    part(x).log_prob(torch.zeros(4, 2)).sum().backward()
    assert all(parameter.grad is not None for parameter in part.parameters())


def test_a_detached_call_leaves_running_statistics_alone():
    part, x = gaussian(norm="batch").train(), torch.randn(4, 5)
    before = {name: buffer.clone() for name, buffer in part.named_buffers()}
    assert before
    call_detached(part, x)
    for name, buffer in part.named_buffers():
        assert torch.equal(buffer, before[name]), name

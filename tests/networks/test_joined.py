import pytest
import torch
from torch import nn

from amortized import InputError, posteriors
from amortized.networks import MLP, ConvEncoder, Joined, apply


def test_each_input_goes_through_its_own_branch():
    image, vector = ConvEncoder((5, 7, 2), (3, 4)), MLP(3, [6])
    x, z = torch.randn(4, 5, 7, 2), torch.randn(4, 3)
    joint = MLP(image(x).flatten(1).shape[1] + 6, [8])
    network = Joined([image, vector], joint)
    expected = joint(torch.cat((image(x).flatten(1), vector(z)), -1))
    torch.testing.assert_close(network(torch.cat((x.flatten(1), z), -1)), expected)
    assert network.in_shape == (73,)
    assert network.out_features == 8


def test_a_branch_without_layers_passes_its_input_on():
    network = Joined([MLP(2, []), MLP(3, [])], MLP(5, []))
    x = torch.randn(4, 5)
    assert torch.equal(network(x), x)


def test_the_condition_enters_where_the_branches_are_joined():
    network = Joined([MLP(2, [4]), MLP(3, [4])], MLP(8, [6], context_features=2))
    x, context = torch.randn(7, 4, 5), torch.randn(4, 2)
    assert apply(network, x, context).shape == (7, 4, 6)
    assert not torch.allclose(apply(network, x, context), apply(network, x, context + 1))


def test_a_part_calls_it_like_any_network():
    part = posteriors.DiagonalGaussian(Joined([MLP(2, [4]), MLP(3, [4])], MLP(8, [6])), 2)
    assert part(torch.randn(7, 4, 5)).batch_shape == (7, 4)
    with pytest.raises(InputError, match=r"takes events of shape \(5,\)"):
        part(torch.randn(7, 4, 6))


def test_a_network_that_does_not_tell_its_shape_is_refused():
    with pytest.raises(InputError, match="network Linear in a Joined needs an attribute 'in_shape'"):
        Joined([nn.Linear(2, 3)], MLP(3, []))
    with pytest.raises(InputError, match="network Identity in a Joined needs an attribute 'out_features'"):
        Joined([MLP(2, [3])], nn.Identity())

import math

import pytest
import torch

from amortized.distributions import SphereUniform
from amortized.distributions.sphere import unit_vector
from amortized.errors import InputError


@pytest.mark.parametrize(
    ("dimension", "area"), [(2, 2 * math.pi), (3, 4 * math.pi), (4, 2 * math.pi**2), (7, 16 * math.pi**3 / 15)]
)
def test_the_density_is_one_over_the_area(dimension, area):
    p = SphereUniform(dimension, dtype=torch.float64)
    z = p.sample((5,))
    torch.testing.assert_close(p.log_prob(z).exp() * area, torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(p.entropy().exp(), torch.tensor(area, dtype=torch.float64))


@pytest.mark.parametrize("dimension", [2, 3, 20])
def test_samples_have_length_one_and_the_moments_of_the_sphere(dimension):
    torch.manual_seed(0)
    n, p = 40_000, SphereUniform(dimension, dtype=torch.float64)
    z = p.rsample((n,))
    assert unit_vector.check(z).all()
    assert (z.mean(0).abs() < 4.5 / math.sqrt(dimension * n)).all()
    second = z.T @ z / n
    fourth = 3 / (dimension * (dimension + 2))  # E[z_i^4]; E[z_i^2 z_j^2] is a third of it
    assert ((second - torch.diag(p.variance)).abs() < 4.5 * math.sqrt(fourth / n)).all()
    assert torch.equal(p.mean, torch.zeros(dimension, dtype=torch.float64))


def test_shapes_follow_the_batch_and_what_is_scored():
    p = SphereUniform(3).expand((4,))
    assert p.sample((2,)).shape == (2, 4, 3)
    assert p.log_prob(SphereUniform(3).sample((2, 4))).shape == (2, 4)
    assert SphereUniform(3).log_prob(p.sample((2,))).shape == (2, 4)
    assert p.log_prob(SphereUniform(3).sample()).shape == (4,)
    assert p.mean.shape == p.variance.shape == (4, 3)


def test_the_type_is_kept_by_expansion():
    p = SphereUniform(3, dtype=torch.float64).expand((4,))
    assert p.sample().dtype == p.mean.dtype == p.entropy().dtype == torch.float64


def test_a_line_and_a_vector_of_another_length_are_refused():
    with pytest.raises(InputError, match="2 or more dimensions; dimension is 1"):
        SphereUniform(1)
    with pytest.raises(InputError, match="vectors of 3 entries"):
        SphereUniform(3).log_prob(torch.zeros(5, 4))

import pytest
import torch
from torch.autograd.functional import jacobian

from amortized.distributions import transforms as maps
from amortized.distributions.transforms.monotone import MIN_SLOPE, log_slope, solve
from amortized.distributions.transforms.orthogonal import MAX_STEPS

D, M = 4, 3


def numbers(*shape, size=1.0):
    return size * torch.randn(shape, dtype=torch.float64)


def sylvester(q, width, size):
    above = width * (width - 1) // 2
    diagonals, triangles = numbers(2, width, size=size), numbers(2, above, size=size)
    return maps.Sylvester(q, (diagonals[0], diagonals[1]), (triangles[0], triangles[1]), numbers(width, size=size))


MAKERS = {
    "planar": lambda size: maps.Planar(numbers(D, size=size), numbers(D, size=size), numbers(size=size)),
    "planar at its bound": lambda size: maps.Planar(-numbers(D).abs() * size, numbers(D).abs(), numbers()),
    "radial": lambda size: maps.Radial(numbers(D, size=size), numbers(size=size), numbers(size=size)),
    "sylvester, orthogonal": lambda size: sylvester(maps.Columns(maps.orthogonalize(numbers(D, M, size=size))), M, size),
    "sylvester, householder": lambda size: sylvester(maps.Reflections(numbers(2, D, size=size)), D, size),
    "sylvester, permuted": lambda size: sylvester(maps.Permutation(reverse=True), D, size),
    "affine": lambda size: maps.Affine(numbers(D, size=size), numbers(D)),
    "chain": lambda size: maps.Chain(MAKERS["planar"](size), MAKERS["radial"](size), MAKERS["sylvester, permuted"](size)),
}


@pytest.fixture(params=[0.1, 1.0, 10.0], ids=lambda size: f"size {size}")
def size(request):
    torch.manual_seed(0)
    return request.param


@pytest.fixture(params=MAKERS, ids=str)
def make(request):
    return MAKERS[request.param]


def test_the_determinant_is_that_of_the_jacobian(make, size):
    for _ in range(3):
        transform, z = make(size), numbers(D, size=2)
        exact = torch.linalg.slogdet(jacobian(lambda z, f=transform: f.call_and_ladj(z)[0], z))
        assert exact.sign == 1
        torch.testing.assert_close(transform.call_and_ladj(z)[1], exact.logabsdet, rtol=0, atol=1e-9)


def test_the_inverse_inverts_and_has_minus_the_determinant(make, size):
    for _ in range(3):
        transform, z = make(size), numbers(5, D, size=2)
        image, ladj = transform.call_and_ladj(z)
        again, inverse_ladj = transform.inverse_and_ladj(image)
        torch.testing.assert_close(again, z, rtol=0, atol=1e-8)
        torch.testing.assert_close(inverse_ladj, -ladj, rtol=0, atol=1e-8)


def test_the_gradient_of_the_inverse_is_the_inverse_of_the_gradient(make, size):
    transform, z = make(size), numbers(D, size=2)
    image, _ = transform.call_and_ladj(z)
    forward = jacobian(lambda z: transform.call_and_ladj(z)[0], z)
    backward = jacobian(lambda z: transform.inverse_and_ladj(z)[0], image)
    torch.testing.assert_close(backward @ forward, torch.eye(D).double(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["planar", "radial", "sylvester, householder", "sylvester, permuted"])
def test_parameters_of_zero_give_the_identity(kind):
    z = numbers(5, D)
    image, ladj = MAKERS[kind](0.0).call_and_ladj(z)
    torch.testing.assert_close(image, z)
    torch.testing.assert_close(ladj, torch.zeros(5).double())


def test_the_scalar_equation_is_solved_whatever_its_parameters():
    c = torch.cat(
        (-torch.logspace(-12, 9, 64, dtype=torch.float64), torch.zeros(1).double(), torch.logspace(-12, 9, 64).double())
    )
    m = torch.cat((torch.linspace(MIN_SLOPE - 1, 1, 21).double(), torch.logspace(0.1, 9, 20).double())).unsqueeze(-1)
    t = solve(c, m)
    scale = 1 + t.abs() + m.abs() + c.abs()
    assert ((t + m * t.tanh() - c).abs() < 1e-13 * scale).all()
    assert torch.equal(solve(-c, m), -t)


def test_the_solution_has_the_gradient_of_the_implicit_function():
    c, m = numbers(20).requires_grad_(), (numbers(20).exp() - 0.9).requires_grad_()
    assert torch.autograd.gradcheck(solve, (c, m))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own, at its first forward mode
def test_the_solution_has_derivatives_of_every_order():
    c, m = numbers(6).requires_grad_(), (numbers(6).exp() - 0.9).requires_grad_()
    assert torch.autograd.gradgradcheck(solve, (c, m))
    assert torch.autograd.gradcheck(solve, (c, m), check_forward_ad=True)
    (first,) = torch.autograd.grad(solve(c, m).sum(), c, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), c, create_graph=True)
    (third,) = torch.autograd.grad(second.sum(), c)
    h, t = 1e-4, c.detach()
    shifted = []
    for point in (t + h, t - h):
        point.requires_grad_()
        (slope,) = torch.autograd.grad(solve(point, m).sum(), point, create_graph=True)
        shifted.append(torch.autograd.grad(slope.sum(), point)[0])
    torch.testing.assert_close(third, (shifted[0] - shifted[1]) / (2 * h), rtol=1e-5, atol=1e-5)


def test_the_solution_is_found_and_differentiated_row_by_row():
    c, m = numbers(6), numbers(6).exp() - 0.9
    together = torch.func.vmap(torch.func.grad(solve, argnums=(0, 1)))(c, m)
    for index, gradients in enumerate(zip(*together, strict=True)):
        alone = torch.func.grad(solve, argnums=(0, 1))(c[index], m[index])
        torch.testing.assert_close(gradients, alone)
    torch.testing.assert_close(torch.func.vmap(solve, (0, None))(c, m[0]), solve(c, m[0]))


@pytest.mark.parametrize("kind", ["planar", "radial", "sylvester, orthogonal", "sylvester, householder", "chain"])
def test_the_second_derivatives_of_the_inverse_are_right(kind):
    torch.manual_seed(0)
    transform, z = MAKERS[kind](1.0), numbers(2, D).requires_grad_()
    assert torch.autograd.gradgradcheck(transform.inverse_and_ladj, (z,))
    assert torch.autograd.gradgradcheck(transform.call_and_ladj, (z,))


def test_the_second_derivatives_in_the_parameters_are_right():
    torch.manual_seed(0)
    u, w, b, z = (value.requires_grad_() for value in (numbers(D), numbers(D), numbers(), numbers(2, D)))
    assert torch.autograd.gradgradcheck(lambda *values: maps.Planar(*values[:3]).inverse_and_ladj(values[3]), (u, w, b, z))


def test_the_slope_is_smooth_at_zero_where_flows_start():
    t, s = torch.zeros(1, dtype=torch.float64), torch.tensor([0.3], dtype=torch.float64)
    curvature = torch.autograd.functional.hessian(lambda t: log_slope(t, s).sum(), t)
    assert isinstance(curvature, torch.Tensor)
    torch.testing.assert_close(curvature.squeeze(), (2 * (1 - s) / s).squeeze())


def test_the_slope_keeps_its_digits_where_it_is_least():
    slope = log_slope(torch.tensor([0.0, 1e-3]), torch.tensor(MIN_SLOPE)).exp()
    torch.testing.assert_close(slope, torch.tensor([MIN_SLOPE, MIN_SLOPE + (1 - MIN_SLOPE) * 1e-6]), rtol=1e-6, atol=0)


def test_orthogonalized_columns_are_orthonormal_and_span_the_same_space():
    deviation = numbers(7, D, M)
    q = maps.orthogonalize(deviation)
    torch.testing.assert_close(q.mT @ q, torch.eye(M).double().expand(7, M, M))
    columns = torch.eye(D, M).double() + deviation
    torch.testing.assert_close(q @ (q.mT @ columns), columns)


def test_a_matrix_without_full_rank_still_gives_orthonormal_columns():
    deviation = -torch.eye(D, M).double() + torch.stack((numbers(D), numbers(D), torch.zeros(D).double()), -1)
    deviation = torch.stack((deviation, numbers(D, M)))
    q = maps.orthogonalize(deviation)
    torch.testing.assert_close(q.mT @ q, torch.eye(M).double().expand(2, M, M))
    torch.testing.assert_close(q[1], maps.orthogonalize(deviation[1]))
    assert MAX_STEPS * torch.tensor(1.5).log() > -torch.tensor(1e-9).log()


def test_reflections_are_a_product_of_householder_matrices():
    vectors = numbers(3, D)
    product = torch.eye(D).double()
    for v in vectors:
        product = product @ (torch.eye(D).double() - 2 * torch.outer(v, v) / v.square().sum())
    q, y = maps.Reflections(vectors), numbers(5, D)
    torch.testing.assert_close(q(y), y @ product.T)
    torch.testing.assert_close(q.transpose(y), y @ product)
    assert torch.equal(maps.Reflections(torch.zeros(2, D).double())(y), y)


def test_parameters_of_a_batch_meet_values_without_one():
    w, u, b = numbers(2, D), numbers(2, D), numbers(2)
    image, ladj = maps.Planar(u, w, b).call_and_ladj(z := numbers(5, 1, D))
    assert image.shape == (5, 2, D)
    assert ladj.shape == (5, 2)
    alone = maps.Planar(u[1], w[1], b[1]).call_and_ladj(z[:, 0])
    torch.testing.assert_close(image[:, 1], alone[0])
    torch.testing.assert_close(ladj[:, 1], alone[1])

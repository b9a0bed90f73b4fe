"""The posterior of Sylvester flows (van den Berg, Hasenclever, Tomczak and Welling 2018, arXiv 1803.05649).

Each map moves z within a space of M dimensions, where a planar flow has one; `distributions.transforms.sylvester` has the
equations, and `orthogonal` the three ways to a matrix with orthonormal columns that name the variants:

    orthogonal     M <= D columns by iteration: `width` is M
    householder    M = D, a product of `reflections`
    triangular     M = D, the entries in their order and reversed, in turn: no parameters
"""

import math

import torch
from torch import Tensor, nn

from amortized.distributions import Transformed
from amortized.distributions import transforms as maps
from amortized.errors import InputError
from amortized.posteriors.flow import Flow

VARIANTS = ("orthogonal", "householder", "triangular")


class Sylvester(Flow):
    """q(z | x) by Sylvester maps z + Q R tanh(R~ Q^T z + b), with Q, R, R~, b of each depending on x.

    Args:
        network: Turns x, and the condition where there is one, into features.
        event: Shape of z, an integer for a vector.
        flows: The number of maps.
        variant: 'orthogonal', 'householder' or 'triangular', which says how Q is made.
        width: Of the variant 'orthogonal', the number M of columns, at most that of z's entries; None takes 16, or all.
        reflections: Of the variant 'householder', their number; None takes 8.

    Raises:
        InputError: The variant is none of the three, or an argument does not go with it.
    """

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        flows: int = 4,
        variant: str = "orthogonal",
        *,
        width: int | None = None,
        reflections: int | None = None,
    ):
        dimension = event if isinstance(event, int) else math.prod(event)
        _check(variant, dimension, width, reflections)
        columns = (min(dimension, 16) if width is None else width) if variant == "orthogonal" else dimension
        reflected = 8 if reflections is None else reflections
        rotation = {"orthogonal": dimension * columns, "householder": reflected * dimension, "triangular": 0}[variant]
        above = columns * (columns - 1) // 2
        # z + Q R tanh(...) differs from z by R; and the closer A = E + V is to E, the fewer iterations make it Q.
        small = (1, 3, 0) if variant == "orthogonal" else (1, 3)
        super().__init__(network, event, flows, each=(rotation, columns, columns, above, above, columns), small=small)
        self.variant, self.dimension, self.columns = variant, dimension, columns

    def _push(self, loc: Tensor, log_scale: Tensor, rest: Tensor) -> Transformed:
        rotations, *others = zip(*self._parts(rest), strict=True)
        steps = [
            maps.Sylvester(rotation, (first, second), (above, above_second), b)
            for rotation, first, second, above, above_second, b in zip(self._rotations(rotations), *others, strict=True)
        ]
        return Transformed(self._gaussian(loc, log_scale), maps.Chain(*steps), validate_args=False)

    def _rotations(self, parameters: tuple[Tensor, ...]) -> list[maps.Orthonormal]:
        """The matrix Q of each map."""
        if self.variant == "orthogonal":  # all at once: the iteration is many small products
            deviations = torch.stack(parameters).unflatten(-1, (self.dimension, self.columns))
            return [maps.Columns(matrix) for matrix in maps.orthogonalize(deviations)]
        if self.variant == "householder":
            return [maps.Reflections(each.unflatten(-1, (-1, self.dimension))) for each in parameters]
        return [maps.Permutation(reverse=position % 2 == 1) for position in range(len(parameters))]


def _check(variant: str, dimension: int, width: int | None, reflections: int | None) -> None:
    if variant not in VARIANTS:
        raise InputError(f"variant of a Sylvester posterior must be one of {', '.join(map(repr, VARIANTS))}; it is {variant!r}.")
    for name, value, owner in (("width", width, "orthogonal"), ("reflections", reflections, "householder")):
        if value is not None and variant != owner:
            raise InputError(
                f"{name} belongs to a Sylvester posterior of variant {owner!r}; the variant is {variant!r}; leave it out."
            )
        if value is not None and value < 1:
            raise InputError(f"{name} of a Sylvester posterior must be 1 or more; it is {value}.")
    if width is not None and width > dimension:
        raise InputError(
            f"width of an orthogonal Sylvester posterior is at most the number of entries of z, which is {dimension};"
            f" it is {width}; give width={dimension} or less."
        )

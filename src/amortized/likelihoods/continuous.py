r"""Likelihoods of real numbers: Gaussian and Laplace.

With the entries of x in the data's own units, and mu and the scale in standardized units (standardized.py: a is the `shift` and u
the `unit` of an entry),

    Gaussian   p(x | z) = Normal(x; a + u mu(z), u sigma)          Kingma and Welling 2014, arXiv 1312.6114, appendix C.2
    Laplace    p(x | z) = Laplace(x; a + u mu(z), u b)

The scale is a number, learned, predicted, or "optimal": the maximum-likelihood scale of the minibatch that is scored (Rybkin et
al. 2021, arXiv 2006.13202; `distributions.OptimalScale`) while training, and frozen in evaluation. Frozen is the value that
`set_scale` was given, once computed over the training data; until then it is 1.
"""

import torch
from torch import Tensor, distributions, nn
from torch.distributions import Distribution, Normal

from amortized.distributions.optimal import OptimalScale, deviations, scale_of
from amortized.errors import InputError, nearest
from amortized.likelihoods.scale import LEARNED, How, Scale, check_floor
from amortized.likelihoods.standardized import Standardized


class _LocationScale(Standardized):
    """A family with a mean and a scale, which may be the optimal one, in standardized units."""

    family: type[Normal] | type[distributions.Laplace]
    frozen: Tensor

    def __init__(
        self,
        network: nn.Module,
        event: int | tuple[int, ...],
        *,
        scale: How | str = "learned",
        floor: float = 1e-3,
        shift: Tensor | float = 0.0,
        unit: Tensor | float = 1.0,
    ):
        if isinstance(scale, str) and scale not in (*LEARNED, "optimal"):
            raise InputError(f"scale cannot be '{scale}'; {nearest(scale, (*LEARNED, 'optimal'))} or give a number")
        super().__init__(network, event, 2 if scale == "predicted" else 1, shift, unit)
        self.floor = floor
        self.scale = None if scale == "optimal" else Scale(scale, self.event_shape, floor=floor)  # pyright: ignore[reportArgumentType]
        if self.scale is None:
            check_floor(floor)
            self.register_buffer("frozen", torch.ones(()))

    @property
    def needs_calibration(self) -> bool:
        """Whether a scale is to be computed over the training data before evaluation: the optimal one is."""
        return self.scale is None

    def deviation(self, x: Tensor, distribution: Distribution, observed: Tensor | None = None) -> Tensor:
        """What the optimal scale is a mean of: squared (Gaussian) or absolute (Laplace) residuals, summed over the entries.

        Args:
            x: (B, *event) data.
            distribution: p(x | z), with batch (K, B) or (B,).
            observed: (B, *event) true where the entry is not missing.

        Returns:
            (K, B) or (B,), in standardized units.
        """
        deviation = deviations(self.family, (x - distribution.mean) / self.unit)
        deviation = deviation if observed is None else torch.where(observed, deviation, 0.0)
        return deviation.sum(tuple(range(-len(self.event_shape), 0)))

    @torch.no_grad()
    def set_scale(self, total_deviation: Tensor, entries: Tensor | int) -> None:
        """Freeze the optimal scale for evaluation.

        Args:
            total_deviation: The sum of `deviation` over the training data.
            entries: How many entries (not data) that sum ran over.
        """
        if self.scale is not None:
            raise InputError(f"likelihood '{self.kind}' has scale '{self.scale.how}'; only scale='optimal' is set from the data.")
        self.frozen.copy_(scale_of(self.family, torch.as_tensor(total_deviation), entries).clamp(min=self.floor))

    def _family(self, *parameters: Tensor) -> Distribution:
        shift, unit = self.shift.to(parameters[0]), self.unit.to(parameters[0])
        loc = shift + unit * parameters[0]
        if self.scale is not None:
            return self.family(loc, unit * self.scale(*parameters[1:]).to(loc), validate_args=False)
        frozen = self.frozen.to(loc)
        if self.training:
            return OptimalScale(self.family, loc, unit, self.floor, frozen)
        return self.family(loc, unit * frozen, validate_args=False)


class Gaussian(_LocationScale):
    """Independent normal entries, for real numbers.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        scale: The standard deviation, in standardized units: a number, "learned" (one), "per-entry", "predicted" by the
            decoder, or "optimal".
        floor: Its smallest value.
        shift: What standardized 0 is in the data's own units, one number or one per entry.
        unit: What standardized 1 is in them, positive.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "gaussian"
    family = Normal


class Laplace(_LocationScale):
    """Independent Laplace entries, for real numbers with heavier tails: an absolute, not a squared, error.

    Args:
        network: Turns z, and the condition where there is one, into features.
        event: Shape of x, an integer for a vector.
        scale: The mean absolute deviation, in standardized units: a number, "learned" (one), "per-entry", "predicted" by the
            decoder, or "optimal".
        floor: Its smallest value.
        shift: What standardized 0 is in the data's own units, one number or one per entry.
        unit: What standardized 1 is in them, positive.

    Raises:
        InputError: An option is not one of these, or a value is out of its range.
    """

    kind = "laplace"
    family = distributions.Laplace

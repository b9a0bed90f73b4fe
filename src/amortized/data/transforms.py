"""What happens to a batch when it is cut: binarization, scaling, and corruption of the encoder's input.

*Dynamic binarization* (Salakhutdinov and Murray 2008; Burda et al. 2015, arXiv:1509.00519, appendix D) reads a grey level
divided by the last level as a probability p and draws x ~ Bernoulli(p), anew at every visit of a training image; those of
validation and test are drawn once. *Denoising* (Im et al. 2015, arXiv:1511.06406) lets the encoder see a corrupted copy of
the x that the likelihood scores. Each is a function of x and of one uniform number u per entry: x = [u < p], a Gaussian
perturbation is the normal quantile of u. So frozen noise differs from fresh noise only in where u comes from. A missing entry of
x, NaN, stays one.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from amortized.data.missing import has_missing, with_holes
from amortized.data.randomness import uniform_of_rows
from amortized.data.record import Split
from amortized.data.support import Support
from amortized.errors import InputError, nearest
from amortized.seeds import derive_seed


class Corruption(Protocol):
    """Makes the encoder's input from x."""

    def __call__(self, x: Tensor, u: Tensor, low: float, high: float) -> Tensor:
        """The input for `x` (B, *event), by uniform numbers `u` of its shape; `low` and `high` end the values of x."""
        ...


@dataclass(frozen=True)
class Noise:
    """Adds Gaussian noise of standard deviation `std`, in the units of x."""

    std: float

    def __post_init__(self):
        if not (math.isfinite(self.std) and self.std >= 0):
            raise InputError(f"the noise that corrupts the input needs a finite std of at least 0; it is {self.std}.")

    def __call__(self, x: Tensor, u: Tensor, low: float, high: float) -> Tensor:
        """Perturb `x` by the normal quantile of `u`."""
        u = u.clamp(2.0**-25, 1 - 2.0**-24)  # a generator may return 0, whose quantile is infinite
        return x + self.std * math.sqrt(2) * torch.erfinv(2 * u - 1)


@dataclass(frozen=True)
class Masking:
    """Sets each entry to 0 with `probability`."""

    probability: float

    def __post_init__(self):
        _check_probability("masking", self.probability)

    def __call__(self, x: Tensor, u: Tensor, low: float, high: float) -> Tensor:
        """Zero the entries of `x` where `u` is below the probability."""
        return torch.where(u < self.probability, 0.0, x)


@dataclass(frozen=True)
class SaltPepper:
    """Sets each entry with `probability` to the smallest or the largest value, at even odds."""

    probability: float

    def __post_init__(self):
        _check_probability("salt-and-pepper", self.probability)

    def __call__(self, x: Tensor, u: Tensor, low: float, high: float) -> Tensor:
        """Set the entries of `x` to `low` or `high` where `u` is below the probability."""
        extreme = torch.where(u < self.probability / 2, low, high)
        return torch.where(u < self.probability, extreme, x)


@dataclass(frozen=True)
class Transform:
    """What is done to a batch when it is cut. Make one by `make_transform`.

    Attributes:
        support: Which values the transformed `x` takes.
        binarize: None, `dynamic` or `threshold`.
        divisor: x is divided by it before anything else.
        corrupt: Makes `input` from the transformed `x`, or None.
        corrupt_evaluation: Whether frozen batches are corrupted too.
        seed: Of the frozen noise.
    """

    support: Support
    binarize: Literal["dynamic", "threshold"] | None = None
    divisor: float = 1.0
    corrupt: Corruption | None = None
    corrupt_evaluation: bool = False
    seed: int = 0

    def __call__(self, batch: dict[str, Any], generator: torch.Generator | None = None) -> dict[str, Any]:
        """Transform a batch.

        Args:
            batch: A dict with `x` and `index`, and `observed` where entries of `x` are missing.
            generator: Where fresh noise comes from, on the device of `x`; without one the noise is frozen: a function
                of the seed and of `index`.

        Returns:
            A new dict; its `x` is float32 and `input` is there if corrupted.
        """
        x, index, observed = batch["x"], batch["index"], batch.get("observed")
        x = _with_holes_of(observed, self._binarized(_divided(x, self.divisor), index, generator))
        if self.corrupt is None or (generator is None and not self.corrupt_evaluation):
            return {**batch, "x": x}
        u = self._uniform("corrupt", x, index, generator)
        corrupted = self.corrupt(x, u, self.support.low, self.support.high)
        return {**batch, "x": x, "input": _with_holes_of(observed, corrupted)}

    def freeze(self, split: Split) -> tuple[Split, "Transform"]:
        """Draw the frozen binarization of a split once: the split of 0 and 1, and the transform that is left to do."""
        if self.binarize is None:
            return split, self
        drawn, is_full = [], not has_missing(split.x)
        for x, index in zip(split.x.split(1024), split.index.split(1024), strict=True):
            bits = self._binarized(_divided(x, self.divisor), index, None)
            drawn.append(bits.to(torch.uint8) if is_full else with_holes(bits, ~x.isnan()))
        x = torch.cat(drawn) if drawn else split.x
        return replace(split, x=x), replace(self, binarize=None, divisor=1.0)

    def _binarized(self, x: Tensor, index: Tensor, generator: torch.Generator | None) -> Tensor:
        if self.binarize is None:
            return x
        if self.binarize == "threshold":
            return (x > 0.5).to(torch.float32)
        return self._uniform("binarize", x, index, generator).lt_(x)

    def _uniform(self, purpose: str, x: Tensor, index: Tensor, generator: torch.Generator | None) -> Tensor:
        if generator is None:
            return uniform_of_rows(derive_seed(self.seed, purpose), index, x.shape[1:])
        return torch.rand(x.shape, generator=generator, device=x.device)


def make_transform(
    support: Support,
    *,
    binarize: Literal["dynamic", "threshold"] | None = None,
    scale: float | Literal["unit"] | None = None,
    corrupt: Corruption | None = None,
    corrupt_evaluation: bool = False,
    seed: int = 0,
) -> Transform:
    """The transform of data with this support.

    Args:
        support: Of the raw data.
        binarize: `dynamic` draws each entry from its grey level as a probability; `threshold` compares that with 1/2.
        scale: Divide by this one factor; `unit` divides by the last grey level, into [0, 1].
        corrupt: Makes the encoder's input: `Noise`, `Masking`, `SaltPepper`, or a function like them.
        corrupt_evaluation: Whether validation and test inputs are corrupted too (by frozen noise).
        seed: Of the frozen noise.

    Raises:
        InputError: The data have no grey levels to binarize or to scale by, or the scale is no positive number.
    """
    if binarize is not None and binarize not in ("dynamic", "threshold"):
        raise InputError(f"binarize='{binarize}' is unknown; {nearest(str(binarize), ['dynamic', 'threshold'])}")
    if support.kind == "counts" and isinstance(corrupt, Noise):
        raise InputError(
            "noise would make counts negative or broken; corrupt them with 'masking' or 'salt-pepper', which leave them counts."
        )
    if binarize is not None and scale is not None:
        raise InputError(f"binarize='{binarize}' makes values of 0 and 1, which scale={scale!r} would undo; give one of the two.")
    if binarize is not None:
        divisor = _last_level(support, f"binarize='{binarize}'", "leave binarize out")
        after = Support("binary", 2, 0.0, 1.0, f"binarize='{binarize}' makes every value 0 or 1")
    else:
        divisor = _divisor(support, scale)
        after = support if divisor == 1 else _scaled(support, divisor)
    return Transform(after, binarize, divisor, corrupt, corrupt_evaluation, seed)


def _divisor(support: Support, scale: float | str | None) -> float:
    if scale is None:
        return 1.0
    if scale == "unit":
        return _last_level(support, "scale='unit'", "give the factor as a number, such as scale=10.0")
    if isinstance(scale, str) or not (math.isfinite(scale) and scale > 0):
        raise InputError(f"scale needs a positive finite number or 'unit'; it is {scale!r}.")
    return float(scale)


def _scaled(support: Support, divisor: float) -> Support:
    low, high = support.low / divisor, support.high / divisor
    kind = "unit" if support.maximum_level == divisor else "real"
    return Support(kind, None, low, high, f"the data are divided by {divisor:g}")


def _last_level(support: Support, what: str, way_out: str) -> float:
    if support.maximum_level is None:
        raise InputError(
            f"{what} needs grey levels or values in [0, 1], but {support.reason} (kind '{support.kind}'); {way_out}."
        )
    return support.maximum_level


def _with_holes_of(observed: Tensor | None, x: Tensor) -> Tensor:
    return x if observed is None else with_holes(x, observed)


def _divided(x: Tensor, divisor: float) -> Tensor:
    x = x.to(torch.float32)
    return x if divisor == 1.0 else x / divisor


def _check_probability(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise InputError(f"{name} corruption needs a probability in [0, 1]; it is {value}.")

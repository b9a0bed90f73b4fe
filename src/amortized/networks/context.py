"""The encoder of conditions: named labels and covariates to one row (B, C) of numbers.

A `Categorical` condition is one of a number of classes: one-hot, or a learned embedding. A `Continuous` one is standardized,
(v - loc) / scale; an entry whose scale is zero never varied, says nothing, and becomes 0.

The values are checked on the CPU only, where looking at them costs nothing: on an accelerator it would wait for the device at
every step.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from amortized.errors import InputError, is_count, nearest

ENCODINGS = ("one-hot", "embedding")


@dataclass(frozen=True)
class Categorical:
    """A condition that is one of `classes` classes, given as integer codes (B,).

    Attributes:
        classes: Number of classes; the codes are 0 to classes - 1.
        encoding: 'one-hot', or 'embedding' for a learned vector for each class.
        width: Length of the embedding; required by it, and by nothing else.
    """

    classes: int
    encoding: str = "one-hot"
    width: int | None = None


@dataclass(frozen=True)
class Continuous:
    """A condition of `width` real numbers, given as (B,) or (B, width).

    Attributes:
        loc: Mean over the training data, one number or one per entry.
        scale: Standard deviation over the training data, likewise; 0 where an entry never varies.
        width: Number of entries.
    """

    loc: float | Sequence[float]
    scale: float | Sequence[float]
    width: int = 1


class Context(nn.Module):
    """Encodes named conditions to one row per datum.

    Args:
        fields: What each condition is; their order is the order of the columns.

    Attributes:
        features: Width C of the row.

    Raises:
        InputError: A field that makes no sense; at a call, a condition that is missing, unknown or not of its field.

    Example:
        >>> context = Context({"digit": Categorical(10), "slant": Continuous(loc=2.0, scale=4.0)})
        >>> context({"digit": torch.tensor([3, 7]), "slant": torch.tensor([2.0, 6.0])}).shape
        torch.Size([2, 11])
    """

    def __init__(self, fields: Mapping[str, Categorical | Continuous]):
        super().__init__()
        if not fields:
            raise InputError("a context needs at least one condition, and has none; give e.g. {'label': Categorical(10)}.")
        self.names = tuple(fields)
        self.encoders = nn.ModuleList(_encoder(name, field) for name, field in fields.items())
        self.features = sum(_width(field) for field in fields.values())

    def forward(self, values: Mapping[str, Tensor]) -> Tensor:
        """Encode conditions of B data, each (B,) or (B, c), to (B, C), in the order of the fields."""
        self._check_names(values)
        rows = {name: values[name].shape[0] for name in self.names}
        if not torch.compiler.is_compiling() and len(set(rows.values())) > 1:
            raise InputError(f"the conditions need one row per datum each; their numbers of rows are {rows}.")
        return torch.cat([encoder(values[name]) for name, encoder in zip(self.names, self.encoders, strict=True)], dim=-1)

    def _check_names(self, values: Mapping[str, Tensor]) -> None:
        for name in values:
            if name not in self.names:
                raise InputError(f"unknown condition {name!r}: {nearest(name, self.names)}")
        for name in self.names:
            if name not in values:
                raise InputError(f"condition {name!r} is missing; the context has {list(values)} and needs {list(self.names)}.")


class _OneHot(nn.Module):
    unit: Tensor

    def __init__(self, name: str, classes: int):
        super().__init__()
        self.name, self.classes = name, classes
        self.register_buffer("unit", torch.ones(()), persistent=False)  # it has the type and device that the result takes

    def forward(self, codes: Tensor) -> Tensor:
        _check_codes(self.name, codes, self.classes)
        return one_hot(codes, self.classes, self.unit.dtype)


class _Embedding(nn.Module):
    def __init__(self, name: str, classes: int, width: int):
        super().__init__()
        self.name = name
        self.table = nn.Embedding(classes, width)

    def forward(self, codes: Tensor) -> Tensor:
        _check_codes(self.name, codes, self.table.num_embeddings)
        return self.table(codes.long())


class _Standardized(nn.Module):
    loc: Tensor
    scale: Tensor

    def __init__(self, name: str, field: Continuous):
        super().__init__()
        self.name, self.width = name, field.width
        self.register_buffer("loc", _entries(name, "loc", field.loc, field.width))
        self.register_buffer("scale", _entries(name, "scale", field.scale, field.width))
        if not bool((self.scale >= 0).all()):
            raise InputError(f"condition {name!r} needs a scale of 0 or more; it is {field.scale}; give a standard deviation.")

    def forward(self, value: Tensor) -> Tensor:
        rows = value.unsqueeze(-1) if value.ndim == 1 else value
        if rows.ndim != 2 or rows.shape[-1] != self.width:
            raise InputError(f"condition {self.name!r} needs shape (B, {self.width}); it has shape {tuple(value.shape)}.")
        if _can_look_at(rows) and not bool(rows.isfinite().all()):
            row, column = (~rows.isfinite()).nonzero()[0].tolist()
            raise InputError(
                f"condition {self.name!r} needs finite numbers; it has {rows[row, column].item()} at row {row}, column {column}."
            )
        varies = self.scale > 0
        standardized = (rows.to(self.loc.dtype) - self.loc) / torch.where(varies, self.scale, 1.0)
        return standardized * varies


def one_hot(codes: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Codes (*shape) to (*shape, classes): 1 at the code, 0 elsewhere."""
    # torch's one_hot looks at the values on some devices, which makes the step wait for them.
    return (codes.unsqueeze(-1) == torch.arange(classes, device=codes.device)).to(dtype)


def _encoder(name: str, field: Categorical | Continuous) -> nn.Module:
    if isinstance(field, Continuous):
        _check_size(name, "width", field.width)
        return _Standardized(name, field)
    if not isinstance(field, Categorical):
        raise InputError(f"condition {name!r} must be Categorical or Continuous; it is {field!r}.")
    _check_size(name, "classes", field.classes)
    if field.encoding not in ENCODINGS:
        raise InputError(
            f"condition {name!r} has an unknown encoding {field.encoding!r}: {nearest(str(field.encoding), ENCODINGS)}"
        )
    if field.encoding == "one-hot":
        if field.width is not None:
            raise InputError(f"condition {name!r} has width={field.width}, which only encoding='embedding' takes; leave it out.")
        return _OneHot(name, field.classes)
    _check_size(name, "width", field.width)
    return _Embedding(name, field.classes, _width(field))


def _width(field: Categorical | Continuous) -> int:
    return field.width if field.width is not None else field.classes


def _check_size(name: str, what: str, value: object) -> None:
    if not is_count(value):
        raise InputError(f"condition {name!r} needs a positive integer for {what}; it is {value!r}; give e.g. {what}=10.")


def _entries(name: str, what: str, value: float | Sequence[float], width: int) -> Tensor:
    entries = torch.as_tensor(value, dtype=torch.get_default_dtype()).flatten()
    if len(entries) not in (1, width):
        raise InputError(
            f"condition {name!r} has width {width} and {len(entries)} numbers for {what}; give one, or one per entry."
        )
    if not math.isfinite(float(entries.sum())):
        raise InputError(
            f"condition {name!r} needs finite numbers for {what}; it is {value}; compute them without missing values."
        )
    return entries.expand(width).clone()


def _check_codes(name: str, codes: Tensor, classes: int) -> None:
    allowed = f"integer codes of 0 to {classes - 1}, shape (B,)"
    if codes.ndim != 1:
        raise InputError(f"condition {name!r} needs {allowed}; it has shape {tuple(codes.shape)}.")
    if codes.is_floating_point():
        wrong = next((value for value in codes.tolist() if value != value or value % 1), codes[0].item() if len(codes) else None)
        raise InputError(f"condition {name!r} needs {allowed}; it has {wrong} and type {codes.dtype}; convert it with .long().")
    if _can_look_at(codes) and bool(((codes < 0) | (codes >= classes)).any()):
        row = int(((codes < 0) | (codes >= classes)).nonzero()[0])
        raise InputError(f"condition {name!r} needs {allowed}; it has {codes[row].item()} at row {row}.")


def _can_look_at(values: Tensor) -> bool:
    return values.device.type == "cpu" and not torch.compiler.is_compiling()

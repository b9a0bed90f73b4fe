"""What an export leaves."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        files: The files.
        differences: Of each part, the largest difference from torch, relative to the largest value of its tensor.
        left_out: Why a part is not among them, by its name.
    """

    files: tuple[Path, ...]
    differences: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

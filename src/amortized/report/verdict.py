"""A warning, and from which size on something is worth one.

It is given where something is large beside its standard error *and* beside what the latents carry, the rate: a generalization gap
of 5 nats beside a rate of 20 is how models are, and one of 15 is learned by heart. So what is harmless is not warned of, at the
price of what is small.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
Numbers = Mapping[str, float]

CLEAR = 3.0
"""Standard errors from which on a difference is named."""

LEAST_NATS = 1.0
"""Of a difference that is worth a warning."""

SHARE_OF_RATE = 0.5
"""Of the rate, from which on a loss is a large part of what the latents carry."""


@dataclass(frozen=True)
class Verdict:
    """A warning.

    Attributes:
        title: What is wrong, in a few words.
        seen: By which numbers that is seen, a sentence or two.
        remedy: What to do, a sentence.
        is_grave: Whether what the page shows is of little use before it is mended; otherwise a caution.
    """

    title: str
    seen: str
    remedy: str
    is_grave: bool = False

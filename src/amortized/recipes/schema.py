"""What all descriptions have in common: strict, immutable, and a kind that may be given by its name alone."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Description(BaseModel):
    """A part of a recipe: unknown names are refused, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )


def by_name(value: Any) -> Any:
    """`prior: vamp` is short for `prior: {kind: vamp}`."""
    return {"kind": value} if isinstance(value, str) else value


BY_KIND = Field(discriminator="kind")
"""Marks a union of descriptions that are told apart by their kind."""

BY_NAME = BeforeValidator(by_name)
"""Lets the name of a kind stand for its description."""

BRANCHES = ("number", "schedule")
"""Tags of the two things that a hyper-parameter may be."""

Size = Annotated[int, Field(gt=0)]
"""A positive integer."""

Probability = Annotated[float, Field(ge=0, lt=1)]
"""A probability that may be 0 but not 1."""

PositiveFloat = Annotated[float, Field(gt=0)]
"""A positive number."""

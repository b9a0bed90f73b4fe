"""What all descriptions have in common: strict, immutable, and a kind that may be given by its name alone."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


class Description(BaseModel):
    """A part of a recipe: unknown names are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())


def by_name(value: Any) -> Any:
    """`prior: vamp` is short for `prior: {kind: vamp}`."""
    return {"kind": value} if isinstance(value, str) else value


def one_of(union: Any) -> Any:
    """A field that is one of several descriptions, told apart by their `kind`."""
    return Annotated[union, Field(discriminator="kind"), BeforeValidator(by_name)]


Size = Annotated[int, Field(gt=0)]
"""A positive integer."""

Probability = Annotated[float, Field(ge=0, lt=1)]
"""A probability that may be 0 but not 1."""

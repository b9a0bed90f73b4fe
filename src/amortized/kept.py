"""Properties that are computed once."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import torch

Value = TypeVar("Value")


class kept(Generic[Value]):  # noqa: N801 it is used as a decorator
    """A property whose value is kept with the object, as `functools.cached_property` does, that `torch.compile` can trace.

    The compiler cannot enter the lock of the latter, which would break its graph in two. While it traces, nothing is kept: what
    is computed twice it merges by itself.
    """

    def __init__(self, function: Callable[[Any], Value]):
        self.function, self.name, self.__doc__ = function, function.__name__, function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "kept[Value]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Value: ...
    def __get__(self, instance: object | None, owner: type) -> "kept[Value] | Value":
        if instance is None:
            return self
        if torch.compiler.is_compiling():
            return self.function(instance)
        value = instance.__dict__[self.name] = self.function(instance)  # found there from now on, before this descriptor
        return value

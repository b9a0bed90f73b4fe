"""What goes wrong on the user's side of the border.

An `InputError` carries one sentence that names the thing, the value it had and the way out. The command line prints that
sentence and exits with status 2; anything else that is raised is a defect of the library and keeps its traceback.
"""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Something the user gave cannot be used; the message says what, which value, and what would work."""


class NotThereError(InputError):
    """What was named is not among the data."""


class NoRoomError(InputError):
    """Data take more memory than is free.

    Args:
        message: The sentence.
        needs: The clause that says how much they take, and what is free.
    """

    def __init__(self, message: str, needs: str):
        super().__init__(message)
        self.needs = needs


def nearest(name: str, valid: Iterable[str]) -> str:
    """The clause that answers a mistyped `name`: the nearest of the `valid` names, or all of them."""
    names = sorted(set(valid))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"choose one of {', '.join(map(repr, names))}"


def is_count(value: object, least: int = 1) -> bool:
    """Whether a value is an integer of Python's, `least` or more; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least

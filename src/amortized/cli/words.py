"""The words of a command: dotted options, conditions, and what a mistake in them is answered with.

Dotted options are taken out before cyclopts sees the rest: which of them exist depends on the kinds chosen (`--model.prior vamp
--model.prior.components 9`), and the recipe's own validation answers for them.
"""

import re
from collections.abc import Sequence

from cyclopts import CycloptsError, UnknownOptionError, UnusedCliTokensError

from amortized.errors import InputError

DOTTED = re.compile(r"--(no-)?([A-Za-z][\w-]*(?:\.[\w-]+)+)(?:=(.*))?", re.DOTALL)


def split_dotted(tokens: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Take the dotted options out of the words of a command.

    Args:
        tokens: The words. `--a.b-c value` and `--a.b-c=value` give "a.b_c" the value; `--a.b` before another option or at the end
            is true, and `--no-a.b` is false.

    Returns:
        The other words, and the values by dotted name. Of an option given twice the last counts.

    Example:
        >>> split_dotted(["fit", "digits", "--training.batch-size", "64", "--epochs", "2"])
        (['fit', 'digits', '--epochs', '2'], {'training.batch_size': '64'})
    """
    rest, options = [], {}
    words = list(tokens)
    while words:
        word = words.pop(0)
        match = DOTTED.fullmatch(word)
        if match is None:
            rest.append(word)
            continue
        negative, name, value = match.groups()
        if value is None:
            takes_next = not negative and bool(words) and not re.match(r"-{1,2}[A-Za-z]", words[0])
            value = words.pop(0) if takes_next else str(not negative).lower()
        options[name.replace("-", "_")] = value
    return rest, options


def condition(text: str) -> tuple[str, str]:
    """A condition `name=value`; whether the value is a number or the name of a class is the model's to say.

    Raises:
        InputError: There is no `=`.

    Example:
        >>> condition("label=3"), condition("site=Oslo")
        (('label', '3'), ('site', 'Oslo'))
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise InputError(f"--context '{text}' is no condition; write it as name=value, such as label=3.")
    return name, value


def explain(error: CycloptsError, tokens: Sequence[str]) -> str:
    """What is wrong with the words of a command, in one sentence or two, and where help is."""
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        text = f"unexpected '{error.unused_tokens[0]}'."
    else:
        text = str(error)
        text = text[:1].lower() + text[1:]
    if isinstance(error, UnknownOptionError | UnusedCliTokensError) and "?" not in text:
        text = f"{text} See 'amortized {tokens[0]} --help'."
    return text

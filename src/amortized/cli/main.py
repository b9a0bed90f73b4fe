"""From the words of a command to its exit status."""

import atexit
import gc
import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from amortized.cli import evaluations, exploring, exporting, pages, results, studies, tasks
from amortized.cli.commands import app
from amortized.cli.words import explain, split_dotted
from amortized.errors import InputError

MODULES = (evaluations, exploring, exporting, pages, studies, tasks)
assert all(module.app is app for module in MODULES)  # each adds its commands

# What a process leaves behind the system takes back; to look through it once more takes half a second where torch is loaded.
atexit.register(gc.freeze)

WRONG_INPUT = 2
INTERRUPTED = 130
PIPE_CLOSED = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Its words, without the program's name; by default those of the process.

    Returns:
        The exit status: 0, 2 for something that the user can mend, or 128 plus the number of the signal that ended it.
    """
    tokens = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(tokens)
        sys.stdout.flush()
        return status
    except InputError as error:
        return _complain(str(error))
    except CycloptsError as error:
        return _complain(explain(error, tokens))
    except KeyboardInterrupt:
        print("amortized: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more as it exits: what is left must have somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(tokens: list[str]) -> int:
    words, dotted = split_dotted(tokens)
    asks_help = bool({"--help", "-h"} & set(words))
    command, bound, unparsed = app.parse_args(words, exit_on_error=False, print_error=False)
    if "dotted" in unparsed:
        bound.arguments["dotted"] = dotted
    elif dotted and not asks_help:
        raise InputError(f"'--{next(iter(dotted))}' is an option of fit; '{words[0] if words else 'amortized'}' takes none such.")
    status = command(*bound.args, **bound.kwargs)
    if asks_help and words[0] == "fit":
        results.list_options()
    return status or 0


def _complain(text: str) -> int:
    print(f"amortized: {' '.join(text.split())}", file=sys.stderr)
    return WRONG_INPUT

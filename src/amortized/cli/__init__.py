"""The command line: the same names and values as in Python and YAML.

Everyday flags are short and are those of `amortized.recipes.SHORT`; every other option of a recipe is given by its dotted name.

What the user gave and cannot be used ends in one line on stderr and exit status 2. A run that a signal stopped ends in 128 plus
the signal's number, as a shell has it. Heavy modules are imported where a command needs them, so that help is quick.
"""

from amortized.cli.main import main

__all__ = ["main"]

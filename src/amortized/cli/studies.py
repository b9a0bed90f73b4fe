"""The commands that look at several models at once."""

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from amortized.cli.commands import Count, SplitName, app
from amortized.errors import InputError

BETWEEN = re.compile(r",(?![^\[{(]*[\]})])")
"""A comma that is not within brackets."""


@app.command(help_epilogue="Example: amortized sweep digits --over objective.beta=0.5,1,2,4 --epochs 20 --out runs/sweep")
def sweep(
    data: str | None = None,
    /,
    *,
    over: Annotated[tuple[str, ...], Parameter(consume_multiple=False)],
    out: Path | None = None,
    samples: Count = 100,
    split: SplitName = "test",
    recipe: str | None = None,
    config: Path | None = None,
    quiet: bool = False,
    dotted: Annotated[dict[str, str], Parameter(parse=False)],
    **options: str,
) -> int:
    """Fit a model at several values of its options, and draw the rate-distortion curve of what comes of it.

    The same command again goes on with a sweep that was stopped.

    Args:
        data: A name such as digits, or a path, as fit takes.
        over: An option and its values, as name=value,value,...; may be repeated, and every combination is fitted.
        out: The folder, with a run folder for each point; by default one in runs/, named for the data.
        samples: Posterior samples per datum in the evaluation.
        split: The part of the data for it.
        recipe: A named, complete configuration, which other options override.
        config: A YAML file of options.
        quiet: Print nothing while training.
        dotted: Options of all points by dotted name.
        options: Options of all points, as fit takes them: --epochs 20, --prior vamp.
    """
    if data is None and config is None:
        raise InputError("sweep needs data: give a name such as 'digits', the path of a file or folder, or --config.")
    values = dict(map(values_of, over))
    if len(values) < len(over):
        raise InputError("--over names the same option twice; give all its values at once, such as objective.beta=0.5,1,2.")
    from amortized.sweeping import sweep as run_sweep

    assert config is not None or data is not None
    out = Path("runs") / f"{Path(data or config or '').stem}-sweep" if out is None else out
    found = run_sweep(
        data, over=values, out=out, recipe=recipe, config=config, samples=samples, split=split, quiet=quiet, **options, **dotted
    )
    if found.points:
        print(found)
    if found.signal is not None:
        print(f"{len(found.points)} of {found.planned} points are finished, in {out}; the same command goes on.")
        return 128 + found.signal
    print(f"The sweep is in {out}.")
    return 0


def values_of(text: str) -> tuple[str, list[str]]:
    """An option and its values `name=value,value`; commas within brackets are a value's own.

    Raises:
        InputError: There is no name, or a value is empty.

    Example:
        >>> values_of("objective.beta=0.5,1"), values_of("model.network.hidden=[300,300],[100]")
        (('objective.beta', ['0.5', '1']), ('model.network.hidden', ['[300,300]', '[100]']))
    """
    name, equals, listed = text.partition("=")
    values = [value.strip() for value in BETWEEN.split(listed)]
    if not (name and equals) or not all(values):
        raise InputError(f"--over '{text}' names no values; write it as name=value,value, such as objective.beta=0.5,1,2.")
    return name.removeprefix("--"), values

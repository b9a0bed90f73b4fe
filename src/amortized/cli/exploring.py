"""The command that opens a fitted model to be held in one's hands."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from amortized.cli.commands import Accelerator, SplitName, app, load, whole


@app.command(help_epilogue="Example: amortized explore runs/digits --port 8766")
def explore(
    run: Path,
    /,
    *,
    port: Annotated[int, Parameter(converter=whole, validator=Number(gte=0, lte=65535))] = 8765,
    host: str = "127.0.0.1",
    no_browser: bool = False,
    split: SplitName | None = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Open a page on which the latent space is walked through with the mouse; Ctrl-C ends it.

    Args:
        run: The run folder.
        port: Of the page's address; 0 takes a free one.
        host: What to bind to; by default this machine alone can reach the page.
        no_browser: Print the page's address, and do not open it.
        split: The part of the data that is on the map; by default the first that there is of test, valid and train.
        accelerator: Where it is computed; by default the best device there is.
    """
    load(run, accelerator).explore(host=host, port=port, split=split, open_browser=not no_browser)

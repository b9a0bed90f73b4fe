"""The command that writes the page of a run."""

from pathlib import Path

from amortized.cli.commands import Accelerator, app, load


@app.command(help_epilogue="Example: amortized report runs/digits --budget 30s")
def report(
    run: Path,
    /,
    *runs: Path,
    out: Path | None = None,
    budget: str = "10s",
    accelerator: Accelerator = "auto",
) -> None:
    """Write a page that explains a run, or several runs side by side: one HTML file that needs nothing else.

    What was evaluated before is taken from the run folder; what is missing is evaluated as far as the time allows.

    Args:
        run: The run folder.
        runs: The folders of others, which are held against the first.
        out: The file; by default report.html in the run folder, or comparison.html beside the first of several.
        budget: About how long it may take for each run, such as 10s or 2m.
        accelerator: Where it is computed; by default the best device there is.
    """
    from amortized.report import write_report
    from amortized.studies.budget import to_seconds

    seconds = to_seconds(budget)
    loaded = [load(path, accelerator) for path in (run, *runs)]
    print(f"Wrote {write_report(loaded if runs else loaded[0], out, seconds=seconds)}.")

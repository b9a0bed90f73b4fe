"""The page at the end of a fit, which never costs the fit itself."""

from typing import TYPE_CHECKING

from amortized.errors import InputError
from amortized.processes import alone
from amortized.report.page import write_report

if TYPE_CHECKING:
    from amortized.runs import Run


def close(run: "Run", *, quiet: bool = False) -> None:
    """Write the page of a run that has just been fitted, into its folder; say where, or in one sentence why there is none.

    Args:
        run: The run. One without a folder, as all but the first of several processes have it, gets no page, nor does one that a
            signal stopped: whoever sent that wants an end.
        quiet: Say nothing.
    """
    if run.folder is None or not run.finished:
        return
    try:
        with alone():
            said = f"The report is in {write_report(run)}."
    except KeyboardInterrupt:
        said = f"The report was stopped; have it by: amortized report {run.path}"
    except InputError as error:
        said = f"No report was written: {error}"
    except Exception as error:  # a fit of hours is not to fail for the sake of its page
        reason = " ".join(str(error).split())
        said = f"No report was written ({type(error).__name__}: {reason}); try again by: amortized report {run.path}"
    if not quiet:
        print(said, flush=True)

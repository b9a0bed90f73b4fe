"""The commands that say how good models are."""

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from amortized.cli import results
from amortized.cli.commands import Accelerator, Count, SplitName, app
from amortized.cli.showing import showing
from amortized.errors import InputError


@app.command(help_epilogue="Example: amortized evaluate runs/digits --budget 2m")
def evaluate(
    run: Path,
    data: str | None = None,
    /,
    *,
    samples: Count = 1000,
    target_stderr: float | None = None,
    budget: str | None = None,
    only: Annotated[str, Parameter(negative=())] | None = None,
    split: SplitName = "test",
    factors: str | None = None,
    seed: int = 0,
    precision: Literal["32", "bf16"] = "32",
    accelerator: Accelerator = "auto",
    devices: Count = 1,
) -> None:
    """Say how good a run's model and its inference are, from all sides, the most informative first.

    What was done before with the same weights, data and seed is taken from the run folder: interrupted, it goes on.

    Args:
        run: The run folder.
        data: Other data than the run's own.
        samples: Posterior samples per datum of the evidence.
        target_stderr: The Monte Carlo standard error that each log p(x) is to have, in nats; samples are doubled for those
            that need it.
        budget: The time for it, such as 90s or 2m; by default as long as the usual sizes take.
        only: Some of the analyses, with commas between them: evidence, surgery, baselines, annealing, gaps, calibration,
            quadrature, representation, disentanglement, sample-quality, interpolation.
        split: The part of the data.
        factors: The array of the data's file that holds their true factors, for disentanglement.
        seed: Of all that is random.
        precision: Of the networks' products of the evidence.
        accelerator: Where it is computed; by default the best device there is.
        devices: How many devices share the evidence, with a process each.
    """
    from amortized.loading import load_run
    from amortized.training import Settings, prepare, start

    if budget is not None and devices > 1:
        raise InputError(f"--budget {budget} needs one process, and --devices is {devices}; leave one of them out.")
    fabric = prepare(Settings(accelerator=accelerator, devices=devices))
    loaded = load_run(run, device=fabric.device)
    asked = None if only is None else [name.strip() for name in only.split(",")]
    how: dict[str, Any] = {"samples": samples, "target_stderr": target_stderr, "budget": budget, "only": asked}
    start(fabric)  # the other processes begin only when the run can be read
    with showing(shown=fabric.is_global_zero) as show:
        made = loaded.evaluate(data, split=split, factors=factors, seed=seed, precision=precision, show=show, **how)
    if fabric.is_global_zero:
        for name, reason in made.left_out.items():
            if name not in made.titles:  # those that began have been shown
                print(f"{name}: left out; {reason}")
        print(f"{made.split} split, {made.data:,} data, {made.seconds:.1f} s. Wrote {run / 'metrics.json'}.")


@app.command(help_epilogue="Example: amortized compare runs/vae runs/vamp")
def compare(
    run: Path,
    /,
    *runs: Path,
    data: str | None = None,
    samples: Count = 1000,
    split: SplitName = "test",
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Put runs side by side, with their differences from the first and the standard errors of these, paired over the data.

    Args:
        run: The run folder that the others are held against.
        runs: The folders of the others.
        data: What to evaluate all of them on; by default, of each run the split of its own data.
        samples: Posterior samples per datum.
        split: The part of the data.
        seed: Of the samples.
        out: A file .csv or .json for the numbers.
    """
    from amortized.report import check_suffix, write_records
    from amortized.studies import compare as compare_runs

    if out is not None:
        check_suffix(out, records=True)
    with results.progress() as advance:
        made = compare_runs([run, *runs], data, samples=samples, split=split, seed=seed, progress=advance)
    print(made)
    if out is not None:
        write_records(out, made.rows)
        print(f"Wrote {out}.")

"""What a command leaves: files, tables and the words that say where they are."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from amortized.errors import InputError

PER_ROW = 16

if TYPE_CHECKING:
    import numpy as np

    from amortized.runs import Run
    from amortized.tasks import Imputation, Traversal


def target(run: "Run", out: Path | None, name: str, *, image: bool) -> Path:
    """The file to write, by default `name` in the run's folder; refused before anything is computed for it."""
    from amortized.report import check_suffix

    if out is None:
        assert run.path is not None
        out = run.path / f"{name}{'.png' if image else '.npz'}"
    check_suffix(out, image=image)
    return out


def write(run: "Run", out: Path, arrays: Mapping[str, "np.ndarray"], columns: int | None = None) -> None:
    """Write arrays of N data by name as a table or a picture, and say so.

    Args:
        run: Whose data they are.
        out: The file.
        arrays: The data; a second array holds what each was made from, and a picture shows it above. `z` are latents.
        columns: Images per row of a picture.
    """
    from amortized.report import limits, stacked, write_images, write_table

    if out.suffix.lower() == ".png":
        images, *origins = arrays.values()
        if origins:
            columns = min(len(images), PER_ROW)
            images = stacked([origins[0], images], columns)
        write_images(out, images, columns, **limits(run.spec))
    else:
        write_table(out, arrays, () if "z" in arrays else run.spec.columns)
    print(f"Wrote {out}.")


def write_traversal(run: "Run", out: Path, made: "Traversal") -> None:
    """Write a traversal, a row of a table for each image of the picture, and say what each dimension carries."""
    import numpy as np

    arrays = {"x": made.x.reshape(-1, *made.x.shape[3:])}
    if out.suffix.lower() != ".png":
        datum, row, _ = (index.ravel() for index in np.indices(made.z.shape))
        arrays |= {"datum": datum, "dimension": made.ranking.dimensions[row], "value": made.z.ravel()}
    write(run, out, arrays, columns=made.z.shape[2])
    unit = "nats of KL" if made.ranking.measure == "kl_nats" else "of the prior's variance"
    carried = zip(made.ranking.dimensions, made.ranking.carried, strict=True)
    print(f"Rows: {', '.join(f'dimension {dimension} ({value:.2f} {unit})' for dimension, value in carried)}.")


def write_imputation(run: "Run", out: Path, made: "Imputation") -> None:
    """Write data whose holes were filled, and say how near the truth those are that were hidden."""
    import numpy as np

    from amortized.report import limits, stacked, write_images, write_table

    draws = made.x if made.x.ndim > made.observed.ndim else made.x[None]
    if out.suffix.lower() == ".png":
        ends = limits(run.spec) or {"low": float(np.nanmin(made.x)), "high": float(np.nanmax(made.x))}
        truth = draws[0] if made.truth is None else made.truth
        layers = [np.where(made.observed, truth, np.nan), *draws, *(() if made.truth is None else (truth,))]
        columns = min(len(truth), PER_ROW)
        write_images(out, stacked(layers, columns), columns, **ends)
    elif out.suffix.lower() == ".npz":
        write_table(out, {"x": made.x, "observed": made.observed})
    else:
        # As precise as the data are held: more digits of a model in float64 would not be those of the source.
        arrays: dict[str, np.ndarray] = {"x": draws.reshape(-1, *draws.shape[2:]).astype(np.float32)}
        if draws is made.x:
            arrays["draw"] = np.arange(len(draws)).repeat(draws.shape[1])
        write_table(out, arrays if out.suffix.lower() == ".csv" else {"x": made.x}, run.spec.columns)
    print(f"Wrote {out}.")
    for line in (*_rounded(run, made, draws[0]), *_errors(run, made, draws), *made.notes):
        print(line)


def _rounded(run: "Run", made: "Imputation", x: "np.ndarray") -> "Iterator[str]":
    """Whether what was observed of data x (N, *event) may differ from the source in a whole number."""
    import numpy as np

    from amortized.data.arrays import WHOLE, place

    large = np.argwhere(made.observed & (np.abs(x) > WHOLE))
    if len(large):
        where = tuple(large[0].tolist())
        yield (
            f"Observed entries beyond {WHOLE:,} are rounded to float32, such as {x[where]:.0f} at"
            f" {place(where, run.spec.columns)}; take them from the source where every digit counts."
        )


def _errors(run: "Run", made: "Imputation", draws: "np.ndarray") -> "Iterator[str]":
    """How far M draws (M, N, *event) are from the truth where that was hidden, beside the training means."""
    import numpy as np
    import torch

    from amortized.data import Moments

    if made.truth is None or not made.hidden.any():
        return
    what = f"of the {made.hidden.sum():,} hidden entries"
    likelihood = None if run.recipe.model is None else run.recipe.model.likelihood
    if likelihood is not None and likelihood.kind == "categorical":
        yield f"Share {what} that is right: {(draws == made.truth)[:, made.hidden].mean():.3f}."
        return
    try:
        train = reduce(Moments.joined, (Moments.of(batch.x.cpu()) for batch in run.batches(split="train")[1]))
        whose = "the training"
    except InputError:  # data that were handed over in Python are not in the run's folder
        train, whose = Moments.of(torch.from_numpy(made.truth)), "these data's own"
    mean, spread = train.mean.numpy(), (train.squares / train.count.clamp(min=1)).sqrt().numpy()
    unit = 1.0 if run.spec.is_image else np.where(spread > 0, spread, 1.0)
    error, baseline = (np.square((x - made.truth) / unit)[made.hidden].mean() for x in (draws.mean(0), mean))
    units = "" if run.spec.is_image else ", each column in units of its standard deviation"
    yield f"Mean squared error {what}: {error:.4g}; by {whose} means {baseline:.4g}{units}."


@contextmanager
def progress(*, shown: bool = True) -> "Iterator[Callable[[int], None] | None]":
    """Show on a terminal how many data are done, while what is computed calls what this gives; nothing elsewhere."""
    if not (shown and sys.stdout.isatty()):
        yield None
        return
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.completed:,.0f} data"), TimeElapsedColumn()
    with Progress(*columns, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda count: bar.advance(task, count)


def report_fit(run: "Run") -> int:
    """Say where a run is and what can be done next.

    Returns:
        The exit status: 128 plus the signal's number where one stopped the run.
    """
    if run.path is None:  # one of several processes, and not the first, which says it
        return 0
    if run.outcome is not None and run.outcome.signal is not None and not run.finished:
        print(f"The run is in {run.path}; go on with: amortized fit --resume {run.path}")
        return 128 + run.outcome.signal
    print(summary(run))
    print(f"The run is in {run.path}; next:")
    print(f"  amortized evaluate {run.path}")
    print(f"  amortized explore {run.path}")
    print(f"  amortized sample {run.path} -n 64")
    return 0


def summary(run: "Run") -> str:
    """The evidence of the test split in one line, or that there is none."""
    metrics = run.metrics.get("test", {})
    values = {name: entry["value"] for name, entry in metrics.items()}
    if "nll_nats" not in values:
        return "Test split: " + (
            f"distortion {values['distortion_nats']:.2f} nats; no bound." if values else "no data, no evidence."
        )
    bits = f", {values['bits_per_dim']:.3f} bits/dim" if "bits_per_dim" in values else ""
    return (
        f"Test split: ELBO {values['elbo_nats']:.2f} nats, -log p(x) about {values['nll_nats']:.2f} nats{bits}"
        f" ({metrics['nll_nats']['samples']} samples each; `evaluate` takes more)."
    )


def new_folder(data: str | None, config: Path | None) -> Path:
    """A folder in runs/ for a run that was given none, named for its data or its configuration."""
    if data is not None:
        name = Path(data).stem
    else:
        assert config is not None
        name = config.absolute().parent.name if config.name == "config.yaml" else config.stem
    folder, number = Path("runs") / name, 2
    while folder.exists():
        folder, number = Path("runs") / f"{name}-{number}", number + 1
    return folder


def list_options() -> None:
    """Print every dotted option of a recipe, for the help of fit."""
    from rich.console import Console
    from rich.table import Table

    from amortized.recipes import NAMED, options

    table = Table.grid(padding=(0, 2))
    for name, text in options().items():
        table.add_row(f"--{name.replace('_', '-')}", text)
    console = Console(highlight=False, markup=False)
    console.print("\nEvery option of a recipe, by its dotted name:\n")
    console.print(table)
    console.print(f"\nNamed recipes: {', '.join(NAMED)}.")

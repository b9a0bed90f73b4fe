"""The commands that use a fitted model: each loads a run, asks it for one thing, and writes that."""

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from amortized.cli import results
from amortized.cli.commands import Accelerator, Count, Rows, SplitName, app, load
from amortized.cli.words import condition

Steps = Annotated[int, Parameter(validator=Number(gte=2))]


@app.command(help_epilogue="Example: amortized sample runs/digits -n 64 --context label=3 --out samples.png")
def sample(
    run: Path,
    /,
    *,
    n: Rows = 16,
    out: Path | None = None,
    mean: bool = False,
    temperature: float = 1.0,
    context: Annotated[tuple[str, ...], Parameter(consume_multiple=False)] = (),
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Draw data from the model.

    Args:
        run: The run folder.
        n: How many.
        out: The file: .png for images, .npz, .npy or .csv; by default in the run folder.
        mean: Write E[x | z] at each latent drawn, not a draw of x.
        temperature: Of the prior.
        context: A condition as name=value; may be repeated.
        seed: Of the draws.
        accelerator: Where it is computed; by default the best device there is.
    """
    loaded = load(run, accelerator)
    out = results.target(loaded, out, "samples", image=loaded.spec.is_image)
    conditions = dict(condition(text) for text in context)
    drawn = loaded.sample(n, context=conditions or None, temperature=temperature, mean=mean, seed=seed)
    results.write(loaded, out, {"x": drawn})


@app.command(help_epilogue="Example: amortized reconstruct runs/digits -n 32 --out reconstructions.png")
def reconstruct(
    run: Path,
    data: str | None = None,
    /,
    *,
    n: Rows = 16,
    out: Path | None = None,
    split: SplitName = "test",
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Encode data and decode them again; in a picture, each original stands above its reconstruction.

    Args:
        run: The run folder.
        data: Other data than the run's own.
        n: How many at most, from the first on.
        out: The file: .png for images, .npz, .npy or .csv; by default in the run folder.
        split: The part of the data.
        seed: Of a draw, where the posterior has no mean.
        accelerator: Where it is computed; by default the best device there is.
    """
    from amortized import tasks

    loaded = load(run, accelerator)
    out = results.target(loaded, out, "reconstructions", image=loaded.spec.is_image)
    rows = loaded.rows(data, split, n)
    made = tasks.reconstruct(loaded.model, rows, seed=seed)
    results.write(loaded, out, {"reconstruction": made.numpy(), "x": rows.x.cpu().numpy()})


@app.command(help_epilogue="Example: amortized encode runs/digits --split test --out latents.npz")
def encode(
    run: Path,
    data: str | None = None,
    /,
    *,
    out: Path | None = None,
    split: SplitName = "test",
    sample: bool = False,
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Write the latents of data: the mean of each posterior.

    Args:
        run: The run folder.
        data: Other data than the run's own.
        out: The file: .npz, .npy or .csv; by default in the run folder.
        split: The part of the data.
        sample: Write a draw from each posterior, not its mean.
        seed: Of the draws.
        accelerator: Where it is computed; by default the best device there is.
    """
    loaded = load(run, accelerator)
    out = results.target(loaded, out, "latents", image=False)
    results.write(loaded, out, {"z": loaded.encode(data, split=split, sample=sample, seed=seed)})


@app.command(help_epilogue="Example: amortized interpolate runs/digits -n 8 --steps 12 --path spherical --out path.png")
def interpolate(
    run: Path,
    data: str | None = None,
    /,
    *,
    n: Rows = 8,
    steps: Steps = 8,
    path: Literal["linear", "spherical"] = "linear",
    out: Path | None = None,
    split: SplitName = "test",
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Decode what lies between the latents of pairs of data.

    Args:
        run: The run folder.
        data: Other data than the run's own.
        n: How many pairs.
        steps: Points of each path, both ends among them.
        path: A straight line, or an arc about the origin.
        out: The file: .png for images, .npz, .npy or .csv; by default in the run folder.
        split: The part of the data.
        seed: Of the choice of pairs.
        accelerator: Where it is computed; by default the best device there is.
    """
    loaded = load(run, accelerator)
    out = results.target(loaded, out, "interpolation", image=loaded.spec.is_image)
    made = loaded.interpolate(data, n=n, steps=steps, path=path, split=split, seed=seed)
    results.write(loaded, out, {"x": made.reshape(n * steps, *made.shape[2:])}, columns=steps)


@app.command(help_epilogue="Example: amortized traverse runs/digits --dims 8 --steps 12 --out traversal.png")
def traverse(
    run: Path,
    data: str | None = None,
    /,
    *,
    n: Rows = 1,
    dims: Count = 10,
    steps: Steps = 8,
    span: Annotated[float, Parameter(validator=Number(gt=0))] = 3.0,
    start: Literal["data", "prior"] = "data",
    out: Path | None = None,
    split: SplitName = "test",
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Decode latents in which one dimension at a time is moved; in a picture, each has a row, the one that carries most first.

    Args:
        run: The run folder.
        data: Other data than the run's own.
        n: How many data are begun at, from the first on.
        dims: How many latent dimensions at most.
        steps: Values of each, both ends among them.
        span: How far from the prior's mean they go, in its standard deviations.
        start: Where the other dimensions stay, at the latent of a datum or at the prior's center.
        out: The file: .png for images, .npz, .npy or .csv; by default in the run folder.
        split: The part of the data, which also ranks the dimensions.
        seed: Of draws, where a mean is not known.
        accelerator: Where it is computed; by default the best device there is.
    """
    loaded = load(run, accelerator)
    out = results.target(loaded, out, "traversal", image=loaded.spec.is_image)
    made = loaded.traverse(data, n=n, dims=dims, steps=steps, span=span, start=start, split=split, seed=seed)
    results.write_traversal(loaded, out, made)


@app.command(help_epilogue="Example: amortized impute runs/digits --hide left -n 16 --out imputed.png")
def impute(
    run: Path,
    data: str | None = None,
    /,
    *,
    n: Rows | None = None,
    hide: str | None = None,
    samples: Count = 1000,
    draws: Count | None = None,
    out: Path | None = None,
    split: Literal["train", "valid", "test", "all"] | None = None,
    seed: int = 0,
    accelerator: Accelerator = "auto",
) -> None:
    """Fill in missing entries (NaN, empty cells); in a picture, what was seen stands above it, and the truth below where known.

    Args:
        run: The run folder.
        data: Other data than the run's own.
        n: How many at most, from the first on; by default 16 in a picture, otherwise all.
        hide: Entries to hide first, to see how well they are filled: a fraction such as 0.5, or left, right, top or bottom.
        samples: Posterior samples per datum.
        draws: How many times each datum is drawn given what was observed of it; by default its mean is written.
        out: The file: .png for images, .npz, .npy or .csv; by default in the run folder.
        split: The part of the data; all takes every part, in the order of the source, and is the default; where entries are
            hidden, it is test.
        seed: Of the choice of entries, of samples and draws.
        accelerator: Where it is computed; by default the best device there is.
    """
    loaded = load(run, accelerator)
    out = results.target(loaded, out, "imputations", image=loaded.spec.is_image)
    if n is None and out.suffix.lower() == ".png":
        n = results.PER_ROW
    made = loaded.impute(data, n=n, hide=hide, split=split, samples=samples, draws=draws, seed=seed)
    results.write_imputation(loaded, out, made)

"""The command that fits a model, and what the commands have in common; `evaluations` judge a model, `tasks` use one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from amortized.cli import results
from amortized.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

    from amortized.runs import Run


def whole(_: type, tokens: "Sequence[Token]") -> int:
    """An integer as it is written; cyclopts' own conversion rounds a fraction."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"it is '{tokens[0].value}'; give an integer") from None


Count = Annotated[int, Parameter(converter=whole, validator=Number(gte=1))]
Port = Annotated[int, Parameter(converter=whole, validator=Number(gte=1, lte=65535))]
Rows = Annotated[int, Parameter(name="-n", converter=whole, validator=Number(gte=1))]
SplitName = Literal["train", "valid", "test"]
Accelerator = Literal["auto", "cpu", "cuda", "mps"]


def _version() -> str:
    from importlib.metadata import version

    return version("amortized")


app = App(
    name="amortized",
    help="Latent-variable models by amortized variational inference, with the evidence to trust them.",
    help_epilogue="Example: amortized fit digits --prior normal --epochs 50 --out runs/digits",
    help_format="plaintext",
    version=_version,
    default_parameter=Parameter(negative=()),
)


@app.command(help_epilogue="Example: amortized fit digits --objective iwae --epochs 50 --training.patience 5 --out runs/digits")
def fit(
    data: str | None = None,
    /,
    *,
    prior: str | None = None,
    posterior: str | None = None,
    likelihood: str | None = None,
    objective: str | None = None,
    network: str | None = None,
    latent_dim: str | None = None,
    hierarchy: str | None = None,
    context: str | None = None,
    labels: str | None = None,
    binarize: str | None = None,
    epochs: str | None = None,
    steps: str | None = None,
    batch_size: str | None = None,
    lr: str | None = None,
    precision: str | None = None,
    compile: str | None = None,
    accelerator: str | None = None,
    devices: str | None = None,
    strategy: str | None = None,
    seed: str | None = None,
    recipe: str | None = None,
    config: Path | None = None,
    resume: Path | None = None,
    out: Path | None = None,
    no_report: bool = False,
    live: bool = False,
    live_port: Port | None = None,
    logger: str | None = None,
    quiet: bool = False,
    dotted: Annotated[dict[str, str], Parameter(parse=False)],
) -> int:
    """Train a model and keep it in a run folder.

    Args:
        data: A name such as digits, or the path of a file .npz, .npy, .csv, .parquet or .tar, or of a folder of images or shards.
        prior: Kind of p(z).
        posterior: Kind of q(z | x).
        likelihood: Kind of p(x | z); by default chosen from the data's values.
        objective: What is maximized.
        network: Kind of encoder and decoder.
        latent_dim: Number of latent dimensions.
        hierarchy: How several stochastic layers are inferred; one layer where none is given.
        context: Conditions of the model, such as label; several with commas between them.
        labels: The column or array that holds the labels.
        binarize: Make grey levels binary: dynamic or threshold.
        epochs: Passes over the training data.
        steps: Training steps, in place of epochs.
        batch_size: Data per step.
        lr: Learning rate.
        precision: Of the arithmetic, such as bf16.
        compile: Whether the training step is compiled: on, off, or auto, where the run is long enough to pay for it.
        accelerator: Such as cpu or cuda; by default the best there is.
        devices: How many devices, with a process each.
        strategy: How several processes work together: auto, ddp or fsdp.
        seed: Of split, initial weights, batch order and noise.
        recipe: A named, complete configuration, which other options override.
        config: A YAML file of options, such as the config.yaml of another run.
        resume: The folder of a run that was stopped; goes on where it was.
        out: The folder of the new run; by default a new one in runs/.
        no_report: Write no report.html at the end.
        live: Show the curves and what the model makes of a few data on a page of this machine while it trains.
        live_port: The port of that page.
        logger: Trackers to write to: tensorboard, wandb, mlflow; several with commas between them.
        quiet: Print nothing while training.
        dotted: Every other option of a recipe, by its dotted name.
    """
    if data is None and config is None and resume is None:
        raise InputError("fit needs data: give a name such as 'digits', the path of a file or folder, --config or --resume.")
    if resume is None and out is None:
        out = results.new_folder(data, config)
    from amortized.fitting import fit as fit_run

    short = {
        "prior": prior,
        "posterior": posterior,
        "likelihood": likelihood,
        "objective": objective,
        "network": network,
        "latent_dim": latent_dim,
        "hierarchy": hierarchy,
        "context": context,
        "labels": labels,
        "binarize": binarize,
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "lr": lr,
        "precision": precision,
        "compile": compile,
        "accelerator": accelerator,
        "devices": devices,
        "strategy": strategy,
        "seed": seed,
        "recipe": recipe,
    }
    options = {name: value for name, value in short.items() if value is not None}
    how: dict[str, Any] = {"report": not no_report, "quiet": quiet, "live": live_port or live, "logger": logger}
    how |= options | dotted
    run = fit_run(data, config=config, out=out, resume=resume, **how)
    return results.report_fit(run)


def load(path: Path, accelerator: Accelerator) -> "Run":
    """The run of a folder, its model where it is to be computed."""
    from amortized.loading import load_run
    from amortized.training import pick_device

    return load_run(path, device=pick_device(accelerator))

"""Fitting: from data, and a recipe or a model composed by hand, to a run.

A run that a signal or a crash ended goes on from its folder, to the same bits.
"""

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from amortized.data import Data
from amortized.errors import InputError
from amortized.folder import Folder
from amortized.models import Model
from amortized.objectives import Objective
from amortized.processes import sum_of_all
from amortized.recipes import Plan, Recipe, dotted, file_layer, load_data, load_fitted, make_recipe, named, plan, read_yaml
from amortized.runs import Run
from amortized.training import prepare, start
from amortized.training import train as run_loop
from amortized.training.checkpoints import state_tensors, write_tensors
from amortized.training.compiling import check_compiling
from amortized.watching import Watching

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SUMMARY_SAMPLES = 10
"""Posterior samples of the evidence that is computed at the end of every fit; `evaluate` takes more."""

RESUMABLE = frozenset(
    f"training.{name}"
    for name in (
        "epochs",
        "steps",
        "patience",
        "lr",
        "clip_norm",
        "compile",
        "accelerator",
        "devices",
        "strategy",
        "checkpoint_seconds",
    )
)
"""What may change when a run goes on: its length, what helps where a term became NaN, and where it runs."""


def fit(
    data: Any = None,
    *,
    recipe: str | Recipe | None = None,
    config: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    report: bool = True,
    quiet: bool = False,
    live: bool | int = False,
    logger: Any = None,
    **options: Any,
) -> Run:
    """Fit a model that a recipe describes.

    Args:
        data: A name or a path, or arrays, a table, a `Dataset` or a `DataLoader`; None where the recipe names them.
        recipe: A named recipe, or one in full; by default that which `config` names as its `recipe`, or else "vae".
        config: A YAML file whose values override the recipe's, by the same names as the options.
        out: The run folder; None writes nothing.
        resume: The folder of a run that was interrupted, to go on with; takes the place of `recipe`, `config` and `out`.
        report: Write `report.html` into the run folder at the end.
        quiet: Say nothing.
        live: Show the curves and what the model makes of a few data on a page of this machine while it trains; a number is the
            port.
        logger: Trackers to tell what the history and the metrics hold: "tensorboard", "wandb" or "mlflow", several with commas
            between them, or an instance of Fabric's `Logger`.
        **options: Values that override both, by short name (`prior`, `epochs`, ...) or dotted name (`training.batch_size`).

    Returns:
        The run. One that a signal ended is not `finished`, and can be gone on with if it has a folder.

    Raises:
        InputError: The data, a value or a name cannot be used; the message says what would work.

    Example:
        >>> run = fit("digits", latent_dim=2, epochs=1, quiet=True)
        >>> run.sample(3).shape
        (3, 8, 8)
    """
    watching = Watching(quiet, live, logger, report)
    if resume is not None:
        if recipe is not None or config is not None or out is not None:
            raise InputError("a resumed run has its own recipe and folder; leave out recipe, config and out.")
        return _resume(Folder(resume), data, None, None, watching, options)
    made = described(data, recipe=recipe, config=config, options=options)
    data = None if isinstance(data, str | os.PathLike) else data
    return _start(made, data, None, None, None if out is None else Folder(out), watching)


def described(
    data: Any = None,
    *,
    recipe: str | Recipe | None = None,
    config: str | os.PathLike[str] | None = None,
    options: Mapping[str, Any],
) -> Recipe:
    """The recipe that `fit` follows, by the same arguments.

    Raises:
        InputError: A value or a name cannot be used.
    """
    layer = {} if config is None else read_yaml(str(config))
    base = layer.pop("recipe", "vae")
    recipe = base if recipe is None else recipe
    layers: list[Mapping[str, Any]] = []
    if recipe is not None:
        layers.append(recipe.model_dump() if isinstance(recipe, Recipe) else named(str(recipe)))
    layers.append(file_layer(layer))
    if isinstance(data, str | os.PathLike):
        layers.append({"data": {"source": str(data)}})
    return make_recipe(layers, options)


def train(
    model: Model,
    data: Any = None,
    objective: Objective | Callable[..., Tensor] | str = "elbo",
    *,
    out: str | os.PathLike[str] | None = None,
    resume: str | os.PathLike[str] | None = None,
    report: bool = True,
    seed: int = 0,
    quiet: bool = False,
    live: bool | int = False,
    logger: Any = None,
    **options: Any,
) -> Run:
    """Train a model that was composed by hand.

    Args:
        model: Any module that answers to `amortized.models.Model`; it is trained in place.
        data: Anything that `fit` takes.
        objective: An `Objective`, a function of `Terms`, or the name of a kind.
        out: The run folder; None writes nothing.
        resume: The folder of an interrupted run of this very model, to go on with.
        report: Write `report.html` into the run folder at the end.
        seed: Of split, batch order and noise; the weights are the model's own.
        quiet: Say nothing.
        live: As in `fit`.
        logger: As in `fit`.
        **options: Values by short name (`epochs`, `batch_size`, `binarize`, ...) or dotted name (`training.ema`).

    Returns:
        The run; `load_run(out, model=...)` reads it again.

    Example:
        >>> from amortized import VAE, likelihoods, networks, posteriors, priors
        >>> model = VAE(
        ...     priors.StandardNormal(2),
        ...     posteriors.DiagonalGaussian(networks.MLP((8, 8), [32]), event=2),
        ...     likelihoods.Binomial(networks.MLP(2, [32]), event=(8, 8), levels=17),
        ... )
        >>> train(model, "digits", epochs=1, quiet=True).outcome.steps
        11
    """
    if isinstance(objective, str):
        own, kind = None, objective
    else:
        own, kind = objective if isinstance(objective, Objective) else Objective(objective), None
    watching = Watching(quiet, live, logger, report)
    if resume is not None:
        return _resume(Folder(resume), data, model, own, watching, options)
    layer: dict[str, Any] = {"seed": seed, "model": None, "objective": kind}
    if isinstance(data, str | os.PathLike):
        layer["data"], data = {"source": str(data)}, None
    recipe = make_recipe([layer], options)
    return _start(recipe, data, model, own, None if out is None else Folder(out), watching)


def _resume(
    folder: Folder,
    data: Any,
    model: Model | None,
    objective: Objective | None,
    watching: Watching,
    options: Mapping[str, Any],
) -> Run:
    folder.check_resumable()
    changed = [name for name in map(dotted, options) if name not in RESUMABLE]
    if changed:
        raise InputError(
            f"a resumed run keeps its recipe; '{changed[0]}' cannot change; leave it out, or fit anew. What may change:"
            f" {', '.join(sorted(RESUMABLE))}."
        )
    recipe = make_recipe([folder.read_recipe().model_dump()], options)
    return _start(recipe, data, model, objective, folder, watching, resumed=True)


def _start(
    recipe: Recipe,
    data: Any,
    model: Model | None,
    objective: Objective | None,
    folder: Folder | None,
    watching: Watching,
    *,
    resumed: bool = False,
) -> Run:
    """Plan, write what describes the run, train, and write what came of it."""
    fabric = prepare(recipe.training, watching.loggers(folder))
    first = fabric.global_rank == 0
    whole = (load_fitted if resumed else load_data)(recipe, data, say=print if first and not watching.quiet else None)
    if resumed and folder is not None and folder.has_other_data(whole):
        raise InputError(f"the data '{whole.name}' changed since this run began; restore them, or fit a new run on them.")
    made = plan(recipe, whole, model=model, objective=objective, device=fabric.device)
    check_compiling(made.recipe.training, made.model, made.objective, fabric.device)
    if first and not watching.quiet:
        for note in made.notes:
            print(note[:1].upper() + note[1:])
    if folder is not None and first:
        folder.sweep() if resumed else folder.create()
        folder.write_recipe(made.recipe)
        folder.write_model_description(made.recipe, made.spec)
        folder.write_environment(seed=recipe.seed, data=whole.name, fingerprint=whole.fingerprint, device=str(fabric.device))
    start(fabric)  # the other processes begin only when nothing is left to be refused
    made, whole = _agreed(fabric, made, whole, data, model, objective)
    fabric.barrier()
    with watching.begun(made, whole.name, folder, fabric) as watched:
        outcome = run_loop(
            made.model,
            made.objective,
            made.train,
            made.valid,
            made.recipe.training,
            seed=recipe.seed,
            checkpoint=None if folder is None else folder.checkpoint,
            reporter=watched.reporter,
            fabric=fabric,
        )
        metrics = fabric.broadcast(folder.read_metrics() if folder is not None and first else {})
        run = Run(made.model, made.spec, made.recipe, folder if first else None, whole, outcome.history, metrics, outcome)
        if run.folder is not None:
            assert isinstance(run.model, nn.Module)
            write_tensors(run.folder.weights, state_tensors(run.model), {"format": "pt"})
            run.folder.write_history(outcome.history)
        is_unknown = outcome.trained or "test" not in metrics  # one killed after its last step has nothing to train, nor metrics
        if outcome.finished and is_unknown and len(whole.test):
            run.metrics.pop("test", None)  # of weights that were trained on since
            run.evidence(samples=SUMMARY_SAMPLES, seed=recipe.seed)
        if watching.report:
            from amortized.report import closing

            closing.close(run, quiet=watching.quiet)
        watched.end(run)
    return run


def _agreed(
    fabric: "Fabric", made: Plan, whole: Data, data: Any, model: Model | None, objective: Objective | None
) -> tuple[Plan, Data]:
    """The plan and the data, where the first process has these: what is free, which chooses that, may differ by process.

    Raises:
        InputError: The processes have different data; all of them are told.
    """
    own = (made.recipe.data.stream, made.recipe.data.window_mib)
    stream, window = fabric.broadcast(own)
    if own != (stream, window):
        recipe = make_recipe([made.recipe.model_dump()], {"data.stream": stream, "data.window_mib": window})
        whole = load_data(recipe, data)
        made = plan(recipe, whole, model=model, objective=objective, device=fabric.device)
    differs = whole.fingerprint != fabric.broadcast(whole.fingerprint) and whole.rows_seen is None
    if sum_of_all(torch.tensor(float(differs))):
        raise InputError(f"the data '{whole.name}' differ between the processes; give all the same, random ones by one seed.")
    return made, whole

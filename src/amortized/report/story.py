"""What was trained on what, in plain words."""

import math
import re
import shlex
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from amortized.errors import InputError
from amortized.evaluation.records import in_digits, standard_error
from amortized.folder import read_json
from amortized.report.found import evidence_of_all
from amortized.report.learning_figure import kept_step
from amortized.report.view import View

if TYPE_CHECKING:
    from amortized.runs import Run

VALUES = {"binary": "values 0 and 1", "counts": "counts", "unit": "values between 0 and 1", "real": "real numbers"}
SMALL = 0.01
"""Nats below which more digits tell nothing."""

KINDS = {
    "normal": "standard normal",
    "gaussian": "diagonal Gaussian",
    "full-gaussian": "full-covariance Gaussian",
    "delta": "a point",
    "vamp": "VampPrior",
    "vmf": "von Mises-Fisher",
    "iaf": "inverse autoregressive flow",
    "mlp": "fully connected network",
    "gated-mlp": "gated fully connected network",
    "conv": "convolutional network",
    "bernoulli": "Bernoulli",
    "laplace": "Laplace",
    "student-t": "Student t",
    "poisson": "Poisson",
    "zinb": "zero-inflated negative binomial",
    "pixelcnn": "PixelCNN",
    "continuous-bernoulli": "continuous Bernoulli",
    "gaussian-mixture": "mixture of Gaussians",
    "elbo": "ELBO",
    "iwae": "IWAE bound",
    "beta": "beta-VAE objective",
}
"""Kinds whose name is not what one says."""


def title_of(run: "Run") -> str:
    """What to call a run on its page."""
    return f"run {run.path.absolute().name}" if run.path is not None else f"a model of {data_name(run)}"


def data_name(run: "Run") -> str:
    """What to call its data."""
    source = run.recipe.data.source
    if source is None:
        return getattr(run.source, "name", "") or "data handed over in Python"
    return Path(source).name


def paragraph(view: View) -> str:
    """What was trained on what, how, how long and where, in a few sentences."""
    run = view.run
    return " ".join([*_data(view), *_model(run), *_training(run), *_machine(run)])


def _data(view: View) -> Iterator[str]:
    run = view.run
    try:
        splits = {name: len(rows) for name, rows in view.material.reading.whole.splits.items()}
    except InputError:
        yield f"The data are {data_name(run)}: {describe_datum(run)}."
        return
    held = [f"{splits[name]:,} for {what}" for name, what in (("valid", "validation"), ("test", "the test")) if splits[name]]
    rest = f", with {' and '.join(held)} held out" if held else "; none were held out"
    yield f"The model was trained on {splits['train']:,} data of {data_name(run)}{rest}. Each is {describe_datum(run)}."
    observed = view.batch.observed
    if observed is not None and not bool(observed.all()):
        lacking = 1 - float(observed.double().mean())
        yield f"Of the entries of the {view.split} split {lacking:.0%} are missing."


def describe_datum(run: "Run") -> str:
    """What one datum is."""
    spec, shape = run.spec, tuple(run.spec.event_shape)
    values = (
        f"whole numbers from 0 to {spec.levels - 1}" if spec.support == "levels" and spec.levels else VALUES.get(spec.support)
    )
    values = values or spec.support
    if spec.is_image:
        color = " in color" if len(shape) == 3 and shape[-1] == 3 else ""
        return f"an image of {shape[0]} × {shape[1]} pixels{color} ({values})"
    if spec.columns:
        return f"a row of {len(spec.columns)} columns ({values})"
    return f"an array of {' × '.join(map(str, shape)) or '1'} entries ({values})"


def _model(run: "Run") -> Iterator[str]:
    size = sum(parameter.numel() for parameter in run.model.parameters()) if isinstance(run.model, nn.Module) else 0
    description, latents = run.recipe.model, latents_of(run)
    if description is None:
        yield f"The model, a {type(run.model).__name__} with {latents}, was composed by hand; it has {size:,} parameters."
        return
    parts = {
        "prior p(z)": description.prior,
        "posterior q(z|x)": description.posterior,
        "likelihood p(x|z)": description.likelihood,
    }
    named = ", ".join(f"{name} {said(part.kind)}" for name, part in parts.items() if part is not None)
    yield f"Its latent has {latents}: {named}."
    layers = getattr(description.network, "hidden", None) or getattr(description.network, "channels", None)
    wide = f" with layers of {', '.join(map(str, layers))}" if layers else ""
    yield f"Encoder and decoder are each a {said(description.network.kind)}{wide}, with {size:,} parameters in all."
    if run.spec.conditions:
        yield f"They are given {', '.join(run.spec.conditions)} as a condition."
    if description.hierarchy is not None:
        *below, top = description.latent_dim, *description.hierarchy.latent_dims
        sizes, kind = f"{', '.join(map(str, below))} and {top}", description.hierarchy.kind
        yield f"It has {len(below) + 1} stochastic layers ({kind}), of {sizes} entries from the data upwards."


def latents_of(run: "Run") -> str:
    """How many entries the latent has, in words."""
    size = getattr(run.model, "latent_size", None)
    if size is None:
        return "a latent"
    return "1 entry" if size == 1 else f"{size:,} entries"


def _training(run: "Run") -> Iterator[str]:
    settings, objective = run.recipe.training, run.recipe.objective
    what = "An objective of the user's own" if objective is None else f"The {said(objective.kind)}"
    if objective is not None and "bound" not in run.model.offers:  # of a point mass there is no ELBO
        what = f"The objective '{objective.kind}', which is no bound here,"
    if objective is not None and getattr(objective, "beta", 1.0) != 1.0:
        what += f" (beta {objective.beta:g})"  # pyright: ignore[reportAttributeAccessIssue]
    if not run.history:
        yield f"{what} was to be maximized; there is no history of it."
        return
    last = run.history[-1]
    epochs = f"{last['epoch']:,} {'epoch' if last['epoch'] == 1 else 'epochs'} ({last['step']:,} steps)"
    yield (
        f"{what} was maximized by {said(settings.optimizer).capitalize()} (learning rate {settings.lr:g}, batches of"
        f" {settings.batch_size:,}) for {epochs}, which took {duration(float(last.get('seconds', 0.0)))}."
    )
    kept = kept_step(run)
    if kept is not None:
        yield f"The weights are those of the best validation, at step {kept:,}."


def _machine(run: "Run") -> Iterator[str]:
    if run.folder is None or not run.folder.environment.exists():
        return
    try:
        found = read_json(run.folder.environment)
    except InputError:
        return
    threads = found.get("threads")
    cores = (
        "" if threads is None or found.get("device") != "cpu" else f" with {threads} {'thread' if threads == 1 else 'threads'}"
    )
    system = re.split(r"[-_]", str(found.get("platform", "")))[0]
    yield (
        f"It ran on {str(found.get('device', 'an unknown device')).upper()}{cores} under {system or 'an unknown system'}, begun"
        f" {str(found.get('started', ''))[:10]}, with amortized {found.get('amortized')} and torch {found.get('torch')}; the seed"
        f" was {run.recipe.seed}."
    )


def said(kind: str) -> str:
    """A kind as one says it."""
    return KINDS.get(kind, kind.replace("-", " "))


def duration(seconds: float) -> str:
    """A time in words, as exact as one would say it."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def again(run: "Run") -> list[str]:
    """The lines that repeat a run: shell, or Python where data or model were handed over."""
    if run.path is None:
        return []
    folder, config = str(run.path), run.path / "config.yaml"
    if run.recipe.model is None:
        return [f"amortized.train(model, data, out={folder + '-again'!r}, seed={run.recipe.seed}, ...)"]
    if run.recipe.data.source is None:
        return [f"amortized.fit(data, config={str(config)!r}, out={folder + '-again'!r})"]
    return [f"amortized fit --config {shlex.quote(str(config))} --out {shlex.quote(folder + '-again')}"]


def headline(view: View, metrics: dict[str, float]) -> list[tuple[str, str, str]]:
    """The evidence: name, value with its standard error, and what that is."""
    rows = []
    metrics = {**metrics, **_errors(view)}

    def add(title: str, name: str, error: str | None, text: str) -> None:
        if name in metrics:
            value = in_digits(metrics[name], metrics.get(error) if error else None)
            if (error is not None and error not in metrics) or 0 < abs(metrics[name]) < SMALL:  # digits of no known error
                value = f"{metrics[name]:,.2f}" if abs(metrics[name]) >= SMALL else f"{metrics[name]:.3f}"
            rows.append((title, value, text))

    is_exact = "nll_nats" in metrics and metrics.get("nll_mc_stderr_nats", 1.0) == 0
    add("ELBO", "elbo_nats", "elbo_stderr_nats", "nats per datum; a lower bound on log p(x)")
    words = "nats per datum, exact" if is_exact else "nats per datum, by importance sampling; still a little too high, on average"
    add("−log p(x)", "nll_nats", "nll_stderr_nats", words)
    if "bits_per_dim" in metrics:
        entries = prod(view.run.spec.event_shape)
        scale = abs(metrics["bits_per_dim"] / metrics["nll_nats"]) if metrics["nll_nats"] else 0.0
        error = metrics.get("nll_stderr_nats", 0.0) * scale
        rows.append(
            ("Bits per dimension", in_digits(metrics["bits_per_dim"], error or None), f"−log₂ p(x) / {entries:,} entries")
        )
    add("Rate", "rate_nats", "rate_stderr_nats", "nats: KL(q(z|x) || p(z)), what the latent carries")
    add("Distortion", "distortion_nats", "distortion_stderr_nats", "nats: −E[log p(x|z)], what it leaves")
    return [(title, value.replace("-", "−"), text) for title, value, text in rows]


def _errors(view: View) -> dict[str, float]:
    """The standard errors of rate and distortion over the data that the headline is about: of all, from how those shown vary."""
    try:
        of_all = "evidence" not in view.kept or bool(evidence_of_all(view))
        found = view.evidence if of_all else view.kept["evidence"].finding
        count = view.count if of_all else len(getattr(found, "distortion", ()))
    except InputError:
        return {}
    parts = {"rate": getattr(found, "rate", None), "distortion": getattr(found, "distortion", None)}
    errors = {
        f"{name}_stderr_nats": standard_error(values) * math.sqrt(len(values) / count)
        for name, values in parts.items()
        if values is not None
    }
    return {name: error for name, error in errors.items() if math.isfinite(error)}


def baselines(metrics: dict[str, float], names: Sequence[str]) -> list[tuple[str, str, str]]:
    """For each simpler model: its name, log p(x), and how much higher that of the model is."""
    rows: list[Any] = []
    for name in names:
        if f"baseline_{name}_nats" in metrics:
            value, stderr = metrics[f"baseline_{name}_nats"], metrics.get(f"baseline_{name}_stderr_nats", 0.0)
            its = in_digits(value, stderr) if stderr > 1e-9 * abs(value) else f"{value:,.2f}"
            gain = metrics.get(f"gain_over_{name}_nats")
            more = "" if gain is None else in_digits(gain, metrics.get(f"gain_over_{name}_stderr_nats"))
            rows.append((name.replace("_", " "), its.replace("-", "−"), more.replace("-", "−")))
    return rows

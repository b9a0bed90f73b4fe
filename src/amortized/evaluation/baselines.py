"""What log p(x) is worth: that of simpler models of the same data, in the same measure.

    uniform           the uniform measure on the support: the bits of ignorance
    independent       one distribution per entry
    gaussian          one Gaussian, full covariance
    ppca              probabilistic PCA, as many latents as the model
    factor_analysis   factor analysis, as many latents as the model
    mixture           a mixture of components with independent entries

All are fitted to training data and scored on the data of the evaluation. The gain of the model over one of them is the mean of

    log p_model(x_i) - log p_baseline(x_i)

over the data, and its standard error that of the differences: the two vary together, since some data are hard for both. The files
baseline_entries.py, baseline_gaussians.py and baseline_mixtures.py have the baselines; baseline_rows.py has the measure.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from amortized.errors import InputError, is_count, nearest
from amortized.evaluation.baseline_entries import FLOOR, independent, uniform
from amortized.evaluation.baseline_gaussians import factor_analysis, gaussian, ppca
from amortized.evaluation.baseline_mixtures import mixture
from amortized.evaluation.baseline_rows import Measure, Reals, Rows, measure_of
from amortized.evaluation.baseline_setting import NoBaseline, Scored, Setting
from amortized.evaluation.records import Found, Metric, as_metrics, as_text, standard_error
from amortized.models.model import Model
from amortized.seeds import derive_seed
from amortized.speed import full_speed
from amortized.terms import Batch

BASELINES: Mapping[str, Callable[[Setting], Scored]] = {
    "uniform": uniform,
    "independent": independent,
    "gaussian": gaussian,
    "ppca": ppca,
    "factor_analysis": factor_analysis,
    "mixture": mixture,
}
WITH_LATENTS = ("ppca", "factor_analysis")


@dataclass(frozen=True, eq=False)
class Baselines(Found):
    """What simpler models make of the data, per datum, in the order of the data.

    Attributes:
        log_px: By baseline, (N,) float64, nats.
        bounds: The baselines whose log p(x) is a lower bound, by dequantization.
        model_log_px: (N,) log p(x) of the model, nats; None where it was not given.
        dimensions: Observed entries of a datum, in the mean over the data; None for real numbers.
        fitted: How many training data the baselines were fitted to.
        remarks: What a reader must know of how they were made.
        split: The data it is about.
    """

    log_px: Mapping[str, Tensor]
    bounds: frozenset[str]
    model_log_px: Tensor | None
    dimensions: float | None
    fitted: int
    remarks: tuple[str, ...] = ()
    split: str = "test"

    @property
    def gains(self) -> dict[str, Tensor]:
        """By baseline, (N,) how much higher log p(x) is under the model, nats."""
        model = self.model_log_px
        return {} if model is None else {name: model - log_px for name, log_px in self.log_px.items()}

    @property
    def metrics(self) -> dict[str, Metric]:
        """The means over the data by name, nats unless the name says otherwise; errors that cannot be told are left out."""
        table: dict[str, tuple[float, str]] = {}
        for name, gain in self.gains.items():
            table |= self._mean(f"gain_over_{name}", gain, "estimate")
        for name, log_px in self.log_px.items():
            table |= self._mean(f"baseline_{name}", log_px, "lower bound" if name in self.bounds else "exact")
        if self.dimensions and "uniform" in self.log_px:
            bits = -float(self.log_px["uniform"].mean()) / self.dimensions / math.log(2)
            table["baseline_uniform_bits_per_dim"] = bits, "exact"
        return as_metrics(table, self.split, 0)

    @property
    def notes(self) -> list[str]:
        """The baselines that the model does not beat, and what a reader must know of all of them."""
        verdicts = [_verdict(name, gain) for name, gain in self.gains.items()]
        outliers = [_outliers(name, log_px) for name, log_px in self.log_px.items()]
        return [sentence for sentence in (*verdicts, *outliers) if sentence] + list(self.remarks)

    def __str__(self) -> str:
        """The metrics as a small table, with what they are."""
        number = len(next(iter(self.log_px.values()), ()))
        head = f"{self.split} split, {number:,} data; baselines fitted to {self.fitted:,} training data"
        return as_text(head, self.metrics, self.notes)

    def _mean(self, name: str, values: Tensor, kind: str) -> dict[str, tuple[float, str]]:
        return {f"{name}_nats": (float(values.mean()), kind), f"{name}_stderr_nats": (standard_error(values), "estimate")}


def baselines(
    model: Model,
    train: Iterable[Batch | Tensor],
    test: Iterable[Batch | Tensor],
    *,
    latent_dim: int,
    model_log_px: Tensor | None = None,
    seed: int = 0,
    split: str = "test",
    only: Iterable[str] | None = None,
    rows: int = 10_000,
    progress: Callable[[int], Any] | None = None,
) -> Baselines:
    """Fit simpler models to the training data, and score the data of the evaluation by them.

    Args:
        model: The model, of which nothing is used but the support of p(x | z): which values x can take.
        train: The training data, as the model's likelihood scores them; of more than `rows` a random part.
        test: The data that are scored.
        latent_dim: The size of the model's latent, for probabilistic PCA and factor analysis.
        model_log_px: (N,) log p(x) of the same data under the model, in the same order; without it there are no gains.
        seed: Of the part of the training data, and of random starts.
        split: The name of the data that are scored, for the record.
        only: The baselines to compute, by name; by default all.
        rows: The most training data that are used.
        progress: Called with the number of data scored, after each baseline.

    Returns:
        Their log p(x), per datum and as metrics. A baseline that these data do not have is left out, with a note that says why.

    Raises:
        InputError: There are no data, they are not finite or not in the support, or an argument is out of its range.

    Example:
        >>> import torch
        >>> import amortized as am
        >>> x = (torch.rand(200, 4, generator=torch.Generator().manual_seed(0)) < 0.5).float()
        >>> posterior = am.posteriors.DiagonalGaussian(am.networks.MLP(4, []), 2)
        >>> model = am.VAE(am.priors.StandardNormal(2), posterior, am.likelihoods.Bernoulli(am.networks.MLP(2, []), 4))
        >>> found = baselines(model, [x], [x], latent_dim=2, only=["uniform"])
        >>> round(found.metrics["baseline_uniform_bits_per_dim"].value, 6)
        1.0
    """
    names = _names(only)
    _check_count("latent_dim", latent_dim)
    _check_count("rows", rows)
    held = iter(test)
    first = next(held, None)
    if first is None:
        raise InputError(f"the {split} split has no data to score; name another split.")
    measure = measure_of(model, first)
    scored = Rows.of(chain([first], held), split)
    fitted = Rows.of(train, "training", most=rows, seed=derive_seed(seed, "baselines"))
    _check_data(measure, fitted, scored, split)
    setting = Setting(measure, fitted, scored, latent_dim, derive_seed(seed, "baselines", "starts"))
    with full_speed(torch.device("cpu")):
        found, remarks = _compute(setting, names, progress)
    remarks = _remarks(setting, found, has_context=bool(Batch.of(first).context)) + remarks
    return Baselines(
        {name: each.log_px for name, each in found.items()},
        frozenset(name for name, each in found.items() if each.is_bound),
        _known(model_log_px, scored, split),
        float(scored.observed.sum(1).double().mean()) if measure.is_discrete else None,
        len(fitted),
        tuple(remarks),
        split,
    )


def _verdict(name: str, gain: Tensor) -> str | None:
    mean, error = float(gain.mean()), standard_error(gain)
    error = 0.0 if math.isnan(error) else error
    called = name.replace("_", " ")
    if mean < -2 * error:
        return (
            f"The baseline '{called}' beats the model by {-mean:.2f} nats (standard error {error:.2f}): the model has not"
            " learned what that one knows; train it longer, or try another likelihood or learning rate."
        )
    if mean < 2 * error:
        return f"The model cannot be told from the baseline '{called}': its gain is {mean:.2f} nats, standard error {error:.2f}."
    return None


def _outliers(name: str, log_px: Tensor) -> str | None:
    """The sentence on a mean that the worst hundredth of the data moves by a quarter deviation; in normal data, by 0.03."""
    number = len(log_px) // 100
    rest = log_px.sort().values[number:]
    if len(rest) < 2 or float(rest.mean() - log_px.mean()) <= float(rest.std()) / 4:
        return None
    return (
        f"The mean of the baseline '{name.replace('_', ' ')}' hangs on the worst {number} of the data, which it finds all but"
        f" impossible: of the others it is {float(rest.mean()):.2f} nats. Judge by another baseline."
    )


def _compute(setting: Setting, names: list[str], progress: Callable[[int], Any] | None) -> tuple[dict[str, Scored], list[str]]:
    found: dict[str, Scored] = {}
    remarks: list[str] = []
    for name in names:
        try:
            found[name] = BASELINES[name](setting)
            remarks += found[name].notes
        except NoBaseline as reason:
            remarks.append(f"The baseline '{name.replace('_', ' ')}' is left out: {reason}.")
        if progress is not None:
            progress(len(setting.test))
    return found, remarks


def _remarks(setting: Setting, found: Mapping[str, Scored], *, has_context: bool) -> list[str]:
    remarks, train, size = [], setting.train, setting.train.x.shape[1]
    if train.total > len(train):
        remarks.append(f"The baselines are fitted to {len(train):,} of the {train.total:,} training data, taken at random.")
    if has_context:
        remarks.append("The model is told the condition of each datum, and the baselines are not.")
    if any(each.is_bound for each in found.values()):
        called = ", ".join(f"'{name.replace('_', ' ')}'" for name, each in found.items() if each.is_bound)
        remarks.append(
            f"A Gaussian has a density and these data are whole numbers: the value of {called} is a lower bound (uniform"
            " dequantization), loose where there are few levels, so that the gain over it is on the high side."
        )
    if any(name in found for name in WITH_LATENTS) and setting.latent_dim >= size:
        remarks.append(
            f"A datum has {size} entries, so that ppca and factor analysis have fewer latents than {setting.latent_dim}."
        )
    if isinstance(setting.measure, Reals) and (fixed := int((~train.varies()).sum())):
        remarks.append(
            f"{fixed} of {size} entries never vary in the training data, where the likelihood has no maximum: the baselines give"
            f" them a standard deviation of {FLOOR:g}."
        )
        if number := int((setting.test.x != train.x[0])[:, ~train.varies()].any(1).sum()):
            remarks.append(
                f"In {number} of the data that are scored such an entry has another value: what the baselines give these says"
                " nothing; leave such entries out."
            )
    return remarks


def _names(only: Iterable[str] | None) -> list[str]:
    chosen = list(BASELINES) if only is None else [name.replace("-", "_") for name in only]
    for name in chosen:
        if name not in BASELINES:
            raise InputError(f"baseline '{name}' is unknown; {nearest(name, BASELINES)}")
    return [name for name in BASELINES if name in chosen]


def _check_count(name: str, value: int) -> None:
    if not is_count(value):
        raise InputError(f"{name} must be a positive integer; it is {value!r}.")


def _check_data(measure: Measure, train: Rows, test: Rows, split: str) -> None:
    if train.x.shape[1] != test.x.shape[1]:
        raise InputError(
            f"the training data have {train.x.shape[1]} entries and those of the {split} split {test.x.shape[1]}; give both in"
            " the same shape."
        )
    for what, rows in (("training", train), (split, test)):
        outside = rows.observed & ~measure.holds(rows.x)
        if outside.any():
            raise InputError(
                f"the {what} data have {rows.x[outside][0].item():g}, and the model scores {measure.values}; give the data as the"
                " model's likelihood sees them."
            )


def _known(model_log_px: Tensor | None, test: Rows, split: str) -> Tensor | None:
    if model_log_px is None:
        return None
    values = model_log_px.detach().cpu().double()
    if values.shape != (len(test),):
        raise InputError(
            f"model_log_px has shape {tuple(values.shape)}, and the {split} split {len(test)} data; give one per datum."
        )
    if values.isnan().any():
        raise InputError(
            f"model_log_px is NaN for datum {int(values.isnan().byte().argmax())}; give a number, or -inf, for each."
        )
    return values

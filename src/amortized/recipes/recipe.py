"""The recipe: the validated, complete description of a model and of its training.

The same names stand in Python, in YAML and on the command line. A recipe is made of layers, each of which overrides the one
before: a named recipe, a file, and options. An option is a dotted name (`training.batch_size`) or one of the short ones of
`SHORT`.
"""

import difflib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from amortized.errors import InputError, nearest
from amortized.nesting import leaves
from amortized.recipes.hierarchy import Hierarchy
from amortized.recipes.likelihoods import Likelihood
from amortized.recipes.messages import explain, options
from amortized.recipes.networks import MLPDescription, Network
from amortized.recipes.objectives import ELBO, ObjectiveKind
from amortized.recipes.posteriors import GaussianPosterior, Posterior
from amortized.recipes.priors import Prior
from amortized.recipes.schema import Description, PositiveFloat, Size
from amortized.training.settings import Settings


def _none_by_name(value: Any) -> Any:
    return None if value == "none" else value


def _as_name(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value  # YAML reads a column's 4 as a number


def _as_names(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip().removeprefix("[").removesuffix("]")
        return tuple(name for each in text.split(",") if (name := each.strip().strip("'\"")))
    return tuple(map(_as_name, value or ())) if value is None or isinstance(value, list | tuple) else value


def _as_switch(value: Any) -> Any:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value  # YAML reads on and off as true and false


Name = Annotated[str, BeforeValidator(_as_name)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_names)]
"""Names, as a list or as text with commas."""
Fraction = Annotated[float, Field(ge=0, le=1)]

SHORT: Mapping[str, str] = {
    "prior": "model.prior",
    "posterior": "model.posterior",
    "likelihood": "model.likelihood",
    "network": "model.network",
    "latent_dim": "model.latent_dim",
    "hierarchy": "model.hierarchy",
    "context": "data.context",
    "labels": "data.labels",
    "binarize": "data.binarize",
    "objective": "objective",
    "epochs": "training.epochs",
    "steps": "training.steps",
    "batch_size": "training.batch_size",
    "lr": "training.lr",
    "precision": "training.precision",
    "compile": "training.compile",
    "devices": "training.devices",
    "strategy": "training.strategy",
    "accelerator": "training.accelerator",
    "seed": "seed",
}
"""Short names of the everyday options, and what they are short for."""

TEXT = frozenset({"data.labels", "data.context"})
"""Options whose text is not read as YAML: columns may be called 0 or no."""


class Corruption(Description):
    """What is done to the encoder's input, for denoising."""

    kind: Literal["noise", "masking", "salt-pepper"]
    """Gaussian noise, zeros, or extreme values."""
    amount: Annotated[float, Field(ge=0)]
    """Standard deviation of the noise, or the probability that an entry is corrupted."""

    @field_validator("amount")
    @classmethod
    def _is_probability(cls, amount: float, info: ValidationInfo) -> float:
        kind = info.data.get("kind", "noise")
        if kind != "noise" and amount > 1:
            raise PydanticCustomError("probability", "{kind} corrupts with a probability, from 0 to 1", {"kind": kind})
        return amount


class DataDescription(Description):
    """Which data, and what is done to them."""

    source: str | None = None
    """A name, or the path of a file or folder; none for data handed over in Python."""
    splits: tuple[Fraction, Fraction, Fraction] = (0.8, 0.1, 0.1)
    """Shares of training, validation and test data, where the data bring no splits."""
    binarize: Literal["dynamic", "threshold"] | None = None
    """Make grey levels binary: drawn anew at every visit, or by a threshold."""
    scale: Literal["unit"] | PositiveFloat | None = None
    """Divide the data by one factor; "unit" by the last grey level."""
    standardize: Literal["auto", "columns", "global", "none"] = "auto"
    """Units that the networks work in: real tables by column, images by one shift and unit. Densities are in the data's own."""
    corrupt: Corruption | None = None
    """Corrupt the encoder's input in training."""
    mask: bool = False
    """Show the encoder which entries were observed, beside the data with 0 in the place of missing ones (NaN)."""
    context: Names = ()
    """Conditions of the model: "label", or columns or arrays by name."""
    encoding: Literal["one-hot", "embedding"] = "one-hot"
    """How a condition with classes is encoded."""
    embedding_width: Size = 8
    """Length of an embedding."""
    labels: Name | None = None
    """The column or array that holds the labels; `y` where there is one."""
    stream: Annotated[Literal["auto", "on", "off"], BeforeValidator(_as_switch)] = "auto"
    """Leave the data on the disk and stream them: "auto" where memory would not hold them."""
    window_mib: Size | None = None
    """How many MiB of data that stream are shuffled together, two of which are in memory; chosen by what is free where none is
    given."""


class ModelDescription(Description):
    """The model, a sum of parts."""

    latent_dim: Size = 16
    """Number of latent dimensions."""
    network: Network = MLPDescription()
    """Encoder, and decoder in reverse, of every part that brings none of its own."""
    prior: Prior | None = None
    """p(z); the standard normal where none is given, or the uniform one of a discrete or spherical posterior."""
    posterior: Posterior = GaussianPosterior()
    """q(z | x)."""
    likelihood: Likelihood | None = None
    """p(x | z); chosen from the data's support where none is given."""
    hierarchy: Annotated[Hierarchy | None, BeforeValidator(_none_by_name)] = None
    """More stochastic layers above the first, and how they are inferred; one layer where none is given."""
    condition: tuple[Literal["prior", "posterior", "likelihood"], ...] = ("posterior", "likelihood")
    """The parts that see the conditions of the data."""


class Recipe(Description):
    """A model and its training, complete."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Of split, initial weights, batch order and noise."""
    data: DataDescription = DataDescription()
    """Which data, and what is done to them."""
    model: ModelDescription | None = ModelDescription()
    """The model; none for one composed by hand."""
    objective: ObjectiveKind | None = ELBO()
    """What is maximized; none for an objective of the user's own."""
    training: Settings = Settings()
    """How."""

    def to_yaml(self) -> str:
        """The whole recipe as YAML, nothing left to a default."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def make_recipe(layers: Iterable[Mapping[str, Any]], options: Mapping[str, Any] | None = None) -> Recipe:
    """Build a recipe from its layers.

    Args:
        layers: Nested mappings, each overriding the ones before; a different `kind` replaces a whole description.
        options: Values by dotted or short name; text is read as YAML.

    Returns:
        The recipe.

    Raises:
        InputError: A name is unknown, or a value is not allowed; the message has the nearest valid name.
    """
    merged = Recipe().model_dump()  # so that a layer may change a part of a description without naming its kind
    for layer in [*layers, nested(options or {})]:
        merged = merge(merged, layer)
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        raise InputError(explain(error, Recipe)) from error


def dotted(name: str) -> str:
    """The dotted name that an option's short or dotted name, with hyphens or without, stands for.

    Raises:
        InputError: No option begins so.
    """
    head, _, tail = name.replace("-", "_").partition(".")
    if head not in SHORT and head not in Recipe.model_fields:
        heads = [*SHORT, *Recipe.model_fields]
        full = [each for each in options(Recipe) if each.rpartition(".")[2] == head]
        close = [f"{each}.{tail}" for each in difflib.get_close_matches(head, heads, n=1) if tail] + full
        answer = f"did you mean '{close[0]}'?" if close else nearest(head, heads)
        raise InputError(f"unknown option '{name}'; {answer}")
    return ".".join(filter(None, (SHORT.get(head, head), tail)))


def nested(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by dotted or short name as one nested mapping, whatever their order."""
    layer: dict[str, Any] = {}
    full = {dotted(name): value for name, value in options.items()}
    for name in sorted(full, key=lambda name: name.count(".")):  # the name of a kind before what is set in it
        layer = merge(layer, _branch(name, _value(name, full[name])))
    return layer


def file_layer(content: Mapping[str, Any]) -> dict[str, Any]:
    """The layer of a file: mappings within mappings, whose keys may be short or dotted names; its values are read already."""
    layer: dict[str, Any] = {}
    full = [(dotted(name), value) for name, value in leaves(content)]
    for name, value in sorted(full, key=lambda leaf: leaf[0].count(".")):
        layer = merge(layer, _branch(name, value))
    return layer


def _branch(name: str, value: Any) -> dict[str, Any]:
    for key in reversed(name.split(".")):
        value = {key: value}
    return value


def _value(name: str, given: Any) -> Any:
    if not isinstance(given, str):
        return given
    if name in TEXT:
        return None if given == "null" else given.strip()
    try:
        return yaml.safe_load(given)
    except yaml.YAMLError:
        raise InputError(f"{name} is {given!r}, which cannot be read; give a number, a name, or a list such as [3].") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Override `base` by `over`, mapping by mapping; another `kind` starts afresh, and a bare name is a kind."""
    result = dict(base)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, Mapping) and isinstance(value, str) and "kind" in below:
            value = {"kind": value}
        if isinstance(below, str) and isinstance(value, Mapping):
            below = {"kind": below}
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            is_same = "kind" not in value or value["kind"] == below.get("kind", value["kind"])
            value = merge(below, value) if is_same else dict(value)
        result[key] = value
    return result


def read_yaml(path: str) -> dict[str, Any]:
    """A recipe's layer from a YAML file.

    Raises:
        InputError: There is no such file, or it is no YAML mapping.
    """
    try:
        with open(path, encoding="utf-8") as file:
            layer = yaml.safe_load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read the configuration '{path}': {getattr(error, 'strerror', error)}; give a YAML file."
        ) from error
    except yaml.YAMLError as error:
        raise InputError(f"'{path}' is not valid YAML: {' '.join(str(error).split())}; mend it there.") from error
    if layer is None:
        return {}
    if not isinstance(layer, dict):
        raise InputError(f"'{path}' holds a {type(layer).__name__}; a recipe is a mapping such as `seed: 0`.")
    return layer

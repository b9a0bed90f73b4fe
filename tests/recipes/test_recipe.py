from pathlib import Path
from typing import Any

import pytest

from amortized import InputError
from amortized.recipes import NAMED, SHORT, Recipe, dotted, file_layer, make_recipe, named, options, read_yaml
from amortized.recipes.recipe import merge, nested


def dumped(layers: list[dict[str, Any]], given: dict[str, Any] | None = None) -> dict[str, Any]:
    return make_recipe(layers, given).model_dump()


def test_no_layer_is_the_default_and_yaml_brings_it_back():
    assert make_recipe([]) == Recipe()


def test_later_layers_override_earlier_ones_and_options_override_all():
    recipe = make_recipe([{"training": {"lr": 1.0, "epochs": 5}}, {"training": {"lr": 2.0}}], {"epochs": 7})
    assert (recipe.training.lr, recipe.training.epochs) == (2.0, 7)


def test_the_same_kind_is_changed_in_part_and_another_kind_starts_afresh():
    base = {"model": {"network": {"kind": "mlp", "hidden": [5], "activation": "tanh"}}}
    same = dumped([base, {"model": {"network": {"dropout": 0.5}}}])["model"]["network"]
    assert (same["hidden"], same["activation"], same["dropout"]) == ([5], "tanh", 0.5)
    named_again = dumped([base, {"model": {"network": {"kind": "mlp", "norm": "layer"}}}])["model"]["network"]
    assert (named_again["hidden"], named_again["norm"]) == ([5], "layer")
    other = dumped([base, {"model": {"network": "gated-mlp"}}])["model"]["network"]
    assert (other["hidden"], other["activation"]) == ([300, 300], "relu")


def test_a_bare_name_and_its_options_work_in_either_order():
    for given in (
        {"likelihood": "laplace", "model.likelihood.scale": "0.5"},
        {"model.likelihood.scale": 0.5, "likelihood": "laplace"},
        {"model.likelihood": {"scale": 0.5}, "model.likelihood.kind": "laplace"},
    ):
        likelihood = dumped([], given)["model"]["likelihood"]
        assert (likelihood["kind"], likelihood["scale"]) == ("laplace", 0.5), given


def test_merging_leaves_its_arguments_as_they_are():
    base, over = {"a": {"kind": "x", "b": 1}}, {"a": {"b": 2}}
    assert merge(base, over) == {"a": {"kind": "x", "b": 2}}
    assert (base, over) == ({"a": {"kind": "x", "b": 1}}, {"a": {"b": 2}})


def test_text_is_read_as_yaml_and_other_values_are_taken_as_they_are():
    recipe = make_recipe(
        [],
        {
            "lr": "1e-2",
            "model.network.hidden": "[10, 20]",
            "training.ema": "null",
            "context": ["label"],
            "training.betas": "[0.5, 0.9]",
            "precision": "64",
            "training.patience": "3",
        },
    )
    assert recipe.model is not None
    assert recipe.model.network.model_dump()["hidden"] == [10, 20]
    assert recipe.training.patience == 3
    assert make_recipe([], {"network": "conv", "model.network.gated": "true"}).model.network.gated is True  # pyright: ignore
    assert recipe.training.lr == 0.01
    assert recipe.training.betas == (0.5, 0.9)
    assert recipe.training.precision == "64"
    assert recipe.data.context == ("label",)
    assert recipe.training.ema is None


@pytest.mark.parametrize(
    ("text", "names"),
    [("0", ("0",)), ("no", ("no",)), ("site, age", ("site", "age")), ("[site, age]", ("site", "age")), ("", ())],
)
def test_names_of_columns_are_not_read_as_numbers_or_truth(text: str, names: tuple[str, ...]):
    assert make_recipe([], {"context": text}).data.context == names
    assert make_recipe([], {"labels": " 4 "}).data.labels == "4"
    assert make_recipe([{"data": {"labels": 4, "context": [0, 1]}}]).data.context == ("0", "1")


def test_a_file_may_have_short_names_hyphens_and_dots_beside_nested_mappings():
    given = {
        "latent-dim": 3,
        "network": "conv",
        "training.clip-norm": 2.0,
        "model": {"network": {"channels": [4]}},
        "training": {"lr-warmup-steps": 5, "ema": None},
    }
    assert file_layer(given) == {
        "model": {"latent_dim": 3, "network": {"kind": "conv", "channels": [4]}},
        "training": {"clip_norm": 2.0, "lr_warmup_steps": 5, "ema": None},
    }
    with pytest.raises(InputError, match="unknown option 'epohcs'; did you mean 'epochs'"):
        file_layer({"epohcs": 3})


def test_every_short_name_stands_for_an_option_that_exists():
    described = options()
    for short, full in SHORT.items():
        assert full in described, short
        assert dotted(short) == full
        assert dotted(short.replace("_", "-")) == full
    assert dotted("network.dropout") == "model.network.dropout"


def test_nested_options_with_a_common_beginning_are_joined():
    assert nested({"model.prior.kind": "gaussian", "training.batch-size": "4", "training.lr": 2}) == {
        "model": {"prior": {"kind": "gaussian"}},
        "training": {"batch_size": 4, "lr": 2},
    }


@pytest.mark.parametrize("name", NAMED)
def test_every_named_recipe_is_valid_and_survives_yaml(name: str, tmp_path: Path):
    recipe = make_recipe([named(name)])
    (tmp_path / "config.yaml").write_text(recipe.to_yaml())
    assert make_recipe([read_yaml(str(tmp_path / "config.yaml"))]) == recipe


MISTAKES = [
    ({"trainig.lr": 1}, "unknown option 'trainig.lr'; .*training"),
    ({"training.learning_rate": 1}, r"unknown option 'training.learning_rate' \(value 1\)"),
    ({"training.epoch": 1}, r"unknown option 'training.epoch' \(value 1\).*epochs"),
    ({"model.network.hiden": [1]}, "unknown option 'model.network.hiden'.*hidden"),
    ({"model.posterior.network.hiden": [1], "model.posterior.network.kind": "mlp"}, "'model.posterior.network.hiden'.*hidden"),
    ({"model.likelihood.network.kind": "mpl", "likelihood": "gaussian"}, "kind 'mpl' of model.likelihood.network.*mlp"),
    (
        {"model.posterior.network.hidden": [1]},
        "model.posterior.network is .* names no kind; add model.posterior.network.kind=mlp or gated-mlp",
    ),
    ({"model.likelihood.scale": 1.0}, "model.likelihood is .* names no kind; add model.likelihood.kind=gaussian or laplace"),
    ({"model.network.channels": [1]}, "^option 'model.network.channels' belongs to kind 'conv'; model.network is 'mlp'.$"),
    ({"objective": "iwae", "objective.beta": 2}, "'objective.beta' belongs to kind 'elbo' or 'beta' or .*; objective is 'iwae'"),
    ({"objective": "beta", "objective.beta": -1}, "^objective.beta is -1: input should be greater than or equal to 0"),
    ({"objective.beta": "linaer"}, "unknown kind 'linaer' of objective.beta; did you mean 'linear'"),
    ({"objective.beta.sharpness": 3}, "'objective.beta.sharpness' belongs to kind 'sigmoid'; objective.beta is 'linear'"),
    ({"objective.beta": {"kind": "cyclical", "ratio": 0}}, "^objective.beta.ratio is 0: input should be greater than 0"),
    ({"objective.beta": [1]}, r"^objective.beta is \[1\]: input should be a valid number"),
    ({"trainin.lr": 1}, "unknown option 'trainin.lr'; did you mean 'training.lr'"),
    ({"lr": ".inf"}, "training.lr is inf: input should be a finite number"),
    ({"likelihood": "gaussian", "likelihood.floor": ".nan"}, "model.likelihood.floor is nan: input should be a finite number"),
    ({"data.corrupt": {"kind": "masking", "amount": 1.5}}, "data.corrupt.amount is 1.5: masking .* probability, from 0 to 1"),
    ({"likelihood": "binomial", "likelihood.levels": 1}, "model.likelihood.levels is 1: .* greater than or equal to 2"),
    ({"prior": "norml"}, "unknown kind 'norml' of model.prior; .*normal"),
    ({"objective": "ewlbo"}, "unknown kind 'ewlbo' of objective; .*elbo"),
    ({"network": "cnn"}, "unknown kind 'cnn' of model.network"),
    ({"training.optimizer": "sgd"}, "training.optimizer is 'sgd', which it cannot be; it must be 'adam', 'adamw' or 'adamax'"),
    ({"precision": "16"}, "training.precision is '?16'?, which it cannot be"),
    ({"latent_dim": -2}, "model.latent_dim is -2: input should be greater than 0"),
    ({"latent_dim": "two"}, "model.latent_dim is 'two': input should be a valid integer"),
    ({"training.ema": 1.0}, "training.ema is 1.0: input should be less than 1"),
    ({"training.patience": 0}, "training.patience is 0: input should be greater than or equal to 1"),
    (
        {"model.likelihood.scale": "lerned", "likelihood": "gaussian"},
        r"^model\.likelihood\.scale is 'lerned'.* 'predicted' or 'optimal' or a valid number\.$",
    ),
    ({"data.corrupt.kind": "nois", "data.corrupt.amount": 1}, "data.corrupt.kind is 'nois'.*'noise', 'masking' or 'salt-pepper'"),
    ({"data.splits": [0.5, 0.5]}, r"data.splits.2 is missing from \[0.5, 0.5\]"),
    ({"data.corrupt.amount": 1}, "data.corrupt.kind is missing"),
    ({"training": "fast"}, "training is 'fast'; it must be a mapping"),
    ({"model.network.hidden": [4, 0]}, "model.network.hidden.1 is 0: input should be greater than 0"),
    ({"seed": -1}, "seed is -1"),
]


@pytest.mark.parametrize(("given", "message"), MISTAKES, ids=[next(iter(given)) for given, _ in MISTAKES])
def test_a_mistake_is_named_by_its_dotted_name_in_one_sentence(given: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message) as error:
        make_recipe([], given)
    text = str(error.value)
    for noise in ("pydantic", "\n", "function-before", "float-constrained", "tagged-union", "type="):
        assert noise not in text, text


def test_an_unknown_recipe_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="unknown recipe 'burda-iwea'; .*burda-iwae"):
        named("burda-iwea")


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "is not valid YAML"), ("- 1", "holds a list; a recipe is a mapping"), (None, "cannot read the configuration")],
)
def test_a_file_that_is_no_recipe_is_one_sentence(text: str | None, message: str, tmp_path: Path):
    path = tmp_path / "x.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(str(path))


def test_an_empty_file_changes_nothing(tmp_path: Path):
    (tmp_path / "x.yaml").write_text("# nothing\n")
    assert read_yaml(str(tmp_path / "x.yaml")) == {}


def leaves(value: Any, prefix: str = "") -> set[str]:
    if isinstance(value, dict):
        return {name for key, below in value.items() if key != "kind" for name in leaves(below, f"{prefix}.{key}".lstrip("."))}
    return {prefix}


@pytest.mark.parametrize("given", [{}, *({"likelihood": kind} for kind in ("gaussian", "binomial", "negative-binomial"))])
def test_every_leaf_of_a_recipe_is_a_described_option(given: dict[str, Any]):
    described = options()
    for leaf in leaves(dumped([], given)):
        assert leaf in described or any(name.startswith(f"{leaf}.") for name in described), leaf
    assert {"data.corrupt.kind", "data.corrupt.amount", "model.prior", "model.network.channels"} <= described.keys()
    assert all(text.strip() for text in described.values())

# pyright: reportArgumentType=false
import math

import pytest
import torch
import yaml

from amortized import VAE, InputError, fit, likelihoods, posteriors, priors, train
from amortized.cli import main
from amortized.networks import MLP
from amortized.objectives import Cosine, Cyclical, Linear, Objective, Schedule, Sigmoid, elbo
from amortized.recipes import make_recipe, read_yaml
from amortized.recipes.objectives import Setting

MONOTONE = [Linear(-1.0, 3.0, 20), Cosine(-1.0, 3.0, 20), Sigmoid(-1.0, 3.0, 20), Sigmoid(-1.0, 3.0, 20, sharpness=1e5)]
EVERY = [*MONOTONE, Cyclical(-1.0, 3.0, 20, cycles=2)]


@pytest.mark.parametrize("schedule", EVERY, ids=repr)
def test_it_goes_from_its_start_to_its_end_and_stays_there(schedule: Schedule):
    assert schedule.at(0) == pytest.approx(-1.0, abs=1e-12)
    assert schedule.at(20) == schedule.at(10**9) == schedule.at(None) == 3.0
    values = [schedule.at(step) for step in range(30)]
    assert all(-1.0 - 1e-12 <= value <= 3.0 + 1e-12 for value in values)
    assert [schedule.is_settled(step) for step in (0, 19, 20, 21)] == [False, False, True, True]


@pytest.mark.parametrize("schedule", MONOTONE, ids=repr)
def test_it_rises_and_is_half_way_in_the_middle(schedule: Schedule):
    values = [schedule.at(step) for step in range(21)]
    assert values == sorted(values)
    assert schedule.at(10) == pytest.approx(1.0)
    for step in range(21):  # and is symmetric about it
        assert schedule.at(step) + schedule.at(20 - step) == pytest.approx(2.0)


def test_each_has_its_own_course():
    assert Linear(0.0, 1.0, 20).at(5) == 0.25
    assert Cosine(0.0, 1.0, 20).at(5) == pytest.approx((1 - math.cos(math.pi / 4)) / 2)
    sigmoid = Sigmoid(0.0, 1.0, 20, sharpness=2.0)
    low, quarter = 1 / (1 + math.e**2), 1 / (1 + math.e)
    assert sigmoid.at(5) == pytest.approx((quarter - low) / (1 - 2 * low))


@pytest.mark.parametrize(("steps", "cycles"), [(40, 4), (49, 49), (490, 49), (30, 3), (70, 7), (1030, 103), (99, 11)])
def test_every_cycle_begins_at_the_start_and_rests_at_the_end(steps: int, cycles: int):
    schedule, length = Cyclical(0.0, 1.0, steps, cycles, ratio=0.5), steps // cycles
    for cycle in range(cycles):
        assert schedule.at(cycle * length) == pytest.approx(0.0, abs=1e-6)
        for step in range(length):
            assert schedule.at(cycle * length + step) == pytest.approx(min(1.0, 2 * step / length), abs=1e-6)


def test_one_cycle_without_a_rest_is_linear():
    one, linear = Cyclical(1.0, 4.0, 30, cycles=1, ratio=1.0), Linear(1.0, 4.0, 30)
    assert [one.at(step) for step in range(40)] == pytest.approx([linear.at(step) for step in range(40)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cosine(0.0, 1.0, -1), "steps must be an integer of 0 or more; it is -1"),
        (lambda: Sigmoid(0.0, 1.0, 5, sharpness=0.0), "sharpness must be a finite number of 1e-06 or more; it is 0.0"),
        (lambda: Sigmoid(0.0, 1.0, 5, sharpness=1e-18), "it is 1e-18; 6 is usual, and the schedule Linear has none"),
        (lambda: Cyclical(0.0, 1.0, 5, cycles=0), "cycles, 1 or more"),
        (lambda: Cyclical(0.0, 1.0, 5, ratio=1.5), "up to 1; they are 4 and 1.5"),
    ],
)
def test_what_cannot_be_is_refused(make, message: str):
    with pytest.raises(InputError, match=message):
        make()


SETTING = Setting(steps_per_epoch=10, steps=200, rows=100)


def built(**options) -> Objective:
    recipe = make_recipe([], {name.replace("__", "."): value for name, value in options.items()})
    assert recipe.objective is not None
    return recipe.objective.build(SETTING)


HYPER = [
    ("elbo", "beta"),
    ("beta", "beta"),
    ("stl", "beta"),
    ("capacity", "capacity"),
    ("capacity", "gamma"),
    ("free-bits", "bits"),
    ("ciwae", "beta"),
    ("renyi", "alpha"),
    ("beta-tcvae", "beta"),
    ("infovae", "alpha"),
    ("factor", "gamma"),
    ("infomax", "alpha"),
]


@pytest.mark.parametrize(("kind", "name"), HYPER)
def test_any_hyper_parameter_takes_a_schedule_from_python_and_from_text(kind: str, name: str):
    if kind in ("factor", "infomax"):
        setting = Setting(10, 200, 100, latent_size=2, seen_shape=(4,))
    else:
        setting = SETTING
    given = {"kind": "cosine", "start": 0.25, "end": 0.75, "steps": 40}
    layers = [
        {"objective": kind, f"objective.{name}": given},
        {"objective": kind, f"objective.{name}": str(given)},
        {"objective": kind, f"objective.{name}": "cosine", **{f"objective.{name}.{key}": given[key] for key in ("start", "end")}}
        | {f"objective.{name}.steps": "40"},
    ]
    for options in layers:
        recipe = make_recipe([], options)
        again = make_recipe([yaml.safe_load(recipe.to_yaml())])
        assert again == recipe
        assert again.objective is not None
        values = [again.objective.build(setting).values(step)[name] for step in (0, 20, 40, 100)]
        assert values == pytest.approx([0.25, 0.5, 0.75, 0.75])


def test_a_number_takes_the_place_of_a_schedule_and_a_schedule_that_of_a_number():
    assert built(objective="capacity").values(100) == {"gamma": 1000.0, "capacity": 12.5}
    assert built(objective="capacity", objective__capacity=3.0).values(100)["capacity"] == 3.0
    assert built(objective="capacity", objective__capacity__end=50).values(100)["capacity"] == 25.0
    assert built(objective__beta="linear").values(50) == {"beta": 0.25}
    assert built(objective__beta__end=4.0).values(50) == {"beta": 1.0}


def test_its_length_is_that_of_the_training_or_in_epochs_or_in_steps():
    for given, half in (({}, 100), ({"epochs": 4}, 20), ({"epochs": 4, "steps": 10}, 5)):
        objective = built(objective__beta={"kind": "linear", **given})
        assert objective.values(half) == {"beta": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objective.beta": {"kind": "liner"}}, "did you mean 'linear'|linear"),
        ({"objective.beta": -1.0}, "objective.beta is -1.0: input should be greater than or equal to 0"),
        ({"objective.beta": {"start": -1.0}}, "objective.beta is .*: its start should be greater than or equal to 0"),
        ({"objective.beta.end": -1.0}, "objective.beta is .*: its end should be greater than or equal to 0"),
        ({"objective.beta": "nan"}, "objective.beta is 'nan': .*finite number"),
        ({"objective": "ciwae", "objective.beta": 2.0}, "objective.beta is 2.0: input should be less than or equal to 1"),
        ({"objective": "infovae", "objective.alpha": 5.0}, "objective.alpha is 5.0: input should be less than or equal to 1"),
        ({"objective": "renyi", "objective.alpha": ".inf"}, "objective.alpha is inf: input should be a finite number"),
        ({"objective.beta": {"kind": "cyclical", "ratio": 2.0}}, "ratio is 2.0: input should be less than or equal to 1"),
        ({"objective.beta": {"kind": "linear", "sharpness": 2.0}}, "sharpness"),
    ],
)
def test_a_mistake_in_a_schedule_is_named(options, message: str):
    with pytest.raises(InputError, match=message) as error:
        make_recipe([], options)
    assert "\n" not in str(error.value)


def test_a_schedule_with_a_warm_up_besides_is_refused():
    with pytest.raises(InputError, match="objective.beta is a schedule, and has a warm-up besides"):
        built(objective__beta="cosine", objective__warmup_epochs=3)


def test_the_history_has_the_value_of_the_last_step_of_every_row():
    x = (torch.rand(40, 6) < 0.5).float().numpy()
    options = {
        "objective.beta": {"kind": "linear", "start": 0.0, "end": 2.0, "steps": 8},
        "network": {"kind": "mlp", "hidden": [4]},
    }
    run = fit(x, latent_dim=2, steps=12, batch_size=8, quiet=True, **options)
    betas = {row["step"]: row["beta"] for row in run.history}
    schedule = Linear(0.0, 2.0, 8)
    assert len(betas) >= 3
    assert betas == {step: schedule.at(step - 1) for step in betas}


def test_the_command_line_takes_schedules_and_the_file_it_writes_gives_them_again(tmp_path):
    words = ["--objective", "capacity", "--objective.capacity.end", "6", "--objective.capacity.steps", "20"]
    words += ["--objective.gamma", "cosine", "--objective.gamma.start", "10", "--objective.gamma.end", "20"]
    small = ["--latent-dim", "2", "--steps", "20", "--model.network.hidden", "[4]", "--quiet"]
    assert main(["fit", "digits", *words, *small, "--out", str(tmp_path / "run")]) == 0
    again = make_recipe([read_yaml(str(tmp_path / "run" / "config.yaml"))])
    assert again.objective is not None
    objective = again.objective.build(Setting(steps_per_epoch=5, steps=20, rows=100))
    assert objective.values(10) == pytest.approx({"capacity": 3.0, "gamma": 15.0})


def test_what_is_trained_is_the_value_of_each_step():
    """One plain loop with the values by hand ends in the same number."""
    seen = []

    def spied(terms, beta=1.0):
        seen.append(beta)
        return elbo(terms, beta)

    model = VAE(priors.StandardNormal(2), posteriors.DiagonalGaussian(MLP(6, [4]), 2), likelihoods.Bernoulli(MLP(2, [4]), 6))
    x = (torch.rand(40, 6) < 0.5).float().numpy()
    objective = Objective(spied, hyper={"beta": Cosine(0.0, 1.0, 6)})
    train(model, {"train_x": x, "test_x": x}, objective, steps=8, batch_size=18, quiet=True)
    in_training = [value for value in seen if value != 1.0]
    assert in_training == [Cosine(0.0, 1.0, 6).at(step) for step in range(6)]

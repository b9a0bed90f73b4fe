# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import numpy as np
import pytest

from amortized import InputError, fit, objectives
from amortized.recipes.objective import Setting
from amortized.recipes.regularizers import DIPI, DIPII, WAE, BetaTCVAE, InfoVAE
from amortized.recipes.schedules import LinearSchedule

SETTING = Setting(steps_per_epoch=10, steps=50, rows=123)
KINDS = ("beta-tcvae", "dip-i", "dip-ii", "infovae", "wae")
DATA = {"x": np.random.default_rng(0).integers(0, 2, (40, 6)), "y": np.arange(40) % 3}
SMALL = {"latent_dim": 2, "model.network.hidden": [6], "steps": 3, "batch_size": 16, "quiet": True}


@pytest.mark.parametrize(
    ("description", "function", "hyper", "fixed"),
    [
        (
            BetaTCVAE(),
            objectives.beta_tcvae,
            {"alpha": 1.0, "beta": 6.0, "gamma": 1.0},
            {"estimator": "mws", "data_size": 123},
        ),
        (DIPI(), objectives.dip_i, {"lambda_od": 10.0, "lambda_d": 100.0}, {}),
        (DIPII(), objectives.dip_ii, {"lambda_od": 10.0, "lambda_d": 10.0}, {}),
        (InfoVAE(), objectives.infovae, {"alpha": 0.5, "lambda_mmd": 100.0}, {"kernel": "rbf", "scales": [1.0]}),
        (WAE(), objectives.wae, {"lambda_mmd": 10.0}, {"kernel": "imq", "scales": [1.0]}),
    ],
)
def test_a_description_builds_its_objective_with_the_size_of_the_data_where_it_is_wanted(description, function, hyper, fixed):
    built = description.build(SETTING)
    assert built.function is function
    assert (built.values(), dict(built.fixed)) == (hyper, fixed)


def test_a_weight_may_follow_a_schedule():
    built = BetaTCVAE(beta=LinearSchedule(start=1.0, end=6.0, epochs=2)).build(SETTING)
    assert [built.values(step)["beta"] for step in (0, 10, 20)] == [1.0, 3.5, 6.0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_with_several_samples_and_a_condition_of_every_part(kind: str):
    run = fit(
        DATA,
        **SMALL,
        **{"objective": {"kind": kind, "samples": 3}, "prior": "gaussian"},
        **{"context": "label", "model.condition": ["prior", "posterior", "likelihood"]},
    )
    assert np.isfinite(run.history[-1]["train_objective_nats"])
    assert np.isfinite(run.history[-1]["valid_objective_nats"])


def test_a_kernel_without_a_scale_is_refused():
    with pytest.raises(InputError, match="scales"):
        fit(DATA, objective={"kind": "wae", "scales": []}, **SMALL)

import math
from dataclasses import replace

import numpy as np
import pytest

import amortized as am
from amortized import InputError
from amortized.report import learning_figure
from amortized.report.learning_figure import kept_step, limits_of, warm_up
from tests.drawing import labels, lines, pixels

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return am.fit("digits", latent_dim=2, epochs=6, quiet=True, out=tmp_path_factory.mktemp("runs") / "run")


def rows(*betas, **columns):
    made = [{"step": 10 * (n + 1), "epoch": n + 1, "lr": 0.001, "beta": beta} for n, beta in enumerate(betas)]
    for name, values in columns.items():
        for row, value in zip(made, values, strict=True):
            row[name] = value
    return made


def test_the_curves_are_the_columns_of_the_history(run):
    figure = learning_figure(run)
    assert [axes.get_title() for axes in figure.axes][0] == "ELBO"
    for axes, name in zip(figure.axes, ("elbo", "rate", "distortion"), strict=True):
        for split, label in (("train", "train"), ("valid", "validation")):
            np.testing.assert_array_equal(lines(axes)[label], [row[f"{split}_{name}_nats"] for row in run.history])


def test_several_runs_have_a_color_each_in_the_same_axes(run):
    other = replace(run, history=rows(1.0, 1.0, train_elbo_nats=[-3.0, -2.0], valid_elbo_nats=[-4.0, -3.0]))
    figure = learning_figure([run, other], names=["one", "other"])
    assert labels(figure) == ["one", "other", "train", "validation"]
    drawn = figure.axes[0].get_lines()
    assert [line.get_linestyle() for line in drawn] == ["-", "--", "-", "--"]
    colors = [line.get_color() for line in drawn]
    assert colors[0] == colors[1] != colors[2] == colors[3]
    np.testing.assert_array_equal(drawn[3].get_ydata(), [-4.0, -3.0])
    np.testing.assert_array_equal(drawn[3].get_xdata(), [10, 20])
    assert labels(learning_figure([run]))[0] == "run 1"
    with pytest.raises(InputError, match="1 names for 2 runs"):
        learning_figure([run, other], names=["one"])


def test_the_warm_up_ends_at_the_row_from_which_on_nothing_moves():
    assert warm_up(rows(0.1, 0.5, 1.0, 1.0, 1.0)) == (30, {"beta": 1.0})
    assert warm_up(rows(1.0, 1.0)) == (0, {})
    assert warm_up(rows(0.1, 0.2, 0.3)) == (30, {"beta": 0.3})
    assert warm_up(rows(0.0, 1.0, 0.0, 1.0, 1.0)) == (40, {"beta": 1.0})


def test_the_warm_up_is_shaded_and_named(run):
    history = rows(0.5, 1.0, 1.0, train_elbo_nats=[-3.0, -2.0, -1.0], train_rate_nats=[0.0, 1.0, 2.0])
    figure = learning_figure(replace(run, history=history))
    assert "warm-up: beta goes to 1" in labels(figure)
    assert [axes.get_title()[:4] for axes in figure.axes] == ["ELBO", "rate"]


def test_the_step_that_was_kept_is_that_of_the_best_validation_bound(run):
    best = run.history[int(np.argmax([row["valid_objective_nats"] for row in run.history]))]["step"]
    loaded = am.load_run(run.path)
    assert kept_step(run) == kept_step(loaded) == best
    assert f"weights kept: step {best:,}" in labels(learning_figure(loaded))


def test_the_first_row_does_not_ruin_the_axes():
    steep = np.array([-1e6, -110.0, -105.0, -103.0, -102.0, -101.0, -100.0])
    low, high = limits_of([steep]) or (0, 0)
    assert -115 < low < -110
    assert -100 < high < -99
    assert limits_of([np.linspace(-10, 0, 7)]) is None
    assert limits_of([steep[:3]]) is None


def test_a_history_may_have_one_row_or_holes_but_not_none(run):
    assert pixels(learning_figure(replace(run, history=run.history[:1]))).std() > 0
    values = [math.nan, -math.inf, -3.0, "", None, -2.0, -1.0]
    holes = rows(*[1.0] * 7, train_elbo_nats=values, valid_elbo_nats=[math.nan] * 7)
    figure = learning_figure(replace(run, history=holes))
    pixels(figure)
    np.testing.assert_array_equal(lines(figure.axes[0])["train"], [math.nan, math.nan, -3, math.nan, math.nan, -2, -1])
    assert "validation" not in labels(figure)
    for history in ([], rows(1.0)):
        with pytest.raises(InputError, match="no history"):
            learning_figure(replace(run, history=history))


def test_a_point_mass_has_no_elbo_but_an_objective():
    figure = learning_figure(am.fit("digits", latent_dim=2, posterior="delta", epochs=1, quiet=True))
    assert [axes.get_title()[:9] for axes in figure.axes] == ["objective", "distortio"]

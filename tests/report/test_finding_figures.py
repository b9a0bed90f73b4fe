from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import amortized as am
from amortized import InputError
from amortized.evaluation import Calibration, Metric, gaps_by_split
from amortized.evaluation.records import in_digits
from amortized.report import (
    calibration_figure,
    evidence_figure,
    gap_figure,
    kl_figure,
    latent_figure,
    learning_figure,
    rate_distortion_figure,
)
from amortized.report.evidence_figure import Dot, _edge, evidence_dots
from amortized.report.view import View
from amortized.studies.budget import Done, Size
from amortized.studies.keeping import Keeper, identify
from tests.drawing import pixels, texts

pytest.importorskip("matplotlib")
SMALL: dict[str, Any] = {"model.network": {"kind": "mlp", "hidden": [8]}}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run whose test split is so small that every analysis takes a moment."""
    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    arrays = {"train_x": x[:60], "valid_x": x[60:76], "test_x": x[76:]}
    return am.fit(arrays, latent_dim=1, epochs=2, quiet=True, out=tmp_path_factory.mktemp("runs") / "table", **SMALL)


@pytest.fixture(scope="module")
def evaluation(table):
    """Of all that has a figure; the gaps in a smaller size than `evaluate` takes, and kept as it keeps them."""
    made = table.evaluate(samples=20, only=["evidence", "baselines", "calibration"])
    view = View(table)
    reading = view.material.reading
    found = gaps_by_split(table.model, {"train": [view.train(4)], "test": [view.batch]}, samples=50, steps=30)
    made.done["gaps"] = Done(found, Size(1.0, {"data": 4}), 0.1)
    assert table.folder is not None
    identity = identify(table.folder.weights, reading.whole.fingerprint, reading.name, reading.count)
    keeper = Keeper(table.path, reading.name, identity, view.material.settings)
    keeper.read()
    keeper.write("gaps", made.done["gaps"])
    return made


def fitted(latents=2, **options):
    return am.fit("digits", latent_dim=latents, epochs=1, quiet=True, **options)


def test_the_bar_is_the_gaps_of_the_evaluation(table, evaluation):
    metrics = evaluation["gaps"].metrics
    for source in (table, View(table), evaluation):
        figure = gap_figure(source)
        first, second, *_ = (bar.get_width() for bar in figure.axes[0].patches)  # pyright: ignore[reportAttributeAccessIssue]
        assert first == pytest.approx(max(metrics["amortization_gap_nats"].value, 0))
        assert second == pytest.approx(max(metrics["approximation_gap_nats"].value, 0))
        assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["test", "train"]
        pixels(figure)


def metric(value, kind="estimate"):
    return Metric(value, "test", 10, kind)


def test_all_dots_are_about_the_data_of_the_baselines():
    evidence = {"nll_nats": metric(100.0), "nll_stderr_nats": metric(2.0), "elbo_nats": metric(-103.0)}
    baselines = {
        "gain_over_gaussian_nats": metric(20.0),
        "gain_over_gaussian_stderr_nats": metric(0.5),
        "baseline_gaussian_nats": metric(-118.0, "lower bound"),
        "baseline_gaussian_stderr_nats": metric(1.0),
        "gain_over_mixture_nats": metric(-4.0),
        "baseline_mixture_nats": metric(-94.0, "exact"),
        "baseline_uniform_bits_per_dim": metric(4.0),
    }
    dots = evidence_dots(evidence, baselines)
    assert [(dot.name, dot.value) for dot in dots] == [
        ("model: -log p(x)", 98.0),
        ("model: -ELBO", 101.0),
        ("mixture", 94.0),
        ("gaussian", 118.0),
    ]
    assert [dot.is_bound for dot in dots] == [False, True, False, True]
    assert [dot.stderr for dot in evidence_dots(evidence, baselines, widened=2.0)][:3] == [4.0, None, None]
    assert dots[3].beside == "model better by 20.00 ± 0.50"
    assert dots[2].beside.startswith("model worse by 4.0")


def test_a_baseline_far_out_is_put_at_the_edge_and_the_model_never_is():
    own = [Dot("model: -log p(x)", 11.0, 0.1, True), Dot("model: -ELBO", 11.1, 0.1, True)]
    near = [Dot("mixture", 9.6, 0.1, False), Dot("ppca", 9.7, 0.1, False), Dot("gaussian", 9.8, 0.1, False)]
    assert _edge(own + near) >= 11.1
    assert 11.1 <= _edge([*own, *near, Dot("uniform", 1e4, None, False)]) < 100


def test_the_evidence_stands_beside_its_baselines(table, evaluation):
    figure = evidence_figure(table)
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names[:2] == ["model: -log p(x)", "model: -ELBO"]
    assert {"uniform", "independent", "mixture"} <= set(names)
    of_one = replace(evaluation.done["baselines"], size=Size(1.0, {"data": 1}))  # of the 4 data of the evidence
    wider = replace(evaluation, done={**evaluation.done, "baselines": of_one})
    error = in_digits(0.0, 2 * evaluation.evidence.metrics["nll_stderr_nats"].value).split("±")[1]
    assert f"±{error} | ≤" in texts(evidence_figure(wider))
    assert pixels(figure).shape == pixels(evidence_figure(evaluation)).shape


def test_without_baselines_it_is_that_of_the_fit():
    run = fitted()
    assert f"{run.metrics['test']['nll_nats']['value']:.1f} ± " in texts(evidence_figure(run))


def test_a_point_mass_has_no_evidence():
    with pytest.raises(InputError, match="point mass"):
        evidence_figure(fitted(posterior="delta"))


def test_calibration_is_read_as_it_was_found(table, evaluation):
    found, kept = evaluation["calibration"], View(table).kept["calibration"].finding
    assert isinstance(kept, Calibration)
    assert torch.equal(kept.z_ranks, found.z_ranks)
    assert kept.metrics == found.metrics
    assert kept.notes == found.notes
    np.testing.assert_array_equal(pixels(calibration_figure(table)), pixels(calibration_figure(found)))


@pytest.mark.parametrize(("draw", "name"), [(gap_figure, "gaps"), (calibration_figure, "calibration")])
def test_what_was_not_evaluated_is_refused_with_the_command(draw, name, tmp_path):
    run = fitted(out=tmp_path / "run")
    with pytest.raises(InputError, match=f"amortized evaluate .*run --only {name}"):
        draw(run)
    with pytest.raises(InputError, match=rf"run.evaluate\(only='{name}'\)"):
        draw(fitted())
    with pytest.raises(InputError, match="was not done"):
        draw(run.evaluate(samples=2, only="evidence"))


@pytest.mark.parametrize("draw", [kl_figure, latent_figure, gap_figure, evidence_figure, calibration_figure])
def test_data_that_are_gone_are_refused(draw, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    am.fit(x, latent_dim=2, epochs=1, quiet=True, out=tmp_path / "run")
    run = am.load_run(tmp_path / "run")
    with pytest.raises(InputError):
        draw(run)
    assert pixels(learning_figure(run)).std() > 0


def test_points_lie_at_their_rate_and_distortion():
    points = [{"beta": beta, "rate_nats": 9.0 / beta, "distortion_nats": 20.0 + beta} for beta in (1, 3)]
    axes = rate_distortion_figure([*points, {"beta": 9, "distortion_nats": 1.0}], ["beta"]).axes[0]
    np.testing.assert_array_equal(axes.get_lines()[0].get_xdata(), [3.0, 9.0])
    np.testing.assert_array_equal(axes.get_lines()[0].get_ydata(), [23.0, 21.0])
    with pytest.raises(InputError, match="no point has a rate"):
        rate_distortion_figure([{"beta": 9, "distortion_nats": 1.0}], ["beta"])
    with pytest.raises(InputError, match="nothing was swept over"):
        rate_distortion_figure(points, [])

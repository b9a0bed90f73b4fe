"""What a page says is true of the run: it warns of what there was no time to evaluate, and compares only what can be compared."""

import json
import re
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

import amortized as am
from amortized.report import (
    comparing,
    interpolation_figure,
    learning_figure,
    marginals_figure,
    measuring,
    neighbors_figure,
    page,
    sections,
    story,
    traversal_figure,
    write_report,
)
from amortized.report.measuring import Measured, measure
from amortized.report.neighbors import Neighbors
from amortized.report.view import View


@pytest.fixture(autouse=True)
def plain(monkeypatch):
    """Pages with few pictures, where these are not what is tested."""
    monkeypatch.setattr(sections, "DPI", 30)
    monkeypatch.setattr(page, "SECTIONS", {"learning": sections.SECTIONS["learning"]})
    monkeypatch.setattr(comparing, "SHOWN", ("learning",))


def fitted(folder, data: Any = "digits", **options: Any):
    return am.fit(data, epochs=1, quiet=True, report=False, out=folder / "run", **{"latent_dim": 2, **options})


def test_what_was_slow_at_another_time_is_tried_again(tmp_path):
    run = fitted(tmp_path)
    run.evaluate(samples=10, only="evidence")
    file = tmp_path / "run/evaluation/test.json"
    record = json.loads(file.read_text())
    record["steps"]["evidence"]["seconds"] = 1e3  # a machine that was busy
    file.write_text(json.dumps(record))
    measure(View(run), 20.0)
    assert {"surgery", "calibration"} <= set(json.loads(file.read_text())["steps"])


@pytest.mark.parametrize(("cost", "wanted"), [(1e-3, ["surgery"]), (1.0, [])])
def test_of_a_slow_decoder_what_would_not_fit_is_not_begun(tmp_path, monkeypatch, cost, wanted):
    """At a millisecond a row, 100 samples of 64 data would take 6.4 s, and gaps more than a minute."""
    asked = []
    monkeypatch.setattr(measuring, "_cost", lambda view: cost)
    monkeypatch.setattr(measuring, "_evaluate", lambda view, names, seconds: asked.extend(names) or {})
    measure(View(fitted(tmp_path)), 2.5)
    assert asked == wanted


def test_the_layers_of_a_hierarchy_are_told(tmp_path):
    run = fitted(tmp_path, hierarchy={"kind": "top-down", "latent_dims": [3, 1]})
    assert "It has 3 stochastic layers (top-down), of 2, 3 and 1 entries from the data upwards." in story.paragraph(View(run))


def test_over_fitting_is_looked_for_only_where_there_are_validation_data():
    of_training = [{"step": 1, "train_elbo_nats": -1.0}]
    said, not_said = page.all_well(Measured({}), of_training).split("Not looked for")
    assert "over-fitting" not in said
    assert "over-fitting" in not_said
    assert "over-fitting" in page.all_well(Measured({}), [of_training[0] | {"valid_elbo_nats": -1.0}]).split("Not looked for")[0]


def test_a_collapse_is_seen_where_there_was_no_time_to_evaluate(tmp_path, monkeypatch):
    run = fitted(tmp_path, objective="beta", **{"objective.beta": 500.0})
    monkeypatch.setattr("amortized.report.measuring.WANTED", ())
    found = measure(View(run), 1.0)
    assert found.metrics["active_units"] == 0
    assert "Posterior collapse" in page.warnings_of(run, found.metrics)[0].title
    assert "posterior collapse" in page.all_well(found, run.history).split("Not looked for")[0]


def near(copies: float | None) -> Neighbors:
    """Of 200 samples that lie near the training data, such a share of which are copies; None where that is not known."""
    far, none, is_known = np.ones(200), cast("Any", None), copies is not None
    of_data, nearer, expected = (far, (0.8, 0.01), 0.01) if is_known else (None, None, None)
    return Neighbors(far, np.ones((200, 2), np.int64), none, far, of_data, nearer, copies, expected, 0.0, 200, "")


@pytest.mark.parametrize(("copies", "is_warned", "is_looked_for"), [(0.4, True, True), (0.01, False, True), (None, False, False)])
def test_the_page_says_of_copies_what_their_picture_says(tmp_path, copies, is_warned, is_looked_for):
    run = fitted(tmp_path)
    metrics, found = {"memorization_auc": 0.8, "memorization_auc_stderr": 0.01}, near(copies)
    titles = [each.title for each in page.warnings_of(run, metrics, found)]
    assert ("Samples may be copies of training data" in titles) == is_warned
    assert "Samples may be copies of training data" in [each.title for each in page.warnings_of(run, metrics)]
    looked = page.all_well(Measured(metrics, neighbors=found), run.history).split("Not looked for")[0]
    assert ("samples that copy" in looked) == is_looked_for
    assert found.sentence.startswith("Memorizing") == is_warned


def test_copies_are_looked_for_where_there_was_no_time_to_evaluate(tmp_path, monkeypatch):
    run = fitted(tmp_path)
    monkeypatch.setattr("amortized.report.measuring.WANTED", ())
    assert "samples that copy" in page.all_well(measure(View(run), 1.0), run.history).split("Not looked for")[0]


def test_rate_and_distortion_have_errors_over_all_data_whatever_was_evaluated(tmp_path):
    run = fitted(tmp_path)
    view = View(run, most=60)  # of 180
    value = {name: text for name, text, _ in story.headline(view, {k: v["value"] for k, v in run.metrics["test"].items()})}
    for name in ("Rate", "Distortion"):
        varies = getattr(view.evidence, name.lower()).double().std().item()
        assert float(value[name].split("±")[1]) == pytest.approx(varies / 180**0.5, rel=0.05)


def test_what_is_written_in_a_figure_fits_into_it(tmp_path):
    names = [f"moment of column {place} of many" for place in range(5)]
    table = np.random.default_rng(0).normal(size=(300, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
    run = fitted(tmp_path, pd.DataFrame(table, columns=names), latent_dim=4)
    view = View(run)
    view.__dict__["is_active"] = np.ones(4, bool)
    figures = [marginals_figure(view), traversal_figure(view), interpolation_figure(view), neighbors_figure(view)]
    for figure in figures:
        figure.draw_without_rendering()
        texts = [ax.title for ax in figure.axes]
        texts += [text for ax in figure.axes if (legend := ax.get_legend()) is not None for text in legend.get_texts()]
        assert max(text.get_window_extent().x1 for text in texts) <= figure.bbox.x1
    assert len({round(ax.get_position().y0, 3) for ax in figures[1].axes}) == 1  # four panels and their legend


def test_runs_of_other_kinds_of_data_have_no_difference(tmp_path):
    table = np.random.default_rng(0).normal(size=(200, 4)).round(3)
    table[::2, 0] = table[::2, 1] = np.nan
    other = fitted(tmp_path, table)
    assert re.search(r"Of the entries of the test split [1-4]\d% are missing\.", story.paragraph(View(other)))
    text = write_report([fitted(tmp_path / "first"), other], tmp_path / "both.html", seconds=0.5).read_text()
    assert "2 runs side by side" in text
    assert "difference from" not in text


def test_the_legend_of_relaxed_classes_has_both_splits(tmp_path):
    run = fitted(tmp_path, posterior="categorical")
    (legend,) = learning_figure(run).legends
    assert [text.get_text() for text in legend.get_texts()][:2] == ["train", "validation"]

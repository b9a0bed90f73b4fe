import json
import re
import sys
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

import amortized as am
from amortized import likelihoods, networks, posteriors, priors, processes
from amortized.cli import main
from amortized.report import closing, comparing, measuring, page, sections, story, write_report
from amortized.report.comparing import differences, names_of
from amortized.report.measuring import WANTED, measure
from amortized.report.page import is_finished
from amortized.report.view import View
from amortized.studies import evaluate_run

SHORT = 0.5
"""Seconds of a page whose evaluation is not what is tested."""


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Small pictures of few data, which are drawn quickly."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sections, "DPI", 30)
        patch.setattr(page, "DATA", 120)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return am.fit("digits", latent_dim=3, epochs=2, quiet=True, out=tmp_path_factory.mktemp("page") / "run")


@pytest.fixture(scope="module")
def text(run):
    return write_report(run, seconds=2).read_text()


@pytest.fixture
def plain(monkeypatch):
    """Pages with few pictures, where these are not what is tested."""
    monkeypatch.setattr(page, "SECTIONS", {"learning": sections.SECTIONS["learning"]})
    monkeypatch.setattr(comparing, "SHOWN", ("learning", "latents"))


def fitted(folder, data: Any = "digits", **options):
    return am.fit(data, epochs=1, quiet=True, out=folder / "run", **{"latent_dim": 2, **options})


def test_the_parts_stand_in_their_order_and_warnings_first(text):
    order = ["warnings", "what", "evidence", "learning", "latents", "data", "traversals", "paths", "aggregate", "neighbors"]
    order += ["worst", "gaps", "calibration", "missing", "recipe"]
    found = re.findall(r'<section id="([\w-]+)"', text)
    assert [name for name in found if name in order] == order
    assert found[0] == "warnings"
    assert "Too short to tell" in text


def test_the_page_says_what_was_trained_on_what(text):
    assert "trained on 1,437 data of digits" in text
    assert "image of 8 × 8 pixels" in text
    assert "Its latent has 3 entries" in text
    assert "of the test split, by" in text
    assert "amortized fit --config" in text
    assert "latent_dim: 3" in text  # the recipe


def test_every_picture_says_what_is_seen(text):
    alts = re.findall(r'<img [^>]*?alt="([^"]*)"', text)
    assert len(alts) >= 9
    assert all(alt.endswith(".") and len(alt) > 20 for alt in alts)
    assert "could not be made" not in text


def test_the_page_asks_nothing_of_the_network_and_is_small(text):
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert {address[:1] if address[:1] == "#" else address[:5] for address in addresses} == {"#", "data:"}
    assert "<script" not in text
    assert len(text) < 5e6


@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_opens_it_from_the_disk(run, text, opened, width):
    opened.page.set_viewport_size({"width": width, "height": 900})
    opened.page.goto((run.path / "report.html").as_uri())
    sizes = opened.page.evaluate("Array.from(document.images, image => image.complete ? image.naturalWidth : 0)")
    assert len(sizes) >= 9
    assert min(sizes) > 100
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    targets = "Array.from(document.querySelectorAll('nav a'), link => !!document.querySelector(link.getAttribute('href')))"
    assert all(opened.page.evaluate(targets))
    assert opened.complaints == []
    assert opened.abroad == []


def test_a_second_page_does_nothing_again_that_was_kept(run, text, plain):
    kept = json.loads((run.path / "evaluation" / "test.json").read_text())["steps"]
    write_report(run, seconds=2)
    again = json.loads((run.path / "evaluation" / "test.json").read_text())["steps"]
    assert set(kept) & set(WANTED)
    assert all(again[name] == step for name, step in kept.items())


def test_a_page_takes_nothing_from_a_larger_evaluation(tmp_path, plain):
    run = fitted(tmp_path)
    run.evaluate(samples=300, only="evidence")
    write_report(run, seconds=SHORT)
    record = json.loads((tmp_path / "run/evaluation/test.json").read_text())["steps"]["evidence"]
    assert record["options"] == {"data": 180, "samples": 300}
    assert run.metrics["test"]["nll_nats"]["samples"] == 300


def test_what_the_fit_found_of_all_data_outlasts_what_a_page_finds_of_a_part(tmp_path, monkeypatch):
    run = fitted(tmp_path)
    before = dict(run.metrics["test"])
    view = View(run)

    def of_a_part(run, **how):  # as on a machine on which no more fits into the time
        monkeypatch.setattr("amortized.studies.budget._largest", lambda sizes, work: None)
        return evaluate_run(run, **how | {"budget": 1e3, "only": ["evidence"]})

    monkeypatch.setattr(measuring, "evaluate_run", of_a_part)
    found = measure(view, 1.0)
    assert len(view.kept["evidence"].finding.distortion) == 64  # pyright: ignore[reportAttributeAccessIssue]
    assert run.metrics["test"] == before == json.loads((tmp_path / "run/metrics.json").read_text())["test"]
    assert found.metrics["nll_nats"] == before["nll_nats"]["value"]  # the number to quote is that of all data
    part = view.kept["evidence"].finding.metrics["nll_nats"].value
    assert abs(part - before["nll_nats"]["value"]) > 0.01
    assert "Of all 180 data of the test split, by 10 posterior samples" in page.evidence_lead(view, found)
    assert story.headline(view, dict(found.metrics))[1][1].startswith(f"{before['nll_nats']['value']:.1f}")
    run.metrics["test"] |= {name: asdict(metric) for name, metric in view.kept["evidence"].finding.metrics.items()}
    assert "Of 64 of the 180 data" in page.evidence_lead(view, found)  # one who asked for a part has written over the whole


def test_names_are_escaped(tmp_path):
    table = np.random.default_rng(0).normal(size=(90, 3)).round(3)
    rows = [",".join(map(str, row)) + f",<img src=x onerror=alert({n % 2})>" for n, row in enumerate(table)]
    file = tmp_path / "<b>mine.csv"
    file.write_text("\n".join(["<script>alert(1)</script>,b,c,kind", *rows]))
    run = fitted(tmp_path, str(file), labels="kind")
    text = write_report(run, seconds=SHORT).read_text()
    assert "<script" not in text
    assert "<img src=x" not in text
    assert "<b>mine" not in text
    assert "&lt;b&gt;mine.csv" in text
    assert "a row of 3 columns" in text


def test_data_that_are_gone_leave_a_page_that_says_so(tmp_path, plain):
    np.savez(tmp_path / "data.npz", x=np.random.default_rng(0).normal(size=(80, 4)).astype(np.float32))
    fitted(tmp_path, str(tmp_path / "data.npz"))
    (tmp_path / "data.npz").unlink()
    text = write_report(tmp_path / "run", seconds=SHORT).read_text()
    assert "What needs the data is missing from this page" in text
    assert "As the fit found it" in text
    assert "Curves over" in text  # needs no data
    assert "could not be made" not in text


CASES = {
    "no test split": {"data.splits": (0.9, 0.1, 0.0)},
    "no split": {"data.splits": (1.0, 0.0, 0.0), "training.patience": None},
    "point mass": {"posterior": "delta", "objective": "wae"},
    "classes": {"posterior": "categorical", "latent_dim": 2},
    "sphere": {"posterior": "vmf", "latent_dim": 3},
    "condition": {"context": "label"},
    "layers": {"hierarchy": "ladder"},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_every_kind_of_model_and_data_has_a_page(tmp_path, options):
    text = write_report(fitted(tmp_path, **options), seconds=SHORT).read_text()
    assert "could not be made" not in text
    assert text.count("<img") >= 3


def test_a_model_composed_by_hand_on_data_in_memory_has_a_page(tmp_path):
    rng = np.random.default_rng(0)
    model = am.VAE(
        priors.StandardNormal(2),
        posteriors.DiagonalGaussian(networks.MLP(5, [16]), event=2),
        likelihoods.Gaussian(networks.MLP(2, [16]), event=5),
    )
    run = am.train(model, rng.normal(size=(120, 5)).astype(np.float32), epochs=1, quiet=True, out=tmp_path / "run")
    text = write_report(run, seconds=SHORT).read_text()
    assert "composed by hand" in text
    assert "amortized.train(model, data" in text
    assert "could not be made" not in text


def test_a_run_without_a_folder_needs_a_path(tmp_path, plain):
    run = am.fit("digits", latent_dim=2, epochs=1, quiet=True)
    with pytest.raises(am.InputError, match="no folder for its report; give a path"):
        run.report()
    text = run.report(tmp_path / "here.html", seconds=2).read_text()
    assert "of the test split, by" in text  # what was evaluated is shown, though it is kept nowhere


@pytest.mark.parametrize(("path", "message"), [("", "it is a folder"), ("no/such/report.html", "there is no folder")])
def test_a_path_that_cannot_be_written_is_refused_at_once(run, tmp_path, path, message):
    with pytest.raises(am.InputError, match=message):
        write_report(run, tmp_path / path)


def test_without_matplotlib_sentences_stand_in_the_place_of_pictures(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    text = write_report(run, tmp_path / "report.html", seconds=SHORT).read_text()
    assert "<img" not in text
    assert "Figures need matplotlib" in text
    assert "of the test split, by" in text


@pytest.mark.report
def test_a_fit_ends_with_its_page(tmp_path, capsys, plain):
    am.fit("digits", latent_dim=2, epochs=1, out=tmp_path / "run")
    assert (tmp_path / "run/report.html").exists()
    assert f"The report is in {tmp_path / 'run/report.html'}." in capsys.readouterr().out
    am.fit("digits", latent_dim=2, epochs=1, out=tmp_path / "other", report=False)
    assert not (tmp_path / "other/report.html").exists()


@pytest.mark.report
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (am.InputError("the disk is full."), "No report was written: the disk is full."),
        (ZeroDivisionError("by\nzero"), "No report was written (ZeroDivisionError: by zero); try again by: amortized report"),
        (KeyboardInterrupt(), "The report was stopped; have it by: amortized report"),
    ],
)
def test_what_goes_wrong_with_the_page_never_costs_the_fit(tmp_path, capsys, monkeypatch, error, said):
    def fails(run):
        raise error

    monkeypatch.setattr(closing, "write_report", fails)
    run = am.fit("digits", latent_dim=2, epochs=1, out=tmp_path / "run")
    assert run.finished
    assert said in capsys.readouterr().out


def test_one_of_several_processes_works_alone(monkeypatch):
    monkeypatch.setattr(processes.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(processes.distributed, "get_world_size", lambda: 4)
    monkeypatch.setattr(processes.distributed, "get_rank", lambda: 3)
    with processes.alone():
        assert (processes.world(), processes.rank(), processes.is_own(2)) == (1, 0, True)
    assert (processes.world(), processes.rank(), processes.is_own(2)) == (4, 3, False)


def test_a_run_that_ends_before_its_epochs_is_not_finished(run):
    loaded = am.load_run(run.path)
    assert is_finished(loaded)
    loaded.history.pop()
    assert not is_finished(loaded)
    loaded.history.clear()
    assert not is_finished(loaded)


def test_runs_stand_side_by_side(run, tmp_path, capsys, opened, plain):
    other = fitted(tmp_path, objective="beta", **{"objective.beta": 4})
    assert main(["report", str(run.path), str(other.path), "--budget", "1s", "--out", str(tmp_path / "both.html")]) == 0
    assert "both.html" in capsys.readouterr().out
    text = (tmp_path / "both.html").read_text()
    assert "2 runs side by side" in text
    assert "difference from" in text
    assert re.search(r"objective\.beta</code></th><td>1.0</td><td>4.0</td>", text)
    opened.page.goto((tmp_path / "both.html").as_uri())
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert opened.complaints == []


def test_only_what_differs_between_recipes_is_listed(run):
    loaded = am.load_run(run.path)
    assert differences([run, loaded]) == []
    assert names_of([run, loaded]) == [f"{n}: {'/'.join(run.path.absolute().parts[-3:])}" for n in (1, 2)]


def test_the_command_writes_into_the_folder(run, capsys, plain):
    assert main(["report", str(run.path), "--budget", "1s"]) == 0
    assert str(run.path / "report.html") in capsys.readouterr().out
    assert main(["report", str(run.path), "--budget", "soon"]) == 2
    assert "a budget must be a time" in capsys.readouterr().err

import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import amortized as am
from amortized import InputError, Terms, tasks
from amortized.evaluation import Metric, evaluate
from amortized.evaluation.records import in_digits
from amortized.recipes import Spec
from amortized.showing import Table, Tabled
from amortized.studies.findings import Together
from amortized.studies.keeping import Kept
from amortized.sweeping import Point, Sweep

EVIL = "<script>alert(1)</script>"


class Reader(HTMLParser):
    """Reads the cells of tables, and refuses tags that are not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.tags = [], [], set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def html(shown):
    return Reader(shown._repr_html_())


def printed(shown, width=140):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(shown)
    return out.getvalue()


@pytest.fixture(scope="module")
def run():
    return am.fit("digits", latent_dim=3, epochs=1, quiet=True)


def test_what_is_given_is_escaped_and_nothing_is_markup():
    class Thing(Tabled):
        def tables(self):
            return [Table(EVIL, (EVIL, "[red]n[/red]"), [(EVIL, "[bold]1[/bold]")], [EVIL])]

    text = Thing()._repr_html_()
    assert "<script" not in text
    assert html(Thing()).rows == [[EVIL, "[red]n[/red]"], [EVIL, "[bold]1[/bold]"]]
    assert html(Thing()).tags == {"div", "table", "thead", "tbody", "tr", "th", "td"}
    assert printed(Thing()).count(EVIL) == 4
    assert "[bold]1[/bold]" in printed(Thing())


def test_no_color_of_its_own_and_nothing_from_elsewhere(run):
    text = run._repr_html_()
    assert "currentColor" in text
    assert set(re.findall(r"[^-]color:([^;\"]*)", text)) == {"inherit"}
    for word in ("http", "url(", "src="):
        assert word not in text


def test_the_terms_show_their_means_and_shapes(run):
    with torch.no_grad():
        terms = run.model.terms(run.rows(n=7), samples=5)
    rows = {row[0]: row[1:] for row in html(terms).rows}
    assert rows["log p(x|z)"][:2] == [f"{float(terms.log_px.mean()):,.4f}", "(5, 7)"]
    assert rows["KL(q || p) of latent 1"] == [f"{float(terms.kl.mean()):,.4f}", "(5, 7)", "exact"]
    elbo = float((terms.log_px - terms.kl.sum(0)).mean())
    assert rows["ELBO"][:2] == [f"{elbo:,.4f}", "(7,)"]
    assert "7 data, 5 posterior samples each" in printed(terms)
    assert f"{elbo:,.4f}" in printed(terms)


def test_terms_that_were_shown_still_have_their_gradients(run):
    shown, other = (run.model.terms(run.rows(n=7)) for _ in range(2))
    shown._repr_html_()
    for terms in (shown, other):
        assert terms.kl.requires_grad
        assert terms.latents[0].kl.requires_grad


def test_terms_that_are_no_bound_have_no_elbo():
    terms = Terms(torch.tensor([[1.0, 3.0]]), (), {"commitment": torch.tensor([2.0, 4.0])}, is_bound=False)
    rows = {row[0]: row[1] for row in html(terms).rows}
    assert rows == {"term": "mean, nats", "log p(x|z)": "2.0000", "penalty: commitment": "3.0000"}
    assert "no bound" in printed(terms)


def test_samples_that_do_not_weigh_alike_are_averaged_by_their_weights():
    weights = torch.tensor([[0.25], [0.75]]).log()
    terms = Terms(torch.tensor([[0.0], [4.0]]), (), log_sample_weight=weights, is_bound=False)
    assert html(terms).rows[1][1] == "3.0000"


def test_a_run_says_what_it_is_and_how_good(run, tmp_path):
    rows = html(run).rows
    described = {row[0]: row[1] for row in rows if len(row) == 2}
    assert "posterior gaussian" in described["model"]
    assert f"{sum(w.numel() for w in run.model.parameters()):,} parameters" in described["model"]
    assert described["training"].startswith("11 steps, 1 epochs; all 11 steps")
    metrics = run.metrics["test"]
    wanted = in_digits(metrics["nll_nats"]["value"], metrics["nll_stderr_nats"]["value"])
    assert ["test", "nll_nats", wanted] in [row[:3] for row in rows]
    assert wanted in printed(run)
    bare = replace(run, history=[], metrics={}, outcome=None)
    assert "no row of a history" in printed(bare)


def test_a_model_composed_by_hand_is_shown(linear_gaussian):
    model = linear_gaussian.model().float()
    run = am.train(model, linear_gaussian.sample(40).float().numpy(), am.objectives.elbo, epochs=1, quiet=True)
    assert "VAE, composed by hand" in printed(run)
    assert "of the user's own" in printed(run)


def test_findings_show_their_metrics_and_notes(run):
    evidence = evaluate(run.model, [run.rows(n=30)], samples=1)
    rows = {row[0]: row[1] for row in html(evidence).rows}
    metrics = evidence.metrics
    assert rows["elbo_nats"] == in_digits(metrics["elbo_nats"].value, metrics["elbo_stderr_nats"].value)
    assert evidence.notes[0] in printed(evidence).replace("\n", " ")
    together = Together((evidence,), (EVIL,))
    assert "<script" not in together._repr_html_()
    assert html(together).rows == html(evidence).rows
    kept = Kept({"gap_nats": Metric(1.5, "test", 3, "estimate"), "gap_stderr_nats": Metric(0.25, "test", 3, "estimate")}, [])
    assert html(kept).rows[1] == ["gap_nats", "1.50 ± 0.25", "estimate"]


def test_an_evaluation_shows_every_step_and_what_was_left_out(run):
    made = run.evaluate(samples=5, only=["evidence", "surgery"])
    made = replace(made, left_out={"gaps": EVIL})
    text = printed(made)
    assert made.titles["evidence"] in text
    assert made.titles["surgery"] in text
    assert ["gaps", EVIL] in html(made).rows
    found = {row[0] for row in html(made).rows}
    assert {"elbo_nats", "active_units"} <= found
    with pytest.raises(InputError):
        made["gaps"]


def test_a_comparison_is_the_same_as_text_and_as_table(run):
    made = am.compare([run, run], samples=2)
    rows = html(made).rows
    assert [row[0] for row in rows] == ["", "run 1", "run 2", "  difference"]
    for row in rows[1:]:
        for cell in row:
            assert cell in str(made)
    assert rows[3][1] == "+0.000 ± 0.000"
    assert rows[2][1] in printed(made)


def test_a_sweep_shows_its_points():
    points = [Point(f"beta={b}", {"objective.beta": b}, {"rate_nats": 3.25 / b, "elbo_stderr_nats": 9.0}, b > 1) for b in (1, 2)]
    made = Sweep(tuple(points), 2, path=Path("out"))
    assert html(made).rows == [["objective.beta", "rate_nats"], ["1", "3.25"], ["2", "1.625"]]
    assert "Posterior collapse at beta=2" in printed(made)


def test_tasks_show_what_they_did(run):
    made = run.impute(n=6, hide=0.3, samples=20)
    rows = dict(html(made).rows)
    assert rows["entries imputed"] == f"{int((~made.observed).sum()):,} of {6 * 64:,}"
    assert rows["effective samples"].startswith(f"{np.nanmedian(made.effective_samples):,.1f} of 20")
    traversal = run.traverse(n=2, dims=2, steps=3)
    first = traversal.ranking.dimensions[0]
    assert [str(first), f"{traversal.z[:, 0].min():.3f}", f"{traversal.z[:, 0].max():.3f}"] in html(traversal).rows
    ranking = tasks.Ranking(np.arange(50), np.linspace(1, 0, 50), "kl_nats")
    assert "30 more carry less." in printed(ranking)
    assert html(ranking).rows[1] == ["0", "1.0000"]


def test_numbers_that_are_none_do_not_break_a_table():
    metrics = {"elbo_nats": Metric(math.inf, "test", 1, "estimate"), "x": Metric(math.nan, "test", 1, "exact")}
    assert len(html(Kept(metrics, [])).rows) == 3


def test_a_narrow_console_holds_all(run):
    text = printed(run, width=40)
    assert max(map(len, text.splitlines())) <= 40
    assert "parameters" in text
    assert isinstance(run.spec, Spec)

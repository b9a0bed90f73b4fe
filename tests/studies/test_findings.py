"""What is said of two analyses together is of the same data, datum by datum."""

from dataclasses import dataclass

import pytest
import torch

import amortized as am
from amortized.evaluation import Metric, annealed
from amortized.reading import read
from amortized.studies.analyses import annealing
from amortized.studies.findings import Agreement, Together
from amortized.studies.material import Material

SIZE = {"data": 20, "chains": 8, "steps": 20}


def material_of(truth, factor: float, samples: int) -> Material:
    """Of a run whose model has the true likelihood, and a posterior that is the exact one but for its width."""
    x = {f"{name}_x": truth.sample(count, seed=seed) for name, count, seed in (("train", 20, 1), ("test", 60, 2))}
    data = {name: values.numpy() for name, values in x.items()}
    run = am.train(truth.model().float(), data, epochs=1, quiet=True, accelerator="cpu")
    run.model.load_state_dict(truth.model(truth.wide_posterior(factor)).state_dict())  # pyright: ignore[reportAttributeAccessIssue]
    return Material(run, None, "test", read(run), samples=samples)


def rows_of(batches) -> torch.Tensor:
    return torch.cat([batch.x for batch in batches])


def same_in(known, part) -> torch.Tensor:
    """Where the data of one list are in another one, by their values."""
    same = (rows_of(part)[:, None] == rows_of(known)).all(-1)
    assert (same.sum(-1) == 1).all()
    return same.double().argmax(-1)


@pytest.mark.parametrize("covered", [60, 35, 8])
def test_log_px_is_that_of_the_part(linear_gaussian, covered):
    """The evidence may be of all data or of a part of them; their beginnings are other data."""
    material = material_of(linear_gaussian, 0.5, samples=20)
    known, part = material.part(covered), material.part(8)
    found = material.evidence = material.evidence_of(known, 20, None)
    assert found.nll is not None
    log_px, within = material.log_px(8), same_in(known, part)
    assert log_px is not None
    assert torch.equal(log_px, -found.nll[within])
    assert torch.equal(within, torch.arange(8)) == (covered == 8)


def test_there_is_no_log_px_of_data_that_the_evidence_is_not_of(linear_gaussian):
    material = material_of(linear_gaussian, 0.5, samples=20)
    assert material.log_px(8) is None
    material.evidence = material.evidence_of(material.part(7), 20, None)
    assert material.log_px(8) is None


def test_the_difference_is_that_of_the_same_data_and_annealing_is_named_where_it_finds_more(linear_gaussian):
    material = material_of(linear_gaussian, 0.3, samples=5)
    evidence = material.evidence = material.evidence_of(material.whole(), 5, None)
    found = annealing(material).run(SIZE, None)
    part = material.part(SIZE["data"])
    by_annealing = annealed(material.model, part, chains=SIZE["chains"], steps=SIZE["steps"]).log_px.estimate
    assert evidence.nll is not None
    difference = by_annealing + evidence.nll[same_in(list(material.whole()), part)]
    mean, error = float(difference.mean()), float(difference.std()) / len(difference) ** 0.5
    agreement = next(finding for finding in found.parts if isinstance(finding, Agreement))  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close(agreement.difference, difference, rtol=0, atol=1e-12)
    assert found.metrics["ais_minus_is_nats"].value == pytest.approx(mean)
    assert found.metrics["ais_minus_is_stderr_nats"].value == pytest.approx(error)
    assert mean > 3 * error
    assert any(
        note.startswith(f"Of the same data annealed importance sampling finds {mean:.2f} nats more") for note in found.notes
    )


def test_nothing_is_said_where_both_agree(linear_gaussian):
    material = material_of(linear_gaussian, 1.1, samples=1000)
    material.evidence = material.evidence_of(material.whole(), 1000, None)
    found = annealing(material).run(SIZE, None)
    assert abs(found.metrics["ais_minus_is_nats"].value) < 0.1
    assert not any("Of the same data" in note for note in found.notes)


def test_the_larger_one_is_named_where_it_is_clear():
    below, unclear = torch.tensor([-2.0, -1.0, -1.5]), torch.tensor([-2.0, 3.0, -0.5])
    assert "plain importance sampling finds 1.50 nats more than annealed" in Agreement(below, "test", 16).notes[0]
    assert Agreement(unclear, "test", 16).notes == []
    rounding = Agreement(torch.tensor([1e-6, 2e-6, 1e-6]), "test", 16)  # as of an exact posterior
    assert rounding.notes == []
    alone = Agreement(torch.tensor([2.0]), "test", 16)
    assert alone.notes == []
    assert list(alone.metrics) == ["ais_minus_is_nats"]


@dataclass
class Said:
    metrics: dict[str, Metric]
    notes: list[str]


def test_findings_together_have_all_numbers_and_each_note_once():
    one, two = Metric(1.0, "test", 3, "estimate"), Metric(2.0, "model", 4, "exact")
    together = Together((Said({"one": one}, ["both", "first"]), Said({"two": two}, ["second", "both"])), ("first", "besides"))
    assert together.metrics == {"one": one, "two": two}
    assert together.notes == ["both", "first", "second", "besides"]

# pyright: reportArgumentType=false, reportCallIssue=false
# Options of many types are unpacked into one call.
import json
import math

import pytest
import torch

import amortized as am
from amortized import InputError
from amortized.studies import ANALYSES, evaluate_run
from amortized.studies import evaluation as module

QUICK = {"epochs": 1, "latent_dim": 2, "model.network.hidden": [16], "accelerator": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    am.fit("digits", out=path, quiet=True, **QUICK)
    return path


def steps_run(monkeypatch):
    """The names of the steps that are really done, in their order."""
    ran = []
    make = module.make_steps

    def watched(material, only):
        steps, left_out = make(material, only)
        for step in steps:
            run = step.run
            object.__setattr__(
                step, "run", lambda options, advance, run=run, name=step.name: (ran.append(name), run(options, advance))[1]
            )
        return steps, left_out

    monkeypatch.setattr(module, "make_steps", watched)
    return ran


def test_what_was_done_is_kept_and_not_done_again(folder, monkeypatch):
    ran = steps_run(monkeypatch)
    first = am.load_run(folder).evaluate(samples=20, only="evidence")
    again = am.load_run(folder).evaluate(samples=20, only="evidence")
    assert ran == ["evidence"]
    assert again.metrics == first.metrics
    assert again.done["evidence"].is_kept
    torch.testing.assert_close(again.evidence.elbo, first.evidence.elbo, rtol=0, atol=0)
    assert json.loads((folder / "metrics.json").read_text())["test"]["nll_nats"]["value"] == first.metrics["nll_nats"].value


@pytest.mark.parametrize("change", [{"seed": 1}, {"samples": 40}, {"split": "valid"}, {"data": "digits.npz"}])
def test_what_was_kept_of_something_else_is_not_taken_for_it(folder, change, tmp_path, monkeypatch):
    if "data" in change:
        import numpy as np

        change = {"data": str(tmp_path / "digits.npz")}
        np.savez(change["data"], x=np.zeros((9, 8, 8), np.uint8))
    am.load_run(folder).evaluate(samples=20, only="evidence")
    ran = steps_run(monkeypatch)
    am.load_run(folder).evaluate(**{"samples": 20, "only": "evidence"} | change)
    assert ran == ["evidence"]


def test_other_weights_make_everything_new(tmp_path, monkeypatch):
    run = am.fit("digits", out=tmp_path / "run", quiet=True, **QUICK)
    run.evaluate(samples=5, only="evidence")
    am.fit(resume=tmp_path / "run", quiet=True, epochs=2)
    ran = steps_run(monkeypatch)
    am.load_run(tmp_path / "run").evaluate(samples=5, only="evidence")
    assert ran == ["evidence"]


@pytest.mark.parametrize("damage", ["", "{", '{"identity": 3}', "[]"])
def test_a_damaged_record_counts_as_none(folder, damage, monkeypatch):
    am.load_run(folder).evaluate(samples=20, only="evidence")
    (folder / "evaluation" / "test.json").write_text(damage)
    ran = steps_run(monkeypatch)
    am.load_run(folder).evaluate(samples=20, only="evidence")
    assert ran == ["evidence"]


def test_each_step_is_written_when_it_is_done(folder, monkeypatch):
    """So that one that is stopped half-way goes on."""

    class Stopped(Exception):
        pass

    class Show:
        def begin(self, step):
            if step.name != "evidence":
                raise Stopped

        def end(self, step, done):
            pass

    with pytest.raises(Stopped):
        am.load_run(folder).evaluate(samples=21, only=["evidence", "surgery"], show=Show())
    kept = json.loads((folder / "evaluation" / "test.json").read_text())["steps"]
    assert kept["evidence"]["options"] == {"data": 180, "samples": 21}


def test_a_budget_too_small_is_refused_with_the_least_that_works(folder):
    with pytest.raises(InputError, match="too small for anything"):
        am.load_run(folder).evaluate(samples=77, seed=5, budget="0.0001s")


@pytest.mark.parametrize("number", [{"samples": math.inf}, {"samples": math.nan}, {"samples": True}, {"target_stderr": math.nan}])
def test_what_is_no_number_of_samples_or_no_error_is_refused(folder, number):
    with pytest.raises(InputError, match=f"{next(iter(number))} must be a positive"):
        am.load_run(folder).evaluate(**number)


def test_unknown_names_are_refused_with_those_there_are(folder):
    with pytest.raises(InputError, match="'evidence'"):
        am.load_run(folder).evaluate(only="evidense")
    with pytest.raises(InputError, match="'surgery' was not done"):
        am.load_run(folder).evaluate(samples=5, only="evidence")["surgery"]


def test_a_run_that_is_in_no_folder_is_evaluated_and_keeps_nothing():
    run = am.fit("digits", quiet=True, **QUICK)
    made = evaluate_run(run, samples=5, only="evidence")
    assert "elbo_nats" in made.metrics
    assert run.metrics["test"]["elbo_nats"]["value"] == made.metrics["elbo_nats"].value
    assert "Evidence" in str(made)


def test_a_part_of_the_data_is_that_of_the_evidence(folder):
    """Numbers of another analysis of some data stand beside the log p(x) of the same data."""
    from amortized.reading import read
    from amortized.studies.material import Material

    run = am.load_run(folder)
    material = Material(run, None, "test", read(run), samples=1000, seed=0, precision="32")
    material.evidence = material.evidence_of(material.whole(), 1000, None)
    part = material.part(7)
    own = am.evaluation.evaluate(run.model, part, samples=3000)
    found = material.log_px(7)
    assert found is not None
    assert len(found) == sum(map(len, part)) == 7
    # The same data in the same order: of others, nats apart, it would be far off.
    torch.testing.assert_close(found, -own.nll, rtol=0, atol=2.0)  # pyright: ignore[reportOptionalOperand]
    larger = torch.cat([batch.index for batch in material.part(20)])
    assert torch.isin(part[0].index, larger).all()


def test_every_analysis_is_documented_on_the_command_line():
    from amortized.cli.evaluations import evaluate

    for name in ANALYSES:
        assert name in (evaluate.__doc__ or "")


def test_the_evidence_goes_on_within_itself_to_the_same_bits(folder, monkeypatch):
    """As when it is killed half-way."""
    from amortized.evaluation import importance
    from amortized.studies import keeping

    monkeypatch.setattr(keeping, "EVERY", -1.0)
    draws, draw = [], importance._draw

    def counted(*arguments):
        draws.append(1)
        if len(draws) == 4:
            raise KeyboardInterrupt
        return draw(*arguments)

    monkeypatch.setattr(importance, "_draw", counted)
    how = {"samples": 700, "seed": 9, "only": "evidence"}
    with pytest.raises(KeyboardInterrupt):
        am.load_run(folder).evaluate(**how)
    again = am.load_run(folder).evaluate(**how)
    chunks = len(draws) - 4 + 3  # those done since, and those done before
    draws[:] = [0] * 10
    fresh = am.load_run(folder).evidence(samples=700, seed=9)
    assert len(draws) - 10 == chunks > 4
    torch.testing.assert_close(again.evidence.nll, fresh.nll, rtol=0, atol=0)
    assert not list(folder.glob("evaluation/**/parts.npz"))


def metrics_of(folder, split="test"):
    return json.loads((folder / "metrics.json").read_text())[split]


def test_each_analysis_replaces_its_own_metrics_and_leaves_the_others(folder):
    run = am.load_run(folder)
    run.evaluate(samples=20, only=["evidence", "interpolation"])
    both = set(metrics_of(folder))
    run.evidence(samples=1)
    assert set(metrics_of(folder)) == both - {"nll_mc_stderr_nats", "nll_bias_nats", "cubo_nats"} - (both & TRUST)
    run.evaluate(samples=20, only="evidence")
    assert set(metrics_of(folder)) == both


TRUST = {"effective_samples", "effective_samples_least", "pareto_k", "pareto_k_bad_fraction"}


def test_another_seed_is_kept_beside_and_displaces_nothing(folder, monkeypatch):
    run = am.load_run(folder)
    run.evaluate(samples=20, only=["evidence", "interpolation"])
    am.compare([run, run], samples=10, seed=3)
    ran = steps_run(monkeypatch)
    run.evaluate(samples=20, only=["evidence", "interpolation"])
    am.compare([run, run], samples=10, seed=3)
    assert ran == []


def test_evidence_of_a_part_of_the_data_is_not_taken_for_that_of_all(folder, monkeypatch):
    from amortized.studies import evaluation
    from amortized.studies.budget import Done, Size

    run = am.load_run(folder)
    monkeypatch.setattr(evaluation, "to_seconds", lambda text: 1e-9)
    monkeypatch.setattr(
        evaluation, "carry_out", lambda steps, *rest: iter([(steps[0], Done(part(steps[0]), steps[0].sizes[0], 0.1))])
    )

    def part(step):
        assert step.sizes[0] == Size(64 * 100, {"data": 64, "samples": 100})
        return step.run(step.sizes[0].options, None)

    assert len(run.evaluate(samples=1000, seed=11, only="evidence", budget="1s").evidence.distortion) == 64
    monkeypatch.undo()
    assert len(run.evaluate(samples=30, seed=11, only="evidence").evidence.distortion) == 180


def test_other_factors_have_other_scores(folder):
    run = am.load_run(folder)
    rows = 1797
    first, second = (torch.randint(0, 4, (rows, 2), generator=torch.Generator().manual_seed(seed)).numpy() for seed in (0, 1))
    found = [
        run.evaluate(split="train", only="disentanglement", factors=each).metrics["mig"].value for each in (first, second, first)
    ]
    assert found[0] == found[2] != found[1]


def test_training_data_are_not_held_against_themselves(folder):
    run = am.load_run(folder)
    with pytest.raises(InputError, match="evaluate another split"):
        run.evaluate(split="train", only="representation")
    metrics = run.evaluate(split="train", only="sample-quality").metrics
    assert not [name for name in metrics if "memorization" in name or "training_data" in name]


def test_what_is_left_out_is_told_with_its_reason(folder, monkeypatch, capsys):
    from amortized.cli import main

    everything = module.make_steps

    def first_alone(material, only):
        steps, left_out = everything(material, only)
        return steps[:1], left_out

    monkeypatch.setattr(module, "make_steps", first_alone)
    text = str(am.load_run(folder).evaluate(samples=20))
    assert "disentanglement: left out; there is no array 'factors'" in text
    assert main(["evaluate", str(folder), "--samples", "20"]) == 0
    assert "disentanglement: left out; there is no array 'factors'" in capsys.readouterr().out


def test_nothing_asked_for_is_refused(folder):
    with pytest.raises(InputError, match="'only' is empty"):
        am.load_run(folder).evaluate(only=[])

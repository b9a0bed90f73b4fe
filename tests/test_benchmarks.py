"""The benchmarks: what is made of pairs of timings, the table, and the workers' protocol; the speeds are not tested."""

import argparse
import ast
import importlib
import os
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
bench, machine, pairs, report, rivals, rows = (
    importlib.import_module(name) for name in ("bench", "machine", "pairs", "report", "rivals", "rows")
)
Timing = pairs.Timing

TRIVIAL = """
import os
import sys
from pathlib import Path

def count(record, units=1):
    def run(amount):
        print("chatter")
        with Path(record).open("a") as file:
            print(os.getpid(), amount, file=file)
        return amount * units
    return run

def own_seconds():
    return lambda amount: (amount, 2.0 * amount)

def reads_orders():
    return lambda amount: len(sys.stdin.read()) + amount

def fails_at(limit):
    def run(amount):
        if amount >= limit:
            raise ValueError("too\\nmuch")
        return amount
    return run

def dies_at(limit):
    return lambda amount: os._exit(3) if amount >= limit else amount

def leaves_word(record):
    import atexit

    atexit.register(Path(record).write_text, "ended")
    return lambda amount: amount

def threads():
    return lambda amount: len(os.sched_getaffinity(0)) * 100 + int(os.environ["OMP_NUM_THREADS"])
"""


@pytest.fixture(autouse=True)
def _trivial(tmp_path, monkeypatch):
    (tmp_path / "trivial.py").write_text(TRIVIAL)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.fixture
def side(tmp_path):
    sides = []

    def start(name, **options):
        sides.append(pairs.Side(pairs.Job("trivial", name, options), sys.executable, 1, tmp_path))
        return sides[-1]

    yield start
    for each in sides:
        each.close()


def test_speeds_are_compared_by_the_median_of_the_pairs_ratios_not_the_ratio_of_medians():
    ours = [Timing(100, 1.0), Timing(100, 2.0), Timing(100, 10.0)]  # 100, 50, 10 a second
    theirs = [Timing(50, 1.0), Timing(10, 1.0), Timing(20, 1.0)]  # the pairs' ratios are 2, 5, 0.5; that of the medians 2.5
    found = pairs.compare("speed", [ours, theirs])
    assert found == {"ours": 50.0, "theirs": 20.0, "value": 2.0, "low": 0.5, "high": 5.0}


def test_times_are_per_unit_and_a_difference_is_that_of_pairs():
    ours, theirs = [Timing(2, 4.0), Timing(1, 5.0)], [Timing(1, 1.0), Timing(2, 2.0)]
    assert pairs.compare("difference", [ours, theirs]) == {"ours": 3.5, "theirs": 1.0, "value": 2.5, "low": 1.0, "high": 4.0}
    assert pairs.compare("seconds", [ours]) == {"ours": 3.5, "value": 3.5, "low": 2.0, "high": 5.0}


class Steady:
    """A side of constant speed, with what each call costs beside."""

    def __init__(self, per_unit, per_call):
        self.per_unit, self.per_call, self.amounts = per_unit, per_call, []

    def run(self, amount):
        self.amounts.append(amount)
        return Timing(amount, self.per_call + self.per_unit * amount)


@pytest.mark.parametrize(("per_unit", "per_call"), [(1e-6, 0.0), (1e-3, 0.05), (0.3, 0.0), (60.0, 0.0)])
def test_calibration_finds_about_the_seconds_wanted_and_does_that_amount_once(per_unit, per_call):
    steady = Steady(per_unit, per_call)
    amount = pairs.calibrate(steady, 3.0)
    assert amount == steady.amounts[-1]
    assert amount == 1 or 2.4 <= per_call + per_unit * amount <= 3.6
    assert len(steady.amounts) < 12


def test_sides_take_turns_in_processes_of_their_own(side, tmp_path):
    file = tmp_path / "turns"
    both = [side("count", record=str(file)), side("count", record=str(file), units=2)]
    timings = pairs.take_turns(both, 3, 1e-9)
    written = [line.split() for line in file.read_text().splitlines()]
    ours, theirs = (str(each.process.pid) for each in both)
    assert [process for process, _ in written[-6:]] == [ours, theirs] * 3
    assert [timing.units for timing in timings[1]] == [2 * int(amount) for _, amount in written[-5::2]]


def test_a_job_may_say_which_seconds_count(side):
    assert side("own_seconds").run(3) == Timing(3, 6.0)


def test_what_a_job_prints_and_reads_is_apart_from_orders_and_answers(side, tmp_path):
    assert side("count", record=str(tmp_path / "record")).run(4).units == 4
    assert side("reads_orders").run(4).units == 4


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_a_worker_is_kept_to_its_threads(side):
    assert side("threads").run(1).units == 101


def test_a_failure_is_one_line_and_ends_the_side(side):
    with pytest.raises(pairs.FailedError, match="^ValueError: too much$"):
        side("fails_at", limit=1)
    works = side("fails_at", limit=2)
    with pytest.raises(pairs.FailedError, match="^ValueError: too much$"):
        works.run(2)
    dead = side("dies_at", limit=2)
    with pytest.raises(pairs.FailedError, match=r"dies_at ended without an answer \(exit status 3\)"):
        dead.run(2)
    with pytest.raises(pairs.FailedError, match="ended"):
        dead.run(1)


def test_a_worker_ends_by_itself_and_is_gone(side, tmp_path):
    ending = side("leaves_word", record=str(tmp_path / "word"))
    ending.close()
    assert (tmp_path / "word").read_text() == "ended"
    assert ending.process.returncode == 0


def row(**changes):
    jobs = {"ours": pairs.Job("trivial", "own_seconds"), "theirs": pairs.Job("trivial", "own_seconds")}
    return rows.Row(**{"name": "a row", "against": "it", "unit": "units/s", **jobs, **changes})


def test_a_row_that_fails_says_why_and_the_others_are_measured():
    arguments = argparse.Namespace(rounds=1, seconds=1.0, threads=1, rivals=Path("nowhere"))
    missing = row(theirs=pairs.Job("jobs_that_nobody_wrote", "train"))
    found = [bench.measure(each, arguments, "") for each in (missing, row())]
    assert found[0]["note"] == "ModuleNotFoundError: No module named 'jobs_that_nobody_wrote'"
    assert "value" not in found[0]
    assert found[1]["value"] == 1.0
    assert bench.measure(row(), arguments, "no accelerator")["note"] == "no accelerator"


def test_a_ratio_reaches_what_it_is_not_below_and_a_time_what_it_is_not_above():
    ratio = row(target=2.4, stretch=2.9)
    assert [report.reached(ratio, value) for value in (2.39, 2.4, 2.9)] == ["no", "yes", "stretch"]
    time = row(measure="difference", target=0.3)
    assert [report.reached(time, value) for value in (0.3, 0.31)] == ["yes", "no"]
    assert report.reached(row(), 9.0) == ""


def test_the_table_shows_what_was_measured_what_was_wanted_and_what_was_not_measured():
    speed = {"ours": 2.0, "theirs": 1.0, "value": 2.0, "low": 1.5, "high": 2.5}
    floor = {"ours": 400.0, "theirs": 200.0, "value": 2.0, "low": 2.0, "high": 2.0}
    records = [
        report.record(row(name="matrix products, bf16", precision="bf16"), floor),
        report.record(row(target=1.8, flop=5e10), speed),
        report.record(row(measure="seconds", unit="s", target=3.0), {"ours": 2.0, "value": 2.0, "low": 1.0, "high": 4.0}),
        report.record(row(target=9.0), None, note="no | accelerator"),
    ]
    text = report.markdown({"machine": {"threads": 2}, "rivals": {"jax": "0"}, "rounds": 5, "rows": records})
    head, _, *lines = text.splitlines()
    assert "200 GFLOP/s in float32 and 400 GFLOP/s in bf16" in head
    assert lines[3] == ("| a row | it | 2 (50% of the products' rate) | 1 | units/s | 2.00 x (1.50 to 2.50) | >= 1.8 |  | yes |")
    assert lines[4] == "| a row | it | 2 |  | s | 2.00 s (1.00 to 4.00) | <= 3 s |  | yes |"
    assert lines[5] == "| a row | it |  |  | units/s | not measured: no \\| accelerator | >= 9 |  |  |"


@pytest.mark.parametrize("each", rows.all_rows(threads=1), ids=lambda each: f"{each.name}, {each.against}")
def test_every_row_is_of_jobs_that_take_what_they_are_given(each):
    for job in filter(None, (each.ours, each.theirs)):
        path = BENCHMARKS / f"{job.module}.py"
        if not path.exists():
            continue
        definitions = {node.name: node.args for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}
        taken = definitions[job.name]
        names = [argument.arg for argument in taken.args]
        needed = names[: len(names) - len(taken.defaults)]
        assert set(needed) <= set(job.options) <= set(names)
    assert (each.precision == "bf16") == ("bf16" in each.name)


def test_the_operations_of_a_step_are_those_that_are_counted():
    jobs = importlib.import_module("jobs_ours")
    model, x = jobs.mlp(), torch.zeros(8, rows.EVENT)
    with FlopCounterMode(display=False) as counter:
        model.terms(x).log_px.mean().backward()
    assert counter.get_total_flops() == 8 * rows.MLP_FLOP
    with FlopCounterMode(display=False) as counter:
        jobs.convolutional().terms(torch.zeros(1, 32, 32, 3))
    assert counter.get_total_flops() == pytest.approx(19.1e6, rel=0.01)


def test_an_environment_is_made_anew_where_a_version_is_another_and_not_where_only_the_build_is():
    wanted = {"torch": "2.13.0", "jax": "0.10.2"}
    assert rivals.is_complete(wanted, {"torch": "2.13.0+cpu", "jax": "0.10.2"})
    assert not rivals.is_complete(wanted, {"torch": "2.13.0", "jax": None})
    assert not rivals.is_complete(wanted, {"torch": "2.12.0", "jax": "0.10.2"})


def test_an_environment_that_cannot_be_made_is_a_reason(tmp_path):
    (tmp_path / "file").touch()
    chosen = [each for each in rows.all_rows(threads=1) if each.needs_rivals]
    versions, reason = bench.prepare_rivals(chosen, tmp_path / "file" / "environment")
    assert versions == {}
    assert reason
    assert bench.prepare_rivals([row()], tmp_path / "file" / "environment") == ({}, "")


def test_the_units_of_a_processor_are_read_off_its_flags():
    assert machine.has({"flags": "fpu avx512f avx512_bf16"}, "bf16 units")
    assert machine.has({"Features": "fp asimd bf16"}, "bf16 units")
    assert not machine.has({"flags": "fpu avx2"}, "AVX-512")

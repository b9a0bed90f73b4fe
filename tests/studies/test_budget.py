# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# A step that was done or was left out is known by the test.
from dataclasses import dataclass, field, replace

import pytest

from amortized import InputError
from amortized.evaluation import Metric
from amortized.studies import budget as module
from amortized.studies.budget import TOO_SMALL, Budget, Done, Size, Step, carry_out, to_seconds


@dataclass
class Clock:
    """A clock that work alone moves on, by `cost` seconds a row."""

    now: float = 0.0
    cost: float = 0.01
    ran: list[tuple[str, int]] = field(default_factory=list)

    def monotonic(self):
        return self.now


@dataclass
class Found:
    rows: int
    notes: tuple[str, ...] = ()

    @property
    def metrics(self):
        return {"rows": Metric(self.rows, "test", 1, "exact")}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def step(clock, name, works=(10, 100, 1000), *, weight=1.0, overhead=0.0, usual=1, refuses=False):
    def run(options, advance):
        if refuses:
            raise InputError(f"{name} needs labels.")
        clock.now += overhead + options["rows"] * clock.cost
        clock.ran.append((name, options["rows"]))
        return Found(options["rows"])

    return Step(name, f"the {name}", [Size(work, {"rows": work}) for work in works], run, usual, weight)


def carried(clock, steps, seconds=None, kept=None, **options):
    budget = Budget(seconds, began=clock.now, **options)
    return {each.name: done for each, done in carry_out(steps, budget, kept or {})}


def test_without_a_budget_each_step_is_done_once_in_its_usual_size(clock):
    done = carried(clock, [step(clock, "a"), step(clock, "b", usual=2)])
    assert clock.ran == [("a", 100), ("b", 1000)]
    assert done["b"].seconds == pytest.approx(10.0)


def test_a_budget_is_shared_by_weight_and_not_overrun(clock):
    steps = [step(clock, name, [10, 20, 50, 100, 200, 500, 1000], weight=weight) for name, weight in (("a", 3), ("b", 1))]
    carried(clock, steps, seconds=8.0)
    assert clock.ran == [("a", 10), ("a", 500), ("b", 10), ("b", 200)]
    assert clock.now <= 8.0


def test_what_one_leaves_of_its_share_is_left_to_the_others(clock):
    carried(clock, [step(clock, "a", [10]), step(clock, "b", [10, 780, 2000])], seconds=8.0)
    assert clock.ran[-1] == ("b", 780)


def test_a_step_that_would_not_fit_is_left_out_and_those_after_it_are_done(clock):
    done = carried(clock, [step(clock, "a", [10]), step(clock, "big", [10_000]), step(clock, "c", [20])], seconds=1.0)
    assert done["big"] == "the budget is too small for it"
    assert clock.ran == [("a", 10), ("c", 20)]


def test_a_step_that_refuses_the_model_is_left_out_with_its_reason_unless_it_is_the_first(clock):
    done = carried(clock, [step(clock, "a"), step(clock, "b", refuses=True), step(clock, "c")])
    assert done["b"] == "b needs labels."
    assert [name for name, _ in clock.ran] == ["a", "c"]
    with pytest.raises(InputError, match="b needs labels"):
        carried(clock, [step(clock, "b", refuses=True)])


def test_a_budget_too_small_for_anything_is_refused_with_the_least_that_works(clock):
    with pytest.raises(InputError, match=r"0.05 s is too small for anything: the a .* takes about 0.1 s .* --budget 1s"):
        carried(clock, [step(clock, "a")], seconds=0.05)
    assert carried(clock, [step(clock, "a")], seconds=0.05, is_firm=False)["a"].finding.rows == 10


def test_a_step_that_runs_over_is_not_thrown_away(clock):
    """The first step is refused where its smallest size alone takes too long; a larger one that does is still a finding."""
    slower = step(clock, "a", [10, 70])
    run = slower.run

    def five_times(options, advance):
        clock.now += 4 * clock.cost * (options["rows"] if options["rows"] > 10 else 0)
        return run(options, advance)

    done = carried(clock, [replace(slower, run=five_times)], seconds=1.0)
    assert clock.now > 1.0
    assert done["a"].finding.rows == 70


def test_a_dear_step_does_not_take_what_is_left_to_the_others(clock):
    steps = [step(clock, "a", [10]), step(clock, "dear", [600]), step(clock, "c", [20]), step(clock, "d", [20])]
    done = carried(clock, steps, seconds=5.0)
    assert done["dear"] == TOO_SMALL
    assert [name for name, _ in clock.ran] == ["a", "c", "d"]


def test_kept_work_counts_only_where_it_is_as_much_of_everything(clock):
    kept = {"a": Done(Found(640), Size(640, {"rows": 64, "samples": 10}), 1.0, is_kept=True)}
    asked = replace(step(clock, "a"), sizes=[Size(540, {"rows": 180, "samples": 3})], usual=0)
    assert not carried(clock, [asked], kept=kept)["a"].is_kept


def test_what_was_kept_of_more_data_is_not_replaced_by_more_work_on_fewer(clock):
    kept = {"a": Done(Found(1000), Size(1000, {"rows": 100, "samples": 10}), 1.0, is_kept=True)}
    asked = replace(step(clock, "a"), sizes=[Size(4000, {"rows": 40, "samples": 100})])
    assert carried(clock, [asked], seconds=100.0, kept=kept)["a"].is_kept


def test_what_was_kept_is_done_again_only_where_much_more_fits(clock):
    kept = {"a": Done(Found(100), Size(100, {"rows": 100}), 1.0, is_kept=True)}
    assert carried(clock, [step(clock, "a")], kept=kept)["a"].is_kept  # the usual size
    assert not carried(clock, [step(clock, "a", usual=2)], kept=kept)["a"].is_kept  # a larger one
    assert carried(clock, [step(clock, "a")], seconds=9.0, kept=kept)["a"].is_kept
    assert carried(clock, [step(clock, "a")], seconds=11.0, kept=kept)["a"].finding.rows == 1000


def test_where_the_first_step_was_kept_the_others_are_left_out_as_ever(clock):
    kept = {"a": Done(Found(100), Size(100, {"rows": 100}), 1.0, is_kept=True)}
    done = carried(clock, [step(clock, "a"), step(clock, "dear", [10_000])], seconds=0.5, kept=kept)
    assert done["a"].is_kept
    assert done["dear"] == TOO_SMALL
    assert clock.ran == []


@pytest.mark.parametrize(("text", "seconds"), [("2m", 120), ("90s", 90), ("1.5h", 5400), ("30", 30), (2.5, 2.5), (" 1 m ", 60)])
def test_durations(text, seconds):
    assert to_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-3s", "2d", "nan", "inf", "two minutes", "1m30s"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(InputError, match="such as '90s'"):
        to_seconds(text)

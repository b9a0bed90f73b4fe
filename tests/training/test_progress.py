import io
import re
from typing import Any

import pytest
from rich.console import Console

from amortized.training import progress
from amortized.training.progress import Bar, Lines, make_reporter


def row(step: int, seconds: float) -> dict[str, Any]:
    values = {f"{split}_{name}_nats": -1.0 for split in ("train", "valid") for name in ("elbo", "rate", "distortion")}
    return {"step": step, "epoch": step // 10, "seconds": seconds} | values


def test_lines_come_at_most_once_a_second_in_order_and_the_last_is_never_lost(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    lines.begin(50, 0, [])
    with lines as reporter:
        reporter.say("Training.")
        for step, seconds in ((10, 0.2), (20, 0.9), (30, 1.3), (40, 1.4), (50, 1.5)):
            reporter.row(row(step, seconds), 1000.0)
        reporter.say("Done.")
    printed = capsys.readouterr().out.splitlines()
    assert [re.split(r"  |/", line)[0] for line in printed] == ["Training.", "step 10", "step 30", "step 50", "Done."]
    assert printed[1] == "step 10/50  epoch 1  train: elbo -1.00 rate -1.00 distortion -1.00  " + (
        "valid: elbo -1.00 rate -1.00 distortion -1.00  1,000 examples/s"
    )


def test_the_last_line_is_printed_when_training_fails(capsys: pytest.CaptureFixture[str]):
    def fail() -> None:
        with Lines() as reporter:
            reporter.row(row(10, 0.2), 1.0)
            reporter.row(row(20, 0.3), 1.0)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert capsys.readouterr().out.count("step") == 2


def test_the_bar_shows_the_terms_and_the_speed(monkeypatch: pytest.MonkeyPatch):
    text = io.StringIO()
    bar = Bar()
    bar.begin(100, 20, [])
    bar._bar.live.console = Console(file=text, force_terminal=True, width=120)
    with bar:
        bar.say("Training on cpu.")
        bar.advance(30, {"elbo": -102.5, "rate": 20.25, "distortion": 82.25, "examples/s": 51234.0})
    assert "Training on cpu." in text.getvalue()
    assert "50%" in text.getvalue()
    assert "elbo -102.50  rate 20.25  distortion 82.25  examples/s 51,234" in text.getvalue()


def test_a_bar_is_for_terminals_alone(monkeypatch: pytest.MonkeyPatch):
    assert isinstance(make_reporter(), Lines)
    monkeypatch.setattr(progress.sys.stdout, "isatty", lambda: True, raising=False)
    assert isinstance(make_reporter(), Bar)

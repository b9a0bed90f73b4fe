import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from amortized import InputError
from amortized.evaluation import Calibration
from amortized.report import calibration_figure

pytest.importorskip("matplotlib")


def found(n=500, entries=3, draws=99, narrow=()):
    noise = torch.Generator().manual_seed(0)
    z, log_px, log_joint = (torch.randint(draws + 1, (n, *shape), generator=noise) for shape in ((entries,), (), ()))
    for entry in narrow:
        z[: n // 2, entry] = torch.randint(2, (n // 2,), generator=noise) * draws
    return Calibration(z, log_px, log_joint, torch.ones(n).double(), 0.5, draws)


def titles(figure):
    return [axes.get_title() for axes in figure.axes]


def test_the_lines_are_the_coverage_and_the_steps_the_counts_of_the_ranks():
    calibration = found(narrow=[1])
    first, *others = calibration_figure(calibration).axes
    named = {line.get_label(): line for line in first.get_lines()}
    levels, share = named["z, mean over entries"].get_data()
    at_90 = int(np.argmin(abs(np.asarray(levels) - 0.9)))
    assert np.asarray(share)[at_90] == pytest.approx(calibration.metrics["coverage_90"].value)
    assert np.asarray(named["log p(x|z)"].get_ydata())[at_90] == pytest.approx(calibration.metrics["coverage_90_log_px"].value)
    assert titles(calibration_figure(calibration)) == ["coverage", "z, entry 1 (worst of 3)", "log p(x|z)", "log p(x, z)"]
    _, steps = others[0].patches
    expected = torch.bincount(calibration.z_ranks[:, 1] // 5, minlength=20)
    np.testing.assert_array_equal(steps.get_data().values, expected.numpy())  # pyright: ignore[reportAttributeAccessIssue]


def test_uniform_ranks_stay_in_the_band_and_others_leave_it():
    for narrow, leaves in (((), False), ((0,), True)):
        band, steps = calibration_figure(found(narrow=narrow)).axes[1].patches
        heights, high, low = steps.get_data().values, band.get_data().values, band.get_data().baseline  # pyright: ignore[reportAttributeAccessIssue]
        assert bool(((heights > high) | (heights < low)).any()) == leaves


@pytest.mark.parametrize("options", [{"entries": 0}, {"n": 1}, {"draws": 1}, {"entries": 200}], ids=str)
def test_a_picture_is_made_of_whatever_was_found(options):
    figure, buffer = calibration_figure(found(**options)), io.BytesIO()
    figure.savefig(buffer, format="png")
    assert np.asarray(Image.open(buffer)).std() > 0
    assert len(figure.axes) == (3 if options == {"entries": 0} else 4)


def test_without_matplotlib_the_way_to_install_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'amortized\[plots\]'"):
        calibration_figure(found())

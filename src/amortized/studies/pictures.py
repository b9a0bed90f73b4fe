"""The pictures of an evaluation, beside what it keeps in the run folder."""

import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from amortized.evaluation import Calibration, Finding
from amortized.files import write_atomically
from amortized.studies.material import Material

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_picture(name: str, finding: Finding, material: Material, file: Path) -> bool:
    """Write the picture of a step as a PNG.

    Args:
        name: Of the step.
        finding: What came of it.
        material: What it was made of.
        file: Where the picture goes.

    Returns:
        Whether there is one: not every step has a picture, and matplotlib may not be installed (the extra `plots`).
    """
    if name not in PICTURES or find_spec("matplotlib") is None:
        return False
    buffer = io.BytesIO()
    PICTURES[name](finding, material).savefig(buffer, format="png", dpi=150)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, buffer.getvalue())
    return True


def _calibration(finding: Finding, material: Material) -> "Figure":
    from amortized.report import calibration_figure

    assert isinstance(finding, Calibration)
    return calibration_figure(finding)


def _quadrature(finding: Finding, material: Material) -> "Figure":
    from amortized.report import posterior_figure
    from amortized.terms import Batch

    return posterior_figure(material.model, Batch.join(material.part(8)))


PICTURES: dict[str, Callable[[Finding, Material], "Figure"]] = {"calibration": _calibration, "quadrature": _quadrature}
"""By the name of the step."""

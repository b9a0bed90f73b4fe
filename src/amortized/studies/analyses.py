"""Which analyses an evaluation consists of, in the order of what they tell, and in which sizes each can be done."""

from collections.abc import Callable, Sequence

from amortized.errors import InputError, nearest
from amortized.studies.budget import Size, Step
from amortized.studies.material import Material

BACKWARD = 3
"""Rows that a row with its gradient counts as."""


def evidence(material: Material) -> Step:
    """The ELBO and log p(x) by importance sampling: first of few data by few samples, then of all data, then by more samples."""
    few, most, count = min(100, material.samples), material.samples, material.count
    sizes = [(data, few) for data in grow(64, count)] + [(count, samples) for samples in grow(few, most)[1:]]

    def run(options, advance):
        batches = material.whole() if options["data"] == count else material.part(options["data"])
        return material.evidence_of(batches, options["samples"], advance)

    made = [Size(data * samples, {"data": data, "samples": samples}) for data, samples in sizes]
    return Step("evidence", "Evidence, by importance sampling", made, run, weight=4.0)


ANALYSES: dict[str, Callable[[Material], Step]] = {"evidence": evidence}
"""By name, the most informative first. Each gives its step, or refuses what the model and the data do not allow."""


def make_steps(material: Material, only: Sequence[str] | str | None) -> tuple[list[Step], dict[str, str]]:
    """The steps of an evaluation, and why others are left out.

    Raises:
        InputError: A name is none of an analysis, or one that is asked for cannot be done.
    """
    asked = [only] if isinstance(only, str) else list(ANALYSES) if only is None else list(only)
    for name in asked:
        if name not in ANALYSES:
            raise InputError(f"unknown analysis '{name}'; {nearest(name, ANALYSES)}")
    steps, left_out = [], {}
    for name, make in ANALYSES.items():
        if name not in asked:
            continue
        try:
            steps.append(make(material))
        except InputError as error:
            if only is not None:
                raise
            left_out[name] = str(error)
    return steps, left_out


def grow(least: int, most: int, factor: int = 4) -> list[int]:
    """Numbers from `least` to `most`, each `factor` times the one before, both ends among them."""
    numbers = [min(least, most)]
    while numbers[-1] < most:
        numbers.append(min(numbers[-1] * factor, most))
    return numbers

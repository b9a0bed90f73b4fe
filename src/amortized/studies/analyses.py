"""Which analyses an evaluation consists of, in the order of what they tell, and in which sizes each can be done.

The work of a size is a rough count of rows of the decoder: of what is not the decoder's (the fit of a baseline, the distances of
samples), what takes as long. It is right within an analysis, and between them good enough to share out a budget.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from amortized.errors import InputError, nearest
from amortized.evaluation import Finding, annealed, bidirectional, calibration, gaps, gaps_by_split, quadrature
from amortized.evaluation import activity as measure_activity
from amortized.evaluation import baselines as fit_baselines
from amortized.evaluation import surgery as divide_rate
from amortized.evaluation.records import standard_error
from amortized.studies.budget import Size, Step
from amortized.studies.findings import Agreement, Together
from amortized.studies.material import Material
from amortized.studies.representations import disentanglement, interpolation, representation, sample_quality

BACKWARD = 3
"""Rows that a row with its gradient counts as."""

QUICK = 200
"""Steps of the smallest fit of posteriors to data, which leaves out the training data."""

LEAPFROG, PILOT = 2, 1920
"""Gradients of a transition of annealing, and for each datum of its pilot run."""


def evidence(material: Material) -> Step:
    """The ELBO and log p(x) by importance sampling: first of few data by few samples, then of all data, then by more samples."""
    few, most, count = min(100, material.samples), material.samples, material.count
    sizes = [(data, few) for data in grow(64, count)] + [(count, samples) for samples in grow(few, most)[1:]]

    def run(options, advance) -> Finding:
        if options["data"] < count:
            return material.evidence_of(material.part(options["data"]), options["samples"], advance)
        parts = material.parts(options["samples"])
        found = material.evidence_of(material.whole(), options["samples"], advance, parts)
        if parts is not None:
            parts.discard()
        return found

    made = [Size(data * samples, {"data": data, "samples": samples}) for data, samples in sizes]
    return Step("evidence", "Evidence, by importance sampling", made, run, weight=4.0)


def baselines(material: Material) -> Step:
    """Simpler models, fitted to training data."""
    rows = material.train_count
    pairs = ((200, 100), (1000, 500), (10_000, 10_000))
    sizes = {min(most, rows): min(data, material.count) for most, data in pairs}

    def run(options, advance) -> Finding:
        data, few = options["data"], min(100, material.samples)
        part = material.part(data)
        log_px = material.log_px(data)
        if log_px is None:
            nll = material.evidence_of(part, few, None).nll
            log_px = None if nll is None else -nll
        train, latents = material.train(options["rows"]), material.latents
        how = {"latent_dim": latents, "model_log_px": log_px, "rows": options["rows"], "seed": material.seed}
        return fit_baselines(material.model, train, part, split=material.name, progress=advance, **how)

    made = [Size(200.0 * most, {"rows": most, "data": data}) for most, data in sizes.items()]
    return Step("baselines", "Gain over simpler models", made, run)


def surgery(material: Material) -> Step:
    """The parts of the rate, the units in use, and what the decoder makes of them."""

    def run(options, advance) -> Finding:
        part, how = material.part(options["data"]), {"samples": options["samples"], "seed": material.seed, "split": material.name}
        activity = measure_activity(material.model, part, progress=advance, **how)
        try:
            return Together((activity, divide_rate(material.model, part, **how)))
        except InputError as error:  # a posterior without a density still has units that are in use or not
            return Together((activity,), (str(error),))

    made = [Size(10.0 * data * (1 + data / 100), {"data": data, "samples": 10}) for data in grow(64, min(2000, material.count))]
    return Step("surgery", "Where the rate goes, and the units in use", made, run)


def annealing(material: Material) -> Step:
    """Annealed importance sampling of some data, and of as many that the model draws, from both sides."""
    material.check_space("annealed importance sampling")

    def run(options, advance) -> Finding:
        part = material.part(options["data"])
        how = {"chains": options["chains"], "steps": options["steps"], "seed": material.seed, "progress": advance}
        both = bidirectional(material.model, part, **how)
        gap = {"gap_nats": both.gap_nats, "gap_stderr_nats": standard_error(both.gap)}
        found = replace(annealed(material.model, part, split=material.name, **how), **gap)
        log_px = material.log_px(options["data"])
        agreement = () if log_px is None else (Agreement(found.log_px.estimate - log_px, material.name, options["chains"]),)
        return Together((found, *agreement, both))

    sizes = [(min(4, material.count), 16, 50), *((data, 16, 250) for data in up_to(material.count, 4, 16, 50, 150, 400, 1000))]
    made = [
        # One way for the data, both ways for those that it draws.
        Size(BACKWARD * data * 3.0 * (chains * steps * LEAPFROG + PILOT), {"data": data, "chains": chains, "steps": steps})
        for data, chains, steps in sizes
    ]
    return Step("annealing", "log p(x) from both sides, by annealed importance sampling", made, run, min(3, len(made) - 1), 2.0)


def where_the_nats_go(material: Material) -> Step:
    """The approximation and the amortization gap, of data and of training data."""
    material.check_space("a posterior fitted to each datum")

    def run(options, advance) -> Finding:
        part = material.part(options["data"])
        how = {"samples": options["samples"], "steps": options["steps"], "seed": material.seed, "progress": advance}
        if material.is_trained_on or options["steps"] <= QUICK:
            return gaps(material.model, part, split=material.name, **how)
        try:
            train = material.train(options["data"])
        except InputError as error:
            return Together((gaps(material.model, part, split=material.name, **how),), (f"Training data: {error}",))
        return gaps_by_split(material.model, {"train": train, material.name: part}, **how)

    sizes = [(min(8, material.count), QUICK, 300), *((data, 1000, 1000) for data in up_to(material.count, 8, 30, 100))]
    made = [
        Size(
            (2 if steps > QUICK else 1) * BACKWARD * data * (16.0 * steps + samples),
            {"data": data, "steps": steps, "samples": samples},
        )
        for data, steps, samples in sizes
    ]
    return Step("gaps", "Where the nats go between log p(x) and the ELBO", made, run, min(2, len(made) - 1), 2.0)


def calibrate(material: Material) -> Step:
    """Whether q is the posterior, of data that the model makes."""

    def run(options, advance) -> Finding:
        given = material.part(min(1000, material.count))
        how = {"simulations": options["simulations"], "draws": options["draws"], "seed": material.seed, "progress": advance}
        return calibration(material.model, given, **how)

    made = [Size(100.0 * simulations, {"simulations": simulations, "draws": 99}) for simulations in (100, 300, 1000)]
    return Step("calibration", "Whether q(z|x) is the posterior, on data that the model makes", made, run)


def integrate(material: Material) -> Step:
    """The exact log p(x), where the latent has one or two entries."""
    material.check_space("quadrature")
    if material.latents > 2:
        raise InputError(f"quadrature is for latents of 1 or 2 entries, and this model's have {material.latents}.")

    def run(options, advance) -> Finding:
        part = material.part(options["data"])
        return quadrature(material.model, part, split=material.name, seed=material.seed, progress=advance)

    made = [Size(20_000.0 * data, {"data": data}) for data in up_to(material.count, 4, 16, 64)]
    return Step("quadrature", "The exact log p(x) and KL(q(z|x) || p(z|x)), by quadrature", made, run, min(1, len(made) - 1))


ANALYSES: dict[str, Callable[[Material], Step]] = {
    "evidence": evidence,
    "surgery": surgery,
    "baselines": baselines,
    "annealing": annealing,
    "gaps": where_the_nats_go,
    "calibration": calibrate,
    "quadrature": integrate,
    "representation": representation,
    "disentanglement": disentanglement,
    "sample-quality": sample_quality,
    "interpolation": interpolation,
}
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
    if not asked:
        raise InputError(f"an evaluation needs an analysis; 'only' is empty; choose of {', '.join(ANALYSES)}.")
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


def up_to(most: int, *numbers: int) -> list[int]:
    """Those of ascending numbers that are below `most`, and `most` itself where they go so far."""
    return [number for number in numbers if number < most] + [most] * (most <= numbers[-1])


def grow(least: int, most: int, factor: int = 4) -> list[int]:
    """Numbers from `least` to `most`, each `factor` times the one before, both ends among them."""
    numbers = [min(least, most)]
    while numbers[-1] < most:
        numbers.append(min(numbers[-1] * factor, most))
    return numbers

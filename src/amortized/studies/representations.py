"""The analyses of what a model's latents say of the data, and of what it makes of them."""

from typing import Any

import torch
from torch import Tensor

from amortized.errors import InputError
from amortized.evaluation import Finding, clusters, probes, representations, smoothness
from amortized.evaluation import disentanglement as score_disentanglement
from amortized.evaluation import sample_quality as compare_samples
from amortized.studies.budget import Size, Step
from amortized.studies.findings import Together
from amortized.studies.material import Material
from amortized.terms import Batch


def representation(material: Material) -> Step:
    """What can be read of the labels off the latents, and off the data themselves."""
    if material.first.labels is None:
        raise InputError("there are no labels; name their column or array with --labels in fit.")
    if material.is_trained_on:
        raise InputError(f"probes are fitted to training data, and split '{material.split}' has these; evaluate another split.")

    def run(options, advance) -> Finding:
        train, test = material.train(options["train"]), material.part(options["data"])
        seen, unseen = (representations(material.model, batches, progress=advance) for batches in (train, test))
        how: dict[str, Any] = {"seed": material.seed, "split": material.name}
        assert seen.labels is not None
        assert unseen.labels is not None
        x, y = _x(train), _x(test)
        found = probes(seen.z, seen.labels, unseen.z, unseen.labels, train_x=x, test_x=y, **how)
        return Together((found, clusters(unseen.z, unseen.labels, **how)))

    sizes = {min(train, material.train_count): min(data, material.count) for train, data in ((500, 200), (5000, 2000))}
    made = [Size(50.0 * train, {"train": train, "data": data}) for train, data in sizes.items()]
    return Step("representation", "What the latents say of the labels", made, run)


def disentanglement(material: Material) -> Step:
    """How the latents divide the true factors among them."""
    material.factors_of([material.first])

    def run(options, advance) -> Finding:
        part = material.part(options["data"])
        factors, names = material.factors_of(part)
        found = representations(material.model, part, progress=advance)
        how: dict[str, Any] = {"factor_names": names, "split": material.name}
        return score_disentanglement(found.z, factors, scales=found.scales, **how)

    sizes = [data for data in (1000, 5000) if data < material.count]
    made = [Size(200.0 * data, {"data": data}) for data in (*sizes, min(material.count, 50_000))]
    return Step("disentanglement", "How the latents divide the true factors", made, run)


def sample_quality(material: Material) -> Step:
    """Samples beside data, in a feature space of our own."""

    def run(options, advance) -> Finding:
        n = options["samples"]
        train, real = None if material.is_trained_on else material.train(4 * n), material.part(n)
        how: dict[str, Any] = {"n": n, "seed": material.seed, "split": material.name, "progress": advance}
        return compare_samples(material.model, real, reference=train, **how)

    sizes = [samples for samples in (100, 300, 1000) if samples < material.count]
    made = [Size(300.0 * samples, {"samples": samples}) for samples in (*sizes, min(material.count, 2000))]
    return Step("sample-quality", "Samples beside data", made, run)


def interpolation(material: Material) -> Step:
    """How smoothly data turn into each other."""
    material.check_paths()

    def run(options, advance) -> Finding:
        part = material.part(min(2 * options["pairs"], material.count))
        how: dict[str, Any] = {"pairs": options["pairs"], "seed": material.seed, "split": material.name, "progress": advance}
        return smoothness(material.model, part, **how)

    most = max(1, material.count // 2)
    made = [Size(100.0 * pairs, {"pairs": pairs}) for pairs in sorted({min(20, most), min(100, most)})]
    return Step("interpolation", "Paths between data", made, run)


def _x(batches: list[Batch]) -> Tensor:
    return torch.cat([batch.x.nan_to_num().cpu() for batch in batches])

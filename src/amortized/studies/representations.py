"""The analyses of what a model's latents say of the data, and of what it makes of them."""

from amortized.errors import InputError
from amortized.evaluation import clusters, find_representations, probes, score_samples, smoothness
from amortized.evaluation import disentanglement as score_disentanglement
from amortized.studies.budget import Size, Step
from amortized.studies.factors import find_factors
from amortized.studies.findings import Together
from amortized.studies.material import Material


def representation(material: Material) -> Step:
    """What can be read of the labels off the latents, and off the data themselves."""
    if material.first.labels is None:
        raise InputError("there are no labels; name their column or array with --labels in fit.")

    def run(options, advance):
        train, test = material.train(options["train"]), material.part(options["data"])
        z, y = find_representations(material.model, train), find_representations(material.model, test)
        x = [_joined(batches) for batches in (train, test)]
        how = {"seed": material.seed, "split": material.name}
        return Together((probes(z.z, z.labels, y.z, y.labels, train_x=x[0], test_x=x[1], **how), clusters(y.z, y.labels, **how)))

    sizes = {min(train, material.train_count): min(data, material.count) for train, data in ((500, 200), (5000, 2000))}
    made = [Size(50.0 * train, {"train": train, "data": data}) for train, data in sizes.items()]
    return Step("representation", "What the latents say of the labels", made, run)

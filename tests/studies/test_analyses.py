# pyright: reportArgumentType=false
# Options of many types are unpacked into one call.
import math

import numpy as np
import pytest

import amortized as am
from amortized import InputError
from amortized.reading import read
from amortized.studies.analyses import ANALYSES, grow, make_steps, up_to
from amortized.studies.material import Material

ALL = set(ANALYSES)
OF_POINTS = {"evidence", "baselines", "surgery", "sample-quality", "interpolation"}
"""What can be said of a posterior that is a point."""


def holes():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 2)) @ rng.standard_normal((2, 5)) + 0.3 * rng.standard_normal((300, 5))
    x[rng.random(x.shape) < 0.2] = np.nan
    return {"x": x.astype(np.float32), "y": rng.integers(0, 3, 300)}


def counts():
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 300)
    return {"x": rng.poisson(2.0 + 3 * y[:, None], (300, 6)), "y": y}


# By name: the data, options of the fit, and the analyses that there are none of.
KINDS = {
    "digits in two dimensions": ("digits", {"latent_dim": 2}, {"disentanglement"}),
    "a table with holes": (holes(), {"latent_dim": 3}, {"quadrature", "disentanglement"}),
    "counts by class, in one dimension": (counts(), {"latent_dim": 1, "context": "label"}, {"disentanglement"}),
    "two layers": ("digits", {"hierarchy": "bottom-up", "latent_dim": 3}, {"quadrature", "disentanglement"}),
    "points": ("digits", {"posterior": "delta", "latent_dim": 3}, ALL - OF_POINTS - {"representation"}),
    "classes": (
        "digits",
        {"posterior": "categorical", "latent_dim": 3},
        {"annealing", "gaps", "quadrature", "disentanglement", "interpolation"},
    ),
    "the sphere": ("digits", {"posterior": "vmf", "latent_dim": 3}, {"annealing", "gaps", "quadrature", "disentanglement"}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_model_has_the_analyses_that_it_allows(kind):
    data, options, without = KINDS[kind]
    run = am.fit(data, epochs=2, quiet=True, accelerator="cpu", **{"model.network.hidden": [16]}, **options)
    material = Material(run, None, "test", read(run), samples=50)
    steps, left_out = make_steps(material, None)
    found = {}
    for step in steps:
        try:
            found[step.name] = step.run(step.sizes[0].options, None)
        except InputError as error:
            left_out[step.name] = str(error)
    assert set(left_out) == without, left_out
    for name, finding in found.items():
        assert finding.metrics, name
        assert all(math.isfinite(metric.value) for metric in finding.metrics.values()), (name, finding.metrics)
    names = [name for finding in found.values() for name in finding.metrics]
    assert len(set(names)) == len(names)  # they share one `metrics.json`


def test_sizes_grow_to_their_ends():
    assert grow(64, 1000) == [64, 256, 1000]
    assert grow(64, 10) == [10]
    assert up_to(30, 4, 16, 50) == [4, 16, 30]
    assert up_to(2, 4, 16, 50) == [2]
    assert up_to(90, 4, 16, 50) == [4, 16, 50]


def test_the_work_of_every_step_grows_with_its_size():
    run = am.fit("digits", epochs=1, quiet=True, accelerator="cpu", latent_dim=2, **{"model.network.hidden": [16]})
    for step in make_steps(Material(run, None, "test", read(run), samples=1000), None)[0]:
        works = [size.work for size in step.sizes]
        assert works == sorted(set(works)), step.name


def test_an_analysis_that_is_asked_for_and_cannot_be_done_is_refused_with_what_works():
    run = am.fit("digits", epochs=1, quiet=True, accelerator="cpu", posterior="categorical", latent_dim=2)
    with pytest.raises(InputError, match="importance sampling"):
        run.evaluate(only="annealing")

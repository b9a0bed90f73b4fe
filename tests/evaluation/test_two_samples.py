import math

import pytest
import torch

from amortized import InputError
from amortized.evaluation import two_samples
from amortized.evaluation.two_samples import NAMES, compare, frechet, least, nearest_distances, share_nearer

SHARES = ("precision", "recall", "coverage")


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(dimension, seed=0):
    return torch.linalg.qr(noise(dimension, dimension, seed=seed)).Q


def modes(*centers, size=100, seed=0):
    """Narrow clusters on the first axis."""
    x = 0.1 * noise(len(centers) * size, 3, seed=seed)
    x[:, 0] += torch.tensor(centers, dtype=torch.float64).repeat_interleave(size)
    return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))]


def repeated(times, draw):
    """The values and the errors (times, 5) of comparisons of two new samples each."""
    found = [compare(*draw(2 * seed)) for seed in range(times)]
    return (
        torch.tensor([[getattr(each, kind)[name] for name in NAMES] for each in found], dtype=torch.float64)
        for kind in ("values", "stderrs")
    )


def two_normals(seed, count=200, other=150, dimension=4, shift=0.0):
    return noise(count, dimension, seed=seed), shift + noise(other, dimension, seed=seed + 1)


@pytest.mark.parametrize("neighbors", [1, 5, 12])
def test_a_sample_agrees_with_itself_in_all_and_each_ball_holds_its_own_center_besides(neighbors):
    x = noise(60, 3)
    found = compare(x, x.clone(), neighbors=neighbors)
    assert {found.values[name] for name in SHARES} == {1.0}
    assert found.values["density"] == pytest.approx((neighbors + 1) / neighbors, abs=1e-12)
    assert found.values["frechet_distance"] == pytest.approx(0.0, abs=1e-12)


def test_samples_far_from_all_data_have_nothing_in_common_with_them():
    found = compare(noise(60, 3), 100.0 + noise(50, 3, seed=1))
    assert {found.values[name] for name in (*SHARES, "density")} == {0.0}
    assert {found.stderrs[name] for name in (*SHARES, "density")} == {0.0}
    assert abs(found.values["frechet_distance"] - 3e4) < 4.5 * found.stderrs["frechet_distance"]


def test_of_one_distribution_density_and_coverage_are_what_theory_says_and_the_frechet_distance_is_unbiased():
    values, _ = repeated(50, two_normals)
    error = dict(zip(NAMES, (values.std(0) / math.sqrt(50)).tolist(), strict=True))
    mean = dict(zip(NAMES, values.mean(0).tolist(), strict=True))
    expected = 1 - math.prod((200 - step) / (350 - step) for step in range(1, 6))
    assert abs(mean["density"] - 1) < 4.5 * error["density"]
    assert abs(mean["coverage"] - expected) < 4.5 * error["coverage"]
    assert abs(mean["frechet_distance"]) < 4.5 * error["frechet_distance"]
    bias = torch.tensor([compare(*two_normals(2 * seed)).frechet_bias for seed in range(5)])
    assert bias.min() > 10 * error["frechet_distance"]  # what a distance that is not corrected would be off by


def test_the_errors_are_at_least_those_of_repetition_and_less_than_twice_them():
    values, stderrs = repeated(50, lambda seed: two_normals(seed, shift=0.5))
    ratio = dict(zip(NAMES, (stderrs.square().mean(0).sqrt() / values.std(0)).tolist(), strict=True))
    slack = 4.5 / math.sqrt(2 * 50)  # standard errors of a standard deviation
    assert abs(ratio["frechet_distance"] - 1) < slack
    for name in (*SHARES, "density"):
        assert 1 - slack < ratio[name] < 2 * (1 + slack)


def test_a_sample_of_half_of_the_modes_is_precise_and_covers_half():
    found = compare(modes(0, 10, 20, 30), modes(0, 10, size=200, seed=1))
    assert found.values["precision"] > 0.9
    expected = (1 - 0.5**5) / 2  # made points are twice as many within a mode: 1 - 3^-5 there
    assert expected < found.values["coverage"] <= 0.5
    assert 0.4 < found.values["recall"] <= 0.5
    whole = compare(modes(0, 10, 20, 30), modes(0, 10, 20, 30, seed=1))
    assert min(whole.values[name] for name in SHARES) > 0.9


def test_a_sample_that_adds_modes_is_imprecise_and_covers_all():
    found = compare(modes(0, 10, size=200), modes(0, 10, 20, 30, seed=1))
    assert 0.4 < found.values["precision"] <= 0.5
    assert found.values["coverage"] > 0.75
    assert found.values["density"] < 0.6


def test_the_ball_of_an_outlier_deceives_precision_and_not_density():
    cluster, outlier = 0.1 * noise(200, 2), torch.tensor([[10.0, 0.0]], dtype=torch.float64)
    made = torch.tensor([[5.0, 0.0]], dtype=torch.float64) + 0.1 * noise(100, 2, seed=1)  # where there are no data
    found = compare(torch.cat((cluster, outlier)), made)
    assert found.values["precision"] == 1.0
    assert found.values["density"] == pytest.approx(1 / 5)
    assert found.values["coverage"] == pytest.approx(1 / 201)


def test_neither_order_nor_rotation_nor_units_matter():
    real, made = noise(80, 3), 0.3 + noise(70, 3, seed=1)
    first = compare(real, made).values
    order = torch.randperm(80, generator=torch.Generator().manual_seed(2))
    assert {name: compare(real[order], made).values[name] for name in SHARES} == {name: first[name] for name in SHARES}
    moved = compare(7 * real @ rotation(3) + 5, 7 * made @ rotation(3) + 5).values
    for name in (*SHARES, "density"):
        assert moved[name] == pytest.approx(first[name], abs=1e-12)
    assert moved["frechet_distance"] == pytest.approx(49 * first["frechet_distance"], rel=1e-9)


def test_precision_and_recall_exchange_with_the_samples():
    real, made = noise(80, 3), 0.3 + 0.7 * noise(70, 3, seed=1)
    one, other = compare(real, made), compare(made, real)
    assert one.values["precision"] == other.values["recall"]
    assert one.stderrs["precision"] == other.stderrs["recall"]
    assert one.values["frechet_distance"] == pytest.approx(other.values["frechet_distance"], rel=1e-9)


def test_the_definition_by_all_pairs_is_met_however_it_is_cut(monkeypatch):
    real, made, k = noise(50, 2), 0.5 + noise(40, 2, seed=1), 5
    between, radius = torch.cdist(real, made), torch.cdist(real, real).sort(1).values[:, k]
    inside = between <= radius[:, None]
    reached = between <= torch.cdist(made, made).sort(1).values[:, k]
    expected = [
        inside.any(0).double().mean(),
        reached.any(1).double().mean(),
        inside.double().sum() / (k * 40),
        inside.any(1).double().mean(),
    ]
    for entries in (2**20, 7):
        monkeypatch.setattr(two_samples, "ENTRIES", entries)
        found = compare(real, made)
        assert [found.values[name] for name in NAMES[:4]] == pytest.approx([value.item() for value in expected], abs=1e-12)


def test_copies_of_few_values_lie_within_balls_of_radius_zero():
    values = noise(4, 3)
    real, made = values.repeat(30, 1), values[:2].repeat(60, 1)
    found = compare(real, made * (1 + 1e-15))
    assert found.values["precision"] == 1.0
    assert found.values["recall"] == found.values["coverage"] == 0.5


def test_one_value_alone_is_compared_with_itself():
    found = compare(torch.zeros(20, 3).double(), torch.zeros(20, 3).double())
    assert {found.values[name] for name in SHARES} == {1.0}
    assert found.values["frechet_distance"] == 0.0


@pytest.mark.parametrize("neighbors", [1, 5, 8, 18, 40])
def test_with_the_fewest_points_allowed_every_ball_is_finite(neighbors):
    count = least(neighbors)
    found = compare(noise(count, 2), 1e3 + noise(count, 2, seed=1), neighbors=neighbors)
    assert found.values["precision"] == found.stderrs["precision"] == found.stderrs["recall"] == 0.0
    with pytest.raises(InputError, match=f"at least {count} data and samples; there are {count - 1}"):
        compare(noise(count - 1, 2), noise(count, 2), neighbors=neighbors)


def test_the_frechet_distance_of_gaussians_that_share_their_axes_is_that_of_their_deviations():
    axes, a, b, shift = rotation(6), noise(6).exp(), noise(6, seed=1).exp(), noise(6, seed=2)
    first, second = (axes * a) @ axes.T, (axes * b) @ axes.T
    expected = float(shift.square().sum() + (a.sqrt() - b.sqrt()).square().sum())
    assert frechet(0 * shift, first, shift, second) == pytest.approx(expected, rel=1e-12)


def test_the_frechet_distance_of_gaussians_in_a_plane_has_a_closed_form():
    """There tr sqrt(A B) = sqrt(tr(A B) + 2 sqrt(det A det B)), whether or not A and B commute."""
    roots = noise(2, 2), noise(2, 2, seed=1)
    first, second = (root @ root.T for root in roots)
    root = math.sqrt(float((first @ second).trace() + 2 * (first.det() * second.det()).sqrt()))
    zero = torch.zeros(2).double()
    expected = float(first.trace() + second.trace()) - 2 * root
    assert frechet(zero, first, zero, second) == pytest.approx(expected, rel=1e-10)


def test_singular_covariances_have_a_frechet_distance_to_full_precision():
    line, plane, zero = (
        torch.diag(torch.tensor([4.0, 0, 0])).double(),
        torch.diag(torch.tensor([0, 1.0, 9.0])).double(),
        torch.zeros(3),
    )
    assert frechet(zero, line, zero, plane) == pytest.approx(14.0, rel=1e-12)  # nothing in common: the sum of the variances
    turned = rotation(3) @ line @ rotation(3).T
    assert frechet(zero, turned, zero, turned) == pytest.approx(0.0, abs=1e-12)


def test_the_frechet_distance_of_samples_is_that_of_their_gaussians_within_its_error():
    found = compare(noise(1_000, 3), 0.5 + 2 * noise(1_000, 3, seed=1))
    assert abs(found.values["frechet_distance"] - 3 * 1.25) < 4.5 * found.stderrs["frechet_distance"]


def test_fewer_points_than_dimensions_still_compare():
    found = compare(noise(20, 50), noise(20, 50, seed=1))
    assert all(math.isfinite(value) for value in (*found.values.values(), *found.stderrs.values()))


def test_the_nearest_distance_is_the_smallest_of_all_pairs(monkeypatch):
    a, b = noise(30, 3), noise(40, 3, seed=1)
    monkeypatch.setattr(two_samples, "ENTRIES", 100)
    torch.testing.assert_close(nearest_distances(a, b), (a[:, None] - b).norm(dim=2).amin(1))
    assert (nearest_distances(a, a) == 0).all()


def test_the_share_that_is_nearer_is_that_of_all_pairs_ties_counted_half():
    a, b = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 1.0, 3.0, 0.5])
    pairs = (a[:, None] < b).double() + 0.5 * (a[:, None] == b)
    assert share_nearer(a, b)[0] == pytest.approx(pairs.mean().item())
    assert share_nearer(torch.zeros(5), torch.ones(4)) == (1.0, 0.0)
    assert share_nearer(torch.ones(5), torch.ones(4)) == (0.5, 0.0)


def test_the_error_of_a_share_is_that_of_repetition():
    found = torch.tensor([share_nearer(noise(60, seed=2 * i), 0.5 + noise(40, seed=2 * i + 1)) for i in range(400)])
    truth = 0.5 * (1 + math.erf(0.5 / 2))  # P(a < b) = Phi(0.5 / sqrt 2)
    assert abs(found[:, 0].mean() - truth) < 4.5 * found[:, 0].std() / 20
    assert abs(found[:, 1].square().mean().sqrt() / found[:, 0].std() - 1) < 4.5 / math.sqrt(800)

"""Codes whose classes lie as is known."""

import math

import numpy as np
import pytest
import torch

from amortized import InputError
from amortized.evaluation import clusters
from amortized.evaluation.records import standard_error


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def values(z, y, **options):
    return {name: metric.value for name, metric in clusters(z, y, **options).metrics.items()}


Y = np.arange(400) % 4


def test_classes_far_apart_are_found():
    found = values(100 * np.eye(4)[Y] + noise(400, 4), Y)
    assert found["kmeans_ari"] == found["kmeans_nmi"] == 1.0
    assert found["kmeans_ari_stderr"] == 0.0
    assert found["triplet_agreement"] == 1.0
    assert 0.95 < found["silhouette"] < 1


def test_noise_agrees_by_chance_and_that_is_said():
    found = clusters(noise(400, 4), Y)
    value = {name: metric.value for name, metric in found.metrics.items()}
    assert abs(value["kmeans_ari"]) < 0.02
    assert value["kmeans_nmi"] < 9 / 400 / math.log(4) * 2.5  # G = 2 N I is chi-squared of 9 degrees: below 22.5 at 99%
    assert abs(value["silhouette"]) < 0.05
    assert value["triplet_agreement"] == pytest.approx(0.5, abs=0.01)
    assert "distances say nothing" in str(found)


def test_a_constant_code_has_no_clusters():
    found = values(np.zeros((400, 3)), Y)
    assert found["kmeans_ari"] == found["kmeans_nmi"] == found["silhouette"] == 0.0
    assert found["triplet_agreement"] == 0.5


def test_triplets_are_counted_one_by_one():
    z, y = noise(30, 2), np.arange(30) % 3
    distance = np.linalg.norm(z[:, None] - z, axis=-1)
    expected = []
    for a in range(30):
        pairs = [(distance[a, s], distance[a, d]) for s in range(30) for d in range(30) if s != a and y[s] == y[a] != y[d]]
        expected.append(np.mean([near < far for near, far in pairs]))
    found = clusters(z, y)
    assert found.triplets is not None
    torch.testing.assert_close(found.triplets, torch.tensor(expected, dtype=torch.float64))


def test_triplets_of_two_gaussians_are_told_at_the_known_rate():
    """On a line, a distance of 2 m apart: P(|a - s| < |a - d|) by a large simulation of its own."""
    rng, m = np.random.default_rng(0), 1.0
    a, s, d = rng.standard_normal((3, 2_000_000))
    expected = np.mean(np.abs(a - s) < np.abs(a - d - 2 * m))
    z = noise(4_000, 1) + np.where(np.arange(4_000) % 2, m, -m)[:, None]
    found = clusters(z, np.arange(4_000) % 2)
    assert found.triplets is not None
    # Anchors share the rows that they are compared with, so that their mean varies more than anchors drawn apart would.
    assert float(found.triplets.mean()) == pytest.approx(expected, abs=4.5 * 3 * standard_error(found.triplets))


def test_scale_rotation_and_names_of_classes_do_not_matter():
    z = noise(400, 2) + 2 * np.eye(2)[Y % 2]
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    found, other = values(z, Y % 2), values(7 * z @ turn, np.array(["b", "a"])[Y % 2])
    assert found == pytest.approx(other, abs=1e-9)


def test_labels_with_an_order_are_ranked():
    z = np.stack([np.arange(100.0), np.zeros(100)], 1)
    exact = values(z, np.arange(100.0) ** 1)
    assert set(exact) == {"distance_correlation", "distance_correlation_stderr"}
    assert exact["distance_correlation"] == pytest.approx(1.0)
    assert abs(values(noise(300, 3), noise(300, seed=1))["distance_correlation"]) < 0.05
    assert values(np.zeros((50, 2)), np.arange(50.0))["distance_correlation"] == 0.0
    both = values(z, np.arange(100) // 10, ordinal=True)
    assert both["distance_correlation"] > 0.95
    assert {"kmeans_ari", "silhouette", "triplet_agreement"} <= set(both)


def test_a_subset_of_many_rows_is_taken_and_the_seed_says_which():
    z, y = noise(3_000, 2), np.arange(3_000) % 3
    found, again, other = (clusters(z, y, seed=seed) for seed in (0, 0, 1))
    assert found.triplets is not None
    assert again.triplets is not None
    assert other.triplets is not None
    assert len(found.triplets) == 2_000
    assert torch.equal(found.triplets, again.triplets)
    assert not torch.equal(found.triplets, other.triplets)


@pytest.mark.parametrize(
    ("z", "y", "sentence"),
    [
        (noise(4, 2), [1, 1, 1, 1], "all 4 labels are 1"),
        (noise(4, 2), [1, 2, 3, 4], "all 4 labels differ"),
        (noise(4, 2), [1, 2, 1], r"'y' has shape \(3,\) beside 4 rows"),
        (noise(4, 2) * np.nan, [1, 2, 1, 2], "'z' has nan"),
        (noise(4), [1, 2, 1, 2], "has shape"),
    ],
)
def test_what_has_no_clusters_is_refused(z, y, sentence):
    with pytest.raises(InputError, match=sentence):
        clusters(z, y)


def test_words_have_no_order():
    with pytest.raises(InputError, match="have no order"):
        clusters(noise(4, 2), ["a", "b", "a", "b"], ordinal=True)

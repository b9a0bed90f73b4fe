"""Codes whose classes lie as is known."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from amortized import InputError
from amortized.evaluation import clustering, clusters


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def values(z, y, **options):
    return {name: metric.value for name, metric in clusters(z, y, **options).metrics.items()}


Y = np.arange(200) % 4


def test_classes_far_apart_are_found():
    found = values(100 * np.eye(4)[Y] + noise(200, 4), Y)
    assert found["kmeans_ari"] == found["kmeans_nmi"] == 1.0
    assert found["kmeans_ari_stderr"] == 0.0
    assert found["triplet_agreement"] == 1.0
    assert 0.95 < found["silhouette"] < 1


def test_noise_agrees_by_chance_and_that_is_said():
    found = clusters(noise(200, 4), Y)
    value = {name: metric.value for name, metric in found.metrics.items()}
    assert abs(value["kmeans_ari"]) < 0.03
    assert value["kmeans_nmi"] < 22.5 / 400 / math.log(4)  # G = 2 N I is chi-squared of 9 degrees, below 22.5 at 99%
    assert abs(value["silhouette"]) < 0.05
    assert value["triplet_agreement"] == pytest.approx(0.5, abs=0.02)
    assert "distances say nothing" in str(found)


def test_a_constant_code_has_no_clusters():
    found = values(np.zeros((200, 3)), Y)
    assert found["kmeans_ari"] == found["kmeans_nmi"] == found["silhouette"] == 0.0
    assert found["triplet_agreement"] == 0.5


def test_triplets_are_counted_one_by_one():
    z, y = noise(30, 2), np.arange(30) % 3
    distance = np.linalg.norm(z[:, None] - z, axis=-1)
    expected = []
    for a in range(30):
        pairs = [(distance[a, s], distance[a, d]) for s in range(30) for d in range(30) if s != a and y[s] == y[a] != y[d]]
        expected.append(np.mean([near < far for near, far in pairs]))
    assert values(z, y)["triplet_agreement"] == pytest.approx(np.mean(expected))


def test_ranks_are_spearmans_of_each_anchor():
    z, y = noise(25, 2), np.round(noise(25, seed=1), 1)
    distance = np.linalg.norm(z[:, None] - z, axis=-1)
    others = [np.delete(np.arange(25), a) for a in range(25)]
    expected = [np.corrcoef(rankdata(distance[a, r]), rankdata(np.abs(y[r] - y[a])))[0, 1] for a, r in enumerate(others)]
    assert values(z, y)["distance_correlation"] == pytest.approx(np.mean(expected))


def test_agreement_is_that_of_the_distribution_and_errors_are_its_spread_over_data_sets():
    """Two Gaussians on a line, 2 apart: P(|a - s| < |a - d|) by a large simulation of its own."""
    rng = np.random.default_rng(0)
    a, s, d = rng.standard_normal((3, 300_000))
    expected = np.mean(np.abs(a - s) < np.abs(a - d - 2))
    y = np.arange(60) % 2
    found = [values(2 * y[:, None] + noise(60, 1, seed=seed), y) for seed in range(25)]
    for name in ("triplet_agreement", "silhouette", "kmeans_ari", "kmeans_nmi"):
        spread = np.std([value[name] for value in found], ddof=1)
        error = np.sqrt(np.mean([value[f"{name}_stderr"] ** 2 for value in found]))
        assert 1 / 1.75 < error / spread < 1.75, name  # 25 values give their spread to 14%, groups each error to 16%
        if name == "triplet_agreement":
            assert abs(np.mean([value[name] for value in found]) - expected) < 4.5 * spread / math.sqrt(25)


def test_scale_rotation_and_names_of_classes_do_not_matter():
    z = noise(200, 2) + 2 * np.eye(2)[Y % 2]
    turn = np.array([[0.6, 0.8], [-0.8, 0.6]])
    found, other = values(z, Y % 2), values(7 * z @ turn, np.array(["b", "a"])[Y % 2])
    assert found == pytest.approx(other, abs=1e-9)


def test_labels_with_an_order_are_ranked():
    z = np.stack([np.arange(100.0), np.zeros(100)], 1)
    exact = values(z, np.arange(100.0))
    assert set(exact) == {"distance_correlation", "distance_correlation_stderr"}
    assert exact["distance_correlation"] == pytest.approx(1.0)
    assert abs(values(noise(300, 3), noise(300, seed=1))["distance_correlation"]) < 0.05
    assert values(np.zeros((50, 2)), np.arange(50.0))["distance_correlation"] == 0.0
    both = values(z, np.arange(100) // 10, ordinal=True)
    assert both["distance_correlation"] > 0.95
    assert {"kmeans_ari", "silhouette", "triplet_agreement"} <= set(both)


def test_a_subset_of_many_rows_is_taken_and_the_seed_says_which(monkeypatch):
    monkeypatch.setattr(clustering, "MOST_PAIRED", 50)
    z, y = noise(90, 2), np.arange(90) % 3
    found, again, other = (clusters(z, y, seed=seed).triplets for seed in (0, 0, 1))
    assert found == again
    assert found != other


def test_few_rows_state_no_error():
    assert set(values([[0.0], [0.1], [1.0]], [0, 0, 1])) == {"kmeans_ari", "kmeans_nmi", "silhouette", "triplet_agreement"}


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

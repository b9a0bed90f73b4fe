"""Representations in which it is known what can be read."""

import math

import numpy as np
import pytest
import torch

from amortized import InputError
from amortized.evaluation import probes

ROWS = 600


def labels(rows=2 * ROWS, classes=4):
    return np.arange(rows) % classes


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def halves(*arrays):
    return [part for array in arrays for part in (array[:ROWS], array[ROWS:])]


def values(z, y, **options):
    train_z, test_z, train_y, test_y = halves(z, y)
    return {name: metric.value for name, metric in probes(train_z, train_y, test_z, test_y, **options).metrics.items()}


def test_one_hot_labels_are_read_by_both_probes():
    found = values(np.eye(4)[labels()], labels())
    assert found["linear_probe_accuracy"] == found["neighbor_probe_accuracy"] == 1.0
    assert found["chance_accuracy"] == 0.25


def test_noise_is_read_at_chance_and_that_is_said():
    train_z, test_z, train_y, test_y = halves(noise(2 * ROWS, 6), labels())
    found = probes(train_z, train_y, test_z, test_y)
    error = math.sqrt(0.25 * 0.75 / ROWS)
    assert abs(found.linear.value - 0.25) < 4.5 * error
    assert abs(found.neighbors.value - 0.25) < 4.5 * error
    assert "no better than chance" in str(found)


def test_a_constant_code_scores_the_chance_level():
    found = values(np.full((2 * ROWS, 3), 0.7), np.minimum(labels(), 2))
    assert found["chance_accuracy"] == 0.5
    assert found["linear_probe_accuracy"] == 0.5
    assert found["neighbor_probe_accuracy"] <= 0.5


def test_a_ring_is_read_by_neighbors_and_not_by_a_line():
    y, angle = labels(classes=2), np.random.default_rng(0).uniform(0, 2 * math.pi, 2 * ROWS)
    z = (1 + y)[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    found = values(z, y)
    assert found["neighbor_probe_accuracy"] == 1.0
    assert found["linear_probe_accuracy"] < 0.6


def test_an_accuracy_is_that_of_the_best_reader_within_its_binomial_error():
    """Two Gaussians a distance of 2 apart are told by the sign at Phi(1)."""
    y = labels(classes=2)
    z = noise(2 * ROWS, 1) + (2 * y - 1)[:, None]
    found = values(z, y)
    best = 0.5 * (1 + math.erf(1 / math.sqrt(2)))
    assert abs(found["linear_probe_accuracy"] - best) < 4.5 * math.sqrt(best * (1 - best) / ROWS)
    share = found["linear_probe_accuracy"]
    assert found["linear_probe_accuracy_stderr"] == pytest.approx(math.sqrt(share * (1 - share) / ROWS))


def test_the_scale_and_order_of_dimensions_do_not_matter_to_the_linear_probe():
    z = noise(2 * ROWS, 3) + np.eye(4)[labels()][:, :3]
    found, other = values(z, labels()), values(z[:, [2, 0, 1]] * [100.0, 1.0, 0.01] + 5, labels())
    assert found["linear_probe_accuracy"] == pytest.approx(other["linear_probe_accuracy"], abs=2.1 / ROWS)


def test_real_labels_are_regressed_on():
    z = noise(2 * ROWS, 3)
    y = z @ [1.0, -2.0, 0.0] + noise(2 * ROWS, seed=1)
    found = values(z, y)
    assert abs(found["linear_probe_r2"] - 5 / 6) < 4.5 * found["linear_probe_r2_stderr"]
    assert 0.5 < found["neighbor_probe_r2"] < found["linear_probe_r2"]
    assert abs(found["chance_r2"]) < 0.02
    constant = values(np.zeros((2 * ROWS, 2)), y)
    assert constant["linear_probe_r2"] == pytest.approx(constant["chance_r2"], abs=1e-12)


def test_the_error_of_r2_is_its_spread_over_test_data():
    train_z, train_y = noise(ROWS, 1), noise(ROWS, 1)[:, 0] + noise(ROWS, seed=1)
    found, errors = [], []
    for seed in range(2, 42):
        z = noise(400, 1, seed=seed)
        score = probes(train_z, train_y, z, z[:, 0] + noise(400, seed=seed + 100)).linear
        found.append(score.value)
        errors.append(score.stderr)
    assert 1 / 1.6 < np.sqrt(np.mean(np.square(errors))) / np.std(found, ddof=1) < 1.6


def test_the_data_themselves_are_the_reference():
    x, y = np.eye(4)[labels()], labels()
    train_z, test_z, train_y, test_y, train_x, test_x = halves(noise(2 * ROWS, 2), y, x.reshape(-1, 2, 2))
    found = probes(train_z, train_y, test_z, test_y, train_x=train_x, test_x=test_x)
    assert found.metrics["data_linear_probe_accuracy"].value == found.metrics["data_neighbor_probe_accuracy"].value == 1.0
    assert "The data themselves tell the labels better" in str(found)
    same = probes(train_x, train_y, test_x, test_y, train_x=train_x, test_x=test_x)
    assert same.linear == same.linear_on_data
    assert not same.notes


def test_tensors_words_and_few_rows_will_do():
    z = torch.tensor([[0.0], [0.1], [5.0]])
    found = probes(z, ["a", "a", "b"], z, ["a", "a", "b"])
    assert found.chance.value == pytest.approx(2 / 3)


def test_a_class_that_was_never_seen_is_read_wrong():
    z = np.eye(3)
    assert probes(z[:2], [0, 1], z, [0, 1, 2]).linear.value == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train_y": [0, 1, 0]}, r"'train_y' has shape \(3,\) beside 4 rows"),
        ({"train_y": [1, 1, 1, 1]}, "all of 'train_y' is 1"),
        ({"test_y": [0.0, 1.0]}, "both as classes or both as reals"),
        ({"train_y": [0.0, 1.0, np.nan, 0.0], "test_y": [0.0, 1.0]}, "'train_y' has nan at row 2"),
        ({"train_y": [0.0, 1.0, 2.0, 0.0], "test_y": [1.0, 1.0]}, "all of 'test_y' is 1.0"),
        ({"test_z": np.zeros((2, 5))}, "training rows have 3 columns and test rows 5"),
        ({"train_z": np.full((4, 3), np.nan)}, "'train_z' has nan at row 0, column 0"),
        ({"test_z": np.zeros((0, 3)), "test_y": []}, "'test_z' has shape"),
        ({"train_x": np.zeros((4, 2))}, "'test_x', and one of them is missing"),
        ({"train_x": np.zeros((3, 2)), "test_x": np.zeros((2, 2))}, "'train_x' has 3 rows beside 4"),
    ],
)
def test_what_cannot_be_read_is_refused(change, sentence):
    given = {"train_z": noise(4, 3), "train_y": [0, 1, 0, 1], "test_z": noise(2, 3), "test_y": [0, 1]} | change
    with pytest.raises(InputError, match=sentence):
        probes(**given)

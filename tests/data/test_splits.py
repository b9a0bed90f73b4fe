import numpy as np
import pytest

from amortized.data.splits import divide, sizes_of


@pytest.mark.parametrize(("n", "fractions", "sizes"), [
    (10, (0.8, 0.1, 0.1), [8, 1, 1]),
    (2, (0.8, 0.1, 0.1), [2, 0, 0]),
    (1797, (0.8, 0.1, 0.1), [1437, 180, 180]),
    (100, (0.29, 0.71, 0.0), [29, 71, 0]),
    (7, (1 / 3, 1 / 3, 1 / 3), [3, 2, 2]),
])  # fmt: skip
def test_sizes_are_those_of_the_largest_remainder(n, fractions, sizes):
    assert sizes_of(n, fractions) == sizes


@pytest.mark.parametrize("seed", range(5))
def test_every_row_is_in_exactly_one_split_of_the_right_size(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(9, p=rng.dirichlet(np.ones(9) / 2), size=317)
    parts = divide(317, (0.7, 0.2, 0.1), seed, labels)
    assert sorted(np.concatenate(parts)) == list(range(317))
    assert [len(part) for part in parts] == sizes_of(317, (0.7, 0.2, 0.1))
    for code in range(9):  # no class is further from its share than the two rows that rounding may cost it
        shares = np.array([0.7, 0.2, 0.1]) * (labels == code).sum()
        assert all(abs((labels[part] == code).sum() - share) < 2 for part, share in zip(parts, shares, strict=True))


def test_classes_whose_shares_are_whole_are_divided_exactly():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    parts = divide(160, (0.8, 0.1, 0.1), 3, labels)
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[80, 40, 8], [10, 5, 1], [10, 5, 1]]


def test_a_class_of_one_row_goes_to_training():
    parts = divide(101, (0.8, 0.1, 0.1), 0, np.r_[np.zeros(100, int), 1])
    assert 100 in parts[0]


def test_the_seed_decides():
    first, again, other = (divide(50, (0.5, 0.5, 0), seed)[0].tolist() for seed in (0, 0, 1))
    assert first == again != other

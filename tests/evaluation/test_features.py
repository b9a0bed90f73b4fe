import pytest
import torch
from sklearn.datasets import load_digits

from amortized.evaluation import FeatureSpace, feature_space, features


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def data(kind):
    return {
        "image": noise(50, 12, 9),
        "color": noise(50, 3, 8, 8).float(),
        "counts": (3 * noise(50, 90)).exp().floor(),
        "table": noise(50, 5),
        "wide": noise(50, 4, 30),
    }[kind]


NAMES = {
    "image": "random-conv-64",
    "color": "random-conv-64",
    "counts": "log-counts-64",
    "table": "columns-5",
    "wide": "columns-64",
}


@pytest.mark.parametrize("kind", NAMES)
def test_features_of_the_real_data_have_the_mean_zero_and_a_total_variance_of_one(kind):
    x = data(kind)
    space = feature_space(x)
    phi = space(x)
    assert space.name == NAMES[kind]
    assert phi.dtype == torch.float64
    assert phi.shape == (50, int(space.name.split("-")[-1]))
    torch.testing.assert_close(phi.mean(0), torch.zeros_like(phi[0]), rtol=0, atol=1e-12)
    assert float(phi.var(0, correction=0).sum()) == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("kind", NAMES)
def test_features_are_the_same_each_time_however_the_data_are_cut_and_leave_the_generator_alone(kind, monkeypatch):
    x = data(kind)
    state = torch.random.get_rng_state()
    first = feature_space(x)(x)
    monkeypatch.setattr(features, "ROWS", 7)
    torch.testing.assert_close(feature_space(x)(x), first, rtol=0, atol=1e-9)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_units_of_a_column_do_not_matter():
    x, units = data("table"), torch.tensor([1e-6, 1.0, 1e9, 3.0, 7.0], dtype=torch.float64)
    torch.testing.assert_close(feature_space(x * units + 5)(x * units + 5), feature_space(x)(x), rtol=1e-6, atol=1e-9)


def test_distances_between_standardized_columns_are_kept():
    x = data("table")
    standard = (x - x.mean(0)) / x.std(0, correction=0)
    torch.testing.assert_close(feature_space(x)(x), standard / 5**0.5)


def test_the_axes_hold_all_that_varies_where_that_is_less_than_they():
    x = noise(100, 10) @ noise(10, 200, seed=1)
    standard = (x - x.mean(0)) / x.std(0, correction=0)
    found = torch.cdist(feature_space(x)(x), feature_space(x)(x))
    torch.testing.assert_close(found, torch.cdist(standard, standard) / 200**0.5, rtol=1e-6, atol=1e-6)


def test_what_lies_under_a_hole_does_not_matter_and_a_hole_is_filled_with_the_mean():
    x, observed = data("table"), noise(50, 5, seed=1) > -0.5
    space = feature_space(x, observed)
    other = torch.where(observed, x, torch.nan)
    torch.testing.assert_close(feature_space(other, observed)(other, observed), space(x, observed), rtol=0, atol=0)
    means = torch.stack([column[seen].mean() for column, seen in zip(x.T, observed.T, strict=True)])
    assert space.fill is not None
    torch.testing.assert_close(space.fill, means)


def test_a_column_that_no_one_observed_is_no_column():
    x, observed = data("table"), torch.ones(50, 5, dtype=torch.bool)
    observed[:, 2] = False
    phi = feature_space(x, observed)(x, observed)
    assert phi.isfinite().all()
    assert (phi[:, 2] == 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_a_constant_column_of_real_data_shows_what_departs_from_it(value):
    x = data("table")
    x[:, 3] = value
    space = feature_space(x)
    assert space(x)[:, 3].abs().max() < 1e-12 * max(value, 1.0)
    moved = x.clone()
    moved[:, 3] += max(value, 1.0)
    assert (space(moved)[:, 3] > 0.1).all()


@pytest.mark.parametrize("shape", [(8, 8), (5,)])
def test_data_that_never_vary_have_features(shape):
    x = torch.full((20, *shape), 0.1)
    assert (feature_space(x)(x).abs() < 1e-9).all()
    assert feature_space(x)(x + 1).isfinite().all()


@pytest.mark.parametrize("kind", ["image", "table", "wide"])
def test_numbers_near_the_end_of_float32_have_features(kind):
    x = (1e36 * data(kind)).float()
    phi = feature_space(x)(x)
    assert phi.isfinite().all()
    assert float(phi.var(0, correction=0).sum()) == pytest.approx(1.0, rel=1e-9)


def test_one_datum_has_features():
    for kind in NAMES:
        x = data(kind)[:1]
        assert feature_space(x)(x).isfinite().all()


def test_counts_are_told_from_bits_and_from_numbers():
    bits = (noise(50, 6) > 0).float()
    assert feature_space(bits).name == "columns-6"
    assert feature_space(bits + 1).name == "log-counts-6"
    assert feature_space(2 * bits - 1).name == "columns-6"
    assert feature_space(torch.where(bits > 0, torch.nan, 3.0), bits == 0).name == "log-counts-6"
    assert (feature_space(bits + 1)(bits - 3) == feature_space(bits + 1)(0 * bits)).all()  # a mean below zero counts as 0


def test_digits_of_one_kind_lie_together():
    """The nearest other digit is of the same kind for 98.6% of all, and by pixels for 98.8%."""
    images, labels = (torch.as_tensor(each) for each in load_digits(return_X_y=True))
    images = images.reshape(-1, 8, 8)[:1000]
    phi = feature_space(images)(images)
    distances = torch.cdist(phi, phi).fill_diagonal_(torch.inf)
    assert (labels[distances.argmin(1)] == labels[:1000]).double().mean() > 0.95


def test_a_space_of_ones_own_is_a_name_and_a_function():
    space = FeatureSpace("mine", "the first entry", lambda x: x[:, :1])
    assert torch.equal(space(torch.eye(3)), torch.eye(3, dtype=torch.float64)[:, :1])

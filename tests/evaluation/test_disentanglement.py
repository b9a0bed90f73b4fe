"""Codes made by hand, whose scores are known: by a closed form, or by symmetry up to the error of the draws."""

import math

import numpy as np
import pytest
import torch

from amortized import InputError
from amortized.evaluation import FactorTable, disentanglement, information, predictability

SIZES = (4, 5, 6)
REPEATS = 12
BINNED = ("mig", "modularity")


def grid(sizes=SIZES, repeats=REPEATS):
    """(N, F) all combinations of factors, each so many times."""
    return np.tile(np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), 1), (repeats, 1))


def noise(rows, dimensions, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dimensions))


def values(z, v, **options):
    return {name: metric.value for name, metric in disentanglement(z, v, **options).metrics.items()}


def rotated(v):
    """The first two factors mixed by 45 degrees."""
    return np.stack([v[:, 0] + v[:, 1], v[:, 0] - v[:, 1]], 1) / math.sqrt(2)


@pytest.fixture(scope="module")
def perfect():
    v = grid()
    return disentanglement(np.concatenate([v, np.zeros((len(v), 2))], 1), v, scales=np.full((len(v), 5), 0.05), seeds=(0, 1))


@pytest.mark.parametrize(
    "name",
    [
        *("mig", "mig_sampled", "modularity", "dci_disentanglement", "dci_completeness", "dci_informativeness"),
        *("factorvae_score", "betavae_score"),
    ],
)
def test_a_code_that_is_the_factors_scores_1(perfect, name):
    assert perfect.metrics[name].value == pytest.approx(1.0, abs=1e-6)
    assert perfect.metrics[f"{name}_stderr"].value < (1e-3 if name == "mig" else 1e-6)  # without a group, no grid is balanced


def test_a_code_that_is_the_factors_has_the_sap_that_balanced_accuracy_allows(perfect):
    """The next dimension knows nothing, and tells 1/V of the values right up to the error of the 720 rows it is scored on."""
    best = np.mean([1 - 1 / size for size in SIZES])
    error = math.sqrt(sum((1 - 1 / size) / size for size in SIZES) / 720) / len(SIZES)
    assert perfect.metrics["sap"].value == pytest.approx(best, abs=4.5 * error)
    assert perfect.metrics["sap"].value <= best
    assert f"sap of about {best:.3f}" in str(perfect)


def test_the_matrices_of_a_code_that_is_the_factors_are_diagonal(perfect):
    expected = torch.zeros(5, 3, dtype=torch.float64)
    expected[range(3), range(3)] = torch.tensor(SIZES, dtype=torch.float64).log()
    torch.testing.assert_close(perfect.information, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(perfect.importance, (expected > 0).double(), rtol=0, atol=1e-6)
    assert "Dimensions 3, 4 are collapsed" in str(perfect)


def test_order_sign_and_scale_of_the_dimensions_do_not_matter():
    v = grid()
    code = v + 0.5 * noise(len(v), 3)
    only = ("mig", "modularity", "sap", "factorvae_score", "betavae_score")
    found = values(code, v, only=only)
    other = values(code[:, [2, 0, 1]] * [-2.0, 4.0, 0.5], v, only=only)
    assert found["mig"] == pytest.approx(other["mig"], abs=0.01)  # a bin that is mirrored is closed at its other end
    assert found["modularity"] == pytest.approx(other["modularity"], abs=0.01)
    assert found["sap"] == pytest.approx(other["sap"], abs=0.01)
    assert found["factorvae_score"] == other["factorvae_score"]
    assert found["betavae_score"] == pytest.approx(other["betavae_score"], abs=0.002)


def test_names_of_values_do_not_matter():
    v = grid()
    renamed = v.copy()
    renamed[:, 1] = np.array([7, -3, 100, 0, 12])[v[:, 1]]
    code = v + 0.5 * noise(len(v), 3)
    found, other = values(code, v, only=["mig", "modularity", "sap"]), values(code, renamed, only=["mig", "modularity", "sap"])
    assert found["mig"] == pytest.approx(other["mig"])
    assert found["modularity"] == pytest.approx(other["modularity"])
    assert found["sap"] == pytest.approx(other["sap"], abs=0.02)


def test_two_factors_mixed_by_45_degrees_are_not_disentangled():
    """Each dimension knows as much of one factor as of the other, and each factor is known by both alike."""
    v = grid((6, 6), 40)
    z = rotated(v)
    found = values(z, v, scales=np.full(z.shape, 0.1), seeds=(0, 1))
    assert found["mig"] == pytest.approx(0.0, abs=1e-9)
    assert found["modularity"] == pytest.approx(0.0, abs=1e-9)
    assert abs(found["mig_sampled"]) < 0.05
    assert found["sap"] < 0.05
    assert found["dci_disentanglement"] < 0.05
    assert found["dci_completeness"] < 0.05
    assert found["dci_informativeness"] > 0.7  # all is there, but not along the axes
    for name in ("factorvae_score", "betavae_score"):
        assert found[name] == pytest.approx(0.5, abs=4.5 * math.sqrt(0.25 / 2_500))


def test_a_factor_that_no_rotation_touches_keeps_its_share():
    v = grid((6, 6, 6), 12)
    z = np.column_stack([rotated(v), v[:, 2]])
    found = values(z, v, only=BINNED)
    assert found["mig"] == pytest.approx(1 / 3, abs=1e-9)
    assert found["modularity"] == pytest.approx((1 + 2 * 0.5) / 3, abs=1e-9)  # two of three factors alike: 1 - 1/(F - 1)


def test_a_factor_in_two_dimensions_has_no_gap_but_every_dimension_has_one_factor():
    v = grid((5, 5), 60)
    found = values(v[:, [0, 0, 1]], v, seeds=(0, 1))
    assert found["mig"] == pytest.approx(0.5, abs=1e-9)
    assert found["modularity"] == pytest.approx(1.0, abs=1e-9)
    assert found["sap"] == pytest.approx((1 - 1 / 5) / 2, abs=0.05)
    assert found["dci_disentanglement"] == pytest.approx(1.0, abs=1e-6)
    split = 1 - math.log(2) / math.log(3)  # where trees take either half the time
    assert (1 + split) / 2 - 1e-6 <= found["dci_completeness"] < (1 + split) / 2 + 0.1
    assert found["factorvae_score"] == 1.0
    assert found["betavae_score"] == 1.0


def test_noise_scores_chance():
    v = grid()
    z = noise(len(v), 6)
    found = disentanglement(z, v, scales=np.full(z.shape, 1.0), seeds=(0, 1))
    value = {name: metric.value for name, metric in found.metrics.items()}
    assert found.information is not None
    beyond = information.chance(information.count(found.table, 0).sum(0))
    assert (found.information.numpy() < beyond).all()
    assert 0 < value["mig"] < (beyond / found.table.entropy).max()
    assert value["modularity"] == 0.0
    assert abs(value["mig_sampled"]) < 0.02
    assert value["dci_informativeness"] < 0.05
    for name in ("factorvae_score", "betavae_score"):
        assert value[name] == pytest.approx(1 / 3, abs=4.5 * math.sqrt(2 / 9 / 2_500))
    assert "The trees hardly tell the factors" in str(found)
    assert "By chance factorvae_score and betavae_score are 0.333" in str(found)


def test_a_constant_code_scores_nothing_not_chance():
    v = grid()
    found = disentanglement(np.full((len(v), 4), 0.3), v, scales=np.full((len(v), 4), 1.0), seeds=(0, 1))
    scored = [metric.value for name, metric in found.metrics.items() if not name.endswith("stderr")]
    assert len(scored) == 9
    assert scored == pytest.approx([0.0] * 9, abs=1e-6)
    assert "Every dimension of the code is collapsed" in str(found)


def test_collapsed_dimensions_do_not_vote():
    """Divided by its own deviation, this one would win votes of two factors."""
    v = grid()
    collapsed = np.where((v[:, 0] == 0) | (v[:, 1] == 0), 0.0, 1e-3 * noise(len(v), 1)[:, 0])
    z = np.column_stack([collapsed, v + 0.2 * noise(len(v), 3)])
    assert values(z, v, only=["factorvae_score"])["factorvae_score"] == 1.0
    assert values(z, v, only=["factorvae_score"], active_variance=0.0)["factorvae_score"] < 0.95


def test_one_dimension_of_two_factors():
    v = grid((4, 4), 20)
    found = values(v[:, :1], v, seeds=(0, 1))
    assert found["mig"] == pytest.approx(0.5, abs=1e-9)
    assert found["modularity"] == pytest.approx(1.0, abs=1e-9)
    assert found["sap"] == pytest.approx(0.75 / 2, abs=0.05)
    assert found["factorvae_score"] == pytest.approx(0.5, abs=0.06)


def test_noise_in_the_one_dimension_that_is_not_collapsed_is_no_information():
    """It tells 1/V of the values, as does a collapsed one; the error is that of the better of both, over 720 rows."""
    v = grid()
    z = np.column_stack([noise(len(v), 1), np.zeros((len(v), 2))])
    found = values(z, v, only=["sap", "mig", "modularity", "factorvae_score"])
    assert 0 <= found["sap"] < 0.02
    assert found["mig"] < 0.05
    assert found["modularity"] == 0.0
    assert found["factorvae_score"] == pytest.approx(1 / 3, abs=4.5 * math.sqrt(2 / 9 / 2_500))


def test_binned_information_is_that_of_the_joint_table():
    joint = np.array([[0.1, 0.2, 0.05], [0.3, 0.05, 0.3]])
    counts = (joint * 1000).astype(int)[None, None]
    expected = (joint * np.log(joint / joint.sum(0) / joint.sum(1, keepdims=True))).sum()
    assert information.mutual_information(counts)[0, 0] == pytest.approx(expected)


def test_binned_information_of_independent_data_is_their_bias():
    rng = np.random.default_rng(0)
    v = np.stack([np.arange(2_000) % 5, rng.permutation(2_000) % 8], 1)
    counts = information.count(FactorTable.of(rng.uniform(size=(2_000, 40)), v), 0).sum(0)
    found, bias = information.mutual_information(counts), information.freedom(counts) / 4_000
    error = np.sqrt(2 * information.freedom(counts)[0]) / 4_000 / math.sqrt(40)
    assert (np.abs((found - bias).mean(0)) < 4.5 * error).all()


def test_sampled_information_is_that_of_a_noisy_channel():
    """Two values, the code at -1 or 1 with Gaussian noise: I by quadrature."""
    v = np.tile(np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), (50, 1))
    z = np.stack([2.0 * v[:, 0] - 1, 3.0 * v[:, 1]], 1)
    scales = np.stack([np.full(len(v), 0.8), np.full(len(v), 1e-4)], 1)
    grid_, step = np.linspace(-8, 8, 4_001, retstep=True)
    p = [np.exp(-(((grid_ - loc) / 0.8) ** 2) / 2) / (0.8 * math.sqrt(2 * math.pi)) for loc in (-1, 1)]
    expected = step * (p[0] * np.log(2 * p[0] / (p[0] + p[1]))).sum()
    found = np.stack([information.sampled_information(FactorTable.of(z, v), scales, seed) for seed in range(40)])
    error = found.std(0, ddof=1) / math.sqrt(40)
    assert abs(found.mean(0)[0, 0] - expected) < 4.5 * error[0, 0]
    assert found.mean(0)[1, 1] == pytest.approx(math.log(2), abs=1e-6)
    assert found[:, [0, 1], [1, 0]] == pytest.approx(0.0, abs=1e-5)


def test_a_dimension_drowned_in_its_own_noise_knows_nothing_whatever_its_means():
    v = grid()
    scales = np.full((len(v), 3), 0.05)
    scales[:, 2] = 1.0
    z = np.column_stack([v[:, :2], 1e-3 * v[:, 2]])
    found = values(z, v, scales=scales, only=["mig", "mig_sampled"])
    assert found["mig"] == pytest.approx(1.0, abs=1e-9)
    assert found["mig_sampled"] == pytest.approx(2 / 3, abs=1e-3)


def test_importances_give_disentanglement_and_completeness_in_closed_form():
    importance = np.array([[1.0, 0.0, 0.5], [0.0, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.0]])
    shares = [[2 / 3, 1 / 3], [1.0], [0.5, 0.5]]
    dimension = [1 + sum(p * math.log(p) for p in share) / math.log(3) for share in shares]
    assert predictability.disentanglement_of(importance) == pytest.approx(np.dot([1.5, 0.5, 1.0], dimension) / 3)
    assert predictability.completeness_of(importance) == pytest.approx((1 + 2 * (1 - math.log(2) / math.log(4))) / 3)


def test_rows_alike_share_the_factor_and_are_drawn_uniformly():
    v = grid()
    table = FactorTable.of(v, v)
    rows = np.zeros(40_000, dtype=np.int64)
    alike = table.alike(rows, 1, np.random.default_rng(0))
    assert (v[alike, 1] == v[0, 1]).all()
    counts = np.bincount(v[alike, 0])
    assert (np.abs(counts - 10_000) < 4.5 * math.sqrt(40_000 * 0.25 * 0.75)).all()


@pytest.mark.parametrize("score", ["mig", "modularity"])
def test_the_error_over_rows_is_the_spread_of_the_score_over_data_sets(score):
    """The jackknife's error of one data set is that of many in the mean."""
    found, errors = [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        v = np.stack([rng.integers(4, size=1_000), rng.integers(5, size=1_000)], 1)
        z = np.clip(v @ [[1.0, 0.3], [0.2, 1.0]] + 0.5 * rng.standard_normal((1_000, 2)), -1, 6)
        metrics = disentanglement(z, v, only=[score]).metrics
        found.append(metrics[score].value)
        errors.append(metrics[f"{score}_stderr"].value)
    spread, error = np.std(found, ddof=1), np.sqrt(np.mean(np.square(errors)))
    assert 1 / 1.6 < error / spread < 1.6  # 40 values give their spread to 11%, 20 groups each error to 16%


def test_the_same_seeds_give_the_same_scores():
    v = grid()
    code = v + noise(len(v), 3)
    found, again, other = (values(code, v, seeds=seeds, only=["sap", "factorvae_score"]) for seeds in ((0, 1), (0, 1), (2, 3)))
    assert found == again
    assert found != other


def test_one_seed_states_no_error_over_seeds():
    v = grid()
    metrics = disentanglement(v, v, seeds=(0,), only=["mig", "sap"]).metrics
    assert set(metrics) == {"mig", "mig_stderr", "sap"}


def test_constant_factors_are_left_out_and_named_and_so_are_factors_of_more_values_than_bins():
    v = np.concatenate([grid((25, 4), 20), np.full((2_000, 1), 3)], 1)
    found = disentanglement(torch.from_numpy(v), torch.from_numpy(v), factor_names=["x", "y", "color"], only=["mig"])
    assert found.table.names == ("x", "y")
    assert "'color' has one value only" in str(found)
    assert "Of 'x' there are more values than the 20 bins" in str(found)
    assert found.metrics["mig"].value < 1


def test_the_progress_names_what_is_done():
    done = []
    v = grid()
    disentanglement(v, v, seeds=(0,), only=["sap", "mig"], progress=done.append)
    assert done == ["mig", "sap"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"factors": grid()[:-1]}, "1,439 rows of factors beside 1,440"),
        ({"factors": grid() + 0.5}, "integer codes"),
        ({"factors": np.where(grid() == 0, np.nan, grid())}, "have nan at row 0"),
        ({"factors": grid()[:, 0]}, r"give \(N, F\)"),
        ({"factors": grid() * [1, 0, 0]}, "1 of the factors vary"),
        ({"factors": np.stack([np.arange(1_440), grid()[:, 0]], 1)}, "few of which repeat"),
        ({"factors": grid().astype(str)}, "integer codes"),
        ({"z": np.full((1_440, 2), np.inf)}, "'z' has inf at row 0, column 0"),
        ({"z": grid()[:20], "factors": grid()[:20]}, "at least 50"),
        ({"z": np.zeros(1_440)}, "has shape"),
        ({"factor_names": ["a"]}, "1 names of 3 factors"),
        ({"only": ["sab"]}, "there is no score 'sab'; did you mean 'sap'"),
        ({"only": []}, "no score is asked for"),
        ({"only": ["mig_sampled"]}, "as 'scales'"),
        ({"scales": np.zeros((1_440, 3))}, "positive standard deviation"),
        ({"scales": np.ones((1_440, 2))}, "positive standard deviation"),
        ({"seeds": ()}, "non-negative integers"),
        ({"seeds": (0.5,)}, "non-negative integers"),
    ],
)
def test_what_cannot_be_scored_is_refused(change, sentence):
    given = {"z": grid(), "factors": grid()} | change
    with pytest.raises(InputError, match=sentence):
        disentanglement(given.pop("z"), given.pop("factors"), **given)

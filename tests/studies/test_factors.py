# pyright: reportArgumentType=false
# Arrays by name are unpacked into one call.
import numpy as np
import pytest

import amortized as am
from amortized import InputError
from amortized.reading import read
from amortized.studies.material import Material

QUICK = {
    "epochs": 1,
    "latent_dim": 2,
    "model.network.hidden": [16],
    "accelerator": "cpu",
    "quiet": True,
    "likelihood": "gaussian",
}


def table(rows=60):
    """Data whose rows say which factors are theirs."""
    factors = np.stack([np.arange(rows) % 5, 10.0 * (np.arange(rows) // 30)], 1)
    return np.random.default_rng(0).standard_normal((rows, 3)).astype(np.float32) + factors[:, :1], factors


def material(run, data=None, split="test", factors=None):
    return Material(run, data, split, read(run, data, split), samples=1, seed=0, precision="32", factors=factors)


@pytest.mark.parametrize("given", ["in the file", "by name", "an array"])
def test_each_datum_has_the_factors_of_its_row(tmp_path, given):
    x, factors = table()
    name = "causes" if given == "by name" else "factors"
    np.savez(tmp_path / "data.npz", x=x, factor_names=["five", "two"], **({} if given == "an array" else {name: factors}))
    run = am.fit(str(tmp_path / "data.npz"), **QUICK)
    made = material(run, factors={"in the file": None, "by name": "causes", "an array": factors}[given])
    batches = list(made.whole())
    codes, names = made.factors_of(batches)
    index = np.concatenate([batch.index for batch in batches])  # pyright: ignore[reportArgumentType, reportCallIssue]
    assert sorted(index) != list(range(len(index)))  # a part of the rows, drawn at random
    np.testing.assert_array_equal(codes[:, 0], index % 5)
    np.testing.assert_array_equal(codes[:, 1], index // 30)
    assert names == (("factor 0", "factor 1") if given == "an array" else ("five", "two"))


def test_splits_that_the_file_brings_have_factors_of_their_own(tmp_path):
    x, factors = table()
    arrays = {"train_x": x[:40], "test_x": x[40:], "train_factors": factors[:40], "test_factors": factors[40:]}
    np.savez(tmp_path / "data.npz", **arrays)
    run = am.fit(str(tmp_path / "data.npz"), **QUICK)
    made = material(run)
    codes, _ = made.factors_of(list(made.whole()))
    np.testing.assert_array_equal(codes[:, 0], np.arange(40, 60) % 5)


def test_no_factors_and_too_few_are_refused_with_the_way_out(tmp_path):
    x, factors = table()
    np.savez(tmp_path / "data.npz", x=x)
    run = am.fit(str(tmp_path / "data.npz"), **QUICK)
    wrong = (
        (None, "no array 'factors'"),
        ("causes", "no array 'causes'"),
        (factors[:3], "a row for each row"),
        (np.concatenate([factors, factors]), "a row for each row"),
    )
    for given, words in wrong:
        made = material(run, factors=given)
        with pytest.raises(InputError, match=words):
            made.factors_of(list(made.whole()))

import numpy as np
import pytest
import torch

import amortized as am
from amortized.report.view import View


@pytest.fixture(scope="module")
def run():
    return am.fit("digits", latent_dim=5, epochs=1, quiet=True)


@pytest.fixture(scope="module")
def view(run):
    return View(run, most=50)


def test_a_view_of_a_view_is_itself(run, view):
    assert View.of(view) is view
    assert View.of(run).run is run


def test_a_part_of_the_data_is_shown_in_its_order(view):
    assert view.split == "test"
    assert view.x.shape == (50, 8, 8)
    assert view.count == 180
    index = view.batch.index
    assert torch.equal(index, index.sort().values)


def test_latents_and_spreads_are_those_of_the_posterior(view):
    with torch.no_grad():
        q = view.model.posterior(view.batch)
    np.testing.assert_allclose(view.z, q.mean.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(view.spread, q.stddev.numpy(), rtol=1e-5, atol=1e-6)
    assert view.latent_shape == (5,)


def test_the_prior_is_that_of_the_model(view):
    error = 5 / np.sqrt(len(view.prior_draws))
    np.testing.assert_allclose(view.prior_draws.mean(0), 0, atol=error)
    np.testing.assert_allclose(view.prior_draws.std(0), 1, atol=error)


def test_what_lies_in_the_plane_comes_back_from_the_map(view):
    rng = np.random.default_rng(0)
    place = rng.normal(size=(7, 2)).astype(np.float32)
    np.testing.assert_allclose(view.plane.project(view.plane.lift(place)), place, atol=1e-5)
    assert view.plane.kind == "pca"


def test_the_plane_holds_the_most_variance(view):
    held = view.plane.project(view.z).var(0).sum()
    eigenvalues = np.linalg.eigvalsh(np.cov(view.z.T, bias=True))
    assert held == pytest.approx(eigenvalues[-2:].sum(), rel=1e-4)


@pytest.mark.parametrize(("latents", "kind"), [(1, "one"), (2, "latent")])
def test_a_latent_of_few_entries_is_its_own_map(latents, kind):
    view = View(am.fit("digits", latent_dim=latents, epochs=1, quiet=True), most=20)
    assert view.plane.kind == kind
    np.testing.assert_array_equal(view.plane.project(view.z)[:, :latents], view.z)


def test_decoding_is_that_of_the_model(view):
    with torch.no_grad():
        wanted = view.model.decode(torch.as_tensor(view.z[:3])).mean.numpy()
    np.testing.assert_allclose(view.decode(view.z[:3]), wanted, rtol=1e-5, atol=1e-5)


def test_active_entries_stand_in_the_order_of_what_they_carry(view):
    assert set(view.active) == set(np.flatnonzero(view.z.var(0) > 0.01))
    carried = dict(zip(view.ranking.dimensions.tolist(), view.ranking.carried.tolist(), strict=True))
    values = [carried[entry] for entry in view.active]
    assert values == sorted(values, reverse=True)


def test_a_score_is_the_evidence_of_each_datum(view):
    assert len(view.evidence.elbo) == 50


def test_what_an_evaluation_kept_is_found(tmp_path):
    run = am.fit("digits", latent_dim=2, epochs=1, quiet=True, out=tmp_path / "run")
    assert not View(run).kept
    run.evaluate(samples=5, only="evidence")
    assert set(View(run).kept) == {"evidence"}

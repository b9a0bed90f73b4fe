import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import amortized as am
from amortized import InputError
from amortized.report import kl_figure, latent_figure
from amortized.report.latent_figure import posterior_draws
from amortized.report.view import View
from tests.drawing import labels, pixels, texts

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def run():
    return fitted()


def fitted(latents=2, **options):
    return am.fit("digits", latent_dim=latents, epochs=1, quiet=True, **options)


def test_bars_are_the_kl_of_each_entry_sorted_and_active_ones_told_apart():
    view = View(fitted(6))
    view.is_active = np.arange(6) != 4
    figure = kl_figure(view)
    heights = [bar.get_height() for bar in sorted(figure.axes[0].patches, key=lambda bar: bar.get_x())]  # pyright: ignore
    np.testing.assert_allclose(heights, view.ranking.carried, rtol=1e-6)
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert ticks == [str(entry) for entry in view.ranking.dimensions]
    assert "5 of 6 entries active" in figure.axes[0].get_title()
    assert labels(figure)[-1] == "not active"


def test_groups_of_a_hierarchy_have_blocks_of_their_own():
    run = fitted(4, hierarchy="top-down", **{"model.hierarchy.latent_dims": [3, 1]})
    view, figure = View(run), kl_figure(run)
    ticks = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert [sorted(ticks[:4]), sorted(ticks[4:7]), ticks[7:]] == [list("0123"), list("012"), ["0"]]
    assert "layer 3" in texts(figure)
    assert f"rate {view.ranking.carried.sum():.2f} nats" in figure.axes[0].get_title()


@pytest.mark.parametrize(("posterior", "latents"), [("delta", 2), ("vmf", 3), ("categorical", 4)])
def test_latents_of_every_kind_are_drawn(posterior, latents):
    view = View(fitted(latents, posterior=posterior), most=60)
    assert "nats" not in kl_figure(view).axes[0].get_ylabel() or view.ranking.measure == "kl_nats"
    for draw in (kl_figure, latent_figure):
        assert pixels(draw(view)).std() > 0


def test_many_entries_are_ranked_without_numbers():
    figure = kl_figure(View(fitted(80), most=60))
    assert len(figure.axes[0].patches) == 80
    assert "rank among the 80" in figure.axes[0].get_xlabel()


def test_the_map_shows_the_centers_by_label_and_draws_from_the_prior(run):
    view = View(run)
    figure = latent_figure(view)
    first = figure.axes[0]
    clouds = {cloud.get_label(): np.asarray(cloud.get_offsets()) for cloud in first.collections}
    np.testing.assert_allclose(clouds["draws from the prior"], view.prior_draws, rtol=1e-6)
    assert view.labels is not None
    np.testing.assert_allclose(clouds["3"], view.z[view.labels == 3], rtol=1e-6)
    assert len(first.patches) == 12
    assert first.get_xlabel() == "z0"  # as traversals and the bars of the KL call it


def test_draws_are_those_of_the_posterior(run):
    view = View(run, most=40)
    draws = posterior_draws(view).reshape(-1, 40, 2)
    assert view.spread is not None
    z = (draws.mean(0) - view.z) / (view.spread / math.sqrt(len(draws)))
    assert np.abs(z).max() < 5


def test_the_plane_of_principal_components_says_its_share():
    view = View(fitted(5))
    share = view.plane.project(view.z).var(0)[0] / view.z.var(0).sum()
    assert latent_figure(view).axes[0].get_xlabel() == f"principal component 1 ({share:.0%} of variance)"


def test_a_latent_of_one_entry_is_a_line():
    first, second = latent_figure(fitted(1)).axes
    assert first.get_title() == "aggregate posterior against prior"
    assert [label.get_text() for label in second.get_yticklabels()] == list("0123456789")


@pytest.mark.parametrize("kind", ["none", "numbers", "many", "markup"])
def test_labels_may_be_of_any_kind_or_missing(kind, run):
    view = View(run)
    n = len(view.batch)
    given = {
        "none": None,
        "numbers": torch.linspace(0, 1, n),
        "many": torch.arange(n) % 60,
        "markup": torch.zeros(n, dtype=torch.long),
    }
    view.batch = replace(view.batch, labels=given[kind])
    view.spec = replace(view.spec, label_names=("$x_<b>{_$",) if kind == "markup" else ())
    figure = latent_figure(view)
    assert pixels(figure).std() > 0
    assert len(figure.axes) == (3 if kind == "numbers" else 2)
    assert ("other classes" in labels(figure)) == (kind == "many")


def test_a_collapsed_latent_is_a_spot():
    view = View(fitted(3, **{"objective.beta": 1e4}))
    assert pixels(latent_figure(view)).std() > 0
    assert not texts(latent_figure(view))  # no name of a class is written over the others


def test_umap_is_refused_where_it_is_not_installed(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InputError, match=r"pip install 'amortized\[umap\]'"):
        latent_figure(run, method="umap")
    with pytest.raises(InputError, match="unknown method 'tsne'"):
        latent_figure(run, method="tsne")  # pyright: ignore[reportArgumentType]


def test_umap_embeds_data_and_prior(run):
    pytest.importorskip("umap")
    assert pixels(latent_figure(View(run, most=60), method="umap")).std() > 0


@pytest.mark.parametrize("latents", [1, 5])
def test_a_single_datum_has_its_place(latents):
    view = View(fitted(latents), most=1)
    for draw in (kl_figure, latent_figure):
        assert pixels(draw(view)).std() > 0


def test_discrete_latents_are_spots_whose_area_is_their_share():
    view = View(fitted(1, posterior="categorical"))
    areas = latent_figure(view).axes[1].collections[0].get_sizes() - 8  # pyright: ignore[reportAttributeAccessIssue]
    assert areas.sum() == pytest.approx(900)
    assert len(areas) == view.latents


def test_a_model_that_has_diverged_is_refused(run):
    view = View(run, most=10)
    view._encoded = (torch.full((10, 2), torch.nan), None, torch.zeros(10, 2))
    with pytest.raises(InputError, match="diverged"):
        latent_figure(view)


def test_data_with_holes_are_encoded_and_drawn():
    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    x[::3, 1] = np.nan
    view = View(am.fit(x, latent_dim=2, epochs=1, quiet=True))
    for draw in (kl_figure, latent_figure):
        assert pixels(draw(view)).std() > 0

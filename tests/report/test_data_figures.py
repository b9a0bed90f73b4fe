"""Figures of data show the data, the model's own reconstructions and samples, and refuse in a sentence what they cannot show."""

import io
import re
from typing import Any

import numpy as np
import pytest
import torch

import amortized as am
from amortized import InputError
from amortized.distributions import center, has_center
from amortized.report import (
    interpolation_figure,
    latent_figure,
    limits,
    marginals_figure,
    neighbors_figure,
    reconstruction_figure,
    samples_figure,
    traversal_figure,
    worst,
    worst_figure,
)
from amortized.report.entries import entry_names, foremost, left_out, means, short, spreads, variances
from amortized.report.grid import HOLE
from amortized.report.lines import line_figure
from amortized.report.reconstruction_figure import explained, reconstructions
from amortized.report.samples_figure import draw
from amortized.report.style import style
from amortized.report.tables import number
from amortized.report.tiles import Scale, ends_of, fitting_columns, in_rows
from amortized.report.view import View

matplotlib: Any = pytest.importorskip("matplotlib")

EVERY = [reconstruction_figure, traversal_figure, interpolation_figure, neighbors_figure, worst_figure]
BETA: dict[str, Any] = {"objective.beta": 1e4}
KINDS = ["digits", "classes", "holes", "colors", "wide", "dots", "table", "gaps", "counts", "genes", "one", "keys"]


def data(kind):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(120, 2))
    table = (z @ rng.normal(size=(2, 5)) + 0.2 * rng.normal(size=(120, 5))).astype(np.float32)
    if kind in ("digits", "classes"):
        return "digits"
    if kind == "holes":
        x = rng.integers(0, 9, (90, 6, 6)).astype(np.float32)
        x[rng.random(x.shape) < 0.3] = np.nan
        return x
    if kind == "gaps":
        table[rng.random(table.shape) < 0.3] = np.nan
        return table
    return {
        "colors": rng.integers(0, 256, (80, 5, 5, 3)).astype(np.uint8),
        "wide": rng.integers(0, 2, (80, 1, 60)),
        "dots": rng.integers(0, 5, (80, 1, 1)),
        "table": table,
        "counts": rng.poisson(np.exp(z @ rng.normal(size=(2, 4)) + 1)),
        "genes": rng.poisson(np.exp(z @ rng.normal(size=(2, 60)) / 2)),
        "one": table[:, :1],
        "keys": (rng.random((120, 50)) < 0.2).astype(np.uint8).reshape(120, 50),
    }[kind]


@pytest.fixture(scope="module")
def views() -> Any:
    """Views of runs of all kinds of data, each fitted when it is asked for."""
    made = {}

    def view(kind):
        if kind not in made:
            how: dict[str, Any] = {"context": "label"} if kind == "classes" else {}
            made[kind] = View(am.fit(data(kind), latent_dim=2, steps=10, quiet=True, **how), most=40)
        return made[kind]

    return view


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def pixels(figure):
    return matplotlib.image.imread(io.BytesIO(png(figure)))[..., :3]


def texts(figure):
    found = figure.findobj(matplotlib.text.Text)
    return [text.get_text() for text in found if text.get_text()]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("figure", EVERY, ids=lambda figure: figure.__name__)
def test_every_kind_of_data_has_its_figure_or_its_sentence(views, kind, figure):
    if figure is traversal_figure and not views(kind).active:
        with pytest.raises(InputError, match="no dimension of the latent is active"):
            figure(views(kind))
        return
    made = figure(views(kind))
    assert 2_000 < len(png(made)) < 200_000
    wide, high = made.get_size_inches() * 110
    placed = [text for ax in made.axes for text in (*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label)]
    for text in filter(matplotlib.text.Text.get_text, (*made.texts, *placed)):
        box = text.get_window_extent()
        assert box.x0 > -1, text
        assert box.y0 > -1, text
        assert box.x1 < wide + 1, text
        assert box.y1 < high + 1, text


@pytest.mark.parametrize("kind", KINDS)
def test_samples_are_shown_as_images_or_by_their_columns(views, kind):
    is_image = kind in ("digits", "classes", "holes", "colors", "wide", "dots")
    figure, other = (samples_figure, marginals_figure) if is_image else (marginals_figure, samples_figure)
    assert png(figure(views(kind)))
    with pytest.raises(InputError, match=figure.__name__):
        other(views(kind))


def test_pixels_of_the_figure_are_those_of_the_data(views):
    """Each pixel of an 8 x 8 image is a square of the picture, its grey that of the level."""
    view = views("digits")
    figure = reconstruction_figure(view, n=3)
    scale = Scale.of((8, 8), 3)
    picture, box = pixels(figure), figure.axes[0].get_window_extent()
    top, left = round(len(picture) - box.y1), round(box.x0)
    order = np.sort(np.random.default_rng(view.seed).permutation(len(view.batch))[:3])
    edge = scale.repeats[0]
    for place, row in enumerate(order):
        shift = left + place * (scale.tile[1] + 3)
        tile = picture[top : top + 8 * edge : 1, shift : shift + 8 * edge]
        np.testing.assert_allclose(tile[:, :, 0], (view.x[row] / 16).repeat(edge, 0).repeat(edge, 1), atol=0.5 / 255 + 1e-6)


def test_holes_have_their_color(views):
    picture = (255 * pixels(reconstruction_figure(views("holes")))).round().astype(int)
    assert (picture == HOLE).all(-1).sum() > 1000
    picture = (255 * pixels(reconstruction_figure(views("digits")))).round().astype(int)
    assert not (picture == HOLE).all(-1).any()


def test_color_images_have_channels_last(views):
    picture = pixels(reconstruction_figure(views("colors"), n=2))
    assert np.ptp(picture, axis=-1).max() > 0.5


def test_reconstructions_are_those_of_the_run(views):
    view = views("digits")
    rows = np.array([4, 7])
    with torch.no_grad():
        wanted = center(view.model.decode(view.model.posterior(view.batch).mean[rows]))
    np.testing.assert_allclose(reconstructions(view, rows), wanted.numpy(), rtol=1e-4, atol=1e-4)


def test_means_and_draws_have_the_same_latents(views):
    """Averaged over many pixels the noise of p(x|z) is small beside what the latents change."""
    view = views("digits")
    means_, draws = draw(view, 40, mean=True), draw(view, 40, mean=False)
    assert np.corrcoef(means_.reshape(40, -1).mean(0), draws.reshape(40, -1).mean(0))[0, 1] > 0.9
    error = np.square(means_ - draws).mean()
    assert error < 0.9 * np.square(means_ - np.roll(draws, 1, 0)).mean()


def test_a_conditional_model_has_a_row_for_each_class(views):
    said = texts(samples_figure(views("classes"), n=2))
    assert [line for line in said if line.startswith("label ")] == [f"label {code}" for code in range(10)]


def test_the_share_explained_is_that_of_numpy():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 3))
    made = x + 0.5 * rng.normal(size=x.shape)
    wanted = 1 - np.square(x - made).sum(0) / np.square(x - x.mean(0)).sum(0)
    np.testing.assert_allclose(explained(x, made), wanted, rtol=1e-12)
    x[0, 1] = np.nan
    known = slice(1, None)
    one = 1 - np.square(x - made)[known, 1].sum() / np.square(x[known, 1] - x[known, 1].mean()).sum()
    assert explained(x, made)[1] == pytest.approx(one)
    assert np.isnan(explained(np.ones((4, 1)), np.zeros((4, 1))))[0]


def test_panels_of_a_table_have_the_points_of_its_columns(views):
    view = views("table")
    ax = reconstruction_figure(view).axes[2]
    x, made = ax.lines[1].get_data()
    np.testing.assert_allclose(np.sort(x), np.sort(view.x[:, 2]), rtol=1e-6)
    np.testing.assert_allclose(np.sort(made), np.sort(reconstructions(view, np.arange(len(view.x)))[:, 2]), rtol=1e-5)


def test_columns_that_are_left_out_are_counted(views):
    assert any("48 are left out" in line for line in texts(reconstruction_figure(views("genes"))))
    assert left_out([1, 2], 2, "that vary most") == ""
    assert foremost(np.array([0.1, np.nan, 3.0, 2.0]), 2) == [2, 3]


def test_the_worst_data_are_the_first_of_a_sort(views):
    view = views("digits")
    found = worst(view, 5)
    nll = view.evidence.nll.numpy()
    assert found.rows.tolist() == np.argsort(-nll)[:5].tolist()
    np.testing.assert_allclose(found.scores, np.sort(-nll)[:5])
    assert found.median == pytest.approx(-np.median(nll))
    index = int(view.batch.index[found.rows[0]])
    label = int(view.labels[found.rows[0]])
    assert any(line == f"{index}\n{label}\n{found.scores[0]:.1f}" for line in texts(worst_figure(view)))


def test_without_a_bound_the_worst_have_the_highest_distortion():
    view = View(am.fit("digits", posterior="delta", latent_dim=2, epochs=1, quiet=True), most=40)
    found = worst(view, 3)
    assert found.measure == "E[log p(x | z)]"
    assert found.rows.tolist() == np.argsort(-view.evidence.distortion.numpy())[:3].tolist()
    assert any("E[log p(x | z)]" in line for line in texts(worst_figure(view)))
    assert any("by variance" in line for line in texts(traversal_figure(view)))


def test_rows_of_a_traversal_stand_in_the_order_of_their_kl(views):
    view = views("digits")
    said = texts(traversal_figure(view))
    values = [float(match[2]) for line in said if (match := re.fullmatch(r"z(\d+), (.*) nats", line))]
    assert len(values) == len(view.active)
    assert values == sorted(values, reverse=True)


def test_lines_of_a_table_are_in_standard_deviations(views):
    view = views("table")
    x = np.stack([view.x.mean(0) + view.x.std(0) * step for step in (-1.0, 0.0, 2.0)])[None]
    with style() as mpl:
        figure = line_figure(mpl, view, x, np.array([-1.0, 0.0, 2.0]), ["z0"], title="", label="")
    for line in figure.axes[0].lines:
        np.testing.assert_allclose(np.asarray(line.get_ydata(), float), [-1, 0, 2], atol=1e-5)


def test_what_a_latent_does_not_allow_is_refused_by_its_reason():
    classes = View(am.fit("digits", posterior="categorical", latent_dim=3, epochs=1, quiet=True), most=20)
    sphere = View(am.fit("digits", posterior="vmf", latent_dim=3, epochs=1, quiet=True), most=20)
    with pytest.raises(InputError, match="the latents are discrete"):
        interpolation_figure(classes)
    with pytest.raises(InputError, match="one entry of the latent alone|no dimension of the latent is active"):
        traversal_figure(sphere)
    assert any("arcs" in line for line in texts(interpolation_figure(sphere)))
    assert png(reconstruction_figure(classes))


def test_a_collapsed_model_has_no_traversal():
    run = am.fit("digits", latent_dim=2, objective="beta", epochs=1, lr=1e-2, quiet=True, **BETA)
    with pytest.raises(InputError, match="collapse"):
        traversal_figure(run)


def test_a_likelihood_without_means_shows_draws():
    x = np.random.default_rng(0).integers(0, 3, (60, 3, 4))
    view = View(am.fit(x, likelihood="pixelcnn", latent_dim=2, steps=2, quiet=True))
    assert not view.has_means
    said = texts(reconstruction_figure(view, n=2)) + texts(samples_figure(view, n=2))
    assert "x ~ p(x | z)" in said
    assert "E[x | z]" not in said


@pytest.mark.parametrize("figure", [*EVERY, samples_figure])
def test_a_run_whose_data_are_not_there_says_so(tmp_path, figure):
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(0).integers(0, 2, (40, 3, 3)))
    am.fit(path, latent_dim=2, epochs=1, quiet=True, out=tmp_path / "run")
    run = am.load_run(tmp_path / "run")
    path.unlink()
    with pytest.raises(InputError, match=r"x\.npy"):
        figure(run)


def test_a_model_composed_by_hand_has_its_figures():
    from amortized.networks import MLP

    model = am.VAE(
        am.priors.StandardNormal(2),
        am.posteriors.DiagonalGaussian(MLP((8, 8), [16]), event=2),
        am.likelihoods.Binomial(MLP(2, [16]), event=(8, 8), levels=17),
    )
    view = View(am.train(model, "digits", epochs=1, quiet=True), most=30)
    for figure in (reconstruction_figure, samples_figure, interpolation_figure, neighbors_figure, worst_figure):
        assert png(figure(view))


@pytest.mark.parametrize("figure", [reconstruction_figure, samples_figure, interpolation_figure, worst_figure])
def test_numbers_of_data_are_positive(views, figure):
    with pytest.raises(InputError, match="n must be a positive integer; it is 0"):
        figure(views("digits"), n=0)


def test_tiles_enlarge_pixels_by_whole_numbers():
    assert Scale.of((8, 8), 10).tile == (64, 64)
    assert Scale.of((28, 28), 10).repeats == (2, 2)
    down, across = Scale.of((1, 60), 3).tile
    assert down >= 8
    assert across % 60 == 0
    assert Scale.of((300, 300), 10).tile[0] < 80
    assert 1 <= fitting_columns((2, 500)) <= 3


def test_rows_that_are_not_full_end_in_empty_tiles():
    made = in_rows(np.ones((5, 2, 2), np.uint8), 3)
    assert made.shape == (2, 3, 2, 2)
    assert np.isnan(made[1, 2]).all()
    assert not np.isnan(made[1, 1]).any()


def test_the_ends_of_the_grey_range_are_those_of_the_support(views):
    assert ends_of(views("digits")) == limits(views("digits").spec) == {"low": 0.0, "high": 16.0}
    assert limits(views("colors").spec) == {"low": 0.0, "high": 255.0}
    assert limits(views("wide").spec) == {"low": 0.0, "high": 1.0}


def test_moments_leave_out_what_is_missing():
    x = np.array([[1.0, np.nan, 2.0], [3.0, np.nan, 2.0], [np.nan, np.nan, 2.0]])
    np.testing.assert_array_equal(means(x), [2.0, np.nan, 2.0])
    np.testing.assert_array_equal(variances(x), [1.0, np.nan, 0.0])
    np.testing.assert_array_equal(spreads(x), [1.0, 1.0, 1.0])


def test_names_and_numbers_are_short(views):
    assert entry_names(views("table").spec)[1] == "column 1"
    assert short("a long name", 6) == "a lo…e"
    assert [number(value) for value in (3.0, 0.12345, float("nan"), 1234567.8)] == ["3", "0.123", "–", "1.23e+06"]


def test_a_family_tells_whether_its_center_is_known(views):
    assert has_center(torch.distributions.Normal(torch.zeros(2), 1.0))
    assert has_center(torch.distributions.Cauchy(torch.zeros(2), 1.0))  # its mode
    assert views("digits").has_means


def test_names_with_dollars_are_no_formulas_and_long_ones_have_room(tmp_path):
    rng = np.random.default_rng(0)
    names = ["price $ in $us", r"$\frac$", "x_1^2", "a < b & c"]
    labels = [r"$\foo$ of a cat and a dog", "$a$b$c", "one that is long as well"]
    table = rng.normal(size=(150, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(150, 4))
    rows = [[repr(round(float(value), 3)) for value in row] for row in table]
    lines = [",".join([*names, "kind"]), *(",".join([*row, labels[n % 3]]) for n, row in enumerate(rows))]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    run = am.fit(tmp_path / "table.csv", labels="kind", latent_dim=2, epochs=10, lr=1e-2, batch_size=32, quiet=True)
    view = View(run)
    for figure in (*EVERY, marginals_figure, latent_figure):
        figure(view).savefig(io.BytesIO(), dpi=40)
    paths = interpolation_figure(view)
    assert all(len(ax.get_title()) <= 28 for ax in paths.axes)
    row = next(line for line in texts(worst_figure(view)) if f"{worst(view).scores[0]:.1f}" in line and "(" in line)
    assert len(row.replace(r"\$", "$")) <= 19

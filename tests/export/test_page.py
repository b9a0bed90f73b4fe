import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

import amortized as am
from amortized.distributions.paths import spherical
from amortized.explore import Explorer
from amortized.export.carrying import packed
from amortized.report.view import View
from tests.browsing import until

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A conditional model with its page, named so that a careless page would end its script."""
    folder = tmp_path_factory.mktemp("runs") / "run <!--<script>"
    run = am.fit("digits", latent_dim=3, context="label", epochs=2, quiet=True, out=folder)
    run.export("html")
    return run


@pytest.fixture(scope="module")
def file(run):
    return run.path / "explorer.html"


def show(opened, file):
    opened.page.goto(file.as_uri())
    until(opened.page, "typeof App !== 'undefined' && App.state.shown !== null")
    return opened.page


def test_the_page_asks_no_one_and_decodes_as_torch_does(opened, run, file):
    page = show(opened, file)
    z = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    got = page.evaluate("([z, context]) => Local.decode(z, context)", [z.tolist(), {"label": "7"}])["x"]
    with torch.no_grad():
        wanted = run.model.decode(z, {"label": torch.full((9,), 7)}).mean.flatten(1).numpy()
    assert np.abs(np.array(got) - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert page.evaluate("Local.description()")["name"] == run.path.name
    assert opened.complaints == []
    assert opened.abroad == []
    own = [url for url in opened.requests if not url.startswith(("blob:", "data:"))]
    assert own == [file.as_uri()]


def test_a_slider_moves_the_picture(opened, run, file):
    page = show(opened, file)
    before = page.evaluate("App.state.shown")
    slider = page.locator("#sliders input").first
    slider.focus()
    for _ in range(3):
        slider.press("PageUp")
    until(page, "JSON.stringify(App.state.shown.z) === JSON.stringify(App.state.z)")
    after = page.evaluate("({...App.state.shown, context: App.parts.conditions.context})")
    assert after["x"] != before["x"]
    wanted = Explorer(run).decode([after["z"]], after["context"])["x"][0]
    assert np.allclose(after["x"], wanted, atol=1e-4 * max(wanted))


@pytest.mark.parametrize("kind", ["bottom-up", "top-down"])
def test_entries_that_the_prior_draws_later_follow_the_one_that_moves(opened, tmp_path, kind):
    options = {"latent_dim": 2, "hierarchy": {"kind": kind, "latent_dims": [1]}, "context": "group", "epochs": 1, "quiet": True}
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)), columns=list("abc")).assign(group=["l", "r"] * 30)
    run = am.fit(table, **options)
    assert run.export("html", tmp_path / "page.html").left_out == {}
    page, explorer = show(opened, tmp_path / "page.html"), Explorer(run)
    z = [0.3, -0.2, 1.5]
    for entry, group in ((0, "l"), (2, "r")):
        got = page.evaluate("(given) => Local.decode(...given)", [[z], {"group": group}, {"follow": entry}])
        wanted = explorer.decode([z], {"group": group}, follow=entry)
        assert np.allclose(got["z"], wanted["z"], rtol=1e-5, atol=1e-5)
        assert np.allclose(got["x"], wanted["x"], rtol=1e-4, atol=1e-4)
        assert (got["z"][0][:2] == pytest.approx(z[:2])) == (entry == 0)
    page.locator("#inactive").evaluate("(button) => App.state.description.latent.active && button.click()")
    page.evaluate("() => { const top = document.getElementById('z2'); top.value = 2.5; top.dispatchEvent(new Event('input')); }")
    until(page, "App.state.shown.z[2] === 2.5 && JSON.stringify(App.state.shown.z) === JSON.stringify(App.state.z)")
    shown = page.evaluate("({...App.state.shown, context: App.parts.conditions.context})")
    assert np.allclose(explorer.decode([shown["z"]], shown["context"], follow=2)["z"], shown["z"], atol=1e-5)
    assert opened.complaints == []


def test_data_are_encoded_as_python_encodes_them(opened, run, file):
    page, explorer = show(opened, file), Explorer(View(run, most=1000))
    for n in (0, 7):
        carried, wanted = page.evaluate("(n) => Local.datum(n)", n), explorer.datum(n)
        made = page.evaluate("({x, context}) => Local.encode(x, context)", wanted)
        assert (carried["index"], carried["label"], carried["context"]) == (n, wanted["label"], wanted["context"])
        assert carried["x"] == wanted["x"]
        for name in ("z", "spread", "place", "reconstruction"):
            assert np.allclose(carried[name], wanted[name], rtol=1e-4, atol=1e-4)
            assert np.allclose(made[name], wanted[name], rtol=1e-4, atol=1e-4)
        for found in (carried["ellipse"], made["ellipse"]):
            axes, expected = np.array(found["axes"]), np.array(wanted["ellipse"]["axes"])
            assert np.allclose(axes.T @ axes, expected.T @ expected, rtol=1e-3, atol=1e-6)


def test_a_datum_with_missing_entries_is_encoded(opened, run, file):
    page, explorer = show(opened, file), Explorer(run)
    x = [None if place % 3 else float(place % 17) for place in range(64)]
    made, wanted = page.evaluate("(x) => Local.encode(x, {label: '2'})", x), explorer.encode(x, {"label": "2"})
    assert np.allclose(made["z"], wanted["z"], rtol=1e-4, atol=1e-4)
    assert made["x"] == x


def test_paths_are_those_of_python(opened, file):
    page = show(opened, file)
    a, b = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.3, 1.0, 2.0]])
    t = torch.linspace(0, 1, 7)
    ends = ((a, b), (a, -a), (a, 2 * a), (a, 0 * a), (0 * a, 0 * a))
    for kind, (begin, end) in product(("linear", "spherical"), ends):
        options = {"begin": begin[0].tolist(), "end": end[0].tolist(), "path": kind, "steps": 7, "context": {}}
        found = page.evaluate("(options) => Local.path(options)", options)
        wanted = spherical(begin, end, t)[:, 0] if kind == "spherical" else torch.lerp(begin, end, t[:, None])
        assert np.allclose(found["z"], wanted.numpy(), atol=1e-5)
        assert np.array(found["x"]).shape == (7, 64)


def test_samples_have_the_priors_moments_and_a_seed(opened, file):
    page = show(opened, file)
    ask = "(options) => Local.sample(options)"
    cold = np.array(page.evaluate(ask, {"n": 4, "temperature": 0, "context": {"label": "1"}})["z"])
    assert np.abs(cold).max() == 0
    drawn = np.array(page.evaluate(ask, {"n": 250, "seed": 5})["z"])
    assert abs(drawn.mean()) < 4 / math.sqrt(drawn.size)
    assert abs(drawn.std() - 1) < 4 / math.sqrt(2 * drawn.size)
    again = page.evaluate(ask, {"n": 1, "seed": 5})["z"][0]
    assert drawn[0].tolist() == again
    assert page.evaluate(ask, {"n": 1, "seed": 6})["z"][0] != again


WRONG = {
    "Local.decode([[1, 2]], {})": "z needs 3 finite numbers",
    "Local.decode([[1, 2, NaN]], {})": "z needs 3 finite numbers",
    "Local.decode([[1, 2, 3]], {label: 'eleven'})": "Condition 'label' has no class 'eleven'",
    "Local.encode([1, 2], {})": "x needs 64 finite numbers",
    "Local.datum(100000)": "There is no datum 100000",
    "Local.terms([], [], {})": "This page does not score",
}


def test_wrong_questions_are_refused_in_words(opened, file):
    page = show(opened, file)
    for asked, said in WRONG.items():
        assert said in page.evaluate(f"{asked}.then(() => 'answered', (error) => error.message)")
    assert len(page.evaluate("Local.decode([[0, 0, 0]], {})")["x"][0]) == 64


def test_arrays_are_packed_as_small_as_they_are():
    assert packed(np.array([[0.0, 16.0]]))["type"] == "uint8"
    for values in ([0.5], [-1.0], [256.0], [np.nan]):
        assert packed(np.array(values))["type"] == "float32"


@pytest.mark.parametrize("missing", ["DecompressionStream", "WebAssembly"])
def test_a_browser_that_cannot_compute_the_model_says_so(opened, file, missing):
    opened.page.add_init_script(f"delete window.{missing}")
    opened.page.goto(file.as_uri())
    until(opened.page, "!document.getElementById('trouble').hidden")
    assert "This browser cannot compute the model: it needs WebAssembly" in opened.page.locator("#trouble").inner_text()


def test_a_prior_that_the_page_cannot_draw_from_has_no_temperature(opened, tmp_path):
    vamp = am.fit("digits", latent_dim=2, prior={"kind": "vamp", "components": 5}, epochs=1, quiet=True)
    page = show(opened, vamp.export("html", tmp_path / "page.html").files[0])
    assert page.locator("#sampling").is_visible()
    assert page.locator("#tempering").is_hidden()
    page.keyboard.press("s")
    until(page, "App.state.seed === 1 && App.queues.acting.idle")
    assert page.locator("#trouble").is_hidden()


def test_conditions_that_are_numbers_are_taken_with_the_data_and_without(opened, tmp_path):
    noise = np.random.default_rng(0)
    frame = pd.DataFrame(noise.normal(size=(80, 4)), columns=["a", "b", "c", "dose"])
    frame["kind"] = np.where(noise.random(80) < 0.5, "left", "right")
    frame.to_csv(tmp_path / "table.csv", index=False)
    options = {"context": ["kind", "dose"], "latent_dim": 2, "epochs": 1, "quiet": True}
    run = am.fit(tmp_path / "table.csv", out=tmp_path / "run", **options)
    context = {"kind": "right", "dose": 1.5}
    wanted = Explorer(run).encode([0.1, None, 0.3], context)
    for name in ("with.html", "without.html"):
        page = show(opened, run.export("html", tmp_path / name).files[0])
        made = page.evaluate("(context) => Local.encode([0.1, null, 0.3], context)", context)
        for part in ("z", "reconstruction"):
            assert np.allclose(made[part], wanted[part], rtol=1e-4, atol=1e-4)
        assert page.locator("#trouble").is_hidden()
        assert opened.complaints == []
        (tmp_path / "table.csv").unlink(missing_ok=True)
        run = am.load_run(tmp_path / "run")


@pytest.mark.parametrize("data", ["image", "row"])
def test_without_an_encoder_data_are_shown_and_none_is_made(opened, tmp_path, data):
    source = "digits" if data == "image" else np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    climbing = am.fit(source, latent_dim=2, posterior="semi-amortized", epochs=1, quiet=True)
    page = show(opened, climbing.export("html", tmp_path / "page.html").files[0])
    until(page, "App.state.chosen !== null && App.queues.decoding.idle")
    assert page.locator("#pad-tools").is_hidden()
    assert page.locator("#row input:enabled").count() == 0
    before = page.evaluate("App.parts.datum.editor.x")
    if data == "image":
        page.locator("#pad").click(force=True)
    assert page.evaluate("App.parts.datum.editor.x") == before
    page.locator("#reset").click()
    assert page.inner_text("#datum-note").endswith("This page has no encoder for one of your own.")
    assert page.locator("#trouble").is_hidden()

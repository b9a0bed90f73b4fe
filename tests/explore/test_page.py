import time
from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
import torch

import amortized as am
from amortized.distributions.paths import spherical
from amortized.explore import Explorer, serving

pytest.importorskip("fastapi", reason="the explorer needs FastAPI: pip install 'amortized[explore]'")
pytest.importorskip("uvicorn", reason="the explorer needs uvicorn: pip install 'amortized[explore]'")

SETTLED = "App.state.shown !== null && Object.values(App.queues).every((queue) => queue.idle)"


class Explored:
    """An explorer behind a page, at an address."""

    def __init__(self, explorer: Explorer, stack: ExitStack):
        self.explorer, self.view = explorer, explorer.view
        self.address = stack.enter_context(serving(explorer))

    def decoded(self, z, **context):
        return np.array(self.explorer.decode([list(z)], context or None)["x"][0])


@pytest.fixture(scope="module")
def stack():
    with ExitStack() as running:
        yield running


@pytest.fixture(scope="module")
def flat(stack):
    return Explored(Explorer(am.fit("digits", latent_dim=2, epochs=1, quiet=True)), stack)


@pytest.fixture(scope="module")
def conditional(explorer, stack):
    return Explored(explorer, stack)


@pytest.fixture(scope="module")
def table(stack):
    noise = np.random.default_rng(0)
    kind, code = noise.integers(0, 2, 300), noise.normal(size=(300, 3))
    weight = noise.normal(size=(3, 24))
    x = 10 * code @ weight + noise.normal(size=(300, 24)) + 5 * kind[:, None]
    frame = pd.DataFrame(x * np.linspace(1, 3, 24), columns=[f"gene {column}" for column in range(24)])
    frame["kind"] = np.where(kind, "left", "right")
    return Explored(Explorer(am.fit(frame, labels="kind", latent_dim=3, epochs=4, quiet=True)), stack)


def until(page, condition, seconds=10.0):
    """Wait in Python: the page's own policy refuses the text that Playwright would evaluate in it while it waits."""
    end = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end, f"the page never came to: {condition}; {page.evaluate('App.state.chosen?.index')}"
        time.sleep(0.01)


def show(opened, explored):
    opened.page.goto(explored.address)
    until(opened.page, f"typeof App !== 'undefined' && App.state.chosen !== null && {SETTLED}")
    return opened.page


def settled(page):
    until(page, SETTLED)
    return page.evaluate("({z: App.state.z, ...App.state.shown, shownZ: App.state.shown.z})")


def where(page, index):
    """Where a datum lies on the screen."""
    return page.evaluate(
        "(index) => { const box = document.getElementById('map').getBoundingClientRect();"
        " const [x, y] = App.parts.plane.frame.canvas(App.parts.plane.places[index]); return [box.left + x, box.top + y]; }",
        index,
    )


def lonely(explored):
    """The datum that is farthest from its nearest neighbor on the map, but not at its edge."""
    places = np.array(explored.explorer.description()["data"]["places"])
    inner = np.flatnonzero((np.abs(places - np.median(places, 0)) < 2 * places.std(0)).all(1))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(len(places))
    return int(inner[apart[inner].min(1).argmax()])


def test_the_page_opens_in_peace(opened, flat):
    page = show(opened, flat)
    assert page.locator("#sliders li").count() == len(flat.view.active)
    assert page.locator("#legend button").count() == 10
    assert page.locator("#trouble").is_hidden()
    assert page.evaluate("App.state.chosen.index") == 0
    unlabelled = page.evaluate(
        "[...document.querySelectorAll('input, select')].filter((f) => !f.labels.length && !f.ariaLabel).map((f) => f.id)"
    )
    assert unlabelled == []
    assert (opened.complaints, opened.abroad) == ([], [])


MOVES = """async (values) => {
  const slider = document.querySelector('#sliders input');
  const rest = () => new Promise((done) => {
    const look = () => App.queues.decoding.idle ? done() : setTimeout(look, 1);
    look();
  });
  const found = [];
  for (const value of values) {
    slider.value = value;
    slider.dispatchEvent(new Event('input', {bubbles: true}));
    await rest();
    const canvas = document.getElementById('decoded');
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    const pixels = [...copy.getImageData(0, 0, canvas.width, canvas.height).data];
    found.push({z: App.state.z, x: App.state.shown.x, grey: pixels.filter((_, i) => i % 4 === 0)});
  }
  return found;
}"""


def test_a_slider_leads_to_the_image_that_python_decodes(opened, flat):
    page = show(opened, flat)
    first = flat.view.ranking.dimensions[0]
    for value, found in zip(values := [-2.0, -0.5, 1.25], page.evaluate(MOVES, values), strict=True):
        assert found["z"][first] == pytest.approx(value)
        expected = flat.view.decode(np.array([found["z"]]))[0].ravel()
        np.testing.assert_allclose(found["x"], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
        np.testing.assert_allclose(found["grey"], expected * 255 / 16, atol=0.51)
    assert opened.complaints == []


def test_while_one_drags_one_decode_is_on_its_way_and_the_newest_wins(opened, flat):
    page = show(opened, flat)
    asked = page.evaluate(
        "() => { const before = App.queues.decoding.asked; const slider = document.querySelector('#sliders input');"
        " for (let i = 0; i <= 50; i += 1) { slider.value = i / 25; slider.dispatchEvent(new Event('input')); } return before; }"
    )
    found = settled(page)
    assert page.evaluate("App.queues.decoding.asked") - asked == 2
    assert found["shownZ"] == found["z"]
    np.testing.assert_allclose(found["x"], flat.decoded(found["z"]), rtol=1e-6)


def test_an_answer_to_what_was_given_up_is_not_taken(opened, flat):
    page = show(opened, flat)
    taken = page.evaluate(
        """async () => {
          const [answers, taken] = [[], []];
          const ask = (name) => new Promise((answer) => answers.push(() => answer(name)));
          const queue = new Latest(ask, (name) => taken.push(name));
          queue.push('given up');
          queue.cancel();
          queue.push('overtaken');
          queue.push('newest');
          while (!queue.idle) { answers.shift()?.(); await new Promise((done) => setTimeout(done)); }
          return taken;
        }"""
    )
    assert taken == ["newest"]


def test_a_click_on_the_map_chooses_the_datum(opened, flat):
    page = show(opened, flat)
    index = lonely(flat)
    page.mouse.click(*where(page, index))
    until(page, f"App.state.chosen.index === {index}")
    found = settled(page)
    np.testing.assert_allclose(found["z"], flat.view.z[index], rtol=1e-5)
    np.testing.assert_allclose(page.evaluate("App.parts.plane.marks.ellipse.axes.map((a) => Math.hypot(...a)).sort()"),
        np.sort(flat.view.spread[index]), rtol=1e-4)  # fmt: skip
    assert page.evaluate("App.parts.datum.editor.x") == flat.view.x[index].ravel().tolist()
    terms = page.evaluate("App.state.chosen.answer.terms")
    assert terms["elbo_nats"] == pytest.approx(terms["log_px_z_nats"] - terms["kl_nats"], abs=1e-3)
    assert f"{terms['log_px_nats']:.2f}".replace("-", "\u2212") in page.locator("#score-said").inner_text()
    assert page.locator("#here tr").count() == 6


def test_dragging_the_point_moves_z_within_the_plane(opened, table):
    page = show(opened, table)
    before = np.array(settled(page)["z"])
    box = page.locator("#map").bounding_box()
    page.mouse.move(box["x"] + 100, box["y"] + 100)
    page.mouse.down()
    page.mouse.move(box["x"] + 160, box["y"] + 150, steps=4)
    page.mouse.up()
    found = settled(page)
    z, plane = np.array(found["z"]), table.view.plane
    place = page.evaluate("App.parts.plane.frame.place([160, 150])")
    np.testing.assert_allclose(plane.project(z), place, rtol=0.02, atol=0.02)
    moved = z - before
    np.testing.assert_allclose(moved, moved @ plane.axes.T @ plane.axes, atol=1e-5)
    np.testing.assert_allclose(found["x"], table.decoded(z), rtol=1e-5)
    assert page.evaluate("App.state.chosen.index") == 0  # its score stays in view


def test_a_condition_changes_what_the_same_z_is_decoded_to(opened, conditional):
    page = show(opened, conditional)
    before = settled(page)
    other = "3" if page.evaluate("App.parts.conditions.context.label") != "3" else "5"
    page.select_option("#conditions select", other)
    found = settled(page)
    assert found["z"] == before["z"]
    assert found["x"] != before["x"]
    np.testing.assert_allclose(found["x"], conditional.decoded(found["z"], label=other), rtol=1e-6)
    assert opened.complaints == []


def test_a_walk_between_two_data(opened, flat):
    page = show(opened, flat)
    page.locator("#walk-begin").click()
    page.fill("#index", "7")
    page.keyboard.press("Enter")
    until(page, "App.state.chosen.index === 7")
    page.locator("#map").focus()
    page.keyboard.press("b")
    until(page, "App.parts.walk.path !== null")
    begin, end = flat.view.z[[0, 7]]
    page.evaluate(
        "() => { const p = document.getElementById('walk-position'); p.value = 16; p.dispatchEvent(new Event('input')); }"
    )
    found = settled(page)
    np.testing.assert_allclose(found["z"], (begin + end) / 2, atol=1e-5)
    np.testing.assert_allclose(found["x"], flat.decoded(found["z"]), rtol=1e-4, atol=1e-3)
    assert page.locator("#walk-film button").count() == 9
    page.select_option("#walk-kind", "spherical")
    until(page, "App.parts.walk.asking.idle")
    page.locator("#walk-film button").nth(4).click()
    between = spherical(torch.tensor(begin)[None], torch.tensor(end)[None], torch.tensor([0.5]))
    np.testing.assert_allclose(settled(page)["z"], between.numpy().ravel(), atol=1e-5)
    page.locator("#walk-play").click()
    until(page, "App.state.z.every((value, i) => value === App.parts.walk.path.z.at(-1)[i])")


def test_what_is_drawn_is_encoded_and_scored(opened, flat):
    page = show(opened, flat)
    page.locator("#clear").click()
    box = page.locator("#pad").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 10, steps=5)
    page.mouse.up()
    until(page, "App.state.chosen.index === null")
    found = settled(page)
    x = page.evaluate("App.parts.datum.editor.x")
    image = np.array(x).reshape(8, 8)
    assert image[:, 3:5].min() > 10
    assert not image[:, [0, 7]].any()
    assert set(image.ravel()) <= set(range(17))
    np.testing.assert_allclose(found["z"], flat.explorer.encode(x)["z"], rtol=1e-6)
    assert "your own x" in page.locator("#score-title").inner_text()
    page.locator("#undo").click()
    assert not any(page.evaluate("App.parts.datum.editor.x"))
    page.locator("#pad").focus()
    for key in ("ArrowRight", "ArrowDown", " "):
        page.keyboard.press(key)
    assert page.evaluate("App.parts.datum.editor.x")[5 * 8 + 5] == 16
    assert opened.complaints == []


def test_a_row_is_edited_by_hand(opened, table):
    page = show(opened, table)
    assert page.locator("#row li").count() == page.locator("#decoded-row tbody tr").count() == 20
    varying = table.view.x.var(0).argsort()[::-1]
    assert page.locator("#row label").first.inner_text() == f"gene {varying[0]}"
    page.fill("#search", "gene 2")
    assert page.locator("#row li").count() == 5  # 2, 20, 21, 22, 23
    page.locator("#search").press("s")  # is typed, and samples nothing
    assert page.locator("#row li").count() == 0
    assert page.evaluate("App.state.chosen.index") == 0
    page.fill("#search", "gene 7")
    page.fill("#column7", "33.5")
    until(page, "App.state.chosen.index === null")
    x = table.view.x[0].tolist()
    x[7] = 33.5
    np.testing.assert_allclose(settled(page)["z"], table.explorer.encode(x)["z"], rtol=1e-5)
    page.fill("#column7", "1e30")
    until(page, "!document.getElementById('trouble').hidden || App.queues.acting.idle")
    page.fill("#column7", "30")
    until(page, f"document.getElementById('trouble').hidden && {SETTLED}")


def test_the_keyboard_is_enough(opened, flat):
    page = show(opened, flat)
    for _ in range(4):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "map":
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    before = settled(page)["z"]
    page.keyboard.press("ArrowRight")
    after = settled(page)["z"]
    assert after[0] > before[0]
    assert after[1] == pytest.approx(before[1])
    page.keyboard.press("r")
    found = settled(page)
    assert found["z"] == [0, 0]
    assert page.evaluate("App.state.chosen") is None
    page.keyboard.press("Enter")
    until(page, "App.state.chosen !== null")
    assert page.evaluate("App.state.chosen.index") == int(np.linalg.norm(flat.view.z, axis=1).argmin())
    page.keyboard.press("s")
    until(page, f"App.state.seed === 1 && {SETTLED}")
    assert settled(page)["z"] == flat.explorer.sample(seed=1)["z"][0]
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#help").is_hidden()
    page.locator("#sliders input").first.focus()
    page.keyboard.press("ArrowRight")
    assert settled(page)["shownZ"] == page.evaluate("App.state.z")


def test_a_phone_in_the_dark(opened, flat):
    opened.page.set_viewport_size({"width": 390, "height": 844})
    opened.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    page = show(opened, flat)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert page.evaluate("[...document.querySelectorAll('section')].every((part) => part.getBoundingClientRect().width > 350)")


def test_a_server_that_is_gone_is_said_so(opened, flat):
    with serving(flat.explorer) as address:
        opened.page.goto(address)
        until(opened.page, f"typeof App !== 'undefined' && App.state.chosen !== null && {SETTLED}")
    opened.page.keyboard.press("s")
    until(opened.page, "!document.getElementById('trouble').hidden")
    assert "does not answer" in opened.page.locator("#trouble").inner_text()

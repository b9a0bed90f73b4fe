import numpy as np
import pytest
import torch

import amortized as am
from amortized.distributions.paths import spherical
from amortized.explore import Explorer
from tests.browsing import until
from tests.explore.explored import Explored, choose, lonely, settled, show, where


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


def test_entries_that_the_prior_draws_later_follow_the_one_that_moves(opened, stack):
    hierarchy = {"kind": "top-down", "latent_dims": [1]}
    table = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    explored = Explored(Explorer(am.fit(table, latent_dim=2, hierarchy=hierarchy, epochs=1, quiet=True)), stack)
    page = show(opened, explored)
    page.locator("#inactive").evaluate("(button) => App.state.description.latent.active && button.click()")
    before = settled(page)["z"]
    page.evaluate("() => { const top = document.getElementById('z2'); top.value = 2.5; top.dispatchEvent(new Event('input')); }")
    found = settled(page)
    expected = explored.explorer.decode([[*before[:2], 2.5]], follow=2)
    assert found["z"] == found["shownZ"] == expected["z"][0]
    assert found["z"][:2] != before[:2]
    np.testing.assert_allclose(found["x"], expected["x"][0], rtol=1e-6)


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


def test_a_doubtful_estimate_has_no_error_that_says_too_little(opened, flat):
    page = show(opened, flat)
    said = """(is_doubtful) => {
      const terms = {...App.state.chosen.answer.terms, log_px_nats: -7, stderr_nats: 0.5, is_doubtful};
      Score.ofX(document.getElementById('score'), terms);
      return [Score.words(terms), document.getElementById('score').innerText];
    }"""
    words, table = page.evaluate(said, False)
    assert words.endswith(", log p(x) \u22127.00 \u00b1 0.50 nats.")
    assert "\u22127.00 \u00b1 0.50" in table
    words, table = page.evaluate(said, True)
    assert words.endswith(", log p(x) at least about \u22127.00 nats.")
    assert "likely too low" in table
    assert "\u00b1" not in table


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
    choose(page, 7)
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


def test_what_is_done_by_hand_ends_a_walk_that_plays(opened, flat):
    page = show(opened, flat)
    page.locator("#walk-begin").click()
    page.locator("#index").fill("7")
    page.keyboard.press("Enter")
    until(page, "App.state.chosen.index === 7")
    page.locator("#walk-end").click()
    deeds = {
        "sample": "document.getElementById('sampling').requestSubmit()",
        "datum": "App.parts.datum.index.value = 11, App.parts.datum.index.dispatchEvent(new Event('change'))",
        "film": "document.querySelectorAll('#walk-film button')[2].click()",
        "map": "App.parts.plane.handlers.move([0.25, 0.5])",
    }
    for name, deed in deeds.items():
        until(page, "App.parts.walk.path !== null && !App.parts.walk.timer")
        page.evaluate("document.getElementById('walk-play').click()")
        until(page, "Number(document.getElementById('walk-position').value) > 0")
        page.evaluate(deed)
        ended = settled(page)
        page.wait_for_timeout(200)
        assert settled(page)["z"] == ended["z"], name
        assert page.inner_text("#walk-play") == "Play"
        assert page.evaluate("App.state.chosen.index") == (7 if name == "sample" else 11)


def test_a_walk_is_under_the_conditions_that_are_set(opened, conditional):
    page = show(opened, conditional)
    page.locator("#walk-begin").click()
    choose(page, 7)
    page.locator("#walk-end").click()
    until(page, "App.parts.walk.path !== null")
    page.locator("#walk-film button").nth(4).click()
    other = "3" if page.evaluate("App.parts.conditions.context.label") != "3" else "5"
    page.select_option("#conditions select", other)
    until(page, "App.parts.walk.path !== null")
    assert page.locator("#walk-position").input_value() == "16"
    for film in (4, 6):
        page.locator("#walk-film button").nth(film).click()
        found = settled(page)
        np.testing.assert_allclose(found["x"], conditional.decoded(found["z"], label=other), rtol=1e-4, atol=1e-3)
    until(page, f"document.getElementById('here-title').textContent === 'At the z on the map, given label = {other}, nats'")
    assert "label = " in page.locator("#score-title").inner_text()
    choose(page, 0)  # which sets its own
    until(page, "App.parts.walk.path !== null")
    page.locator("#walk-film button").nth(2).click()
    found, context = settled(page), page.evaluate("App.parts.conditions.context")
    np.testing.assert_allclose(found["x"], conditional.decoded(found["z"], **context), rtol=1e-4, atol=1e-3)


def test_what_does_nothing_is_not_shown(opened, stack):
    classes = am.fit("digits", posterior={"kind": "categorical", "classes": 4}, latent_dim=3, epochs=1, quiet=True)
    page = show(opened, Explored(Explorer(classes), stack))
    assert page.locator("#sampling").is_visible()  # of a prior that is uniform at all temperatures
    assert page.locator("#tempering").is_hidden()
    assert page.locator("#walk").is_hidden()
    for key in ("a", "b"):
        page.keyboard.press(key)
    settled(page)
    assert page.locator("#trouble").is_hidden()


def test_a_narrow_ellipse_is_seen_within_the_ring(opened, flat):
    page = show(opened, flat)
    without, drawn = page.evaluate(
        """() => {
          const {plane} = App.parts;
          const {z} = plane.marks;
          const [x, y] = plane.frame.canvas(z);
          const radius = 5.5 / plane.frame.scale;
          return [null, {center: z, axes: [[radius, 0], [0, radius]]}].map((ellipse) => {
            plane.show({ellipse});
            const pixels = plane.canvas.getContext('2d').getImageData(0, 0, plane.canvas.width, plane.canvas.height).data;
            const shade = (turn) => {
              const [column, row] = [Math.floor(x + 5.5 * Math.cos(turn)), Math.floor(y + 5.5 * Math.sin(turn))];
              return pixels[4 * (row * plane.canvas.width + column)];
            };
            return Array.from({length: 24}, (_, k) => shade(k)).reduce((a, b) => a + b) / 24;
          });
        }"""
    )
    assert drawn < without - 50

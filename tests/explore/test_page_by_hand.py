from dataclasses import replace

import numpy as np
import pytest

import amortized as am
from amortized.explore import Explorer, serving
from amortized.recipes.recipe import DataDescription
from tests.browsing import until
from tests.explore.explored import SETTLED, Explored, settled, show


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


def test_counts_without_their_data_are_made_by_hand(opened, stack):
    counts = np.random.default_rng(0).poisson(2.5, size=(80, 4)).astype(np.float32)
    run = am.fit(counts, likelihood="poisson", latent_dim=2, epochs=1, quiet=True)
    run = replace(run, recipe=run.recipe.model_copy(update={"data": DataDescription(source="no-such-file.npz")}), source=None)
    opened.page.goto(Explored(Explorer(run), stack).address)
    until(opened.page, f"typeof App !== 'undefined' && {SETTLED}")
    for value in ("0", "2", "9"):
        opened.page.locator("#row input[type=range]").first.fill(value)
        until(opened.page, f"App.state.chosen !== null && {SETTLED}")
        assert opened.page.locator("#trouble").is_hidden()
        assert all(entry == round(entry) for entry in opened.page.evaluate("App.state.chosen.answer.x"))

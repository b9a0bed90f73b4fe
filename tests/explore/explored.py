"""Pages of explorers, open in a browser."""

from contextlib import ExitStack

import numpy as np

from amortized.explore import Explorer, serving
from tests.browsing import until

SETTLED = "App.state.shown !== null && Object.values(App.queues).every((queue) => queue.idle)"


class Explored:
    """An explorer behind a page, at an address."""

    def __init__(self, explorer: Explorer, stack: ExitStack):
        self.explorer, self.view = explorer, explorer.view
        self.address = stack.enter_context(serving(explorer))

    def decoded(self, z, **context):
        return np.array(self.explorer.decode([list(z)], context or None)["x"][0])


def show(opened, explored):
    opened.page.goto(explored.address)
    until(opened.page, f"typeof App !== 'undefined' && App.state.chosen !== null && {SETTLED}")
    return opened.page


def settled(page):
    until(page, SETTLED)
    return page.evaluate("({z: App.state.z, ...App.state.shown, shownZ: App.state.shown.z})")


def choose(page, index):
    """Choose a datum by its number."""
    page.fill("#index", str(index))
    page.keyboard.press("Enter")
    until(page, f"App.state.chosen.index === {index}")


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

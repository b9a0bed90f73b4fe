"""The pictures of the documentation, made anew: `python docs/pictures/make.py [explore export]`, in Debian's chromium.

Each kind fits the models that it needs in a temporary folder, and takes a minute or two.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from playwright.sync_api import Page, sync_playwright
from sklearn.datasets import load_wine

import amortized as am
from amortized.explore import serving

HERE = Path(__file__).parent
SETTLED = "App.state.chosen !== null && Object.values(App.queues).every((queue) => queue.idle) && App.parts.walk.asking.idle"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@contextmanager
def opened(run: Any, **context: Any) -> Iterator[Page]:
    """The explorer of a run, open in a browser."""
    with serving(run) as address, shown(address, **context) as page:
        yield page


@contextmanager
def shown(address: str, **context: Any) -> Iterator[Page]:
    """A page at an address, open in a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        settings: Any = {"viewport": WIDE} | context
        page = browser.new_context(**settings).new_page()
        page.goto(address)
        page.evaluate("App.ready")
        settle(page)
        yield page
        browser.close()


def settle(page: Page) -> None:
    """Wait until all that was asked is answered."""
    page.wait_for_timeout(100)
    while not page.evaluate(SETTLED):
        page.wait_for_timeout(20)
    page.wait_for_timeout(100)


def choose(page: Page, datum: int) -> None:
    """Choose a datum by its number."""
    page.fill("#index", str(datum))
    page.press("#index", "Enter")
    settle(page)


def first_of(page: Page, label: int, after: int = 0) -> int:
    """The first datum of a label."""
    return page.evaluate(f"App.state.description.data.labels.indexOf({label}, {after})")


def walk(page: Page, begin: int, end: int, step: int) -> None:
    """Stand on the way from one datum to another."""
    for datum, button in ((begin, "#walk-begin"), (end, "#walk-end")):
        choose(page, datum)
        page.click(button)
        settle(page)
    page.evaluate(f"App.parts.walk.go({step})")
    settle(page)


def keep(page: Page, name: str, *, full: bool = True) -> None:
    """Write the picture, with nothing in focus and the mouse away."""
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.screenshot(path=HERE / name, full_page=full)


def explore() -> None:
    """The explorer: digits on a plane, on a phone, in the dark; a table; a model with a condition."""
    run = am.fit("digits", latent_dim=2, epochs=150, out="runs/digits", quiet=True)
    with opened(run) as page:
        walk(page, first_of(page, 0), first_of(page, 4), 12)
        keep(page, "explore-digits.png")
    with opened(run, color_scheme="dark") as page:
        choose(page, first_of(page, 3))
        page.click("#clear")
        box: Any = page.locator("#pad").bounding_box()
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.1 * box["height"])
        page.mouse.down()
        page.mouse.move(box["x"] + 0.45 * box["width"], box["y"] + 0.95 * box["height"], steps=8)
        page.mouse.up()
        settle(page)
        keep(page, "explore-dark.png")
    with opened(run, viewport=PHONE, device_scale_factor=1.5, has_touch=True) as page:
        choose(page, first_of(page, 0))
        keep(page, "explore-phone.png", full=False)
    wine: Any = load_wine()
    frame = pd.DataFrame(wine.data, columns=wine.feature_names).assign(cultivar=[f"cultivar {code}" for code in wine.target])
    with opened(am.fit(frame, labels="cultivar", latent_dim=2, epochs=300, out="runs/wine", quiet=True)) as page:
        choose(page, 4)
        keep(page, "explore-table.png")
    with opened(am.fit("digits", latent_dim=2, context="label", epochs=150, out="runs/by-label", quiet=True)) as page:
        choose(page, first_of(page, 8))
        page.select_option("#conditions select", "3")
        settle(page)
        keep(page, "explore-conditional.png")


def export() -> None:
    """The explorer in one file."""
    made = am.fit("digits", latent_dim=8, epochs=150, out="runs/digits-8", quiet=True).export("html")
    with shown(made.files[0].absolute().as_uri()) as page:
        choose(page, first_of(page, 3))
        keep(page, "export-page.png")


KINDS: dict[str, Callable[[], None]] = {"explore": explore, "export": export}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("kind", nargs="*", help=f"of {', '.join(KINDS)}; all where none is given")
    chosen = parser.parse_args().kind
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for kind in chosen or KINDS:
            KINDS[kind]()


if __name__ == "__main__":
    main()

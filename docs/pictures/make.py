"""The pictures of the documentation, made anew: `python docs/pictures/make.py [explore|report|export|live ...]`, in chromium.

Each kind fits the models that it needs in a temporary folder, and takes a minute or two.
"""

import argparse
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pandas as pd
from playwright.sync_api import Page, sync_playwright
from sklearn.datasets import load_wine

import amortized as am
from amortized.explore import serving
from amortized.report import write_report

HERE = Path(__file__).parent
SETTLED = "App.state.chosen !== null && Object.values(App.queues).every((queue) => queue.idle) && App.parts.walk.asking.idle"
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PORT, EPOCHS = 8799, 120
"""Of the fit that is shown live."""


@contextmanager
def browsing(address: str, **context: Any) -> Iterator[Page]:
    """A page, open in a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        settings: Any = {"viewport": WIDE} | context
        page = browser.new_context(**settings).new_page()
        page.goto(address)
        yield page
        browser.close()


@contextmanager
def opened(run: Any, **context: Any) -> Iterator[Page]:
    """The explorer of a run, open in a browser."""
    with serving(run) as address, browsing(address, **context) as page:
        page.evaluate("App.ready")
        settle(page)
        yield page


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


def report() -> None:
    """Reports: of digits, its first screens and on a phone; of two runs."""
    paths = [Path("runs/digits-16"), Path("runs/two-dimensional")]
    runs = [am.fit("digits", latent_dim=d, epochs=60, out=out, quiet=True) for d, out in zip((16, 2), paths, strict=True)]
    runs[0].evaluate(only=["evidence", "surgery", "baselines", "gaps", "calibration"])
    alone, both = runs[0].report(), write_report(runs)
    for name, file, height, viewport in (
        ("report-digits.png", alone, 2400, WIDE),
        ("report-digits-phone.png", alone, 844, PHONE),
        ("report-comparison.png", both, 2600, WIDE),
    ):
        with browsing(file.absolute().as_uri(), viewport=viewport) as page:
            clip: Any = {"x": 0, "y": 0, "width": viewport["width"], "height": height}
            page.screenshot(path=HERE / name, clip=clip, full_page=True)


def export() -> None:
    """The explorer in one file, opened from the disk."""
    run = am.fit("digits", latent_dim=8, epochs=60, out="runs/digits-8", quiet=True)
    run.export("html", "digits.html")
    with browsing(Path("digits.html").absolute().as_uri()) as page:
        page.evaluate("App.ready")
        settle(page)
        choose(page, first_of(page, 8))
        keep(page, "export-page.png")


def live() -> None:
    """A fit as its page shows it, at about a quarter of its steps."""
    options: Any = {"objective": "beta", "objective.warmup_epochs": 40}
    how: Any = {"epochs": EPOCHS, "live": PORT, "quiet": True, "report": False, "out": "runs/live", **options}
    fitting = Thread(target=am.fit, args=("digits",), kwargs=how)
    fitting.start()
    try:
        while not answers(PORT):
            time.sleep(0.1)
        with browsing(f"http://127.0.0.1:{PORT}/") as page:
            while (epochs := re.search(r"epochs\s+(\d+)", page.inner_text("#facts"))) is None or int(epochs[1]) < EPOCHS // 4:
                page.wait_for_timeout(100)
            page.screenshot(path=HERE / "live.png", full_page=True)
    finally:
        fitting.join()


def answers(port: int) -> bool:
    """Whether a server listens on a port of this machine."""
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


KINDS: dict[str, Callable[[], None]] = {"explore": explore, "report": report, "export": export, "live": live}


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

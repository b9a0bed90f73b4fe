"""A real browser for the tests of pages: Debian's chromium, driven by Playwright, with what it complains of and asks for."""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
ON_THE_MACHINE = ("file", "data", "blob", "about")


@dataclass
class Opened:
    """A page of the browser.

    Attributes:
        page: Playwright's.
        complaints: Errors and warnings of the console, and errors that no one caught.
        requests: The addresses of all requests.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @property
    def abroad(self) -> list[str]:
        """The requests that left the machine."""
        hosts = ("127.0.0.1", "localhost", "[::1]")
        return [
            url for url in self.requests if urlsplit(url).scheme not in ON_THE_MACHINE and urlsplit(url).hostname not in hosts
        ]


@contextmanager
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped, with the reason, where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium to open pages with: `make browser` installs Debian's")
    api = pytest.importorskip("playwright.sync_api", reason="pages are opened with Playwright: pip install playwright")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


def watched(page: Any) -> Opened:
    """A page whose console and requests are recorded."""
    opened = Opened(page)
    page.on("console", lambda message: opened.complaints.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    page.on("request", lambda request: opened.requests.append(request.url))
    return opened


def until(page: Any, condition: str, seconds: float = 20.0) -> None:
    """Wait in Python: a page's own policy refuses the text that Playwright would evaluate in it while it waits."""
    end = time.monotonic() + seconds
    while not page.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end, f"the page never came to: {condition}"
        time.sleep(0.01)

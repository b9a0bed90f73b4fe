"""The live page's server: three files and a stream of events, on this machine alone, from a thread beside the one that trains."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from amortized.errors import InputError
from amortized.explore.answering import refusal
from amortized.explore.guard import Guard
from amortized.explore.live import Feed, Told
from amortized.explore.server import add_files, bind, refuse_http, running

PAGE = Path(__file__).parent / "live_page"
PORT = 8766
HOST = "127.0.0.1"
PORTS = 20
"""How many ports are tried, from the one that was asked for on."""

EVERY = 0.5
"""Seconds between two looks for news, for each page that is open."""

QUIET = 15.0
"""Seconds without news after which a page is sent a comment, so that one that is closed is noticed."""

FAREWELL = 2.0
"""Seconds, at most, in which the pages that are open hear the end."""

MOST_BYTES = 2**16
MOST_PAGES = 50
"""That are open at once; each is looked after twice a second, beside the training."""


@contextmanager
def showing(feed: Feed, port: int) -> Iterator[str]:
    """Serve the page while the context lasts; at its end the pages that are open are told the rest.

    Args:
        feed: What it shows.
        port: The port; where it is taken the next free one.

    Yields:
        The address.

    Raises:
        InputError: None of the ports is free.
    """
    pages = Pages(feed)
    with running(make_live_app(pages), _first_free(port)) as address:
        try:
            yield address
        finally:
            feed.has_ended = True
            patience = time.monotonic() + FAREWELL
            while pages.open and time.monotonic() < patience:
                time.sleep(0.02)


class Pages:
    """The pages that are open.

    Args:
        feed: What they are told.
    """

    def __init__(self, feed: Feed):
        self.feed, self.open = feed, 0

    async def stream(self) -> AsyncIterator[str]:
        """What one page is told, as events, until there is nothing more to come."""
        told, heard = Told(), time.monotonic()
        self.open += 1
        try:
            while True:
                has_ended = self.feed.has_ended  # looked at first, so that nothing is told between the news and the end
                news = self.feed.news(told)
                if news is not None:
                    heard = time.monotonic()
                    yield f"data: {json.dumps(news, allow_nan=False, separators=(',', ':'))}\n\n"
                elif time.monotonic() - heard > QUIET:
                    heard = time.monotonic()
                    yield ": still here\n\n"
                if has_ended:
                    yield "event: end\ndata: {}\n\n"
                    return
                await asyncio.sleep(EVERY)
        finally:
            self.open -= 1


def make_live_app(pages: Pages) -> Any:
    """The application of ASGI that serves the live page.

    Raises:
        InputError: FastAPI is not installed.
    """
    check_installed()
    from fastapi import FastAPI
    from starlette.exceptions import HTTPException
    from starlette.responses import StreamingResponse

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False
    app.add_exception_handler(HTTPException, refuse_http)

    @app.get("/events")
    async def events() -> Any:
        if pages.open >= MOST_PAGES:
            return refusal(503, f"{MOST_PAGES} pages are open, which is the most; close one.")
        return StreamingResponse(pages.stream(), media_type="text/event-stream")

    add_files(app, PAGE)
    return Guard(app, HOST, MOST_BYTES)


def check_installed() -> None:
    """Refuse to show a page where what serves it is missing.

    Raises:
        InputError: FastAPI or uvicorn is not installed.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InputError("live needs FastAPI and uvicorn: pip install 'amortized[explore]'.") from error


def _first_free(port: int) -> socket.socket:
    for candidate in range(port, min(port + PORTS, 2**16)):
        try:
            return bind(HOST, candidate)
        except InputError:
            continue
    raise InputError(f"port {port} and the {PORTS - 1} after it are taken; give another live port.")

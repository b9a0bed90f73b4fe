"""The explorer's server: the page, and what it asks, on this machine alone unless told otherwise."""

import errno
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from amortized.errors import InputError
from amortized.explore.answering import answer, refusal
from amortized.explore.asking import check_keys, parse, sentence
from amortized.explore.explorer import Explorer, view_of
from amortized.explore.guard import EVERYWHERE, LOOPBACK, Guard

if TYPE_CHECKING:
    from amortized.report.view import View
    from amortized.runs import Run

PAGE = Path(__file__).parent / "page"
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
QUESTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "decode": (("z",), ("context", "follow")),
    "encode": (("x",), ("context",)),
    "terms": (("x", "z"), ("context",)),
    "sample": ((), ("n", "temperature", "seed", "context")),
    "path": (("begin", "end"), ("path", "steps", "context")),
}
"""The keys that each needs, and those that it may have."""

LEAST_BYTES, BYTES_PER_NUMBER = 2**20, 26
PORT = 8765
NOT_INSTALLED = "the explorer needs FastAPI and uvicorn, which are not both installed: pip install 'amortized[explore]'."


def make_app(explorer: Explorer, *, host: str = "127.0.0.1") -> Any:
    """The application that answers the page.

    Args:
        explorer: What it asks about.
        host: What the server is bound to, which a request must name as its host.

    Returns:
        An application of ASGI.

    Raises:
        InputError: FastAPI is not installed.
    """
    try:
        from fastapi import FastAPI
        from starlette.exceptions import HTTPException
    except ImportError as error:
        raise InputError(NOT_INSTALLED) from error
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.router.redirect_slashes = False
    app.add_exception_handler(HTTPException, refuse_http)
    app.add_exception_handler(InputError, lambda _, error: refusal(422, sentence(error)))
    app.add_exception_handler(Exception, lambda *_: refusal(500, "The explorer failed; the reason is where it was started."))
    _add_questions(app, explorer)
    add_files(app, PAGE)
    return Guard(app, host, max(LEAST_BYTES, BYTES_PER_NUMBER * (explorer.entries + explorer.dimensions)))


@contextmanager
def serving(run: "Run | View | Explorer", *, host: str = "127.0.0.1", port: int = 0) -> Iterator[str]:
    """Serve the explorer while the context lasts, from a thread.

    Args:
        run: What is explored.
        host: What to bind to.
        port: The port; 0 takes a free one.

    Yields:
        The address of the page.

    Raises:
        InputError: The port is taken, the host is not this machine's, or FastAPI is not installed.
    """
    explorer = run if isinstance(run, Explorer) else Explorer(run)
    with running(make_app(explorer, host=host), bind(host, port), host=host) as address:
        yield address


@contextmanager
def running(app: Any, bound: socket.socket, *, host: str = "127.0.0.1") -> Iterator[str]:
    """Run an application of ASGI while the context lasts, from a thread.

    Args:
        app: The application.
        bound: The socket, which is closed at the end.
        host: What it is bound to.

    Yields:
        The address.

    Raises:
        InputError: uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError as error:
        bound.close()
        raise InputError(NOT_INSTALLED) from error
    quiet: dict[str, Any] = {"log_level": "error", "log_config": None, "access_log": False, "server_header": False}
    plain: dict[str, Any] = {"http": "h11", "ws": "none", "lifespan": "off", "timeout_graceful_shutdown": 2}
    server = uvicorn.Server(uvicorn.Config(app, **quiet, **plain))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, name="amortized server", daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.005)
        yield f"http://{_in_address(host)}:{bound.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        bound.close()


def serve(
    run: "Run",
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    split: str | None = None,
    open_browser: bool = True,
) -> None:
    """Serve the explorer of a run until it is interrupted (Ctrl-C).

    Args:
        run: The run.
        host: What to bind to; other than this machine's own address, everyone who reaches it can explore the model and its data.
        port: The port; 0 takes a free one.
        split: The part of the data that is on the map; None takes the first that there is of test, valid and train.
        open_browser: Whether to open the page in the browser.

    Raises:
        InputError: The split is not there, the port is taken, the host is not this machine's, or FastAPI is not installed.
    """
    explorer = Explorer(view_of(run, split))
    if split is not None and explorer.missing is not None:
        raise InputError(explorer.missing)
    if explorer.missing is not None:
        print(f"The map has no data: {explorer.missing}")
    explorer.description()  # so that the page need not wait for it
    with serving(explorer, host=host, port=port) as address:
        if host not in LOOPBACK:
            print(f"Warning: bound to {host}, whoever reaches it can see the model and its data.", file=sys.stderr)
        print(f"The explorer is at {address} (Ctrl-C ends it).", flush=True)
        if open_browser:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            while True:
                time.sleep(3600)  # which an interruption ends on every system


def _add_questions(app: Any, explorer: Explorer) -> None:
    app.get("/api/description")(lambda: answer(explorer.description()))

    @app.get("/api/datum/{n}")
    def datum(n: str) -> Any:
        if not (n.isascii() and n.isdecimal() and len(n) < 10):
            raise InputError("a datum is named by its number, counted from 0.")
        return answer(explorer.datum(int(n)))

    for name in QUESTIONS:
        app.post(f"/api/{name}")(_asked(name, getattr(explorer, name)))


def _asked(name: str, ask: Callable[..., Any]) -> Callable[..., Any]:
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request

    def answered(body: bytes) -> Any:
        question = parse(body)
        check_keys(question, *QUESTIONS[name])
        return answer(ask(**question))

    async def endpoint(request: Request) -> Any:
        return await run_in_threadpool(answered, await request.body())

    return endpoint


def add_files(app: Any, folder: Path) -> None:
    """Serve the files of a page: those that are in the folder now, under their own names, and nothing else."""
    from starlette.requests import Request
    from starlette.responses import Response

    found = [path for path in folder.rglob("*") if path.suffix in KINDS and path.is_file()]
    files = {f"/{path.relative_to(folder).as_posix()}": path for path in found}
    files["/"] = files["/index.html"]

    @app.api_route("/{path:path}", methods=["GET", "HEAD"])
    def page(request: Request) -> Any:
        path = files.get(request.scope["path"])
        if path is None:
            return refusal(404, "There is no such page.")
        return Response(path.read_bytes(), media_type=KINDS[path.suffix])


def refuse_http(_: Any, error: Any) -> Any:
    """What a request is answered that FastAPI refuses."""
    reasons = {404: "There is no such page.", 405: "This is not asked for in that way."}
    return refusal(error.status_code, reasons.get(error.status_code, "This cannot be answered."))


def bind(host: str, port: int) -> socket.socket:
    """A socket that is bound and listens.

    Raises:
        InputError: The port is taken, or the host is not this machine's.
    """
    no_address = f"host '{host}' is no address of this machine; leave --host out for {LOOPBACK[0]}."
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except (OSError, OverflowError, UnicodeError) as error:
        raise InputError(no_address) from error
    try:
        if sys.platform != "win32":  # there it would take a port away from another server
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(128)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise InputError(no_address) from error
        reason = (error.strerror or str(error)).lower()
        raise InputError(
            f"port {port} of {host} cannot be taken ({reason}); give another --port, or 0 for a free one."
        ) from error
    return bound


def _in_address(host: str) -> str:
    host = LOOPBACK[0] if host in EVERYWHERE else host
    return f"[{host}]" if ":" in host else host
